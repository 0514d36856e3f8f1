from __future__ import annotations

from pathlib import Path

import pytest

from vmstamp.recipes.catalogue import RecipeError
from vmstamp.recipes.mirror import (
    Source,
    choose_sources,
    host_sources,
    parse_deb822,
    parse_mirror,
    parse_one_line,
)

STANZAS = """\
Types: deb
# a comment between fields
URIs: http://mirror.test/debian
Suites: bookworm bookworm-updates
  bookworm-backports
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb-src
URIs: http://mirror.test/debian
Suites: bookworm
Components: main

Types: deb
Enabled: no
URIs: http://off.test/debian
Suites: bookworm
Components: main

Types: deb
URIs: http://foreign.test/node
Suites: nodistro
Components: main
"""
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


def write_host(etc: Path, codename: str) -> None:
    (etc / "apt/sources.list.d").mkdir(parents=True)
    (etc / "os-release").write_text(f"ID=debian\nVERSION_CODENAME={codename}\n")
    (etc / "apt/sources.list.d/debian.sources").write_text(STANZAS)


def test_deb822_keeps_enabled_binary_sources_of_the_release_only() -> None:
    assert list(parse_deb822(STANZAS)) == [
        Source("http://mirror.test/debian", "bookworm", KEYRING),
        Source("http://mirror.test/debian", "bookworm-updates", KEYRING),
    ]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("deb http://m.test/debian bookworm main", Source("http://m.test/debian", "bookworm")),
        (
            "deb [arch=amd64 signed-by=/k.gpg] http://m.test/s bookworm-security main contrib # why",
            Source("http://m.test/s", "bookworm-security", "/k.gpg"),
        ),
        ("deb [arch=arm64] http://m.test/debian bookworm main", None),
        ("deb-src http://m.test/debian bookworm main", None),
        ("# deb http://m.test/debian bookworm main", None),
        ("deb http://m.test/debian trixie main", None),
        ("deb http://m.test/debian bookworm contrib", None),
        ("nonsense", None),
    ],
)
def test_one_line_form(line: str, expected: Source | None) -> None:
    assert list(parse_one_line(line)) == ([expected] if expected else [])


def test_a_source_is_written_as_apt_reads_it() -> None:
    source = Source("http://m.test/debian", "bookworm", "/k.gpg")
    assert source.line() == "deb [signed-by=/k.gpg] http://m.test/debian bookworm main"
    assert list(parse_one_line(source.line())) == [source]


def test_a_host_of_the_same_release_lends_its_sources(tmp_path: Path) -> None:
    write_host(tmp_path, "bookworm")
    assert [source.suite for source in host_sources(tmp_path)] == ["bookworm", "bookworm-updates"]


def test_a_host_of_another_release_leaves_the_choice_to_mmdebstrap(tmp_path: Path) -> None:
    write_host(tmp_path, "noble")
    assert choose_sources(None, {}, tmp_path) == ()


def test_a_mirror_that_is_asked_for_wins_over_the_host(tmp_path: Path) -> None:
    write_host(tmp_path, "bookworm")
    wish = {"VMSTAMP_DEBIAN_MIRROR": "http://near.test/debian http://near.test/security"}
    assert [source.line() for source in choose_sources(None, wish, tmp_path)] == [
        "deb http://near.test/debian bookworm main",
        "deb http://near.test/debian bookworm-updates main",
        "deb http://near.test/security bookworm-security main",
    ]
    assert choose_sources("http://x.test/debian", wish, tmp_path)[0].uri == "http://x.test/debian"


@pytest.mark.parametrize("value", ["mirror.test", "http://a.test http://b.test http://c.test"])
def test_a_mirror_that_is_no_uri_is_refused(value: str) -> None:
    with pytest.raises(RecipeError, match="a Debian mirror is a URI"):
        parse_mirror(value)
