"""disk info, map and compare: a disk file, looked at."""

from __future__ import annotations

import sys
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vmstamp.cli.options import FAILED, answering, examples, follow_option, json_option
from vmstamp.cli.quantities import bytes_text
from vmstamp.cli.render import Console, Tally, shown, table, to_json

if TYPE_CHECKING:
    from vmstamp.disk import Disk
    from vmstamp.disk.compare import Difference
    from vmstamp.disk.density import Density
    from vmstamp.disk.info import DiskInfo
    from vmstamp.disk.partitions import Partition

FILE = click.Path(path_type=Path, dir_okay=False)
MANY_EXTENTS = 10_000  # more are not counted for a progress bar
SHADES, ASCII_SHADES = " ░▒▓█", " .:+#"


@click.command(
    short_help="What a disk file is, and whether Azure takes it.",
    epilog=examples("vmstamp disk info disk.vhdx", "vmstamp disk info --json disk.vhdx"),
)
@click.argument("file", type=FILE)
@follow_option
@json_option
def info(file: Path, follow: bool, console: Console) -> None:
    """What a disk file is: format, sizes, identity, parents, and whether Azure takes it as it lies."""
    from vmstamp import disk
    from vmstamp.disk.info import describe

    with disk.open(file, follow=follow) as opened:
        told = describe(opened)
    console.result(told.to_json(), info_lines(told))


def info_lines(told: DiskInfo) -> list[str]:
    """`disk info` for people."""
    rows = [
        ("format", f"{told.subformat} {told.format}".strip()),
        ("virtual size", _exact(told.virtual_size)),
        ("file size", _exact(told.file_size)),
        ("allocated", _exact(told.allocated)),
        ("block size", bytes_text(told.block_size) if told.block_size else ""),
        ("sector size", f"{told.sector_size} B"),
        ("unique id", told.unique_id or ""),
        ("creator", shown(told.creator or "")),
        ("created", f"{told.created:%Y-%m-%d %H:%M:%S} UTC" if told.created else ""),
        *(("parent", str(parent)) for parent in told.parents),
        *(("note", note) for note in told.notes),
    ]
    lines = [str(told.path), *(f"  {name:13} {value}" for name, value in rows if value), ""]
    lines.append("Azure takes it as it is." if told.accepted else "Azure does not take it as it is:")
    for finding in told.findings:
        lines += [f"  {finding.severity:7} {finding.id}: {finding.found}", f"          {finding.mend}"]
    return [*lines, *([f"mend it: {told.mend}"] if told.mend else [])]


def _exact(count: int) -> str:
    return f"{bytes_text(count)} ({count} bytes)" if count >= 1024 else f"{count} bytes"


@click.command(
    "map",
    short_help="Where the data lies on a disk, as a picture.",
    epilog=examples("vmstamp disk map disk.vhdx", "vmstamp disk map --json disk.vhdx"),
)
@click.argument("file", type=FILE)
@click.option("--width", type=click.IntRange(8, 1000), default=64, show_default=True, help="Cells in a row.")
@follow_option
@json_option
def map_(file: Path, width: int, follow: bool, console: Console) -> None:
    """Where the data lies on a disk, as a picture; outside of it the disk reads as zeros.

    With --json the extents, as {"start": OFFSET, "length": BYTES}, and the partitions.
    """
    from vmstamp import disk
    from vmstamp.disk.density import density

    with disk.open(file, follow=follow) as opened:
        parts, notes = _partitions(opened)
        spans = [(part.start, part.end) for part in parts]
        spread = density(opened.extents(), opened.size, 8 * width, spans)
        if console.as_json:
            _write_map(opened, spread, parts, notes)
        else:
            console.result(None, map_lines(spread, opened.size, width, parts, notes))


def _partitions(disk: Disk) -> tuple[tuple[Partition, ...], tuple[str, ...]]:
    """The partitions and notes on their table; a table that cannot be read is a note."""
    from vmstamp.disk.partitions import read_partitions
    from vmstamp.errors import DiskError

    try:
        found = read_partitions(disk)
    except DiskError as error:
        return (), (error.found,)
    return found.partitions, found.notes


def _write_map(disk: Disk, spread: Density, parts: tuple[Partition, ...], notes: tuple[str, ...]) -> None:
    """The document of `disk map --json`, its extents written as they are read: there may be millions."""
    head = {
        "virtual_size": disk.size,
        "data": spread.total,
        "extent_count": spread.extent_count,
        "partitions": [
            {
                "number": part.number,
                "name": part.name,
                "start": part.start,
                "length": part.length,
                "data": data,
            }
            for part, data in zip(parts, spread.spans, strict=True)
        ],
        "notes": notes,
    }
    out = sys.stdout
    out.write(to_json(head).removesuffix("\n}") + ',\n  "extents": [')
    comma = ""
    for start, end in disk.extents():
        out.write(f'{comma}\n    {{"start": {start}, "length": {end - start}}}')
        comma = ","
    out.write("\n  ]\n}\n" if comma else "]\n}\n")


