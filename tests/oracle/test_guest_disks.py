"""The guest room on disks made by e2fsprogs and mtools, and against debugfs."""

from __future__ import annotations

import json
import os
import random
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest

import vmstamp.disk
from vmstamp.disk.base import Disk
from vmstamp.disk.partitions import LINUX_FILE_SYSTEM, NewPartition, build_gpt
from vmstamp.errors import DiskError, GuestError
from vmstamp.guest.files.fs import Files, open_root, survey
from vmstamp.guest.files.probe import probe
from vmstamp.guest.files.volume import Kind, Volume
from vmstamp.guest.files.window import Window
from vmstamp.guest.finding import Status
from vmstamp.guest.identity import read_identity
from vmstamp.guest.inspect import inspect, require_bootable

MIB = 1024 * 1024
EFI_SYSTEM = UUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
UUID_OF_ROOT = "6e8ab20c-0ac0-4d8a-9c2b-1f6f5d4c3b2a"
ESP_SIZE, ROOT_SIZE = 4 * MIB, 16 * MIB
RELEASE = "6.1.0-42-cloud-amd64"

needs_tools = pytest.mark.skipif(
    not all(shutil.which(tool) for tool in ("mkfs.ext4", "debugfs", "mformat", "mcopy")),
    reason="mkfs.ext4 and debugfs (e2fsprogs), mformat and mcopy (mtools) are missing",
)
pytestmark = needs_tools


def run(*argv: str | Path) -> bytes:
    return subprocess.run([str(a) for a in argv], check=True, capture_output=True).stdout


def make_ext4(directory: Path, image: Path, *options: str, size: int = ROOT_SIZE) -> Path:
    image.unlink(missing_ok=True)
    with image.open("wb") as file:
        file.truncate(size)
    run("mkfs.ext4", "-q", "-F", "-U", UUID_OF_ROOT, "-L", "root", *options, "-d", directory, image)
    return image


def make_esp(image: Path, files: dict[str, bytes], scratch: Path) -> Path:
    with image.open("wb") as file:
        file.truncate(ESP_SIZE)
    run("mformat", "-i", image, "-v", "ESP", "-N", "ABCD1234", "::")
    made = set()
    for name, content in files.items():
        for parent in reversed(Path(name).parents):
            if str(parent) != "." and parent not in made:
                run("mmd", "-i", image, f"::/{parent}")
                made.add(parent)
        (scratch / "file").write_bytes(content)
        run("mcopy", "-i", image, scratch / "file", f"::/{name}")
    return image


def join(path: Path, esp: Path, root: Path) -> Path:
    """A GPT disk of an ESP and a root file system."""
    size = MIB + ESP_SIZE + ROOT_SIZE + MIB
    parts = [
        NewPartition(EFI_SYSTEM, "ESP", MIB, ESP_SIZE, UUID(int=1)),
        NewPartition(LINUX_FILE_SYSTEM, "root", MIB + ESP_SIZE, ROOT_SIZE, UUID(int=2)),
    ]
    table = build_gpt(size, parts, UUID(int=3))
    with path.open("wb") as file:
        file.truncate(size)
        file.write(table.head)
        for part, source in zip(parts, (esp, root), strict=True):
            file.seek(part.start)
            file.write(source.read_bytes())
        file.seek(table.tail_offset)
        file.write(table.tail)
    return path


