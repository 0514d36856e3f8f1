"""What of a VDI file must be known before QEMU reads it. Little-endian.

    offset size field
        64    4 signature 0xbeda107f
        76    4 image type: 1 dynamic, 2 fixed, 4 differencing
       344    4 offset of the data
       376    4 block size
       388    4 blocks allocated
Source: QEMU, block/vdi.c, VdiHeader.
"""

from __future__ import annotations

import struct

from vmstamp.disk.file import ImageFile
from vmstamp.disk.neighbours import MERGE_HINT, Told, image_node, refuse_cut
from vmstamp.errors import DiskError

TYPES = {1: "dynamic", 2: "fixed"}
SPEC = "VDI header"
_HEADER = struct.Struct("<76xI264xI28xI8xI")


def node(file: ImageFile, follow: bool) -> Told:
    """How QEMU is to read the disk in `file`. Raises DiskError.

    The kinds that are read name no other file, whatever `follow` allows.
    """
    data = file.read(0, _HEADER.size, what="the header", spec=SPEC)
    kind, data_offset, block_size, allocated = _HEADER.unpack(data)
    if kind not in TYPES:
        raise DiskError(
            file.path,
            f"is a VDI disk of type {kind}; 1 (dynamic) and 2 (fixed) are read",
            offset=76,
            spec=SPEC,
            hint=MERGE_HINT,
        )
    refuse_cut(file, data_offset + allocated * block_size, "its data", SPEC)
    return Told({"driver": "vdi", "file": image_node(file)}, TYPES[kind], block_size)
