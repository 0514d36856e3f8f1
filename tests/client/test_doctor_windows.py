"""doctor, --fix and generalize on a Windows disk: NTFS by ntfs-3g, hives by hivex, a FAT with the boot store.

The Windows is that of `tests.unit.guest.windows_guests`, on a real disk that boots by UEFI.
"""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.boot.road import BIN
from tests.guests import MIB, MICROSOFT_BASIC_DATA, in_uml, minimal_hive, write_tree
from tests.unit.guest.hives import Data
from tests.unit.guest.trees import signed_loader
from tests.unit.guest.windows_guests import (
    CONFIG,
    DISK_GUID,
    ESP_GUID,
    FILES,
    LOADER,
    ROOT_GUID,
    SAM,
    SOFTWARE,
    STATE,
    SYSTEM,
    Tree,
    account,
    bcd,
    changed,
    element,
    services,
)
from vmstamp.disk.partitions import EFI_SYSTEM, NewPartition, build_gpt
from vmstamp.run import find_program, run

pytestmark = pytest.mark.timeout(600)

ESP_LENGTH, SIZE = 40 * MIB, 128 * MIB
ROOT_AT = MIB + ESP_LENGTH
CS = "ControlSet001"
MEMORY = rf"{CS}\Control\Session Manager\Memory Management"
PARTMGR = rf"{CS}\Services\partmgr\Parameters"
TERMINAL_SERVER = rf"{CS}\Control\Terminal Server"
SETUPERR = "/Windows/System32/Sysprep/Panther/setuperr.log"
BLOCKED = (
    "2026-01-02 03:04:05, Error SYSPRP Package Contoso.Editor_1.2.3.4_x64__8wekyb3d8bbwe was installed "
    "for a user, but not provisioned for all users.\r\n"
)


def make_hive(path: Path, tree: Mapping[str, Mapping[str, Data]]) -> bytes:
    """A hive that hivex wrote. Registry types by number: hivexsh(1), setval."""
    lines: list[str] = []
    known = {""}
    for key, values in tree.items():
        parts = key.split("\\")
        for depth in range(len(parts)):
            parent, name = "\\".join(parts[:depth]), parts[depth]
            if (full := f"{parent}\\{name}" if parent else name).lower() not in known:
                known.add(full.lower())
                lines += [f"cd \\{parent}", f"add {name}"]
        lines += [f"cd \\{key}", f"setval {len(values)}"]
        for name, data in values.items():
            lines += [name, _hivex_value(data)]
    path.write_bytes(minimal_hive())
    run([find_program("hivexsh"), "-w", path], input="\n".join([*lines, "commit", ""]).encode())
    return path.read_bytes()


def _hivex_value(data: Data) -> str:
    match data:
        case int():
            return f"dword:{data:#010x}"
        case bytes():
            return f"hex:3:{data.hex(',')}"
        case str():
            return f"hex:1:{(data + chr(0)).encode('utf-16-le').hex(',')}"
        case _:
            text = "".join(one + chr(0) for one in (*data, ""))
            return f"hex:7:{text.encode('utf-16-le').hex(',')}"


def make_windows(
    path: Path,
    *,
    files: Mapping[str, str | bytes] | None = None,
    store: Any = None,
    **hives: Any,
) -> Path:
    """A raw disk with a Windows that is generalized; the changes are those of `WindowsGuests.facts`."""
    parts = [
        NewPartition(EFI_SYSTEM, "EFI", MIB, ESP_LENGTH, ESP_GUID),
        NewPartition(MICROSOFT_BASIC_DATA, "Windows", ROOT_AT, SIZE - ROOT_AT - MIB, ROOT_GUID),
    ]
    gpt = build_gpt(SIZE, parts, DISK_GUID)
    with path.open("wb") as file:
        file.truncate(SIZE)
        file.write(gpt.head)
        file.seek(gpt.tail_offset)
        file.write(gpt.tail)
    trees: dict[str, Tree] = {"SYSTEM": SYSTEM, "SOFTWARE": SOFTWARE, "SAM": SAM}
    written = {
        f"{CONFIG}/{name}": make_hive(path.with_suffix(".hive"), changed(tree, hives.get(name.lower(), {})))
        for name, tree in trees.items()
    }
    boot = {
        "/EFI/Microsoft/Boot/BCD": make_hive(path.with_suffix(".hive"), changed(bcd(2), store or {})),
        "/EFI/Microsoft/Boot/bootmgfw.efi": b"MZ",
        "/EFI/BOOT/BOOTX64.EFI": signed_loader(signature=b"Microsoft Windows Production PCA 2011"),
    }
    root, esp = path.with_suffix(".root"), path.with_suffix(".esp")
    plain = {name: data for name, data in FILES.items() if not name.endswith("/")}
    write_tree(root, {**plain, "/WindowsAzure/Logs/x.log": "", **written, **(files or {})})
    write_tree(esp, boot)
    try:
        in_uml(
            path,
            f"""
            mkfs.vfat /dev/ubda1 > /dev/null
            mount -t vfat /dev/ubda1 /mnt
            cp -r {shlex.quote(str(esp))}/. /mnt
            umount /mnt
            mkntfs -q -F -Q -L Windows /dev/ubda2
            ntfs-3g /dev/ubda2 /mnt
            cp -r {shlex.quote(str(root))}/. /mnt
            sync; umount /mnt""",
        )
    finally:
        shutil.rmtree(root)
        shutil.rmtree(esp)
    return path


