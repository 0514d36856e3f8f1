"""Real reworks: disks with each file system that a guest may have, edited inside User Mode Linux.

Each takes some seconds, so one test looks at many things.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import signal
import struct
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import vmstamp
from tests import guests
from vmstamp.disk import convert
from vmstamp.disk import open as open_disk
from vmstamp.errors import DiskError, GuestError
from vmstamp.guest.edits import (
    CopyKey,
    DeleteValue,
    Edit,
    Empty,
    Remove,
    Run,
    SetValue,
    Symlink,
    Truncate,
    Write,
)
from vmstamp.guest.files.fs import Files, open_root
from vmstamp.guest.workshop.rework import Outcome, rework
from vmstamp.guest.workshop.uml import Uml
from vmstamp.run import run, spawn
from vmstamp.syscalls import punch_hole

MIB = 1024 * 1024
SELINUX = "system_u:object_r:hostname_etc_t:s0"

EDITS: tuple[Edit, ...] = (
    Write("/etc/hostname", b"reworked\n"),
    Write("/etc/new/directory/file", b"new", 0o600),
    Write("/boot/efi/EFI/new.cfg", b"on FAT"),
    Write("/boot/new", b"on /boot"),
    Symlink("/etc/link", "/etc/hostname"),
    Truncate("/etc/machine-id"),
    Empty("/var/log"),
    Remove("/home/user"),
    Remove("/no/such/file"),
)


@pytest.fixture(scope="module")
def disks(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The guest of each kind, made once."""
    directory = tmp_path_factory.mktemp("guests")

    def find(kind: str) -> Path:
        path = directory / f"{kind}.raw"
        return path if path.exists() else guests.make_disk(path, kind)

    return find


@pytest.fixture
def nothing_left(tmp_path: Path) -> Iterator[Path]:
    """A directory that afterwards holds only files whose names were given, and no process of ours is left."""
    yield tmp_path
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    assert uml_processes() == []


def uml_processes() -> list[int]:
    """The User Mode Linuxes that still hold a file in a directory of the tests, or have our executor."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                words = (process / "cmdline").read_bytes()
                mine = (process / "environ").read_bytes()
            except OSError:
                continue
            if b"workshop/inside/executor.py" in words and f"VMSTAMP_TEST={os.getpid()}".encode() in mine:
                found.append(int(process.name))
    return found


@pytest.fixture(autouse=True)
def _mark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VMSTAMP_TEST", str(os.getpid()))


def do(source: Path, edits: tuple[Edit, ...], output: Path, **options: object) -> Outcome:
    with open_disk(source) as disk:
        return rework(disk, edits, output, **options)  # type: ignore[arg-type]


def root_of(path: Path) -> Files:
    """The files of a disk; what it was converted to is read, so that nothing stays open."""
    with open_disk(path) as disk:
        raw = path.with_suffix(".read")
        convert(disk, raw, "raw")
    return open_root(open_disk(raw))


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("kind", "suffix"), [("ext4", ".vhdx"), ("xfs", ".vhd"), ("btrfs", ".qcow2"), ("lvm", ".raw")]
)
def test_a_guest_is_edited_whatever_it_lies_on(
    disks: Callable[[str], Path], nothing_left: Path, kind: str, suffix: str
) -> None:
    source, output = disks(kind), nothing_left / f"output{suffix}"
    before = digest(source)
    stages: dict[str, int] = {}
    outcome = do(
        source,
        EDITS,
        output,
        zero_free=True,
        progress=lambda stage, count: stages.__setitem__(stage, stages.get(stage, 0) + count),
    )
    assert [result.changed for result in outcome.results] == [True] * 8 + [False]
    assert outcome.trimmed > 64 * MIB
    assert stages["edit"] == len(EDITS)
    assert digest(source) == before

    files = root_of(output)
    assert files.find_text("/etc/hostname") == files.find_text("/etc/link") == "reworked\n"
    assert files.readlink("/etc/link") == "/etc/hostname"
    new = files.find("/etc/new/directory/file")
    assert new is not None
    assert (new.mode & 0o7777, new.size) == (0o600, 3)
    assert files.find_text("/boot/efi/EFI/new.cfg") == "on FAT"
    assert files.find_text("/boot/new") == "on /boot"
    assert files.read_bytes("/etc/machine-id") == b""
    assert files.list("/var/log") == []
    assert not files.exists("/home/user")
    again = do(output, EDITS, nothing_left / "again.raw")  # of a qcow2, whose file is not open, too
    assert not again.changed
    check_file_systems(nothing_left / "again.raw", kind)


def check_file_systems(disk: Path, kind: str) -> None:
    """The tools that know each file system find nothing wrong."""
    checks = {
        "ext4": "e2fsck -fn /dev/ubda3",
        "xfs": "xfs_repair -n /dev/ubda3",
        "btrfs": "btrfs check -q /dev/ubda3",
        "lvm": "true",
    }
    guests.in_uml(disk, f"{checks[kind]}\ne2fsck -fn /dev/ubda2\nfsck.vfat -n /dev/ubda1")


def test_contexts_attributes_and_owners_are_kept_and_given(nothing_left: Path) -> None:
    policy = "/etc/.*\tsystem_u:object_r:etc_t:s0\n/etc/hostname\t--\t" + SELINUX + "\n"
    source = guests.make_disk(
        nothing_left / "selinux.raw",
        "xfs",
        {
            "/etc/selinux/config": "SELINUXTYPE=targeted\n",
            "/etc/selinux/targeted/contexts/files/file_contexts": policy,
        },
        script="""
            python3 -c 'import os; os.setxattr("etc/machine-id", "security.selinux", b"a:b:kept_t:s0\\0")'
            chown 12:34 etc/machine-id; chmod 444 etc/machine-id; rm etc/hostname""",
    )
    edits = (Write("/etc/hostname", b"x"), Write("/etc/machine-id", b"y"), Symlink("/etc/l", "x"))
    do(source, edits, nothing_left / "out.raw")
    script = """
        mount -o ro /dev/ubda3 /mnt; cd /mnt/etc
        python3 -c '
