from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

import vmstamp.disk
from vmstamp.disk import convert
from vmstamp.paths import Home
from vmstamp.recipes import RECIPES, RecipeError, build, get_recipe
from vmstamp.recipes.build import make_key, work_directory
from vmstamp.recipes.mirror import Source, choose_sources


def ignore(step: str, share: float) -> None:
    pass


def keep_disk(home: Home, name: str) -> Path:
    """A small disk under the name of one that was built before."""
    home.recipes.mkdir(parents=True)
    sources = choose_sources(None, os.environ, Path("/etc"))
    recipe = get_recipe(name)
    kept = home.recipes / f"{name}-{make_key(recipe, recipe.size, sources)}.vhdx"
    raw = home.root / "d.raw"
    raw.write_bytes(b"\x01" * 4096 + bytes(1 << 20))
    with vmstamp.disk.open(raw) as disk:
        convert(disk, kept, "vhdx")
    return kept


def test_an_unknown_recipe_is_refused_with_the_known_names(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no recipe debian-11") as caught:
        build("debian-11", None, Home(tmp_path), ignore)
    assert "debian-12, debian-12-waagent, tiny" in caught.value.hint


def test_names_are_unique_and_need_no_quoting() -> None:
    names = [recipe.name for recipe in RECIPES]
    assert len(set(names)) == len(names)
    assert all(name.replace("-", "").isalnum() for name in names)


def test_the_key_follows_the_inputs() -> None:
    debian, tiny = get_recipe("debian-12"), get_recipe("tiny")
    keys = {
        make_key(debian, 4 << 30, ()),
        make_key(debian, 5 << 30, ()),
        make_key(debian, 4 << 30, [Source("http://m.test/d", "bookworm")]),
        make_key(tiny, 4 << 30, ()),
    }
    assert len(keys) == 4
    assert make_key(debian, 4 << 30, ()) == make_key(debian, 4 << 30, ())


def test_a_disk_that_was_built_is_found_again(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    kept = keep_disk(home, "tiny")
    assert build("tiny", None, home, ignore) == kept


@pytest.mark.parametrize(("suffix", "form"), [("vhdx", "vhdx"), ("vhd", "vhd"), ("raw", "raw")])
def test_the_suffix_of_a_destination_chooses_its_format(tmp_path: Path, suffix: str, form: str) -> None:
    home = Home(tmp_path / "home")
    keep_disk(home, "tiny")
    out = tmp_path / f"out.{suffix}"
    assert build("tiny", out, home, ignore) == out
    with vmstamp.disk.open(out) as disk:
        assert disk.format == form
        assert disk.read(0, 4096) == b"\x01" * 4096
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", out.name]


def test_a_destination_that_exists_is_not_overwritten(tmp_path: Path) -> None:
    out = tmp_path / "mine.vhdx"
    out.write_text("mine")
    with pytest.raises(RecipeError, match="exists"):
        build("tiny", out, Home(tmp_path / "home"), ignore)
    assert out.read_text() == "mine"


def test_a_home_that_is_no_directory_is_said(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    with pytest.raises(RecipeError, match="home"):
        build("tiny", None, Home(tmp_path / "home"), ignore)


def test_work_of_a_killed_build_is_removed_and_that_of_a_live_one_is_not(tmp_path: Path) -> None:
    dead, live = tmp_path / "work-dead", tmp_path / "work-live"
    for path in (dead, live):
        path.mkdir()
        (path / "disk.raw").write_text("x")
    handle = os.open(live, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with work_directory(tmp_path) as work:
            assert sorted(tmp_path.iterdir()) == sorted([live, work])
    finally:
        os.close(handle)
    assert list(tmp_path.iterdir()) == [live]


def test_work_is_removed_when_the_build_is_interrupted(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), work_directory(tmp_path):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
