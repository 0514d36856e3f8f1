"""The pieces that a Windows is read from: boot configuration, firewall rules, proxies, links, NTFS itself."""

from __future__ import annotations

import random
import struct
from typing import Any
from uuid import UUID

import pytest

from tests.unit.guest.hives import build_hive
from tests.unit.guest.windows_guests import LOADER, WindowsGuests, bcd, element
from vmstamp.errors import GuestError
from vmstamp.guest.checks.windows.drivers import driver_path
from vmstamp.guest.checks.windows.network import parse_proxy
from vmstamp.guest.files.ntfs import link_target
from vmstamp.guest.files.probe import probe
from vmstamp.guest.files.window import Window
from vmstamp.guest.windows.bcd import BOOT, LOCATE, PARTITION, Device, Store, pack_device, parse_device
from vmstamp.guest.windows.firewall import parse_rule
from vmstamp.guest.windows.hive import Hive
from vmstamp.guest.windows.system import Windows

# A device element as Windows 8.1 wrote it on an MBR's disk: the partition at 350 MiB - 1 MiB.
OF_WINDOWS = bytes.fromhex(
    "00000000000000000000000000000000 0600000000000000 4800000000000000 0000f01500000000 0000000000000000"
    "00000000 01000000 f1a8ebb3 00000000000000000000000000000000 000000000000000000000000"
)


def test_a_device_element_that_windows_wrote_is_read() -> None:
    assert parse_device(OF_WINDOWS) == Device(PARTITION, 0xB3EBA8F1, 0x15F00000)
    assert pack_device(0xB3EBA8F1, 0x15F00000) == OF_WINDOWS


def test_a_device_element_of_a_gpt_is_read() -> None:
    disk, partition = UUID(int=5), UUID(int=6)
    data = pack_device(disk, partition)
    assert parse_device(data) == Device(PARTITION, disk, partition)
    assert str(partition) in parse_device(data).describe()


@pytest.mark.parametrize("kind", [BOOT, LOCATE, 0, 3, 0xFFFFFFFF])
def test_other_kinds_of_devices_are_told(kind: int) -> None:
    device = parse_device(bytes(16) + struct.pack("<I", kind) + bytes(12))
    assert (device.kind, device.disk) == (kind, None)
    assert device.describe()


@pytest.mark.parametrize("length", [0, 16, 31, 71])
def test_a_short_device_element_is_refused(length: int) -> None:
    with pytest.raises(GuestError, match="bytes"):
        parse_device(OF_WINDOWS[:length])


def test_any_bytes_are_a_device_or_an_error() -> None:
    numbers = random.Random(1)
    for _ in range(2000):
        data = bytearray(OF_WINDOWS)
        for _ in range(3):
            data[numbers.randrange(len(data))] = numbers.randrange(256)
        del data[numbers.randrange(len(data) + 1) :]
        try:
            assert parse_device(bytes(data)).describe()
        except GuestError as error:
            assert "device element" in error.message


def test_elements_are_inherited_and_loops_of_inheritance_end(guests: Any) -> None:
    tree: dict[str, Any] = {
        **bcd(2),
        element("{a}", 0x14000006): {"Element": ("{b}",)},
        element("{b}", 0x14000006): {"Element": ("{A}", "{c}")},
        element("{c}", 0x25000004): {"Element": (7).to_bytes(8, "little")},
    }
    store = Store(Hive(guests.node(build_hive(tree)), "/Boot/BCD", "BCD"))
    assert store.number("{a}", 0x25000004) == 7
    assert store.number("{a}", 0x25000005) is None
    assert store.default() == LOADER


@pytest.mark.parametrize(
    ("text", "port"),
    [
        ("Protocol=6|LPort=3389", True),
        ("Protocol=6|LPort=22|LPort=3389", True),
        ("Protocol=6|LPort2_10=3000-4000", True),
        ("Protocol=6", True),
        ("", True),
        ("Protocol=17|LPort=3389", False),
        ("Protocol=6|LPort=RPC", False),
        ("Protocol=6|LPort=33890", False),
        ("Protocol=6|LPort=3390-4000", False),
    ],
)
def test_rules_are_matched_by_protocol_and_port(text: str, port: bool) -> None:
    assert parse_rule("x", f"v2.31|Action=Allow|{text}|").concerns_port(3389) is port