import os
def label(path): return os.getxattr(path, "security.selinux", follow_symlinks=False).rstrip(b"\\0").decode()
found = [label("hostname"), label("machine-id"), label("l")]
status = os.stat("machine-id")
found += [status.st_uid, status.st_gid, status.st_mode & 0o7777]
wanted = ["%s", "a:b:kept_t:s0", "system_u:object_r:etc_t:s0", 12, 34, 0o444]
assert found == wanted, found'
        cd /; umount /mnt"""
    guests.in_uml(nothing_left / "out.raw", script % SELINUX)


def test_hostile_links_stay_inside(nothing_left: Path, disks: Callable[[str], Path]) -> None:
    """The links of a guest lead to its own root, where this machine's files are not."""
    script = """
        rm -r etc/hostname var/log
        ln -s /../../../../../etc/passwd etc/hostname
        ln -s /proc/1/root/etc/passwd etc/magic
        ln -s ../../../../../dev var/log
        ln -s loop2 loop1; ln -s loop1 loop2
        mkdir dev/inside; touch dev/inside/file
        mknod etc/disk b 98 0"""
    source = guests.make_disk(nothing_left / "hostile.raw", "ext4", script=script)
    before = Path("/etc/passwd").read_bytes()
    outcome = do(
        source,
        (Write("/etc/hostname", b"guest"), Empty("/var/log"), Remove("/loop1")),
        nothing_left / "out.raw",
    )
    assert [result.changed for result in outcome.results] == [True, True, True]
    files = root_of(nothing_left / "out.raw")
    assert files.read_bytes("/etc/passwd") == b"guest"
    assert files.list("/dev") == []
    assert Path("/etc/passwd").read_bytes() == before
    for edit, words in (
        (Write("/loop1/x", b""), "Too many levels of symbolic links"),
        (Write("/etc/hostname/x", b""), "Not a directory"),
        (Write("/etc/disk", b"x"), "Permission denied"),
        (Empty("/loop2"), "Too many levels of symbolic links"),
    ):
        with pytest.raises(GuestError, match=words):
            do(source, (Write("/etc/x", b""), edit), nothing_left / "no.vhdx")
    assert not (nothing_left / "no.vhdx").exists()


