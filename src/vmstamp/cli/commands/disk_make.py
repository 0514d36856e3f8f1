"""disk convert and create: disk files, written."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vmstamp.cli.commands.disk_look import FILE, follow_option
from vmstamp.cli.options import examples, json_option
from vmstamp.cli.render import Console, bytes_text, seconds_text

if TYPE_CHECKING:
    from vmstamp.disk import Disk

FORMATS = ("vhd-fixed", "vhd-dynamic", "vhdx", "vhdx-fixed", "raw")
UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_SIZE = re.compile(r"(\d+)\s*([kmgt]?)(?:i?b)?", re.IGNORECASE)


class Size(click.ParamType):  # type: ignore[type-arg]
    """A size in bytes: `10G`, `512MiB`, `1073741824`; units are powers of 1024."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        found = _SIZE.fullmatch(str(value).strip())
        size = int(found[1]) * UNITS[found[2].lower()] if found else 0
        if size <= 0:
            self.fail(f"{value!r} is not a size, such as 10G, 512MiB or 1073741824", param, ctx)
        return size


to_option = click.option(
    "--to", type=click.Choice(FORMATS), help="What to write; by default the name's end chooses (.vhd: fixed)."
)
overwrite_option = click.option("--overwrite", is_flag=True, help="Replace the file when it exists.")


@click.command(
    epilog=examples(
        "vmstamp disk convert disk.vhdx disk.vhd            what Azure takes",
        "vmstamp disk convert disk.qcow2 disk.vhdx",
        "vmstamp disk convert disk.raw disk.vhd --to vhd-dynamic --size 40G",
    )
)
@click.argument("source", type=FILE)
@click.argument("destination", type=FILE)
@to_option
@click.option("--size", type=Size(), help="Size of the disk: longer with zeros at its end. [the source's]")
@overwrite_option
@follow_option
@json_option
def convert(
    source: Path,
    destination: Path,
    to: str | None,
    size: int | None,
    overwrite: bool,
    follow: bool,
    console: Console,
) -> None:
    """Write a disk file in another format.

    DESTINATION appears whole or not at all. Holes and runs of zeros stay holes. A VHD is rounded up to a
    whole number of MiB, never to a geometry, and the GPT's backup moves to the new end.
    """
    from vmstamp import disk

    refuse_dash(source, destination)
    with disk.open(source, follow=follow) as opened:
        if size is not None and size < opened.size:
            raise click.UsageError(
                f"--size {size} is less than the disk's {opened.size} bytes; vmstamp disk resize cuts a disk"
            )
        write(opened, destination, to, size, overwrite, console)


@click.command(
    epilog=examples(
        "vmstamp disk create data.vhd --size 32G",
        "vmstamp disk create data.vhdx --size 1T",
        "vmstamp disk create child.vhdx --parent base.vhdx",
    )
)
@click.argument("file", type=FILE)
@click.option("--size", type=Size(), help="Size of the disk: 10G, 512MiB, bytes.")
@click.option("--parent", type=FILE, help="Make a differencing disk of this VHD or VHDX, in its format.")
@to_option
@overwrite_option
@json_option
def create(
    file: Path, size: int | None, parent: Path | None, to: str | None, overwrite: bool, console: Console
) -> None:
    """Make an empty disk file. The name's end chooses the format, as for convert.

    With --parent it holds the changes to another disk, which must not change any more.
    """
    from vmstamp import disk
    from vmstamp.disk.create import create_child
    from vmstamp.disk.memory import MemoryDisk

    refuse_dash(file)
    if (size is None) == (parent is None):
        raise click.UsageError("either --size or --parent says how large the disk is")
    if parent is None:
        write(MemoryDisk(size or 0, {}), file, to, None, overwrite, console)
        return
    if to or overwrite:
        raise click.UsageError("with --parent the parent chooses the format, and no file is replaced")
    with disk.open(parent, follow=True) as opened:
        create_child(file, opened)
        name, made_size = f"differencing {opened.format}", opened.size
    document = {"path": file, "format": opened.format, "subformat": "differencing", "parent": parent}
    console.result(document, f"{file}: {name}, {bytes_text(made_size)} virtual, of {parent}")


def refuse_dash(*paths: Path) -> None:
    """A disk cannot be piped: it is read and written by position."""
    for path in paths:
        if str(path) == "-":
            raise click.UsageError(
                "a disk is read and written by position, so '-' is not taken; ./- is a file"
            )


def write(
    source: Disk, path: Path, to: str | None, size: int | None, overwrite: bool, console: Console
) -> None:
    """Convert with a bar, and tell what became of it."""
    from vmstamp import disk

    started, moved = time.monotonic(), 0
    with console.bar(path.name) as bar:

        def progress(length: int) -> None:
            nonlocal moved
            moved += length
            bar(moved, source.size)

        disk.convert(source, path, to, progress, size=size, overwrite=overwrite)
    seconds = time.monotonic() - started
    with disk.open(path, follow=True) as made:
        kind, made_size = (made.format, made.subformat), made.data_size
    allocated = path.stat().st_blocks * 512
    document = {
        "path": path,
        "format": kind[0],
        "subformat": kind[1],
        "virtual_size": made_size,
        "allocated": allocated,
        "read": moved,
        "seconds": seconds,
    }
    name = f"{kind[1]} {kind[0]}".strip()
    sizes = f"{bytes_text(made_size)} virtual, {bytes_text(allocated)} allocated"
    lines = [f"{path}: {name}, {sizes}, in {seconds_text(seconds)}"]
    if made_size > (wanted := size or source.size):
        lines.append(f"the size was rounded up by {made_size - wanted} zero bytes to {made_size} bytes")
    console.result(document, lines)