def guest_tree(root: Path) -> Path:
    """A small Debian-like guest."""
    text = {
        "usr/lib/os-release": 'ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
        "etc/fstab": f"UUID={UUID_OF_ROOT} / ext4 defaults 0 1\nUUID=ABCD-1234 /boot/efi vfat defaults 0 1\n",
        "etc/passwd": "root:x:0:0:root:/root:/bin/bash\n",
        "etc/shadow": "root:*:19000::::::\n",
        "etc/machine-id": "",
        "etc/ssh/sshd_config": "",
        f"boot/vmlinuz-{RELEASE}": "MZ",
        "boot/grub/grub.cfg": f"linux /boot/vmlinuz-{RELEASE} root=UUID={UUID_OF_ROOT} ro console=ttyS0\n",
        "usr/sbin/sshd": "",
        "usr/sbin/dhclient": "",
        "usr/sbin/useradd": "",
        "usr/bin/sudo": "",
        "etc/sudoers": "@includedir /etc/sudoers.d\n",
        "usr/lib/systemd/system/ssh.service": "",
        "usr/lib/systemd/system/cloud-init-local.service": "",
        "usr/lib/systemd/system-generators/cloud-init-generator": "",
        "usr/lib/python3/dist-packages/cloud_init-22.4.2.egg-info/PKG-INFO": "",
        "var/lib/dpkg/status": "Package: cloud-init\nStatus: install ok installed\nVersion: 22.4.2-1\n\n",
    }
    for name, content in text.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    (root / "usr/bin").mkdir(exist_ok=True)
    (root / "usr/bin/sh").write_bytes(b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x03\x00\x3e\x00" + bytes(44))
    (root / "boot/efi").mkdir()
    (root / "lib").symlink_to("usr/lib")
    (root / "etc/os-release").symlink_to("../usr/lib/os-release")
    wants = root / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir(parents=True)
    (wants / "ssh.service").symlink_to("/lib/systemd/system/ssh.service")
    return root


@pytest.fixture
def guest(tmp_path: Path) -> Path:
    return guest_tree(tmp_path / "guest")


MakeDisk = Callable[[Path], Path]


@pytest.fixture
def make_disk(tmp_path: Path) -> MakeDisk:
    def make(root: Path, esp: dict[str, bytes] | None = None) -> Path:
        files = {"EFI/BOOT/BOOTX64.EFI": b"MZ"} if esp is None else esp
        esp_image = make_esp(tmp_path / "esp.img", files, tmp_path)
        return join(tmp_path / "disk.img", esp_image, make_ext4(root, tmp_path / "root.img"))

    return make


def open_files(image: Path) -> tuple[Disk, Files]:
    """The files of a file system image, without an operating system."""
    disk = vmstamp.disk.open(image)
    window = Window(disk, 0, disk.size)
    file_system = probe(window)
    assert file_system is not None
    return disk, Files({"/": Volume(window, file_system)})


def test_inspect_tells_what_a_gen2_debian_is(guest: Path, make_disk: MakeDisk) -> None:
    with vmstamp.disk.open(make_disk(guest)) as disk:
        report = inspect(disk)
    assert (report.format, report.table, report.generations, report.root) == ("raw", "gpt", (2,), 2)
    assert report.os is not None
    assert (report.os.id, report.os.version_id) == ("debian", "12")
    assert (report.architecture, report.kernels) == ("x86_64", (RELEASE,))
    assert report.cloud_init is not None
    assert (report.cloud_init.version, report.provisioner, report.ssh_server) == (
        "22.4.2",
        "cloud-init",
        True,
    )
    assert [(p.content, p.uuid) for p in report.partitions] == [("vfat", "ABCD-1234"), ("ext4", UUID_OF_ROOT)]
    assert {f.id for f in report.problems} == {"vhd-container-kind"}
    document = json.loads(json.dumps(report.to_json()))
    assert " ".join(document) == (
        "path format subformat sizes table partitions generations root os architecture kernels command_line "
        "cloud_init waagent provisioner ssh_server notes findings"
    )
    assert " ".join(document["partitions"][1]) == "number start end type name content uuid label note"
    assert document["os"] == {
        "id": "debian",
        "version_id": "12",
        "pretty_name": "Debian GNU/Linux 12 (bookworm)",
        "kind": "Linux",
        "like": [],
    }
    assert " ".join(document["findings"][0]) == "id status title found where why mend severity source"
    require_bootable(report)


def test_a_separate_boot_partition_is_mounted_as_fstab_says(guest: Path, make_disk: MakeDisk) -> None:
    with vmstamp.disk.open(make_disk(guest)) as disk:
        files = open_root(disk)
        assert files.mounts == ("/", "/boot/efi")
        assert files.read_bytes("/boot/efi/EFI/BOOT/BOOTX64.EFI") == b"MZ"
        assert files.find("/boot/efi/../../etc/fstab") is not None


def test_a_disk_without_a_loader_is_not_bootable(guest: Path, make_disk: Callable[..., Path]) -> None:
    with vmstamp.disk.open(make_disk(guest, {"EFI/debian/grub.cfg": b""})) as disk:
        report = inspect(disk)
    assert report.generations == ()
    assert {"gen2-esp", "gen-detect"} <= {f.id for f in report.problems}
    with pytest.raises(GuestError, match="finds a boot loader") as caught:
        require_bootable(report)
    assert caught.value.hint


def test_a_disk_without_an_operating_system_says_so(tmp_path: Path, make_disk: MakeDisk) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "photo.jpg").write_bytes(b"x")
    with vmstamp.disk.open(make_ext4(data, tmp_path / "data.img")) as disk:
        report = inspect(disk)
        with pytest.raises(GuestError, match="no operating system"):
            read_identity(disk)
    assert (report.os, report.generations, report.table) == (None, (), None)
    found = {f.id: f for f in report.findings}
    assert found["root-fs-supported"].status is Status.FAIL
    assert found["agent-any"].status is Status.NOT_APPLICABLE
    with pytest.raises(GuestError, match="no operating system found; it holds: ext4") as caught:
        require_bootable(report)
    assert "data disk" in caught.value.hint