def test_a_program_runs_in_the_guest_and_cannot_leave_it(nothing_left: Path) -> None:
    source = guests.make_disk(
        nothing_left / "programs.raw", "ext4", guests.shell_files(), script="chmod -R 755 ."
    )
    shell = """
        set -eu
        echo "in $(pwd)" > /made; echo hello
        test -e /proc/self/status; test -c /dev/null; test -d /sys/kernel; test ! -e /dev/ubda
        if echo x > /proc/sys/kernel/core_pattern; then exit 41; fi 2> /dev/null
        if echo x > /run/x && test ! -e /run/x; then exit 42; fi
        test "$PATH" = /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
        (while :; do :; done) &  # a program left behind ends with the first
        """
    outcome = do(source, (Run(("/bin/sh", "-c", shell)),), nothing_left / "out.raw")
    assert outcome.results[0].output == "hello\n"
    assert root_of(nothing_left / "out.raw").find_text("/made") == "in /\n"
    for argv, timeout, words in (
        (("/bin/sh", "-c", "echo why; exit 3"), 60.0, "ended with status 3: why"),
        (("/bin/sh", "-c", "while :; do :; done"), 1.0, "no end within 1 s"),
        (("/no/such/program",), 60.0, "ended with status 127"),
    ):
        with pytest.raises(GuestError, match=words):
            do(source, (Run(argv, timeout),), nothing_left / "no.raw")
    assert not (nothing_left / "no.raw").exists()


def test_a_registry_hive_is_edited_where_it_lies(nothing_left: Path) -> None:
    hive = guests.make_hive(nothing_left / "hive")
    dirty = hive[:4] + struct.pack("<I", 99) + hive[8:]
    source = guests.make_windows(nothing_left / "windows.raw", {"SYSTEM": hive, "SOFTWARE": dirty})
    system, key = "/windows/system32/CONFIG/system", r"controlset001\Services\Disk"
    outcome = do(
        source,
        (
            SetValue(system, key, "TimeOutValue", "REG_DWORD", 60),
            SetValue(system, key, "TimeOutValue", "REG_DWORD", 60),
            SetValue(system, r"ControlSet001\New\Key", "Many", "REG_MULTI_SZ", ("a", "b")),
            CopyKey(system, r"ControlSet001\New", r"controlset001\Other"),
            CopyKey(system, r"ControlSet001\Services", r"ControlSet001\Other"),
            DeleteValue(system, key, "NAME"),
            DeleteValue(system, r"ControlSet001\Absent", "x"),
            Write("/Windows/Panther/Unattend.xml", b"<x/>"),
            Remove("/WINDOWS/Panther/unattend.XML"),
        ),
        nothing_left / "out.raw",
        zero_free=True,
    )
    assert [result.changed for result in outcome.results] == [
        *(True, False, True),
        *(True, False),
        *(True, False, True, True),
    ]
    partition = nothing_left / "partition"
    with open_disk(nothing_left / "out.raw") as disk:
        partition.write_bytes(disk.read(MIB, 61 * MIB))
    found = run(["ntfscat", "-f", partition, "/Windows/System32/config/SYSTEM"]).stdout
    (nothing_left / "found").write_bytes(found)
    values = [
        run(["hivexget", nothing_left / "found", name]).text
        for name in (key, r"ControlSet001\New\Key", r"ControlSet001\Other\Key")
    ]
    many = '"Many"=hex(7):61,00,00,00,62,00,00,00,00,00\n'
    assert values == ['"TimeOutValue"=dword:0000003c\n"Empty"=""\n', many, many]
    assert "unattend" not in run(["ntfsls", "-f", partition, "-p", "/Windows/Panther"]).text.lower()
    for edit, words in (
        (SetValue("/Windows/System32/config/SOFTWARE", "a", "b", "REG_SZ", "c"), "not written to its end"),
        (SetValue("/Windows/System32/config/SAM", "a", "b", "REG_SZ", "c"), "No such file"),
        (CopyKey(system, "none", "b"), "none: the hive has no such key"),
        (Write("/x", b"", partition=1), "partition 1 is the guest's own"),
    ):
        with pytest.raises(GuestError, match=words):
            do(source, (edit,), nothing_left / "no.raw")


