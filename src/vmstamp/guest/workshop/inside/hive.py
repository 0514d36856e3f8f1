"""Values of Windows registry hives, set and deleted by libhivex on a copy of the hive in memory.

hivex writes no transaction log, so a hive whose log is not yet applied is refused: its two sequence numbers
differ (bytes 4 and 8 of the base block). Sources: hivex(3); M. Suhanov, Windows registry file format.
"""

from __future__ import annotations

import binascii
import ctypes
import os
import struct
from collections.abc import Mapping
from typing import Any

from vmstamp.guest.workshop.inside import files

LIBRARY = "libhivex.so.0"
OPEN_WRITE = 4  # HIVEX_OPEN_WRITE
COPY = "/dev/vmstamp/hive"  # devtmpfs lies in memory
MAX_SIZE = 256 * 1024 * 1024
MAX_DEPTH = 64  # of what is copied


class HiveError(Exception):
    """A registry hive cannot be read or changed."""


class _SetValue(ctypes.Structure):
    """struct hive_set_value."""

    _fields_ = (
        ("key", ctypes.c_char_p),
        ("t", ctypes.c_int),
        ("len", ctypes.c_size_t),
        ("value", ctypes.c_char_p),
    )


class Hive:
    """An open hive in the file `path`; a context manager. Names are matched without regard to case."""

    def __init__(self, path: str) -> None:
        try:
            self._lib = ctypes.CDLL(LIBRARY, use_errno=True)
        except OSError as error:
            raise HiveError(f"the library {LIBRARY} is not installed") from error
        node, text, handle = ctypes.c_size_t, ctypes.c_char_p, ctypes.c_void_p
        signatures: dict[str, tuple[Any, tuple[Any, ...]]] = {
            "open": (handle, (text, ctypes.c_int)),
            "close": (ctypes.c_int, (handle,)),
            "root": (node, (handle,)),
            "node_get_child": (node, (handle, node, text)),
            "node_children": (ctypes.POINTER(node), (handle, node)),
            "node_name": (ctypes.c_void_p, (handle, node)),
            "node_add_child": (node, (handle, node, text)),
            "node_values": (ctypes.POINTER(node), (handle, node)),
            "node_get_value": (node, (handle, node, text)),
            "value_key": (ctypes.c_void_p, (handle, node)),
            "value_value": (
                ctypes.c_void_p,
                (handle, node, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(node)),
            ),
            "node_set_values": (ctypes.c_int, (handle, node, node, ctypes.POINTER(_SetValue), ctypes.c_int)),
            "node_set_value": (ctypes.c_int, (handle, node, ctypes.POINTER(_SetValue), ctypes.c_int)),
            "commit": (ctypes.c_int, (handle, text, ctypes.c_int)),
        }
        for name, (result, arguments) in signatures.items():
            function = getattr(self._lib, f"hivex_{name}")
            function.restype, function.argtypes = result, arguments
        self._free = ctypes.CDLL(None).free
        self._free.argtypes = (ctypes.c_void_p,)
        self._hive = self._lib.hivex_open(path.encode(), OPEN_WRITE)
        if not self._hive:
            raise HiveError(f"the registry hive is damaged: {os.strerror(ctypes.get_errno())}")

    def __enter__(self) -> Hive:
        return self

    def __exit__(self, *_: object) -> None:
        self._lib.hivex_close(self._hive)

    def find_key(self, key: str, *, make: bool = False) -> int:
        """The node of a key's path, parts separated by backslashes; 0 when there is none."""
        node = int(self._lib.hivex_root(self._hive))
        for part in filter(None, key.split("\\")):
            child = int(self._lib.hivex_node_get_child(self._hive, node, part.encode()))
            if not child and not make:
                return 0
            node = child or self._done(self._lib.hivex_node_add_child(self._hive, node, part.encode()))
        return node

    def find_value(self, node: int, name: str) -> tuple[int, bytes] | None:
        """Type and bytes."""
        value = self._lib.hivex_node_get_value(self._hive, node, name.encode())
        return self._value(value) if value else None

    def set_value(self, node: int, name: str, kind: int, data: bytes) -> None:
        value = _SetValue(name.encode(), kind, len(data), data)
        self._done(self._lib.hivex_node_set_value(self._hive, node, ctypes.byref(value), 0) == 0)

    def delete_value(self, node: int, name: str) -> None:
        """hivex can only set all the values of a key, so the others are set again."""
        kept = [(key, *self._value(value)) for key, value in self._values(node)]
        kept = [one for one in kept if one[0].lower() != name.encode().lower()]
        values = (_SetValue * len(kept))(*(_SetValue(key, kind, len(data), data) for key, kind, data in kept))
        self._done(self._lib.hivex_node_set_values(self._hive, node, len(kept), values, 0) == 0)

    def copy_key(self, source: int, target: int, depth: int = 0) -> None:
        """The values and the keys below the node `source`, each with its type and bytes, into `target`."""
        if depth > MAX_DEPTH:
            raise HiveError(f"the registry key has keys more than {MAX_DEPTH} deep")
        found = [(key, *self._value(value)) for key, value in self._values(source)]
        values = (_SetValue * len(found))(
            *(_SetValue(key, kind, len(data), data) for key, kind, data in found)
        )
        self._done(self._lib.hivex_node_set_values(self._hive, target, len(found), values, 0) == 0)
        for name, child in self._children(source):
            made = self._done(self._lib.hivex_node_add_child(self._hive, target, name))
            self.copy_key(child, made, depth + 1)

    def commit(self) -> None:
        """Write the hive to its file."""
        self._done(self._lib.hivex_commit(self._hive, None, 0) == 0)

    def _values(self, node: int) -> list[tuple[bytes, int]]:
        return self._named(self._lib.hivex_node_values(self._hive, node), self._lib.hivex_value_key)

    def _children(self, node: int) -> list[tuple[bytes, int]]:
        return self._named(self._lib.hivex_node_children(self._hive, node), self._lib.hivex_node_name)

    def _named(self, handles: Any, name_of: Any) -> list[tuple[bytes, int]]:
        """The handles of an array that ends with 0, each with its name; the array is freed."""
        if not handles:
            raise HiveError("the registry key cannot be read")
        found, index = [], 0
        while handles[index]:
            key = name_of(self._hive, handles[index])
            if not key:
                raise HiveError("a name in the registry key cannot be read")
            found.append((ctypes.string_at(key), int(handles[index])))
            self._free(key)
            index += 1
        self._free(ctypes.cast(handles, ctypes.c_void_p))
        return found

    def _value(self, value: int) -> tuple[int, bytes]:
        kind, length = ctypes.c_int(), ctypes.c_size_t()
        data = self._lib.hivex_value_value(self._hive, value, ctypes.byref(kind), ctypes.byref(length))
        if not data:
            raise HiveError("a value of the registry key cannot be read")
        found = ctypes.string_at(data, length.value)
        self._free(data)
        return kind.value, found

    def _done(self, result: int) -> int:
        if not result:
            raise HiveError(f"the registry hive cannot be changed: {os.strerror(ctypes.get_errno())}")
        return result


