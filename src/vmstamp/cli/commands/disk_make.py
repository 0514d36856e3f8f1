"""disk convert, create, resize, merge and check: disk files, written and mended."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vmstamp.cli.commands.disk_look import FILE, moved_size
from vmstamp.cli.options import answering, examples, follow_option, json_option, plan_option
from vmstamp.cli.quantities import bytes_text, seconds_text
from vmstamp.cli.render import Console, Tally

if TYPE_CHECKING:
    from vmstamp.disk import Disk

FORMATS = ("vhd-fixed", "vhd-dynamic", "vhdx", "vhdx-fixed", "raw", "qcow2", "vmdk")
UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
MAX_SIZE = 2**63 - 1  # bytes; no file can be larger
_SIZE = re.compile(r"(\d{1,19})\s*([kmgt]?)(?:i?b)?", re.IGNORECASE)


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
        if size > MAX_SIZE:
            self.fail(f"{value!r} is more than a file can hold, {MAX_SIZE} bytes", param, ctx)
        return size


to_option = click.option(
    "--to", type=click.Choice(FORMATS), help="What to write; by default the name's end chooses (.vhd: fixed)."
)
overwrite_option = click.option("--overwrite", is_flag=True, help="Replace the file when it exists.")


@click.command(
    epilog=examples(
        "vmstamp disk convert disk.vhdx disk.vhd            what Azure takes",
        "vmstamp disk convert disk.qcow2 disk.vhdx",
        "vmstamp disk convert debian.raw.xz debian.vhd",
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
    from vmstamp.cli.sources import open_source

    refuse_dash(source, destination)
    refuse_unknown_end(destination, to)
    with open_source(source, console, follow=follow) as opened:
        if size is not None and size < opened.size:
            raise click.UsageError(
                f"--size {size} is less than the disk's {opened.size} bytes; vmstamp disk resize cuts a disk"
            )
        write(opened, destination, to, size, overwrite, console)


@click.command(
    short_help="Make an empty disk file.",
    epilog=examples(
        "vmstamp disk create data.vhd --size 32G",
        "vmstamp disk create data.vhdx --size 1T",
        "vmstamp disk create child.vhdx --parent base.vhdx",
    ),
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
        refuse_unknown_end(file, to)
        write(MemoryDisk(size or 0, {}), file, to, None, overwrite, console)
        return
    if to or overwrite:
        raise click.UsageError("with --parent the parent chooses the format, and no file is replaced")
    with disk.open(parent, follow=True) as opened:
        create_child(file, opened)
        name, made_size = f"differencing {opened.format}", opened.size
    document = {"path": file, "format": opened.format, "subformat": "differencing", "parent": parent}
    console.result(document, f"{file}: {name}, {bytes_text(made_size)} virtual, of {parent}")


@click.command(
    short_help="Give a raw, VHD or VHDX disk another size.",
    epilog=examples("vmstamp disk resize disk.vhd 64G", "vmstamp disk resize --plan disk.vhdx 20G"),
)
@click.argument("file", type=FILE)
@click.argument("size", type=Size())
@plan_option
@json_option
def resize(file: Path, size: int, plan: bool, console: Console) -> None:
    """Give a raw, VHD or VHDX disk another size; the GPT's backup moves to the new end.

    Refuses to cut off a partition or data. The file is written anew and then renamed, so it needs as much
    free space again, and an interrupted resize leaves it as it was. Partitions keep their size.
    """
    from vmstamp import disk
    from vmstamp.disk.partitions import read_partitions
    from vmstamp.disk.rewrite import refuse_resize
    from vmstamp.disk.rewrite import resize as rewrite

    refuse_dash(file)
    with disk.open(file) as opened:
        before, partitions = opened.data_size, bool(read_partitions(opened).partitions)
        refuse_resize(opened, size)
        if not plan and size != before:
            with console.bar(file.name) as bar:
                rewrite(opened, size, Tally(bar, moved_size(opened)))
    word = "would have" if plan else "has"
    document = {"path": file, "before": before, "virtual_size": size, "done": not plan}
    lines = [f"{file}: {word} {bytes_text(size)} ({size} bytes), before {bytes_text(before)}"]
    if size > before and partitions:
        lines.append(
            "the guest's last partition does not grow by itself: growpart in the guest, then resize2fs"
        )
    console.result(document, lines)


@click.command(
    short_help="Write a differencing disk into its parent.",
    epilog=examples("vmstamp disk merge child.avhdx", "vmstamp disk merge --plan child.vhd"),
)
@click.argument("child", type=FILE)
@click.option("--keep", is_flag=True, help="Keep CHILD.")
@plan_option
@json_option
def merge(child: Path, keep: bool, plan: bool, console: Console) -> None:
    """Write a differencing disk's changes into its parent, and remove it.

    The parent is written anew beside itself, and renamed when it is whole; CHILD goes last. Other children of
    the same parent cannot be read afterwards: their parent has changed.
    """
    from vmstamp import disk
    from vmstamp.disk.rewrite import merge as rewrite
    from vmstamp.disk.rewrite import refuse_merge

    refuse_dash(child)
    with disk.open(child, follow=True) as opened:
        parent = refuse_merge(opened).path
        if not plan:
            with console.bar(child.name) as bar:
                rewrite(opened, Tally(bar, moved_size(opened)))
    if not plan and not keep:
        child.unlink()
    steps = [f"write {child} over {parent}", *([] if keep else [f"remove {child}"])]
    warning = f"other children of {parent} cannot be read any more: their parent has changed"
    if keep:
        warning = f"{child} and {warning}"
    document = {"child": child, "parent": parent, "steps": steps, "done": not plan, "warning": warning}
    lines = [f"would {step}" for step in steps] if plan else [f"{child} is merged into {parent}"]
    console.result(document, [*lines, f"then {warning}" if plan else warning])


@click.command(
    short_help="Look at every structure of a disk file, and mend it.",
    epilog=examples(
        "vmstamp disk check disk.vhdx",
        "vmstamp disk check --repair disk.vhdx",
        "vmstamp disk check --json disk.vhd",
    ),
)
@click.argument("file", type=FILE)
@click.option("--repair", is_flag=True, help="Write a mended copy: FILE's name with '.repaired' in it.")
@click.option("--in-place", is_flag=True, help="With --repair: the mended copy takes FILE's name.")
@click.option("-o", "--output", type=FILE, help="With --repair: the copy's name.")
@json_option
@click.pass_context
def check(
    context: click.Context, file: Path, repair: bool, in_place: bool, output: Path | None, console: Console
) -> None:
    """Look at every structure of a VHD or VHDX file; QEMU looks at a qcow2, VMDK or VDI.

    Repair writes a VHD's footer from its copy, replays a VHDX's log, and writes its headers and region tables
    from the ones that are whole; a qcow2's references are counted anew. Exit status 0 sound, 1 repairable,
    2 broken, or not to be checked; after --repair the copy's.
    """
    from vmstamp.disk.check import check as look
    from vmstamp.disk.check import repair as mend

    if (in_place or output) and not repair:
        raise click.UsageError("--in-place and -o say where --repair writes")
    repaired = None
    with answering():
        report = after = look(file)
        if repair and report.state == "repairable":
            repaired = file if in_place else output or file.with_stem(file.stem + ".repaired")
            with console.bar(file.name) as bar:
                mend(file, repaired, Tally(bar, file.stat().st_size))
            after = look(repaired)
    document = {
        "path": file,
        "format": report.format,
        "state": report.state,
        "problems": report.problems,
        "complete": report.complete,
        "repaired": repaired,
        "state_after": after.state,
    }
    lines = [f"{file}: {report.format}, {report.state}"]
    for problem in report.problems:
        where = "" if problem.offset is None else f"at byte {problem.offset}: "
        lines.append(f"  {where}{problem.what} ({problem.spec})")
        lines += [f"    repair: {problem.repair}"] if problem.repair else []
    if repaired:
        lines.append(f"{repaired}: {after.state}")
    elif report.state == "repairable":
        lines.append(f"mend a copy: vmstamp disk check --repair {file}")
    console.result(document, lines)
    context.exit({"sound": 0, "repairable": 1, "broken": 2}[after.state])


def refuse_unknown_end(path: Path, to: str | None) -> None:
    """A name whose end chooses no format is wrong usage, unless --to does."""
    from vmstamp.disk.convert import SUFFIXES

    if to is None and path.suffix.lower() not in SUFFIXES:
        ends = ", ".join(SUFFIXES)
        raise click.UsageError(
            f"{path}: its name does not tell a format; end it in one of {ends}, or pass --to"
        )


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

    started = time.monotonic()
    with console.bar(path.name) as bar:
        tally = Tally(bar, moved_size(source))
        disk.convert(source, path, to, tally, size=size, overwrite=overwrite)
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
        "seconds": seconds,
        "moved": tally.moved,
    }
    name = f"{kind[1]} {kind[0]}".strip()
    sizes = f"{bytes_text(made_size)} virtual, {bytes_text(allocated)} allocated"
    rate = f" ({bytes_text(int(tally.moved / seconds))}/s)" if tally.moved else ""
    lines = [f"{path}: {name}, {sizes}, in {seconds_text(seconds)}{rate}"]
    if made_size > (wanted := size or source.size):
        lines.append(f"the size was rounded up by {made_size - wanted} zero bytes to {made_size} bytes")
    console.result(document, lines)
