"""The disk files that commands are given."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from vmstamp import disk
from vmstamp.cli.render import Reporter, Tally
from vmstamp.disk import Disk


@contextmanager
def open_source(path: Path, report: Reporter, *, follow: bool) -> Iterator[Disk]:
    """The disk in a file of any format, or in an archive, which is unpacked first. Raises DiskError.

    `follow`: the other files that it names are read too.
    """
    with ExitStack() as bars:
        tally: list[Tally] = []  # the bar appears when there is something to unpack

        def count(length: int) -> None:
            if not tally:
                bar = bars.enter_context(report.bar(f"unpack {path.name}"))
                tally.append(Tally(bar, path.stat().st_size))
            tally[0](length)

        opened = disk.open(path, follow=follow, unpack=True, progress=count)
    with opened:
        yield opened