class Hives:
    """The hive that is being edited: edits in a row of the same hive read and write it once.

    `trees` are the guest's files (0) and those of other partitions, by number. `do` carries out one edit,
    `flush` writes the hive back into the guest. Both raise OSError and HiveError.
    """

    def __init__(self, trees: Mapping[int, files.Tree], copy: str = COPY) -> None:
        self._trees, self._copy = trees, copy
        self._place = (0, "")
        self._hive: Hive | None = None
        self._changed = False

    def do(self, one: dict[str, Any]) -> bool:
        """Whether the edit changed the hive."""
        place = (int(one.get("partition", 0)), str(one["hive"]))
        if self._hive is None or place != self._place:
            self.flush()
            self._open(*place)
        assert self._hive is not None
        changed = EDITS[one["do"]](self._hive, one)
        self._changed = self._changed or changed
        return changed

    def _open(self, number: int, path: str) -> None:
        with files.opened(self._trees[number].open(path, os.O_RDONLY)) as fd:
            size = os.fstat(fd).st_size
            if size > MAX_SIZE:
                raise HiveError(f"{path}: {size} bytes long, at most {MAX_SIZE} are read")
            data = files.read_all(fd, size)
        refuse_unfinished(data, path)
        with open(self._copy, "wb") as file:
            file.write(data)
        self._hive = Hive(self._copy)
        self._place, self._changed = (number, path), False

    def flush(self) -> None:
        if self._hive is None:
            return
        hive, self._hive = self._hive, None
        with hive:
            if self._changed:
                hive.commit()
        if self._changed:
            number, path = self._place
            tree = self._trees[number]
            with open(self._copy, "rb") as file, files.opened(tree.open(path, os.O_RDWR)) as fd:
                files.fill(fd, file.read())
        os.unlink(self._copy)


def refuse_unfinished(data: bytes, path: str) -> None:
    if data[:4] != b"regf" or len(data) < 4096:
        raise HiveError(f"{path}: is no registry hive")
    primary, secondary = struct.unpack_from("<II", data, 4)
    if primary != secondary:
        raise HiveError(f"{path}: the hive was not written to its end; start Windows and shut it down")


def _set(hive: Hive, one: dict[str, Any]) -> bool:
    data = binascii.a2b_base64(one["data"])
    node = hive.find_key(one["key"])
    if node and hive.find_value(node, one["name"]) == (one["kind"], data):
        return False
    hive.set_value(hive.find_key(one["key"], make=True), one["name"], one["kind"], data)
    return True


def _delete(hive: Hive, one: dict[str, Any]) -> bool:
    node = hive.find_key(one["key"])
    if not node or hive.find_value(node, one["name"]) is None:
        return False
    hive.delete_value(node, one["name"])
    return True


def _copy(hive: Hive, one: dict[str, Any]) -> bool:
    source = hive.find_key(one["key"])
    if not source:
        raise HiveError(f"{one['key']}: the hive has no such key")
    if hive.find_key(one["target"]):
        return False
    hive.copy_key(source, hive.find_key(one["target"], make=True))
    return True


EDITS = {"set": _set, "delete": _delete, "copy": _copy}
