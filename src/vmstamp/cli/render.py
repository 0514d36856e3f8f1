"""What people and programs read: lines, tables, progress bars, JSON.

With `--json` standard output holds one JSON document and nothing else; steps are then not shown. Without it,
steps are lines with the elapsed time; bars appear on a terminal only.
"""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import click

if TYPE_CHECKING:
    from vmstamp.transfer.progress import Moved

Progress = Callable[[int, int], None]
NARROWEST = 24  # columns of a table's last one, when it is wrapped


class Reporter(Protocol):
    """What a flow needs to tell how far it is."""

    def say(self, text: str) -> None:
        """One line: something happened."""

    @contextmanager
    def bar(self, title: str) -> Iterator[Progress]:
        """A progress bar; the block gets a function of (done, total) bytes, callable from any thread."""

    @contextmanager
    def transfer(self, title: str, verb: str = "sent") -> Iterator[Callable[[Moved], None]]:
        """A transfer's bar, with its figures; the block gets a function callable from any thread.

        `verb` is what happened to the bytes that went over the wire.
        """


class Tally:
    """Counts the bytes of pieces as they come, and shows them on a bar of `total`."""

    def __init__(self, show: Progress, total: int) -> None:
        self._show, self._total = show, total
        self.moved = 0

    def __call__(self, length: int) -> None:
        self.moved += length
        self._show(self.moved, self._total)


class Console:
    """Standard output of one command. `say` and `bar` may be called from several threads.

    `aside`: what is said on the way goes to standard error, for the answer is another program's output.
    """

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self.aside = False
        self._lock = threading.Lock()
        self._started = time.monotonic()

    def say(self, text: str) -> None:
        if not self.as_json:
            with self._lock:
                click.echo(f"{time.monotonic() - self._started:7.1f} s  {text}", err=self.aside)

    @contextmanager
    def bar(self, title: str) -> Iterator[Progress]:
        if self.as_json or not sys.stdout.isatty():
            yield lambda done, total: None
            return
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )
        from rich.progress import Progress as Bars

        columns = (
            TextColumn("           {task.description}"),
            BarColumn(),
            DownloadColumn(binary_units=True),
        )
        with Bars(*columns, TransferSpeedColumn(), TimeRemainingColumn(), transient=True) as bars:
            task = bars.add_task(title, total=None)
            yield lambda done, total: bars.update(task, completed=done, total=total)

    @contextmanager
    def transfer(self, title: str, verb: str = "sent") -> Iterator[Callable[[Moved], None]]:
        if self.as_json or not sys.stdout.isatty():
            yield lambda moved: None
            return
        from vmstamp.cli.transfer_bar import transfer_bar

        with transfer_bar(title, verb) as show:
            yield show

    def result(self, document: Any, lines: Sequence[str] | str = ()) -> None:
        """The command's answer: `document` with --json, else `lines`."""
        if self.as_json:
            click.echo(to_json(document))
            return
        for line in [lines] if isinstance(lines, str) else lines:
            click.echo(line)


def to_json(document: Any) -> str:
    """Indented JSON of documents, dataclasses, dates and paths."""
    return json.dumps(document, indent=2, default=_plain)


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, set | frozenset | tuple):
        return list(value)
    raise TypeError(f"no JSON for {type(value).__name__}")


def table(header: Sequence[str], rows: Sequence[Sequence[str]], width: int | None = None) -> list[str]:
    """Left-aligned columns two spaces apart, as lines; only the header when there are no rows.

    Where a line would be longer than `width` (None: the terminal's, 0: no limit), the last column is wrapped,
    or when even that is too narrow, each row becomes a block with a line for each cell.
    """
    room = terminal_width() if width is None else width
    all_rows = [list(header), *[list(row) for row in rows]]
    widths = [max(len(row[i]) for row in all_rows) for i in range(len(header))]
    before = sum(widths[:-1]) + 2 * (len(widths) - 1)
    if not room or before + widths[-1] <= room:
        return [_row(row, widths) for row in all_rows]
    if room - before >= NARROWEST:
        return [line for row in all_rows for line in _wrapped(row, widths, room - before)]
    return _blocks(header, rows)


def hanging(head: str, text: str, width: int | None = None) -> list[str]:
    """A head and a text beside it, wrapped at `width` as `table`; below it where there is too little room."""
    room = terminal_width() if width is None else width
    if not room or len(head) + len(text) <= room:
        return [f"{head}{text}"]
    if room - len(head) >= NARROWEST:
        first, *rest = textwrap.wrap(text, room - len(head))
        return [f"{head}{first}", *(f"{'':{len(head)}}{line}" for line in rest)]
    above = [head.rstrip()] if head.strip() else []
    return [*above, *(f"    {line}" for line in textwrap.wrap(text, max(room - 4, NARROWEST)))]


def terminal_width() -> int:
    """The columns of the terminal that standard output is; 0 when it is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 0


def _row(row: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _wrapped(row: Sequence[str], widths: Sequence[int], room: int) -> Iterator[str]:
    """The lines of a row whose last cell gets `room` columns."""
    for number, part in enumerate(textwrap.wrap(row[-1], room) or [""]):
        cells = row[:-1] if number == 0 else [""] * (len(row) - 1)
        yield _row([*cells, part], widths)


def _blocks(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Each row as lines of its header and cell, blocks apart by an empty line."""
    label = max(len(name) for name in header)
    lines: list[str] = []
    for row in rows:
        lines += [f"{name:{label}}  {cell}".rstrip() for name, cell in zip(header, row, strict=True) if cell]
        lines.append("")
    return lines[:-1]


def shown(text: str) -> str:
    """A name from inside a file, safe for any terminal: no control sequences, no letters it lacks."""
    plain = "".join(character if character.isprintable() else "?" for character in text)
    encoding = sys.stdout.encoding or "ascii"
    return plain.encode(encoding, "replace").decode(encoding)
