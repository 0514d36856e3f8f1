"""What a transfer's bar tells."""

import io
import re

import pytest
from rich.console import Console

from vmstamp.cli.transfer_bar import figures_text, transfer_bar
from vmstamp.transfer.progress import Moved

GIB = 1024**3


def test_the_figures_are_all_there() -> None:
    moved = Moved(40 * GIB, 8 * GIB, total=6 * GIB, done=3 * GIB, sent=2 * GIB, kept=GIB)
    assert moved.skipped == 34 * GIB
    text = figures_text(moved, "received")
    assert text == "40.0 GiB, data 8.0 GiB: 2.0 GiB received, 34.0 GiB skipped, 1.0 GiB kept"
    assert "kept" not in figures_text(Moved(1, 1, 1), "sent")


@pytest.mark.parametrize("width", [80, 120])
def test_both_lines_fit(width: int) -> None:
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=True, no_color=True)
    with transfer_bar("upload a-disk-with-a-rather-long-name.vhdx", "received", console) as show:
        show(Moved(40 * GIB, 8 * GIB, total=8 * GIB, done=2 * GIB, sent=2 * GIB, kept=GIB))
    lines = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", out.getvalue()).replace("\r", "\n").splitlines()
    assert max(len(line.rstrip()) for line in lines) <= width
    assert any("upload a-disk" in line and "25%" in line for line in lines)
    assert any(line.rstrip().endswith("1.0 GiB kept") for line in lines), "nothing was cut off"