def test_a_disk_of_zeros_says_so(tmp_path: Path) -> None:
    image = tmp_path / "zeros.img"
    with image.open("wb") as file:
        file.truncate(32 * MIB)
    with vmstamp.disk.open(image) as disk:
        report = inspect(disk)
    assert (report.os, report.generations, report.table) == (None, (), None)


def test_identity_tells_a_used_guest_from_a_generalized_one(guest: Path, make_disk: MakeDisk) -> None:
    with vmstamp.disk.open(make_disk(guest)) as disk:
        assert read_identity(disk).generalized
    (guest / "etc/machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    (guest / "var/lib/cloud/instances/x").mkdir(parents=True)
    (guest / "var/lib/cloud/instance").symlink_to("/var/lib/cloud/instances/x")
    with vmstamp.disk.open(make_disk(guest)) as disk:
        identity = read_identity(disk)
    assert not identity.generalized
    assert {left.id for left in identity.leftovers} == {"machine-id", "ci-instance-leftover"}


def test_a_var_that_is_not_read_leaves_the_question_open(guest: Path, make_disk: MakeDisk) -> None:
    with (guest / "etc/fstab").open("a") as fstab:
        fstab.write("/dev/mapper/vg-var /var xfs defaults 0 2\nUUID=other /data xfs nofail 0 2\n")
    with vmstamp.disk.open(make_disk(guest)) as disk:
        identity = read_identity(disk)
        report = inspect(disk)
    assert not identity.generalized
    assert [(left.id, left.where) for left in identity.leftovers] == [("not-read", "/var")]
    assert report.notes == ("not read: /dev/mapper/vg-var on /var", "not read: UUID=other on /data")


@pytest.fixture
def varied(tmp_path: Path) -> Path:
    """A tree with what file systems store in different ways."""
    root = tmp_path / "varied"
    (root / "many").mkdir(parents=True)
    for number in range(1200):
        (root / "many" / f"a rather long name of an entry, {number:04}").touch()
    rng = random.Random(1)
    (root / "fragmented").write_bytes(rng.randbytes(3 * MIB + 7))
    with (root / "sparse").open("wb") as file:
        file.truncate(6 * 1024 * MIB)
        file.seek(5 * 1024 * MIB)
        file.write(b"far away")
    (root / "hole").write_bytes(b"")
    with (root / "hole").open("wb") as file:
        file.truncate(300_000)
    (root / "short").symlink_to("fragmented")
    (root / "long").symlink_to("x/../" * 30 + "fragmented")
    (root / "x").mkdir()
    os.mkfifo(root / "pipe")
    (root / os.fsdecode(b"latin-\xe9")).touch()
    return root


@pytest.mark.parametrize(
    "options",
    [
        ("-O", "metadata_csum,64bit,extents,flex_bg", "-b", "4096"),
        ("-O", "metadata_csum,64bit", "-b", "1024"),
        ("-O", "orphan_file,metadata_csum_seed", "-b", "4096"),
        ("-O", "^extents,^64bit,^metadata_csum", "-b", "4096"),
    ],
    ids=lambda options: " ".join(options),
)
def test_files_are_read_as_debugfs_reads_them(varied: Path, tmp_path: Path, options: tuple[str, ...]) -> None:
    image = make_ext4(varied, tmp_path / "varied.img", *options, size=64 * MIB)
    disk, files = open_files(image)
    with disk:
        assert files.read_bytes("/fragmented") == run("debugfs", "-R", "cat /fragmented", image)
        assert files.read_bytes("/long") == files.read_bytes("/short") == (varied / "fragmented").read_bytes()
        assert files.read_bytes("/hole") == bytes(300_000)
        assert files.read_part("/sparse", 5 * 1024 * MIB - 4, 12) == bytes(4) + b"far away"
        assert files.list("/many") == sorted(path.name for path in (varied / "many").iterdir())
        assert files.is_file("/many/a rather long name of an entry, 1199")
        assert not files.exists("/many/none")
        pipe = files.find("/pipe")
        assert pipe is not None
        assert len(files.list("/")) == len(list(varied.iterdir()))
        with pytest.raises(GuestError, match="at most"):
            files.read_bytes("/sparse")


@pytest.mark.skipif(not shutil.which("mkfs.xfs"), reason="mkfs.xfs (xfsprogs) is missing")
@pytest.mark.parametrize(
    "options", [(), ("-b", "size=1024"), ("-m", "crc=0,finobt=0,reflink=0"), ("-i", "nrext64=1")]
)
def test_xfs_is_read_as_it_was_written(tmp_path: Path, options: tuple[str, ...]) -> None:
    content = random.Random(2).randbytes(2 * MIB + 3)
    (tmp_path / "content").write_bytes(content)
    many = "".join(f"  a-rather-long-name-{n:04} ---644 0 0 {tmp_path}/content\n" for n in range(30))
    prototype = (
        "boot\n0 0\nd--755 0 0\n"
        f"etc d--755 0 0\n  os-release l--777 0 0 ../usr/content\n{many}$\n"
        f"usr d--755 0 0\n  content ---644 0 0 {tmp_path}/content\n$\n$\n"
    )
    (tmp_path / "prototype").write_text(prototype)
    image = tmp_path / "x.img"
    with image.open("wb") as file:
        file.truncate(320 * MIB)
    run(
        "mkfs.xfs",
        "-q",
        "-f",
        *options,
        "-m",
        f"uuid={UUID_OF_ROOT}",
        "-L",
        "root",
        "-p",
        tmp_path / "prototype",
        image,
    )
    disk, files = open_files(image)
    with disk:
        found = probe(Window(disk, 0, disk.size))
        assert found is not None
        assert (found.kind, found.uuid, found.label) == ("xfs", UUID_OF_ROOT, "root")
        assert files.read_bytes("/etc/os-release") == content
        assert len(files.list("/etc")) == 31
        assert files.is_file("/etc/a-rather-long-name-0029")
        assert not files.exists("/etc/none")


def test_inline_data_is_refused_by_name(varied: Path, tmp_path: Path) -> None:
    image = make_ext4(varied, tmp_path / "i.img", "-O", "inline_data", "-I", "256", size=64 * MIB)
    with vmstamp.disk.open(image) as disk:
        found = survey(disk).contents[0].file_system
    assert found is not None
    assert "inline_data" in found.unread


def test_a_journal_that_needs_recovery_is_reported(guest: Path, make_disk: MakeDisk, tmp_path: Path) -> None:
    image = make_disk(guest)
    start = MIB + ESP_SIZE
    with image.open("r+b") as file:
        file.seek(start + 1024 + 0x60)
        incompatible = struct.unpack("<I", file.read(4))[0]
        file.seek(start + 1024 + 0x60)
        file.write(struct.pack("<I", incompatible | 4))
    with vmstamp.disk.open(image) as disk:
        found = {f.id: f for f in inspect(disk).findings}["fs-dirty"]
        identity = read_identity(disk)
    assert not identity.generalized
    assert [left.id for left in identity.leftovers] == ["fs-dirty"]
    assert found.status is Status.WARNING
    assert "recovery" in found.found


def look(path: Path) -> str:
    """Inspect and read the identity; 'read', or the kind of error."""
    try:
        with vmstamp.disk.open(path) as disk:
            inspect(disk)
            read_identity(disk)
    except (DiskError, GuestError) as error:
        return type(error).__name__
    return "read"


@pytest.mark.parametrize("seed", range(60))
def test_flipped_bits_give_our_errors_and_end(seed: int, fuzz_disk: bytes, tmp_path: Path) -> None:
    rng = random.Random(seed)
    data = bytearray(fuzz_disk)
    root = MIB + ESP_SIZE
    spans = ((0, 17_408), (MIB, MIB + 16_384), (root + 1024, root + 2048), (root + 2048, root + 300_000))
    for _ in range(rng.choice((1, 3, 30))):
        start, end = rng.choice(spans)
        data[rng.randrange(start, end)] ^= 1 << rng.randrange(8)
    path = tmp_path / "flipped.img"
    path.write_bytes(data)
    assert look(path) in ("read", "GuestError", "DiskError")


@pytest.mark.parametrize(
    "length", [512, MIB, MIB + 3 * 512, MIB + ESP_SIZE + 512, 6 * MIB, 12 * MIB, 20 * MIB]
)
def test_a_truncated_disk_gives_our_errors(length: int, fuzz_disk: bytes, tmp_path: Path) -> None:
    path = tmp_path / "short.img"
    path.write_bytes(fuzz_disk[:length])
    assert look(path) in ("GuestError", "DiskError")


@pytest.fixture(scope="module")
def fuzz_disk(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    scratch = tmp_path_factory.mktemp("fuzz")
    root = make_ext4(guest_tree(scratch / "guest"), scratch / "root.img")
    esp = make_esp(scratch / "esp.img", {"EFI/BOOT/BOOTX64.EFI": b"MZ"}, scratch)
    return join(scratch / "disk.img", esp, root).read_bytes()


def test_a_directory_that_contains_itself_ends(guest: Path, make_disk: MakeDisk) -> None:
    """Path resolution is bounded by the path; only the walkers could loop, and none walks by itself."""
    with vmstamp.disk.open(make_disk(guest)) as disk:
        files = open_root(disk)
        node = files.find("/usr/./lib/../lib/os-release")
        assert node is not None
        assert node.kind is Kind.FILE
