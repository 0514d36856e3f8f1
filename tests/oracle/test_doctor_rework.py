"""`vmstamp doctor --fix` with the real workshop: the mend is written by User Mode Linux's own ext4."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.unit.cli.test_doctor import BAD as KERNEL_DEVICE
from tests.unit.cli.test_doctor import MENDABLE, make_disk
from vmstamp import disk
from vmstamp.cli import doctor_fix
from vmstamp.cli.render import Console
from vmstamp.guest.doctor import diagnose
from vmstamp.guest.files.fs import open_root
from vmstamp.guest.workshop.rework import rework

pytestmark = pytest.mark.skipif(
    not all(shutil.which(tool) for tool in ("mkfs.ext4", "mformat", "mcopy", "linux.uml")),
    reason="mkfs.ext4 (e2fsprogs), mformat (mtools) or linux.uml (user-mode-linux) is missing",
)


@pytest.mark.parametrize("in_place", [False, True])
def test_a_mend_is_carried_out_and_the_disk_judged_again(tmp_path: Path, in_place: bool) -> None:
    path = tmp_path / "disk.vhdx"
    raw = make_disk(tmp_path / "made", KERNEL_DEVICE)
    with disk.open(raw) as made:
        disk.convert(made, path)
    with disk.open(path) as source:
        before = diagnose(source, checks=[MENDABLE])
        planned = doctor_fix.plan(before, named=False)
        place = doctor_fix.choose_place(str(path), source, None, in_place=in_place)
        fixed = doctor_fix.carry_out(source, planned, place, Console(True), rework)
    assert [one.status for one in (*before.findings, *fixed.last.findings)] == ["fail", "pass"]
    assert fixed.output == (path if in_place else tmp_path / "disk.doctored.vhdx")
    with disk.open(fixed.output) as mended:
        files = open_root(mended)
        assert (mended.format, mended.subformat) == ("vhdx", "dynamic")
        assert "/dev/sdb1" not in (files.find_text("/etc/fstab") or "")
        assert files.find_text("/etc/passwd") == "root:x:0:0:root:/root:/bin/bash\n"
