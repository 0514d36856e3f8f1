"""What a rework needs of the machine is named with its package before anything is done."""

from __future__ import annotations

from pathlib import Path

import pytest

from vmstamp import run
from vmstamp.errors import ProgramMissing
from vmstamp.guest.workshop import plan


@pytest.mark.parametrize(
    ("present", "ntfs", "package"),
    [((), False, "user-mode-linux"), (("linux.uml", "setpriv"), True, "ntfs-3g")],
)
def test_a_missing_program_is_named_with_its_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, present: tuple[str, ...], ntfs: bool, package: str
) -> None:
    for name in present:
        (tmp_path / name).touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(run, "SYSTEM_DIRECTORIES", ())
    with pytest.raises(ProgramMissing) as caught:
        plan.refuse_missing(ntfs=ntfs, hives=False)
    assert caught.value.hint == f"install it: apt-get install {package}"
