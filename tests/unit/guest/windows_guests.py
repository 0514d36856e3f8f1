"""A Windows Server 2022 in memory in which every check passes: its files, hives and disk, Gen1 and Gen2."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from tests.unit.guest.hives import Data, build_hive
from tests.unit.guest.trees import signed_loader
from vmstamp.disk.partitions import (
    EFI_SYSTEM,
    MICROSOFT_BASIC_DATA,
    Partition,
    PartitionTable,
)
from vmstamp.guest.facts import Boot, Facts, gather_guest
from vmstamp.guest.files.fs import Content, Files, Survey
from vmstamp.guest.files.probe import FileSystem
from vmstamp.guest.windows.bcd import pack_device

MIB, GIB = 1 << 20, 1 << 30
DISK_GUID, ESP_GUID, ROOT_GUID = UUID(int=10), UUID(int=11), UUID(int=12)
SIGNATURE = 0xDEADBEEF
ROOT_START, ROOT_END = 512 * MIB, 126 * GIB
SIZE = 127 * GIB

CONFIG = "/Windows/System32/config"
LOADER = "{1b0f2c3d-0000-11ee-8000-000000000001}"
MANAGER = "{9dea862c-5cdd-4e70-acc1-f32b344d4795}"
SETTINGS = "{6efb52bf-1766-41db-a6b3-0ee5eff72bd7}"
GLOBAL = "{7ea2e1ac-2e61-4728-aaa3-896d9d0a9f0e}"
EMS = "{0ce4991b-e6b3-4b16-b23c-5e0d9250e5d9}"

Tree = dict[str, dict[str, Data]]
Changes = Mapping[str, Mapping[str, Data | None] | None]  # key -> values; None: leave out

CATALOG = "/Windows/System32/CatRoot/{F750E6C3-38EE-11D1-85E5-00C04FC295EE}/Package_1.cat"
LOGS = "/Windows/System32/winevt/Logs"
# An answer file for Sysprep.
KEEP = "<unattend><PersistAllDeviceInstalls>{}</PersistAllDeviceInstalls></unattend>"

NOTHING: Mapping[str, Any] = {}


def pe(machine: int = 0x8664, imports: tuple[str, ...] = ()) -> bytes:
    """A program of this machine; one with imports has a section at 0x1000 that lies at 0x400 in the file."""
    head = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x80) + bytes(0x40) + b"PE\0\0"
    head += struct.pack("<HHIIIHH", machine, 1, 0, 0, 0, 240, 0)
    optional = struct.pack("<H", 0x20B).ljust(120, b"\0") + struct.pack("<II", 0x1000 if imports else 0, 20)
    section = b".idata\0\0" + struct.pack("<IIII", 0x200, 0x1000, 0x200, 0x400)
    names = 20 * (len(imports) + 1)
    table, texts = b"", b""
    for name in imports:
        table += struct.pack("<12xII", 0x1000 + names + len(texts), 0)
        texts += name.encode() + b"\0"
    return (head + optional.ljust(240, b"\0") + section.ljust(40, b"\0")).ljust(0x400, b"\0") + (
        table + bytes(20) + texts
    ).ljust(0x200, b"\0")


def evtx(*chunks: tuple[int, int]) -> bytes:
    """An event log with chunks of these first and last records; (1, -1): one without records."""
    head = b"ElfFile\0".ljust(40, b"\0") + struct.pack("<HH", 4096, len(chunks))
    body = b"".join(
        (b"ElfChnk\0" + struct.pack("<Qq", first, last)).ljust(1 << 16, b"\0") for first, last in chunks
    )
    return head.ljust(4096, b"\0") + body


def services(**starts: int) -> Tree:
    return {rf"ControlSet001\Services\{name}": {"Start": start} for name, start in starts.items()}


RDP_RULE = (
    "v2.31|Action=Allow|Active=TRUE|Dir=In|Protocol=6|LPort=3389|App=%SystemRoot%\\system32\\svchost.exe|"
    "Svc=termservice|Name=@FirewallAPI.dll,-28775|EmbedCtxt=@FirewallAPI.dll,-28752|"
)
PING_RULE = (
    "v2.31|Action=Allow|Active=TRUE|Dir=In|Protocol=1|Profile=Private|Profile=Public|ICMP4=8:*|"
    "Name=@FirewallAPI.dll,-28543|"
)
WINRM_RULE = (
    "v2.31|Action=Allow|Active=TRUE|Dir=In|Protocol=6|Profile=Public|LPort=5985|RA4=LocalSubnet|App=System|"
    "Name=@FirewallAPI.dll,-30253|EmbedCtxt=@FirewallAPI.dll,-30267|"
)
DRIVERS = (
    "acpi",
    "pci",
    "vdrvroot",
    "vmbus",
    "storvsc",
    "disk",
    "partmgr",
    "volmgr",
    "mountmgr",
    "volsnap",
    "netvsc",
    "storflt",
    "rdyboost",
    "storport",
)
STATE = r"Microsoft\Windows\CurrentVersion\Setup\State"
FIREWALL = r"ControlSet001\Services\SharedAccess\Parameters\FirewallPolicy"
LISTENER = r"ControlSet001\Control\Terminal Server\WinStations\RDP-Tcp"
VOLUME_CLASS = r"ControlSet001\Control\Class\{71a27cdd-812a-11d0-bec7-08002be2092f}"
INTERFACE = r"ControlSet001\Services\Tcpip\Parameters\Interfaces\{5f8f0a43-0000-0000-0000-000000000001}"

SYSTEM: Tree = {
    "Select": {"Current": 1, "Default": 1, "Failed": 0, "LastKnownGood": 1},
    "Setup": {
        "SystemSetupInProgress": 1,
        "OOBEInProgress": 1,
        "SetupType": 2,
        "CmdLine": "oobe\\windeploy.exe",
    },
    r"Setup\Status\SysprepStatus": {"GeneralizationState": 7, "CleanupState": 2},
    **services(
        acpi=0,
        pci=0,
        vdrvroot=0,
        vmbus=0,
        storvsc=0,
        disk=0,
        partmgr=0,
        volmgr=0,
        mountmgr=0,
        volsnap=0,
        intelide=0,
        pciide=0,
        atapi=0,
        storahci=0,
        storflt=0,
        netvsc=3,
        rdyboost=0,
        stornvme=0,
        cdrom=1,
        Fs_Rec=0,
        cdfs=4,
        udfs=4,
        TermService=3,
        BFE=2,
        Dhcp=2,
        Dnscache=2,
        IKEEXT=3,
        iphlpsvc=2,
        nsi=2,
        mpssvc=2,
        RemoteRegistry=2,
        Netlogon=3,
        Netman=3,
        W32Time=2,
        WinRM=2,
        RdAgent=2,
        WindowsAzureGuestAgent=2,
    ),
    r"ControlSet001\Services\storvsc\StartOverride": {"0": 0},
    r"ControlSet001\Services\stornvme\Parameters": {"IoTimeoutValue": 240},
    r"ControlSet001\Services\storflt": {"Start": 0, "ImagePath": r"System32\drivers\storflt.sys"},
    r"ControlSet001\Services\netvsc": {"Start": 3, "ImagePath": r"\SystemRoot\System32\drivers\netvsc.sys"},
    r"ControlSet001\Services\partmgr\Parameters": {"SanPolicy": 1},
    r"ControlSet001\Control\Class\{4d36e967-e325-11ce-bfc1-08002be10318}": {"UpperFilters": ("partmgr",)},
    VOLUME_CLASS: {"UpperFilters": ("volsnap",), "LowerFilters": ("rdyboost",)},
    r"ControlSet001\Control\Terminal Server": {"fDenyTSConnections": 0},
    LISTENER: {
        "PortNumber": 3389,
        "LanAdapter": 0,
        "fEnableWinStation": 1,
        "UserAuthentication": 1,
        "KeepAliveTimeout": 1,
        "fInheritReconnectSame": 1,
        "fReconnectSame": 0,
        "MaxInstanceCount": 0xFFFFFFFF,
    },
    rf"{FIREWALL}\FirewallRules": {
        "RemoteDesktop-UserMode-In-TCP": RDP_RULE,
        "FPS-ICMP4-ERQ-In": PING_RULE,
        "WINRM-HTTP-In-TCP-PUBLIC": WINRM_RULE,
    },
    rf"{FIREWALL}\DomainProfile": {"EnableFirewall": 1},
    rf"{FIREWALL}\StandardProfile": {"EnableFirewall": 1},
    rf"{FIREWALL}\PublicProfile": {"EnableFirewall": 1, "DefaultOutboundAction": 0},
    INTERFACE: {"EnableDHCP": 1, "NameServer": ""},
    r"ControlSet001\Control\TimeZoneInformation": {"RealTimeIsUniversal": 1},
    r"ControlSet001\Control\Session Manager\Environment": {
        "TEMP": "%SystemRoot%\\TEMP",
        "TMP": "%SystemRoot%\\TEMP",
    },
    r"ControlSet001\Control\Session Manager\Memory Management": {"PagingFiles": ("D:\\pagefile.sys",)},
    r"ControlSet001\Control\CrashControl": {"CrashDumpEnabled": 2, "NMICrashDump": 1},
    r"ControlSet001\Control\Power": {"HibernateEnabled": 0},
    r"ControlSet001\Control\Power\User\PowerSchemes": {
        "ActivePowerScheme": "8c5e7fda-e8bf-4a96-9a85-a6e23a8c635c"
    },
    r"ControlSet001\Control\ProductOptions": {"ProductType": "ServerNT"},
}
SOFTWARE: Tree = {
    r"Microsoft\Windows NT\CurrentVersion": {
        "ProductName": "Windows Server 2022 Datacenter",
        "CurrentBuild": "20348",
        "EditionID": "ServerDatacenter",
        "InstallationType": "Server",
    },
    STATE: {"ImageState": "IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE"},
    r"Microsoft\Windows\CurrentVersion\WSMAN\Listener\*+HTTP": {"Port": 5985},
    r"Microsoft\Windows\Windows Error Reporting\LocalDumps": {"DumpType": 2},
}


def account(rid: int, name: str, *, enabled: bool) -> dict[str, Data]:
    fixed = bytearray(0x50)
    struct.pack_into("<I4xH", fixed, 0x30, rid, 0x10 if enabled else 0x11)
    raw = name.encode("utf-16-le")
    return {"F": bytes(fixed), "V": bytes(12) + struct.pack("<II", 0, len(raw)) + bytes(0xCC - 20) + raw}


SAM: Tree = {
    r"SAM\Domains\Account\Users\000001F4": account(500, "Administrator", enabled=True),
    r"SAM\Domains\Account\Users\000001F5": account(501, "Guest", enabled=False),
    r"SAM\Domains\Account\Users\Names\Administrator": {},
}


def element(identifier: str, number: int) -> str:
    return f"Objects\\{identifier}\\Elements\\{number:08x}"


def bcd(generation: int) -> Tree:
    device = pack_device(DISK_GUID, ROOT_GUID) if generation == 2 else pack_device(SIGNATURE, ROOT_START)
    loader = "winload.efi" if generation == 2 else "winload.exe"
    values: dict[tuple[str, int], Data] = {
        (MANAGER, 0x23000003): LOADER,
        (MANAGER, 0x25000004): (5).to_bytes(8, "little"),
        (MANAGER, 0x26000020): b"\1",
        (MANAGER, 0x16000020): b"\1",
        (LOADER, 0x11000001): device,
        (LOADER, 0x21000001): device,
        (LOADER, 0x12000002): f"\\Windows\\System32\\{loader}",
        (LOADER, 0x22000002): r"\Windows",
        (LOADER, 0x14000006): (SETTINGS,),
        (LOADER, 0x16000009): b"\0",
        (LOADER, 0x250000E0): (1).to_bytes(8, "little"),
        (LOADER, 0x260000B0): b"\1",
        (SETTINGS, 0x14000006): (EMS, SETTINGS),
        (EMS, 0x15000022): (1).to_bytes(8, "little"),
        (EMS, 0x15000023): (115_200).to_bytes(8, "little"),
    }
    described: Tree = {f"Objects\\{MANAGER}\\Description": {"Type": 0x10100002}}
    return described | {element(*place): {"Element": data} for place, data in values.items()}


def bcd_template() -> Tree:
    """What a new boot store is made of, with some of the objects of Windows' own template."""
    kinds = {MANAGER: 0x10100002, SETTINGS: 0x20200003, GLOBAL: 0x20100000, EMS: 0x20100000}
    tree: Tree = {
        "Description": {"KeyName": "BCD-Template"},
        **{f"Objects\\{name}\\Description": {"Type": kind} for name, kind in kinds.items()},
    }
    values: dict[tuple[str, int], Data] = {
        (MANAGER, 0x12000004): "Windows Boot Manager",
        (MANAGER, 0x14000006): (GLOBAL,),
        (MANAGER, 0x25000004): (30).to_bytes(8, "little"),
        (SETTINGS, 0x14000006): (GLOBAL,),
        (GLOBAL, 0x14000006): (EMS,),
        (EMS, 0x16000020): b"\0",
    }
    return tree | {element(*place): {"Element": data} for place, data in values.items()}