def test_a_hibernated_windows_is_refused(nothing_left: Path) -> None:
    hive = guests.make_hive(nothing_left / "hive")
    source = guests.make_windows(
        nothing_left / "w.raw", {"SYSTEM": hive, "../../../hiberfil.sys": b"hibr" * 1024}
    )
    with pytest.raises(GuestError, match="hibernated") as caught:
        do(source, (Write("/x", b""),), nothing_left / "no.raw")
    assert "shutdown /s" in caught.value.hint


def test_a_journal_is_replayed_only_when_asked(nothing_left: Path) -> None:
    source = guests.make_disk(nothing_left / "dirty.raw", "xfs")
    leave = (
        "mount /dev/ubda3 /mnt; touch /mnt/etc/unfinished; sync; xfs_io -x -c 'shutdown -f' /mnt; umount /mnt"
    )
    guests.in_uml(source, leave)
    with pytest.raises(GuestError, match="was not unmounted"):
        do(source, (Write("/x", b""),), nothing_left / "no.raw")
    do(source, (Write("/x", b""),), nothing_left / "out.raw", replay=True)
    assert root_of(nothing_left / "out.raw").exists("/etc/unfinished")


def test_a_full_guest_gives_an_error_and_no_output(nothing_left: Path) -> None:
    fill = "dd if=/dev/zero of=var/fill bs=1M 2> /dev/null || true"
    source = guests.make_disk(nothing_left / "full.raw", "ext4", script=fill)
    with pytest.raises(GuestError, match=r"write /etc/large .*No space left"):
        do(
            source,
            (Write("/etc/hostname", b"x"), Write("/etc/large", bytes(4 * MIB))),
            nothing_left / "no.vhdx",
        )
    assert not (nothing_left / "no.vhdx").exists()


def test_a_disk_is_replaced_in_place_with_its_id(disks: Callable[[str], Path], nothing_left: Path) -> None:
    path = nothing_left / "disk.vhdx"
    do(disks("ext4"), (), path)
    path.chmod(0o640)
    with open_disk(path) as disk:
        before = disk.unique_id  # type: ignore[attr-defined]
        rework(disk, (Write("/etc/hostname", b"in place"),), path)
    with open_disk(path) as disk:
        assert disk.unique_id == before  # type: ignore[attr-defined]
    assert root_of(path).read_bytes("/etc/hostname") == b"in place"
    assert path.stat().st_mode & 0o777 == 0o640
    kept = digest(path)
    with pytest.raises(GuestError, match="Is a directory"):
        do(path, (Write("/etc", b""),), path)
    assert digest(path) == kept


def test_what_was_written_of_the_working_copy_is_given_back(
    disks: Callable[[str], Path], nothing_left: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[int, int]] = []

    def punch(fd: int, offset: int, length: int) -> bool:
        given.append((offset, os.fstat(fd).st_blocks * 512))
        return punch_hole(fd, offset, length)

    monkeypatch.setattr("vmstamp.guest.workshop.rework.punch_hole", punch)
    do(disks("ext4"), (Write("/etc/hostname", b"less"),), nothing_left / "disk.vhdx")
    assert root_of(nothing_left / "disk.vhdx").read_bytes("/etc/hostname") == b"less"
    assert given == sorted(given)
    assert given[-1][1] < given[0][1]


def test_what_cannot_be_written_is_refused_before_anything_is_done(
    disks: Callable[[str], Path], nothing_left: Path
) -> None:
    source = disks("ext4")
    for output, words in (
        (nothing_left / "none" / "x.raw", "there is no directory"),
        (nothing_left / "x.txt", "does not tell a format"),
        (Path("/proc/x.raw"), "0 are free in /proc"),
    ):
        with pytest.raises(DiskError, match=words):
            do(source, (), output)
    (nothing_left / "there.raw").touch()
    with pytest.raises(DiskError, match="is there already"):
        do(source, (), nothing_left / "there.raw", overwrite=False)


