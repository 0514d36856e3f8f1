"""The bar of a transfer: one line that moves, and one of figures; both fit a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Column
from rich.text import Text

from vmstamp.cli.quantities import bytes_text
from vmstamp.transfer.progress import Moved

INDENT = "           "  # as wide as the elapsed time before other lines


class _Bars(Progress):
    """A bar with a line of figures below."""

    figures = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield self.make_tasks_table(self.tasks)
        yield Text(f"    {self.figures}", no_wrap=True, overflow="ellipsis")


def _columns() -> tuple[ProgressColumn, ...]:
    name = Column(no_wrap=True, overflow="ellipsis", max_width=40)
    return (
        TextColumn(f"{INDENT}{{task.description}}", table_column=name),
        BarColumn(bar_width=20),
        TaskProgressColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )


@contextmanager
def transfer_bar(title: str, verb: str, console: Console | None = None) -> Iterator[Callable[[Moved], None]]:
    """Show the bar while the block runs; it gets a function that is told how far the transfer is."""
    with _Bars(*_columns(), console=console, transient=True) as bars:
        task = bars.add_task(title, total=None)

        def show(moved: Moved) -> None:
            bars.figures = figures_text(moved, verb)
            bars.update(task, completed=moved.done, total=moved.total)

        yield show


def figures_text(moved: Moved, verb: str) -> str:
    """The figures of a transfer under way: `4.0 GiB, data 1.2 GiB: 88.0 MiB sent, 2.8 GiB skipped`."""
    kept = f", {bytes_text(moved.kept)} kept" if moved.kept else ""
    return (
        f"{bytes_text(moved.logical)}, data {bytes_text(moved.data)}: {bytes_text(moved.sent)} {verb}, "
        f"{bytes_text(moved.skipped)} skipped{kept}"
    )
