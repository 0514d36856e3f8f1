"""Where a parent is looked for, and where it is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from vmstamp.disk.parents import MAX_CHAIN, find_parent, refuse_endless
from vmstamp.errors import DiskError


@pytest.mark.parametrize(
    "name",
    [
        ".\\base.vhdx",
        "base.vhdx",
        "C:\\VMs\\disks\\base.vhdx",
        "\\\\?\\Volume{26a21bda-a627-11d7-9931-806e6f6e6963}\\VMs\\base.vhdx",
        "/var/lib/disks/base.vhdx",
        "..\\elsewhere\\base.vhdx",
    ],
)
def test_a_parent_beside_its_child_is_found_by_any_makers_name(tmp_path: Path, name: str) -> None:
    parent = tmp_path / "base.vhdx"
    parent.touch()
    assert find_parent(tmp_path / "child.avhdx", [name], follow=False).samefile(parent)


@pytest.mark.parametrize("name", ["../secret", "sub/secret", "/{root}/secret", "link"])
def test_a_parent_elsewhere_is_refused_unless_it_may_be_followed(tmp_path: Path, name: str) -> None:
    here = tmp_path / "here"
    (here / "sub").mkdir(parents=True)
    for place in (tmp_path, here / "sub"):
        (place / "secret").write_bytes(b"secret")
    (here / "link").symlink_to(tmp_path / "secret")
    told = name.replace("/{root}", str(tmp_path))
    with pytest.raises(DiskError, match="outside of its directory") as caught:
        find_parent(here / "child.vhd", [told], follow=False)
    assert "--follow" in caught.value.hint
    assert find_parent(here / "child.vhd", [told], follow=True).read_bytes() == b"secret"


@pytest.mark.parametrize("name", ["", ".", "..", "a\0b", "x" * 5000, "C:\\", "nothing.vhd"])
def test_a_parent_that_is_not_there_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(DiskError, match="its parent is not there"):
        find_parent(tmp_path / "child.vhd", [name], follow=True)


def test_a_chain_that_comes_back_or_has_no_end_is_refused(tmp_path: Path) -> None:
    child = (tmp_path / "child.vhd").resolve()
    with pytest.raises(DiskError, match="its own parent"):
        refuse_endless(child, [child])
    with pytest.raises(DiskError, match="children in one chain"):
        refuse_endless(child, [tmp_path / str(number) for number in range(MAX_CHAIN)])
