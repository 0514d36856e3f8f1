r"""Boot Configuration Data: what bootmgr starts, and from which partition.

A hive: Objects\{GUID}\Elements\<type, 8 hexadecimal digits>\Element. An element's type tells its format:
0x0F000000: 1 device (REG_BINARY), 2 text (REG_SZ), 3 object (REG_SZ), 4 objects (REG_MULTI_SZ), 5 integer
(REG_BINARY, u64), 6 boolean (REG_BINARY, u8).

Device element, little-endian:
    offset size field
         0   16 object with more options, zeros for none
      0x10    4 kind: 5 the device that was booted from, 6 a partition, 8 located by a file
      0x18    4 length from offset 0x10 on
      0x20   16 of a partition: its GUID (GPT), or its first byte u64 (MBR)
      0x34    4 0 GPT, 1 MBR
      0x38   16 the disk's GUID (GPT), or its signature u32 (MBR)

Spec: BcdLibraryElementTypes, BcdOSLoaderElementTypes and BcdDeviceQualifiedPartitionData (Windows BCD
reference); geoffchappell.com notes/windows/boot/bcd for what they do not say.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

from vmstamp.errors import GuestError
from vmstamp.guest.windows.hive import Data, Hive, Value

# Objects that every store has. Spec: BcdStore class, well-known identifiers (bcd.h)
BOOT_MANAGER = "{9dea862c-5cdd-4e70-acc1-f32b344d4795}"
BOOT_LOADER_SETTINGS = "{6efb52bf-1766-41db-a6b3-0ee5eff72bd7}"
GLOBAL_SETTINGS = "{7ea2e1ac-2e61-4728-aaa3-896d9d0a9f0e}"

APPLICATION_DEVICE = 0x11000001
APPLICATION_PATH = 0x12000002
INHERIT = 0x14000006
OS_DEVICE = 0x21000001
SYSTEM_ROOT = 0x22000002
NX, ISOLATED_CONTEXT, ALLOWED_IN_MEMORY = 0x25000020, 0x16000060, 0x17000077
DESCRIPTION = 0x12000004
MANAGER, OS_LOADER = 0x10100002, 0x10200003  # Description\Type: bootmgr, an application that starts Windows
MAX_OBJECTS = 1000
DEFAULT_OBJECT = 0x23000003
DISPLAY_ORDER = 0x24000001

BOOT, PARTITION, LOCATE = 5, 6, 8
PARTITION_LENGTH = 0x48  # from offset 0x10 on
MAX_INHERITED = 32  # objects looked at for one element


@dataclass(frozen=True)
class Device:
    """A device element. `disk` and `partition` are GUIDs (GPT), or signature and first byte (MBR)."""

    kind: int
    disk: UUID | int | None = None
    partition: UUID | int | None = None

    def describe(self) -> str:
        if self.kind == BOOT:
            return "the partition that was booted from"
        if self.kind == LOCATE:
            return "located by a file"
        if self.kind != PARTITION:
            return f"of kind {self.kind}"
        if isinstance(self.disk, int):
            return f"the partition at byte {self.partition} of the disk with signature {self.disk:#010x}"
        return f"partition {self.partition} of disk {self.disk}"


def parse_device(data: bytes) -> Device:
    """A device element's bytes. GuestError when they are too few."""
    if len(data) < 0x20:
        raise GuestError(f"a BCD device element has {len(data)} bytes")
    kind = struct.unpack_from("<I", data, 0x10)[0]
    if kind != PARTITION:
        return Device(kind)
    if len(data) < 0x48:
        raise GuestError(f"a BCD device element of a partition has {len(data)} bytes, 72 or more expected")
    if struct.unpack_from("<I", data, 0x34)[0]:
        return Device(kind, *struct.unpack_from("<I", data, 0x38), *struct.unpack_from("<Q", data, 0x20))
    return Device(kind, UUID(bytes_le=data[0x38:0x48]), UUID(bytes_le=data[0x20:0x30]))


def pack_device(disk: UUID | int, partition: UUID | int) -> bytes:
    """The device element of a partition; arguments as of Device."""
    data = bytearray(0x10 + PARTITION_LENGTH)
    struct.pack_into("<IIII", data, 0x10, PARTITION, 0, PARTITION_LENGTH, 0)
    if isinstance(disk, int) and isinstance(partition, int):
        struct.pack_into("<Q", data, 0x20, partition)
        struct.pack_into("<II", data, 0x34, 1, disk)
    elif isinstance(disk, UUID) and isinstance(partition, UUID):
        data[0x20:0x30], data[0x38:0x48] = partition.bytes_le, disk.bytes_le
    else:
        raise ValueError("a disk and a partition are both of GPT or both of MBR")
    return bytes(data)


@dataclass(frozen=True)
class Store:
    """A BCD store. Raises GuestError where its hive is damaged."""

    hive: Hive

    def key(self, identifier: str, element: int) -> str:
        return f"Objects\\{identifier}\\Elements\\{element:08x}"

    def place(self, identifier: str, element: int) -> str:
        return self.hive.place(self.key(identifier, element))

    def own(self, identifier: str, element: int) -> Value | None:
        return self.hive.value(self.key(identifier, element), "Element")

    def element(self, identifier: str, element: int) -> Data | None:
        """The element of an object, or of the nearest object from which it inherits."""
        waiting, seen = deque([identifier]), set[str]()
        while waiting and len(seen) < MAX_INHERITED:
            current = waiting.popleft()
            if current.lower() in seen:
                continue
            seen.add(current.lower())
            value = self.own(current, element)
            if value is not None:
                return value.data
            inherited = self.own(current, INHERIT)
            if inherited is not None and isinstance(inherited.data, tuple):
                waiting.extend(inherited.data[:MAX_INHERITED])
        return None

    def device(self, identifier: str, element: int) -> Device | None:
        value = self.own(identifier, element)
        if value is None:
            return None
        if not isinstance(value.data, bytes):
            raise GuestError(f"{self.place(identifier, element)}: a device element is {value.kind}")
        return parse_device(value.data)

    def text(self, identifier: str, element: int) -> str:
        data = self.element(identifier, element)
        return data if isinstance(data, str) else ""

    def number(self, identifier: str, element: int) -> int | None:
        """An integer or boolean element; None when it is absent."""
        data = self.element(identifier, element)
        if isinstance(data, bytes) and len(data) <= 8:
            return int.from_bytes(data, "little")
        return data if isinstance(data, int) else None

    def kind(self, identifier: str) -> int | None:
        """Description\\Type of an object; None when there is no such object."""
        value = self.hive.value(f"Objects\\{identifier}\\Description", "Type")
        return value.data if value is not None and isinstance(value.data, int) else None

    def loaders(self) -> Iterator[str]:
        """The objects that start a Windows."""
        objects = self.hive.find("Objects")
        for found in objects.subkeys()[:MAX_OBJECTS] if objects is not None else ():
            if self.kind(found.name) == OS_LOADER:
                yield found.name

    def default(self) -> str:
        """The object that bootmgr starts unless somebody chooses: '' when none is named."""
        named = self.text(BOOT_MANAGER, DEFAULT_OBJECT)
        if named:
            return named
        order = self.element(BOOT_MANAGER, DISPLAY_ORDER)
        return order[0] if isinstance(order, tuple) and order else ""
