"""The structures of a VHDX file. Little-endian; GUIDs in Windows byte order.

    offset   size   what
         0  64 KiB  file type identifier: 'vhdxfile', creator (512 bytes of UTF-16)
    64 KiB   4 KiB  header 1
   128 KiB   4 KiB  header 2: of the valid ones the greater sequence number counts
   192 KiB  64 KiB  region table 1
   256 KiB  64 KiB  region table 2: where the BAT and the metadata lie
     1 MiB          log, BAT, metadata and blocks, in any order, in whole MiB

Spec: [MS-VHDX] 2.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from uuid import UUID

import google_crc32c

KIB, MIB = 1024, 1024 * 1024
SIGNATURE = b"vhdxfile"

# 2.2.2 Headers: signature, checksum, sequence number, file write, data write and log GUID, log version,
# version, log length, log offset, reserved
HEADER = struct.Struct("<4sIQ16s16s16sHHIQ4016x")
HEADER_OFFSETS = (64 * KIB, 128 * KIB)
HEADER_SPEC = "[MS-VHDX] 2.2.2"

# 2.2.3 Region table: signature, checksum, entry count; entries of GUID, file offset, length, required
REGION_TABLE = struct.Struct("<4sII4x")
REGION_ENTRY = struct.Struct("<16sQII")
REGION_OFFSETS = (192 * KIB, 256 * KIB)
REGION_SIZE = 64 * KIB
REGION_SPEC = "[MS-VHDX] 2.2.3"
BAT_REGION = UUID("2dc27766-f623-4200-9d64-115e9bfd4a08")
METADATA_REGION = UUID("8b7ca206-4790-4b9a-b8fe-575f050f886e")

# 2.6.1 Metadata table: signature, reserved, entry count; entries of item id, offset, length, flags
METADATA_TABLE = struct.Struct("<8sHH20x")
METADATA_ENTRY = struct.Struct("<16sIII4x")
METADATA_SIZE = 64 * KIB
METADATA_SPEC = "[MS-VHDX] 2.6.1"
IS_VIRTUAL_DISK, IS_REQUIRED = 2, 4
MAX_ENTRIES = 2047  # of a region table and of a metadata table

# 2.6.2 Known metadata items
FILE_PARAMETERS = UUID("caa16737-fa36-4d43-b3b6-33f0aa44e76b")
VIRTUAL_DISK_SIZE = UUID("2fa54224-cd1b-4876-b211-5dbed83bf4b8")
VIRTUAL_DISK_ID = UUID("beca12ab-b2e6-4523-93ef-c309e000c746")
LOGICAL_SECTOR_SIZE = UUID("8141bf1d-a96f-4709-ba47-f233a8faab5f")
PHYSICAL_SECTOR_SIZE = UUID("cda348c7-445d-4471-9cc9-e9885251c556")
PARENT_LOCATOR = UUID("a8d35f2d-b30b-454d-abf7-d3d84834ab0c")
KNOWN_ITEMS = {
    FILE_PARAMETERS: 8,
    VIRTUAL_DISK_SIZE: 8,
    VIRTUAL_DISK_ID: 16,
    LOGICAL_SECTOR_SIZE: 4,
    PHYSICAL_SECTOR_SIZE: 4,
}
LEAVE_BLOCK_ALLOCATED, HAS_PARENT = 1, 2
MIN_BLOCK, MAX_BLOCK = MIB, 256 * MIB
MAX_SIZE = 64 * 1024**4

# 2.5.1.1 Payload BAT entry states: bits 0-2 of an entry; bits 20-63 are the offset in MiB
NOT_PRESENT, UNDEFINED, ZERO, UNMAPPED, FULLY_PRESENT, PARTIALLY_PRESENT = 0, 1, 2, 3, 6, 7
UNMAPPED_095 = 5  # UNMAPPED in version 0.95 of the specification; reserved now
READS_AS_ZERO = (NOT_PRESENT, UNDEFINED, ZERO, UNMAPPED, UNMAPPED_095)
BAT_SPEC = "[MS-VHDX] 2.5.1.1"
STATE_MASK, OFFSET_MASK = 0x7, ~0xFFFFF & 0xFFFFFFFFFFFFFFFF


@dataclass(frozen=True)
class Parameters:
    """The metadata items that matter for reading; sizes in bytes."""

    block_size: int
    fixed: bool
    has_parent: bool
    size: int
    disk_id: UUID
    logical_sector_size: int
    physical_sector_size: int

    @property
    def subformat(self) -> str:
        return "differencing" if self.has_parent else "fixed" if self.fixed else "dynamic"

    @property
    def chunk_ratio(self) -> int:
        """Payload blocks per sector bitmap block. Spec: [MS-VHDX] 2.4.2."""
        return 2**23 * self.logical_sector_size // self.block_size

    @property
    def block_count(self) -> int:
        return -(-self.size // self.block_size)

    @property
    def bat_entry_count(self) -> int:
        """Entries of the BAT; a differencing file's ends with a sector bitmap's. Spec: [MS-VHDX] 2.5."""
        if self.has_parent:
            return -(-self.block_count // self.chunk_ratio) * (self.chunk_ratio + 1)
        return self.block_count + (self.block_count - 1) // self.chunk_ratio


def checksum(data: bytes) -> int:
    """CRC-32C of a structure whose checksum field, at byte 4, counts as zero."""
    return int(google_crc32c.value(data[:4] + bytes(4) + data[8:]))
