"""Texts for people, JSON for programs."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from vmstamp.cli.quantities import bytes_text, seconds_text
from vmstamp.cli.render import hanging, table, to_json


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (4 << 30, "4.0 GiB"), (3 << 50, "3072.0 TiB")],
)
def test_bytes(count: int, text: str) -> None:
    assert bytes_text(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (59.94, "59.9 s"), (125, "2 min 05 s"), (3720, "1 h 02 min")]
)
def test_seconds(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text


def test_table_columns_are_as_wide_as_their_widest_cell() -> None:
    assert table(("A", "LONG"), [["longer", "x"], ["y", ""]]) == ["A       LONG", "longer  x", "y"]


def test_a_tables_last_column_is_wrapped_where_the_terminal_is_narrow() -> None:
    rows = [["one", "a word and another and one more at its end"], ["two", ""]]
    assert table(("NAME", "WHAT"), rows, width=32) == [
        "NAME  WHAT",
        "one   a word and another and one",
        "      more at its end",
        "two",
    ]


def test_a_table_that_is_too_wide_becomes_blocks() -> None:
    header, rows = ("NAME", "POWER", ""), [["one", "running", "x"], ["two", "stopped", ""]]
    assert table(header, rows, width=14) == [
        "NAME   one",
        "POWER  running",
        "       x",
        "",
        "NAME   two",
        "POWER  stopped",
    ]
    assert table(header, rows, width=0) == table(header, rows, width=80) != table(header, rows, width=14)


def test_a_text_hangs_beside_its_head_or_lies_below_it() -> None:
    text = "a word and another and one more"
    assert hanging("head  ", text, width=0) == [f"head  {text}"]
    assert hanging("head  ", text, width=30) == ["head  a word and another and", "      one more"]
    assert hanging("head  ", text, width=28) == ["head", "    a word and another and", "    one more"]
    assert hanging("      ", "short", width=28) == ["      short"]


def test_json_knows_dates_and_paths() -> None:
    text = to_json({"at": datetime(2026, 1, 2, tzinfo=UTC), "path": Path("/x")})
    assert json.loads(text) == {"at": "2026-01-02T00:00:00+00:00", "path": "/x"}
