"""doctor, --fix and generalize on a Windows disk: NTFS by ntfs-3g, hives by hivex, the boot store beside it.

The Windows is that of `tests.unit.guest.windows_guests`, on a real disk that boots by UEFI from a FAT, or by
BIOS from an NTFS of its own, as Windows Setup makes them.
"""

from __future__ import annotations

import json
import shlex
import shutil
import struct
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import vmstamp.disk
from tests.boot.road import BIN
from tests.guests import MIB, MICROSOFT_BASIC_DATA, in_uml, minimal_hive, write_tree
from tests.unit.guest.hives import Data
from tests.unit.guest.trees import signed_loader
from tests.unit.guest.windows_guests import (
    CONFIG,
    DISK_GUID,
    ESP_GUID,
    FILES,
    FIREWALL,
    INTERFACE,
    KEEP,
    LISTENER,
    LOADER,
    LOGS,
    MANAGER,
    ROOT_GUID,
    SAM,
    SIGNATURE,
    SOFTWARE,
    STATE,
    SYSTEM,
    VOLUME_CLASS,
    Tree,
    account,
    bcd,
    bcd_template,
    changed,
    element,
    evtx,
    services,
)
from tests.unit.guest.windows_verdicts import PASSWORD, POLICIES, PROXY_KEY, WINLOGON, proxy
from vmstamp.disk.partitions import EFI_SYSTEM, NewPartition, build_gpt
from vmstamp.guest.checks.windows import CHECKS
from vmstamp.guest.facts import gather
from vmstamp.guest.files.fs import open_root
from vmstamp.guest.windows.bcd import APPLICATION_DEVICE, APPLICATION_PATH, OS_DEVICE, pack_device
from vmstamp.guest.windows.hive import Key
from vmstamp.guest.windows.system import find_windows
from vmstamp.run import find_program, run

pytestmark = pytest.mark.timeout(600)

