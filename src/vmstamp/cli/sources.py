"""The disk files that commands are given."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from vmstamp import disk
from vmstamp.cli.names import DISK
from vmstamp.cli.render import Reporter, Tally
from vmstamp.disk import Disk
from vmstamp.errors import VmstampError


@contextmanager
def open_source(path: Path, report: Reporter, *, follow: bool) -> Iterator[Disk]:
    """The disk in a file of any format, or in an archive, which is unpacked first. Raises DiskError.

    `follow`: the other files that it names are read too. VmstampError for what is no file, but a blob's URL
    or disk:NAME.
    """
    refuse_remote(path)
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


def refuse_remote(path: Path) -> None:
    """VmstampError for a blob's URL or disk:NAME where a file is meant; of a URL nothing is told: a SAS."""
    text = str(path)
    if path.exists() or not text.lower().startswith(("http:/", "https:/", DISK)):
        return
    what = f"{text}: a managed disk" if text.startswith(DISK) else "a page blob"
    raise VmstampError(
        f"{what} is not a file of this computer",
        hint="vmstamp doctor looks at it there; vmstamp download brings it here; vmstamp copy takes it on",
    )
