"""doctor --fix and generalize, stopped by Ctrl-C, SIGKILL or a full disk: the source stays, and only it."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import vmstamp.disk
from tests.client.test_generalize_disk import USED
from tests.guests import ROOTS, fstab, make_disk
from vmstamp.disk.data import data_chunks
from vmstamp.errors import DiskError
from vmstamp.guest.edits import Write
from vmstamp.guest.workshop.rework import rework
from vmstamp.run import run, spawn

pytestmark = pytest.mark.skipif(
    shutil.which("linux.uml") is None, reason="linux.uml (user-mode-linux) is missing"
)

MIB = 1024 * 1024
VMSTAMP = Path(sys.executable).with_name("vmstamp")
DOCTOR = ("doctor", "disk.vhdx", "--fix")
GENERALIZE = ("generalize", "disk.vhdx", "--all-users")
ROADS = [
    pytest.param((*DOCTOR, "-o", "copy.vhdx"), id="doctor-copy"),
    pytest.param((*DOCTOR, "--in-place"), id="doctor-in-place"),
    pytest.param((*GENERALIZE, "-o", "copy.vhdx"), id="generalize-copy"),
    pytest.param((*GENERALIZE, "--in-place"), id="generalize-in-place"),
]


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A guest in use, with a defect that doctor mends and 24 MiB that cannot be packed."""
    directory = tmp_path_factory.mktemp("used")
    bad = fstab("ext4").replace(f"UUID={ROOTS['ext4'][1].split()[-1]}", "/dev/sda3")
    files = {**USED, "/etc/fstab": bad, "/srv/data": os.urandom(24 * MIB)}
    raw = make_disk(directory / "used.raw", "ext4", files)
    with vmstamp.disk.open(raw) as disk:
        vmstamp.disk.convert(disk, directory / "used.vhdx")
    return directory / "used.vhdx"


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def kernels(mark: str) -> list[int]:
    """The User Mode Linuxes, and the shells over them, whose environment has `mark`."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and b"linux.uml" in (process / "cmdline").read_bytes():
                found += [int(process.name)] if mark.encode() in (process / "environ").read_bytes() else []
        except OSError:
            continue
    return found


def wait_for(condition: Callable[[], bool], timeout: float = 30.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("words", ROADS)
def test_ctrl_c_in_the_middle_leaves_the_source_and_nothing_else(
    used: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    source = Path(shutil.copy(used, tmp_path / "disk.vhdx"))
    before = digest(source)
    mark = f"VMSTAMP_TEST_MARK={tmp_path.name}-{os.getpid()}"
    output = tmp_path.with_suffix(".log")
    process = spawn([VMSTAMP, *words], output=output, cwd=tmp_path, env=dict([mark.split("=")]))
    wait_for(lambda: len(kernels(mark)) > 1)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(30) == 130, output.read_text()
    wait_for(lambda: kernels(mark) == [])
    assert "error: interrupted" in output.read_text()
    assert "Traceback" not in output.read_text()
    assert os.listdir(tmp_path) == ["disk.vhdx"]  # noqa: PTH208
    assert digest(source) == before


@pytest.mark.parametrize("words", ROADS[2:])
def test_sigkill_in_the_middle_leaves_the_source_and_nothing_else(
    used: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    """Nobody is left to clean up: the working copy has no name, and the guest's kernel ends by itself."""
    source = Path(shutil.copy(used, tmp_path / "disk.vhdx"))
    before = digest(source)
    mark = f"VMSTAMP_TEST_MARK={tmp_path.name}-{os.getpid()}"
    process = spawn(
        [VMSTAMP, *words], output=tmp_path.with_suffix(".log"), cwd=tmp_path, env=dict([mark.split("=")])
    )
    wait_for(lambda: len(kernels(mark)) > 1)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(30)
    wait_for(lambda: kernels(mark) == [])
    assert os.listdir(tmp_path) == ["disk.vhdx"]  # noqa: PTH208
    assert digest(source) == before


@pytest.fixture
def small(tmp_path: Path, used: Path) -> Iterator[Path]:
    """A file system that holds two copies of the disk, but not three."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    if run(
        ["mount", "-t", "tmpfs", "-o", f"size={2 * used.stat().st_size + 20 * MIB}", "none", tmp_path],
        check=False,
    ).status:
        pytest.skip("tmpfs cannot be mounted here")
    try:
        yield tmp_path
    finally:
        run(["umount", tmp_path])


@pytest.mark.parametrize("words", ROADS)
def test_a_full_file_system_is_told_before_anything_is_written(
    used: Path, small: Path, words: tuple[str, ...]
) -> None:
    source = Path(shutil.copy(used, small / "disk.vhdx"))
    (small / "other").write_bytes(bytes(16 * MIB))
    before = digest(source)
    done = run([VMSTAMP, *words], check=False, cwd=small)
    assert done.status == 2, done.text + done.stderr.decode()
    said = done.stderr.decode()
    assert "bytes, but" in said and "hint: free some space" in said and "Traceback" not in said
    assert sorted(os.listdir(small)) == ["disk.vhdx", "other"]  # noqa: PTH208
    assert digest(source) == before


def test_a_file_system_that_gets_full_meanwhile_is_told_as_such(used: Path, small: Path) -> None:
    """What the guest sees then is a disk with I/O errors."""
    output = small / "copy.vhdx"
    with vmstamp.disk.open(used) as source:
        data = sum(len(part) for _, part in data_chunks(source))

    def fill(stage: str, count: int) -> None:
        if stage == "copy" and not (small / "other").exists():
            room = os.statvfs(small)
            keep = data + 4 * MIB  # of the copy
            with (small / "other").open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, max(MIB, room.f_bavail * room.f_frsize - keep))

    with vmstamp.disk.open(used) as source, pytest.raises(DiskError, match="No space left on device") as full:
        rework(source, [Write("/srv/new", os.urandom(16 * MIB))], output, progress=fill)
    assert full.value.hint.startswith("free some space")
    assert os.listdir(small) == ["other"]  # noqa: PTH208