def doctor(*words: str | Path, status: int) -> Any:
    done = subprocess.run(
        [BIN / "vmstamp", "doctor", *words, "--json"], capture_output=True, text=True, timeout=500
    )
    assert done.returncode == status, done.stdout + done.stderr
    return json.loads(done.stdout)


def wrong(diagnosis: Any) -> dict[str, str]:
    found = (one for one in diagnosis["findings"] if one["id"].startswith("win-"))
    return {one["id"]: one["status"] for one in found if one["status"] in ("fail", "warning")}


def test_a_sound_windows_passes_every_check_of_windows(tmp_path: Path) -> None:
    found = doctor(make_windows(tmp_path / "good.raw"), status=0)
    assert wrong(found) == {} and found["boots"] == [2]
    passed = {one["id"] for one in found["findings"] if one["status"] == "pass"}
    assert passed >= {
        *("win-hives", "win-generation", "win-bcd", "win-boot-services", "win-driver-files", "win-agent"),
        *("win-imagestate", "win-setup-flags", "win-rdp", "win-firewall", "win-san-policy", "win-pagefile"),
        *("win-sysprep-log", "win-local-users"),
    }


def test_a_file_record_without_its_information_is_told_in_a_sentence(tmp_path: Path) -> None:
    """The type of the first attribute of the root directory's record becomes one that nobody has."""
    hurt = make_windows(tmp_path / "hurt.raw")
    with hurt.open("r+b") as file:
        file.seek(ROOT_AT)
        boot = file.read(512)
        cluster = int.from_bytes(boot[0x0B:0x0D], "little") * boot[0x0D]
        record = ROOT_AT + int.from_bytes(boot[0x30:0x38], "little") * cluster + 5 * 1024
        file.seek(record)
        head = file.read(512)
        attribute = int.from_bytes(head[0x14:0x16], "little")
        assert head[:4] == b"FILE" and head[attribute] == 0x10
        file.seek(record + attribute)
        file.write(b"\x08")
    found = doctor(hurt, status=1)
    assert "its file record has no $STANDARD_INFORMATION" in json.dumps(found)


def test_what_is_wrong_in_windows_is_found_and_mended_on_the_disk(tmp_path: Path) -> None:
    """One defect for each thing that is mended; what only Windows itself can mend is the other test's."""
    bad = make_windows(
        tmp_path / "bad.raw",
        system={
            **services(storvsc=3, cdrom=4, WindowsAzureGuestAgent=4),
            PARTMGR: {"SanPolicy": 3},
            TERMINAL_SERVER: {"fDenyTSConnections": 1},
            MEMORY: {"PagingFiles": ("E:\\pagefile.sys 1024 1024",)},
            r"Setup\Status\SysprepStatus": {"GeneralizationState": 3},
        },
        store={element(LOADER, 0x16000009): {"Element": b"\1"}},
    )
    found = doctor(bad, status=1)
    assert wrong(found) == {
        "win-boot-services": "fail",
        "win-cdrom-enabled": "fail",
        "win-agent": "warning",
        "win-san-policy": "warning",
        "win-rdp": "fail",
        "win-pagefile": "warning",
        "win-sysprep-status": "warning",
        "win-bcd-options": "warning",
    }
    fixed = doctor(bad, "--fix", "-o", tmp_path / "mended.raw", status=0)
    # the store on the EFI system partition is left to bcdedit
    assert wrong(fixed["after"]) == {"win-bcd-options": "warning"}


def test_what_only_windows_can_mend_is_told_with_its_reason(tmp_path: Path) -> None:
    blocked = make_windows(
        tmp_path / "blocked.raw",
        files={SETUPERR: BLOCKED, "/Windows/System32/Sysprep/Panther/setupact.log": BLOCKED},
        software={STATE: {"ImageState": "IMAGE_STATE_UNDEPLOYABLE"}},
        sam={r"SAM\Domains\Account\Users\000003E9": account(1001, "builder", enabled=True)},
    )
    found = doctor(blocked, status=1)
    told = {one["id"]: one for one in found["findings"]}
    assert told["win-imagestate"]["status"] == "fail"
    assert "Contoso.Editor" in told["win-sysprep-log"]["found"]
    assert told["win-sysprep-log"]["status"] == "fail"
    assert "builder" in json.dumps(told["win-local-users"])
    assert not doctor(blocked, "--only", "generalized", status=1)["generalized"]
