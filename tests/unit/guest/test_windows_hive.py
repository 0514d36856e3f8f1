"""Hives: what is read from them, and that a damaged one is an error and never a hang."""

from __future__ import annotations

import random
import struct
from typing import Any

import pytest

from tests.unit.guest.hives import build_hive
from vmstamp.errors import GuestError
from vmstamp.guest.windows.hive import Hive, Key

TREE: dict[str, dict[str, Any]] = {
    "Select": {"Current": 1},
    r"ControlSet001\Services\storvsc": {"Start": 0, "ImagePath": "System32\\drivers\\storvsc.sys"},
    r"ControlSet001\Services\vmbus": {"Start": 0, "Group": "Boot", "Owners": ("a.inf", "b.inf")},
    r"ControlSet001\Ключ": {"Blob": bytes(range(256)) * 200, "": "the default", "Path": "%SystemRoot%\\x"},
}


def open_hive(guests: Any, data: bytes) -> Hive:
    return Hive(guests.node(data), "/Windows/System32/config/SYSTEM", "HKLM\\SYSTEM")


@pytest.mark.parametrize("lists", [b"lh", b"lf", b"li"])
def test_values_are_found_by_path_without_regard_to_case(guests: Any, lists: bytes) -> None:
    hive = open_hive(guests, build_hive(TREE, lists=lists))
    value = hive.value(r"controlset001\SERVICES\StorVSC", "START")
    assert value is not None
    assert (value.name, value.kind, value.data) == ("Start", "REG_DWORD", 0)
    assert hive.value(r"ControlSet001\Services\none", "Start") is None
    assert hive.value(r"ControlSet001\Services\vmbus", "none") is None


@pytest.mark.parametrize(
    ("key", "name", "kind", "data"),
    [
        (r"ControlSet001\Services\vmbus", "Owners", "REG_MULTI_SZ", ("a.inf", "b.inf")),
        (r"ControlSet001\Services\vmbus", "Group", "REG_SZ", "Boot"),
        (r"ControlSet001\ключ", "Path", "REG_EXPAND_SZ", "%SystemRoot%\\x"),
        (r"ControlSet001\ключ", "", "REG_SZ", "the default"),
        (r"ControlSet001\ключ", "Blob", "REG_BINARY", bytes(range(256)) * 200),
    ],
)
def test_every_kind_of_value_is_decoded(guests: Any, key: str, name: str, kind: str, data: Any) -> None:
    value = open_hive(guests, build_hive(TREE)).value(key, name)
    assert value is not None
    assert (value.kind, value.data) == (kind, data)


def test_many_subkeys_lie_in_several_lists(guests: Any) -> None:
    hive = open_hive(guests, build_hive({rf"Many\key{number}": {"n": number} for number in range(1800)}))
    many = hive.find("Many")
    assert many is not None and many.subkey_count == 1800
    assert len(many.subkeys()) == 1800
    value = hive.value(r"many\KEY1799", "N")
    assert value is not None and value.data == 1799


def test_a_large_hive_is_not_read_whole(guests: Any) -> None:
    class Counting:
        def __init__(self, node: Any) -> None:
            self.node, self.size, self.count = node, node.size, 0

        def read(self, offset: int, length: int) -> bytes:
            self.count += length
            data: bytes = self.node.read(offset, length)
            return data

    tree = {rf"Many\key{number}": {"blob": bytes(1000)} for number in range(5000)}
    node: Any = Counting(guests.node(build_hive(tree)))
    hive = Hive(node, "/SOFTWARE", "HKLM\\SOFTWARE")
    assert hive.value(r"Many\key2500", "blob") is not None
    assert node.count < node.size / 5


def test_a_dirty_hive_and_a_bad_checksum_are_noted(guests: Any) -> None:
    assert open_hive(guests, build_hive(TREE)).notes == ()
    dirty = open_hive(guests, build_hive(TREE, sequences=(5, 4)))
    assert dirty.notes == ("its sequence numbers 5 and 4 differ: changes wait in its log, not read here",)
    damaged = bytearray(build_hive(TREE))
    damaged[100] ^= 1
    assert "checksum" in open_hive(guests, bytes(damaged)).notes[0]


@pytest.mark.parametrize("data", [b"", b"regf", bytes(8192), b"regf" + bytes(4092)])
def test_what_is_no_hive_is_refused(guests: Any, data: bytes) -> None:
    with pytest.raises(GuestError, match="damaged"):
        open_hive(guests, data)


def test_a_key_that_is_its_own_subkey_ends(guests: Any) -> None:
    data = bytearray(build_hive({"a": {}}, lists=b"li"))
    root = struct.unpack_from("<I", data, 36)[0]
    subkeys = struct.unpack_from("<I", data, 4096 + root + 4 + 28)[0]
    struct.pack_into("<I", data, 4096 + subkeys + 4 + 4, root)
    hive = open_hive(guests, bytes(data))
    assert hive.find("\\".join(["ROOT"] * 5000)) is not None  # as deep as Windows allows, and no deeper
    struct.pack_into("<I", data, 4096 + root + 4 + 28, subkeys)
    data[4096 + subkeys + 4 : 4096 + subkeys + 6] = b"ri"
    struct.pack_into("<I", data, 4096 + subkeys + 8, subkeys)
    with pytest.raises(GuestError, match="lies in another"):
        open_hive(guests, bytes(data)).find("a")


def walk(key: Key, depth: int = 0) -> int:
    """Read all of it, 20 keys deep."""
    count = len(key.values())
    if depth < 20:
        count += sum(walk(subkey, depth + 1) for subkey in key.subkeys()[:50])
    return count


@pytest.mark.parametrize("seed", range(40))
def test_damage_is_an_error_or_another_value(guests: Any, seed: int) -> None:
    whole = build_hive(TREE)
    random_numbers = random.Random(seed)
    for _ in range(25):
        data = bytearray(whole)
        for _ in range(random_numbers.choice((1, 4, 40))):
            data[random_numbers.randrange(len(data))] ^= 1 << random_numbers.randrange(8)
        if seed % 4 == 0:
            del data[random_numbers.randrange(len(data)) :]
        try:
            walk(open_hive(guests, bytes(data)).root)
        except GuestError as error:
            assert "damaged" in error.message