@pytest.mark.parametrize(
    ("address", "held"),
    [
        ("168.63.129.16", True),
        ("168.63.129.16/255.255.255.255", True),
        ("168.63.0.0/16", True),
        ("168.0.0.0-169.0.0.0", True),
        ("10.0.0.0/8", False),
        ("LocalSubnet", False),
        ("168.63.129.17-1", False),
        ("nonsense/99", False),
    ],
)
def test_rules_are_matched_by_address(address: str, held: bool) -> None:
    rule = parse_rule("x", f"v2.31|Action=Block|Active=TRUE|Dir=Out|RA4=1.2.3.4|RA4={address}|")
    assert rule.concerns_address("168.63.129.16") is held


def test_a_rule_of_any_text_is_read() -> None:
    numbers = random.Random(2)
    for _ in range(500):
        text = "".join(chr(numbers.choice((124, 61, 45, 47, 54, 65, 1632, 200))) for _ in range(40))
        rule = parse_rule("x", f"v2|LPort={text}|RA4={text}")
        assert rule.concerns_port(3389) in (True, False)
        assert rule.concerns_address("168.63.129.16") in (True, False)


@pytest.mark.parametrize("length", range(60))
def test_a_proxy_cut_off_is_none_or_short(length: int) -> None:
    data = struct.pack("<IIII", 24, 0, 3, 10) + b"proxy:8080" + struct.pack("<I", 7) + b"<local>"
    found = parse_proxy(data[:length])
    assert found is None or found[0] == "proxy:8080"
    assert parse_proxy(data) == ("proxy:8080", "<local>")
    assert parse_proxy(struct.pack("<IIIII", 24, 0, 1, 0, 0)) is None


@pytest.mark.parametrize(
    ("image", "path"),
    [
        ("", "/Windows/System32/drivers/x.sys"),
        (r"System32\drivers\y.sys", "/Windows/System32/drivers/y.sys"),
        (r"\SystemRoot\System32\drivers\y.sys", "/Windows/System32/drivers/y.sys"),
        (r"%SystemRoot%\y.sys", "/Windows/y.sys"),
        (r"\??\C:\Program Files\y.sys", "/Program Files/y.sys"),
        (r"C:\y.sys", "/y.sys"),
    ],
)
def test_a_drivers_file_is_found_by_its_image_path(windows: WindowsGuests, image: str, path: str) -> None:
    system = {r"ControlSet001\Services\x": {"ImagePath": image}}
    assert driver_path(Windows(windows.files(system=system)), "x") == path


@pytest.mark.parametrize(
    ("stored", "target"),
    [
        ("\\??\\C:\\Users", "/Users"),
        ("\\??\\C:", "/"),
        ("D:\\x\\y", "/x/y"),
        ("..\\Users", "../Users"),
        ("\\??\\UNC\\server\\share", None),
        ("\\??\\Volume{1}\\x", None),
        ("\\\\server\\share", None),
    ],
)
def test_a_link_leads_into_the_volume_or_nowhere(stored: str, target: str | None) -> None:
    if target is None:
        with pytest.raises(GuestError, match="out of the volume"):
            link_target(stored)
    else:
        assert link_target(stored) == target


def boot_sector(**fields: int) -> bytes:
    values = {"sector": 512, "cluster": 8, "mft": 4, "record": 0xF6, **fields}
    sector = bytearray(512)
    sector[:11] = b"\xeb\x52\x90NTFS    "
    struct.pack_into("<HB", sector, 0x0B, values["sector"], values["cluster"])
    struct.pack_into("<Q", sector, 0x30, values["mft"])
    sector[0x40] = values["record"]
    return bytes(sector)


@pytest.mark.parametrize(
    "fields",
    [{"sector": 0}, {"cluster": 0}, {"mft": 1 << 60}, {"record": 0}, {"record": 0x80}, {"record": 0x7F}],
)
def test_an_ntfs_with_a_damaged_boot_sector_is_not_read(guests: Any, fields: dict[str, int]) -> None:
    disk = guests.raw_disk(1 << 20, {0: boot_sector(**fields)})
    found = probe(Window(disk, 0, 1 << 20))
    assert found is not None
    assert (found.kind, found.unread) == ("ntfs", "its boot sector is damaged")


def test_any_volume_record_is_read_or_passed_over(guests: Any) -> None:
    numbers = random.Random(3)
    for _ in range(300):
        record = bytearray(numbers.randbytes(1024))
        record[:8] = b"FILE" + struct.pack("<HH", numbers.randrange(600), numbers.choice((3, 0, 9)))
        struct.pack_into("<H", record, 0x14, 0x38)
        parts = {0: boot_sector(), 4 * 4096 + 3 * 1024: bytes(record)}
        found = probe(Window(guests.raw_disk(1 << 20, parts), 0, 1 << 20))
        assert found is not None and not found.unread