def changed(tree: Mapping[str, Mapping[str, Data]], changes: Changes) -> Tree:
    """The tree with values set, or (None) left out; a key that is None goes with all below it."""
    merged: Tree = {key: dict(values) for key, values in tree.items()}
    for key, values in changes.items():
        if values is None:
            merged = {k: v for k, v in merged.items() if k != key and not k.startswith(f"{key}\\")}
            continue
        for name, data in values.items():
            merged.setdefault(key, {})
            if data is None:
                merged[key].pop(name, None)
            else:
                merged[key][name] = data
    return merged


FILES: dict[str, str | bytes] = {
    "/Windows/System32/ntoskrnl.exe": pe(),
    "/Windows/System32/winload.efi": pe(),
    "/Windows/System32/winload.exe": pe(),
    "/Windows/System32/Sysprep/Sysprep_succeeded.tag": "",
    "/Windows/Setup/State/State.ini": "[State]\r\nImageState=IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE\r\n",
    "/WindowsAzure/Logs/": "",
    CATALOG: b"\x30\x82",
    **{f"/Windows/System32/drivers/{name}.sys": pe() for name in DRIVERS},
}


class WindowsGuests:
    """Makes a Windows; `memory_files` and `disk` are the conftest's."""

    def __init__(self, memory_files: Any, disk: Any) -> None:
        self._files = memory_files
        self._disk = disk

    def files(
        self,
        changes: Mapping[str, str | bytes | None] = NOTHING,
        *,
        system: Changes = NOTHING,
        software: Changes = NOTHING,
        sam: Changes = NOTHING,
    ) -> Files:
        contents: dict[str, str | bytes] = {
            **FILES,
            f"{CONFIG}/SYSTEM": build_hive(changed(SYSTEM, system)),
            f"{CONFIG}/SOFTWARE": build_hive(changed(SOFTWARE, software)),
            f"{CONFIG}/SAM": build_hive(changed(SAM, sam)),
            **{path: content for path, content in changes.items() if content is not None},
        }
        for path, content in changes.items():
            if content is None:
                contents.pop(path)
        files: Files = self._files(contents)
        return files

    def facts(
        self,
        changes: Mapping[str, str | bytes | None] = NOTHING,
        *,
        generation: int = 2,
        store: Changes = NOTHING,
        boot: Mapping[str, str | bytes | None] = NOTHING,
        size: int = SIZE,
        **hives: Changes,
    ) -> Facts:
        """The facts of a disk with this Windows; `boot` changes the boot partition's files."""
        files = self.files(changes, **hives)
        hive = build_hive(changed(bcd(generation), store))
        starts: dict[int, dict[str, str | bytes | None]] = {
            1: {"/bootmgr": "x", "/Boot/BCD": hive},
            2: {
                "/EFI/Microsoft/Boot/BCD": hive,
                "/EFI/Microsoft/Boot/bootmgfw.efi": "MZ",
                "/EFI/BOOT/BOOTX64.EFI": signed_loader(signature=b"Microsoft Windows Production PCA 2011"),
            },
        }
        merged = {**starts[generation], **boot}
        boot_files = self._files({path: text for path, text in merged.items() if text is not None})
        return _facts(self._disk, size, generation, files, boot_files)


