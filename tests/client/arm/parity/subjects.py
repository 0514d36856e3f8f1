"""All rules by subject: the ROWS of every module rows_*.py beside this one."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path

from tests.client.arm.parity.row import Row


def subjects() -> Iterator[tuple[str, tuple[Row, ...]]]:
    """Each subject's title and rows, by the name of its module."""
    for path in sorted(Path(__file__).parent.glob("rows_*.py")):
        module = importlib.import_module(f"tests.client.arm.parity.{path.stem}")
        yield module.TITLE, module.ROWS