def test_user_mode_linux_that_hangs_is_ended_with_its_last_lines(nothing_left: Path) -> None:
    with (nothing_left / "disk").open("w+b") as file:
        file.truncate(MIB)
        with Uml(file.fileno(), {}) as uml, pytest.raises(GuestError, match="had not ended after 3 s"):
            uml.wait(3)  # nobody says go
        with Uml(file.fileno(), {"replay": True}) as uml:  # a plan that is none
            uml.go()
            assert "roots" in uml.wait(60)["error"]


KILLED = """
import sys
from pathlib import Path
from vmstamp.disk import open as open_disk
from vmstamp.guest.edits import Write
from vmstamp.guest.workshop.rework import rework
edits = [Write(f"/etc/file{number}", bytes(1000)) for number in range(2000)]
with open_disk(sys.argv[1]) as disk:
    rework(disk, edits, Path(sys.argv[2]), progress=lambda stage, count: print(stage, flush=True))
"""


def test_sigkill_leaves_nothing_but_the_source(disks: Callable[[str], Path], nothing_left: Path) -> None:
    source, output = disks("ext4"), nothing_left / "out.vhdx"
    before = digest(source)
    process = spawn([sys.executable, "-c", KILLED, source, output], stdout_pipe=True)
    assert process.stdout is not None
    assert process.stdout.readline() == b"copy\n"
    wait_for(lambda: len(uml_processes()) > 1)  # the kernel and the executor
    time.sleep(1)  # somewhere within the edits
    process.kill()
    process.wait()
    process.stdout.close()
    wait_for(lambda: uml_processes() == [])
    assert list(nothing_left.iterdir()) == []
    assert digest(source) == before


def test_a_killed_user_mode_linux_gives_an_error_and_no_output(
    disks: Callable[[str], Path], nothing_left: Path
) -> None:
    def kill(stage: str, count: int) -> None:
        for process in uml_processes():
            with suppress(FileNotFoundError, ProcessLookupError):  # a helper of it that has ended since
                if b"linux.uml\0mem" in Path(f"/proc/{process}/cmdline").read_bytes():
                    os.kill(process, signal.SIGKILL)

    with pytest.raises(GuestError, match="ended without an answer"):
        do(disks("ext4"), EDITS, nothing_left / "no.raw", progress=kill)
    assert list(nothing_left.iterdir()) == []


def wait_for(condition: Callable[[], bool], timeout: float = 20.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


PLAIN = """
import os, sys
from pathlib import Path
from vmstamp.disk import open as open_disk
from vmstamp.guest.edits import Write
from vmstamp.guest.workshop.rework import rework
assert os.geteuid()
with open_disk(sys.argv[1]) as disk:
    print(rework(disk, [Write("/root/private", b"x")], Path(sys.argv[2])).changed)
"""


@pytest.mark.skipif(
    os.geteuid() != 0, reason="becoming another user needs root; without it all tests here are one"
)
def test_a_plain_user_needs_no_rights(disks: Callable[[str], Path]) -> None:
    directory = Path("/var/tmp") / f"vmstamp-plain-{os.getpid()}"
    directory.mkdir(mode=0o777)
    directory.chmod(0o777)
    try:
        shutil.copy(disks("ext4"), directory / "in.raw")
        modules = os.pathsep.join([str(Path(vmstamp.__file__).parents[1]), sysconfig.get_path("platlib")])
        identity = ["--reuid", "65534", "--regid", "65534", "--clear-groups"]
        env = ["env", "-i", f"PYTHONPATH={modules}", "PYTHONDONTWRITEBYTECODE=1", "PATH=/usr/bin:/bin"]
        words = ["/usr/bin/python3", "-c", PLAIN, directory / "in.raw", directory / "out.vhdx"]
        done = run(["setpriv", *identity, *env, *map(str, words)], check=False, timeout=120)
        assert done.text == "True\n", shlex.join(map(str, words)) + done.stderr.decode()
        assert root_of(directory / "out.vhdx").read_bytes("/root/private") == b"x"
    finally:
        shutil.rmtree(directory)