def _facts(make_disk: Any, size: int, generation: int, files: Files, boot_files: Files) -> Facts:
    volume: Any = files._mounts["/"]
    boot_volume: Any = boot_files._mounts["/"]
    gen2 = generation == 2
    boot_part = (
        Partition(1, MIB, 100 * MIB, EFI_SYSTEM, None, "EFI", ESP_GUID)
        if gen2
        else Partition(1, MIB, 500 * MIB, type_byte=7, active=True)
    )
    root_part = (
        Partition(2, ROOT_START, ROOT_END, MICROSOFT_BASIC_DATA, None, "", ROOT_GUID)
        if gen2
        else Partition(2, ROOT_START, ROOT_END, type_byte=7)
    )
    boot = Content(boot_part, FileSystem("vfat" if gen2 else "ntfs"), boot_volume)
    root = Content(root_part, FileSystem("ntfs", label="Windows"), volume)
    table = PartitionTable(
        "gpt" if gen2 else "mbr",
        (boot_part, root_part),
        disk_guid=DISK_GUID if gen2 else None,
        boot_code=not gen2,
    )
    survey = Survey(table, "", (boot, root), root, files)
    loaders = ("/EFI/BOOT/BOOTX64.EFI",) if gen2 and boot_files.is_file("/EFI/BOOT/BOOTX64.EFI") else ()
    start = Boot(boot if gen2 else None, boot_files if gen2 else None, loaders, bios=not gen2)
    return gather_guest(Facts(make_disk(size), survey, start, files=files))