def map_lines(
    spread: Density, size: int, width: int, parts: tuple[Partition, ...], notes: tuple[str, ...]
) -> list[str]:
    """The picture: rows of cells, each as dark as it is full, and the partitions under it."""
    encoding = sys.stdout.encoding or "ascii"
    shades = SHADES if encoding.lower().replace("-", "") == "utf8" else ASCII_SHADES
    cells = [shade(filled, spread.cell_size, shades) for filled in spread.cells]
    rows = ["".join(cells[at : at + width]) for at in range(0, len(cells), width)]
    row_size = width * spread.cell_size
    lines = [f"{bytes_text(at * row_size):>10} |{row:{width}}|" for at, row in enumerate(rows)]
    lines += [
        "",
        f"{bytes_text(spread.total)} of {bytes_text(size)} is data ({_share(spread.total, size)}),"
        f" in {spread.extent_count} extents",
        f"a cell is {bytes_text(spread.cell_size)}: '{shades[1]}' holds some data, '{shades[-1]}' is full",
    ]
    if parts:
        lines += ["", *_partition_table(parts, spread.spans)]
    return [*lines, *(f"note: {note}" for note in notes)]


def _partition_table(parts: tuple[Partition, ...], filled: tuple[int, ...]) -> list[str]:
    rows = [
        (
            str(part.number),
            bytes_text(part.start),
            bytes_text(part.end),
            bytes_text(data),
            _share(data, part.length),
            shown(part.name),
        )
        for part, data in zip(parts, filled, strict=True)
    ]
    return table(("partition", "from", "to", "data", "full", "name"), rows)


def _share(part: int, whole: int) -> str:
    return f"{100 * part / max(whole, 1):.1f} %"


def shade(filled: int, cell_size: int, shades: str) -> str:
    """The character of a cell: the first for none, the last for all, in steps between."""
    if not filled:
        return shades[0]
    steps = len(shades) - 2
    return shades[-1] if filled >= cell_size else shades[1 + min(filled * steps // cell_size, steps - 1)]


@click.command(
    short_help="Whether two disk files hold the same disk.",
    epilog=examples("vmstamp disk compare disk.vhdx disk.vhd"),
)
@click.argument("left", type=FILE)
@click.argument("right", type=FILE)
@click.option("--strict", is_flag=True, help="Disks of different sizes differ, even if only zeros are more.")
@follow_option
@json_option
@click.pass_context
def compare(
    context: click.Context, left: Path, right: Path, strict: bool, follow: bool, console: Console
) -> None:
    """Whether two disk files hold the same disk, whatever their formats.

    A longer disk is the same when what it has more is zeros, unless --strict. Exit status 0 the same, 1 not,
    2 they cannot be compared.
    """
    from vmstamp.cli.sources import open_source
    from vmstamp.disk.compare import compare as first_difference

    with (
        answering(),
        open_source(left, console, follow=follow) as one,
        open_source(right, console, follow=follow) as other,
        console.bar("compared") as bar,
    ):
        total = max(moved_size(one), moved_size(other))
        difference = first_difference(one, other, Tally(bar, total))
        sizes = (one.data_size, other.data_size)
    same = difference is None and (not strict or sizes[0] == sizes[1])
    document = {"same": same, "sizes": sizes, "difference": difference}
    console.result(document, _compared(sizes, difference))
    context.exit(0 if same else FAILED)


def _compared(sizes: tuple[int, int], difference: Difference | None) -> list[str]:
    lines = []
    if difference is not None:
        at, one, other = difference.offset, difference.left, difference.right
        lines.append(f"they differ first at byte {at}: {one:#04x} and {other:#04x}")
    elif sizes[0] == sizes[1]:
        lines.append(f"the same {sizes[0]} bytes")
    else:
        lines.append("the same data")
    if sizes[0] != sizes[1]:
        lines.append(f"sizes differ: {sizes[0]} and {sizes[1]} bytes")
    return lines


def moved_size(source: Disk) -> int:
    """The bytes that moving `source` reads; of a disk in very many pieces its size, which is no less."""
    extents = list(islice(source.extents(), MANY_EXTENTS + 1))
    return source.size if len(extents) > MANY_EXTENTS else sum(extent.length for extent in extents)