ESP_LENGTH, SIZE = 40 * MIB, 128 * MIB
ROOT_AT = MIB + ESP_LENGTH
CS = "ControlSet001"
MEMORY = rf"{CS}\Control\Session Manager\Memory Management"
SERVICES = rf"{CS}\Services"
PARTMGR = rf"{SERVICES}\partmgr\Parameters"
TERMINAL_SERVER = rf"{CS}\Control\Terminal Server"
DEVICES = (APPLICATION_DEVICE, OS_DEVICE)
BOOT_MOUNT = {
    1: "mkntfs -q -F -Q /dev/ubda1; ntfs-3g /dev/ubda1 /mnt",
    2: "mkfs.vfat /dev/ubda1 > /dev/null; mount -t vfat /dev/ubda1 /mnt",
}
# What is wrong in the SYSTEM hive, and in SOFTWARE, of a Windows in which all is wrong that can be mended.
DEFECTS: dict[str, Any] = {
    **services(
        storvsc=3,
        cdrom=4,
        WindowsAzureGuestAgent=4,
        stornvme=3,
        Netman=4,
        IKEEXT=4,
        WinRM=3,
        W32Time=4,
        VMTools=2,
    ),
    rf"{SERVICES}\disk": None,
    PARTMGR: {"SanPolicy": 3},
    VOLUME_CLASS: {"LowerFilters": ("rdyboost", "gone")},
    TERMINAL_SERVER: {"fDenyTSConnections": 1},
    LISTENER: {"KeepAliveTimeout": 0, "SSLCertificateSHA1Hash": bytes(20)},
    rf"{FIREWALL}\FirewallRules": {
        "RemoteDesktop-UserMode-In-TCP": None,
        "mine": "v2.31|Action=Block|Active=TRUE|Dir=In|Protocol=6|LPort=3389|",
    },
    rf"{FIREWALL}\PublicProfile": {"DefaultOutboundAction": 1},
    INTERFACE: {"EnableDHCP": 0, "IPAddress": ("10.1.2.3",), "NameServer": "10.1.2.1"},
    MEMORY: {"PagingFiles": ("E:\\pagefile.sys 1024 1024",)},
    r"Setup\Status\SysprepStatus": {"GeneralizationState": 3},
    rf"{CS}\Control\Session Manager\Environment": {"TEMP": "E:\\temp"},
    rf"{CS}\Control\CrashControl": {"CrashDumpEnabled": 0},
    rf"{CS}\Control\Power": {"HibernateEnabled": 1},
}
SOFTWARE_DEFECTS: dict[str, Any] = {
    r"Microsoft\Windows NT\CurrentVersion\SoftwareProtectionPlatform": {"SkipRearm": 1},
    WINLOGON: {"DefaultPassword": "secret", "AutoAdminLogon": "1"},
    PROXY_KEY: {"WinHttpSettings": proxy(b"<local>")},
    r"Microsoft\Windows Azure": {"VmId": "1"},
    rf"{POLICIES}\Windows\PowerShell": {"ExecutionPolicy": "AllSigned"},
}
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
    generation: int = 2,
    files: Mapping[str, str | bytes] | None = None,
    boot_lacks: str = "",
    store: Any = None,
    **hives: Any,
) -> Path:
    """A raw disk with a Windows that is generalized; the changes are those of `WindowsGuests.facts`."""
    (write_gpt if generation == 2 else write_mbr)(path)
    trees: dict[str, Tree] = {"SYSTEM": SYSTEM, "SOFTWARE": SOFTWARE, "SAM": SAM}
    written = {
        f"{CONFIG}/{name}": make_hive(path.with_suffix(".hive"), changed(tree, hives.get(name.lower(), {})))
        for name, tree in trees.items()
    }
    boot = boot_files(
        generation, make_hive(path.with_suffix(".hive"), changed(bcd_here(generation), store or {}))
    )
    if boot_lacks:
        boot = {name: data for name, data in boot.items() if not name.startswith(boot_lacks)}
    root, esp = path.with_suffix(".root"), path.with_suffix(".esp")
    plain = {name: data for name, data in FILES.items() if not name.endswith("/")}
    write_tree(root, {**plain, "/WindowsAzure/Logs/x.log": "", **written, **(files or {})})
    write_tree(esp, boot)
    try:
        in_uml(
            path,
            f"""
            {BOOT_MOUNT[generation]}
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


def write_gpt(path: Path) -> None:
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


def write_mbr(path: Path) -> None:
    """The "System Reserved" partition, which is active, and that of Windows. Layout: UEFI 2.10, table 5.1."""
    places = ((0x80, MIB, ESP_LENGTH), (0, ROOT_AT, SIZE - ROOT_AT - MIB))
    entries = b"".join(
        struct.pack("<B3sB3sII", status, bytes(3), 7, bytes(3), start // 512, length // 512)
        for status, start, length in places
    )
    head = b"\x33\xc0".ljust(440, b"\0") + struct.pack("<IH", SIGNATURE, 0)
    with path.open("wb") as file:
        file.truncate(SIZE)
        file.write(head + entries.ljust(64, b"\0") + b"\x55\xaa")


def bcd_here(generation: int) -> Tree:
    """The boot store, naming the Windows partition where it lies on this disk."""
    device = pack_device(SIGNATURE, ROOT_AT)
    moved = {} if generation == 2 else {element(LOADER, n): {"Element": device} for n in DEVICES}
    return changed(bcd(generation), moved)


def boot_files(generation: int, store: bytes) -> dict[str, str | bytes]:
    if generation == 1:
        return {"/bootmgr": b"x", "/Boot/BCD": store}
    manager = signed_loader(signature=b"Microsoft Windows Production PCA 2011")
    return {
        "/EFI/Microsoft/Boot/BCD": store,
        "/EFI/Microsoft/Boot/bootmgfw.efi": manager,
        "/EFI/BOOT/BOOTX64.EFI": manager,
    }


def doctor(*words: str | Path, status: int) -> Any:
    done = subprocess.run(
        [BIN / "vmstamp", "doctor", *words, "--json"], capture_output=True, text=True, timeout=500
    )
    assert done.returncode == status, done.stdout + done.stderr
    return json.loads(done.stdout)


def wrong(diagnosis: Any) -> dict[str, str]:
    """What fails or warns, but for the size that the marketplace wants: these disks are small."""
    found = (one for one in diagnosis["findings"] if one["id"].startswith("win-") and one["id"] != "win-size")
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


# Of an older Windows, or of one that is set up, which the other disks are.
ELSEWHERE = {
    *("win-acpi-enum-2012", "win-critical-device-db"),
    *("win-setup-flags", "win-panther-clean", "win-persist-drivers"),
}


def test_whatever_can_be_mended_in_windows_is_found_and_mended_on_the_disk(tmp_path: Path) -> None:
    """One defect for each check that has a fix; what only Windows itself can mend is another test's."""
    bad = make_windows(
        tmp_path / "bad.raw",
        files={
            "/hiberfil.sys": bytes(4096),
            "/Windows/Panther/Unattend.xml": "<unattend/>",
            "/Windows/Panther/unattend-original.xml": PASSWORD,
            f"{LOGS}/System.evtx": evtx((1, 150), (151, 300)),
        },
        boot_lacks="/EFI/BOOT/BOOTX64.EFI",
        system=DEFECTS,
        software=SOFTWARE_DEFECTS,
        store={
            element(LOADER, 0x16000009): {"Element": b"\1"},
            element(LOADER, APPLICATION_PATH): {"Element": r"\Windows\System32\winload.exe"},
            **{element(LOADER, n): {"Element": pack_device(DISK_GUID, ESP_GUID)} for n in DEVICES},
        },
    )
    to_be = ("--generation", "2", "--mode", "generalized")
    found = doctor(bad, *to_be, status=1)
    assert set(wrong(found)) == {check.id for check in CHECKS if check.fix} - ELSEWHERE
    fixed = doctor(bad, *to_be, "--fix", "-o", tmp_path / "mended.raw", status=0)
    assert wrong(fixed["after"]) == {}


def test_a_boot_store_and_a_boot_manager_that_are_gone_are_made_anew(tmp_path: Path) -> None:
    """Of what Windows carries; hivexregedit, which knows nothing of ours, reads the store."""
    manager = signed_loader(signature=b"Microsoft Windows Production PCA 2011")
    gone = make_windows(
        tmp_path / "gone.raw",
        files={
            f"{CONFIG}/BCD-Template": make_hive(tmp_path / "template", bcd_template()),
            "/Windows/Boot/EFI/bootmgfw.efi": manager,
        },
        boot_lacks="/EFI/Microsoft",
    )
    assert wrong(doctor(gone, status=1)) == {"win-bcd": "fail", "win-generation": "fail"}
    fixed = doctor(gone, "--fix", "-o", tmp_path / "mended.raw", status=0)
    assert wrong(fixed["after"]) == {}
    with vmstamp.disk.open(tmp_path / "mended.raw") as disk:
        esp = gather(disk).boot.esp_files
        assert esp is not None
        store = esp.read_bytes("/EFI/Microsoft/Boot/BCD", MIB)
    (tmp_path / "BCD").write_bytes(store)
    text = run([find_program("hivexregedit"), "--export", tmp_path / "BCD", "\\"]).stdout.decode()
    assert "hex(1):42,00,43,00,44,00,30,00" in text  # BCD0...
    assert f"[\\Objects\\{MANAGER}\\Elements\\24000001]" in text
    assert pack_device(DISK_GUID, ROOT_GUID).hex(",") in text


def test_a_2012_with_a_boot_partition_of_its_own_is_mended(tmp_path: Path) -> None:
    """The boot store lies in the System Reserved partition, and the devices of newer hosts are not known."""
    old = rf"{CS}\Enum\ACPI\VMBus\4&215d0f95&0"
    bad = make_windows(
        tmp_path / "2012.raw",
        generation=1,
        files={
            "/Windows/System32/Sysprep/Unattend.xml": KEEP.format("true"),
            "/Windows/Panther/setupact.log": "x",
            "/Windows/Setup/State/State.ini": "[State]\r\nImageState=IMAGE_STATE_COMPLETE\r\n",
        },
        system={
            old: {"Service": "vmbus", "HardwareID": ("ACPI\\VMBus", "*VMBus"), "Capabilities": 0x30},
            rf"{old}\Device Parameters": {"x": bytes(3)},
            rf"{CS}\Enum\PCI\VEN_15AD&DEV_07C0\4": {"x": 1},
            "Setup": {"SystemSetupInProgress": 0, "OOBEInProgress": 0, "SetupType": 2, "CmdLine": ""},
        },
        software={
            r"Microsoft\Windows NT\CurrentVersion": {"CurrentBuild": "9600"},
            STATE: {"ImageState": "IMAGE_STATE_COMPLETE"},
        },
        store={element(LOADER, n): {"Element": pack_device(SIGNATURE, MIB)} for n in DEVICES},
    )
    to_be = ("--generation", "1", "--mode", "generalized")
    only = ("--only", "win-persist-drivers")
    kept = doctor(bad, *to_be, *only, "--fix", "-o", tmp_path / "kept.raw", status=0)
    assert wrong(kept["after"]) == {}
    with vmstamp.disk.open(tmp_path / "kept.raw") as disk:
        assert open_root(disk).find_text("/Windows/System32/Sysprep/Unattend.xml") == KEEP.format("false")
    found = doctor(bad, *to_be, status=1)
    # that Sysprep has not run is not mended
    fixable = {*ELSEWHERE, "win-bcd", "win-custom-answer-file"} - {"win-critical-device-db"}
    assert set(wrong(found)) == {"win-generalized", *fixable}
    fixed = doctor(bad, *to_be, "--fix", "-o", tmp_path / "mended.raw", status=1)
    assert wrong(fixed["after"]) == {"win-generalized": "fail"}
    with vmstamp.disk.open(tmp_path / "mended.raw") as disk:
        windows = find_windows(open_root(disk))
        assert windows is not None
        source, target = (windows.system.find(rf"{CS}\Enum\ACPI\{name}") for name in ("VMBus", "MSFT1000"))
        assert source is not None and target is not None
        assert list(_tree(source)) == list(_tree(target)) != []


def test_the_critical_devices_of_2008_are_written_to_the_disk(tmp_path: Path) -> None:
    version = {r"Microsoft\Windows NT\CurrentVersion": {"CurrentBuild": "7601"}}
    bad = make_windows(tmp_path / "2008.raw", generation=1, software=version)
    mended = doctor(bad, "--generation", "1", "--fix", "-o", tmp_path / "mended.raw", status=0)
    assert wrong(mended["before"])["win-critical-device-db"] == "fail"
    assert wrong(mended["after"]) == {}


def _tree(key: Key, path: str = "") -> Iterator[tuple[str, list[tuple[str, str, Data]]]]:
    """The values of every key below, by the path from `key`."""
    yield path, sorted((value.name, value.kind, value.data) for value in key.values())
    for below in key.subkeys():
        yield from _tree(below, f"{path}\\{below.name}")


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
