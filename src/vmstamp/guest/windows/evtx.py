r"""Windows' event logs: how many records one holds. The records themselves are never read.

Little-endian. File header, 4096 bytes:              Chunks of 64 KiB follow, each with
    offset size field                                    offset size field
         0    8 'ElfFile\0'                                   0    8 'ElfChnk\0'
        24    8 identifier of the next record                 8    8 number of the first record
        40    2 size of this block                           16    8 number of the last record, all ones: none
        42    2 number of chunks
The header of a log that was open when the machine stopped is out of date, so the chunks are asked.

Spec: libyal libevtx documentation, "Windows XML Event Log (EVTX)".
"""

from __future__ import annotations

import struct

from vmstamp.errors import GuestError
from vmstamp.guest.files.fs import Files

HEADER = 128
CHUNK = 64 * 1024
NONE = (1 << 64) - 1
MAX_CHUNKS = 4096  # looked at: 256 MiB


def count_records(files: Files, path: str, enough: int) -> int:
    """The records in the log; no chunk is looked at once there are more than `enough`.

    Raises GuestError when it is no event log.
    """
    head = files.read_part(path, 0, HEADER)
    if len(head) < HEADER or head[:8] != b"ElfFile\0":
        raise GuestError(f"{path}: it does not begin as an event log")
    block = struct.unpack_from("<H", head, 40)[0]
    count = 0
    for index in range(MAX_CHUNKS):
        chunk = files.read_part(path, block + index * CHUNK, 24)
        if len(chunk) < 24 or chunk[:8] != b"ElfChnk\0" or count > enough:
            break
        first, last = struct.unpack_from("<QQ", chunk, 8)
        if last != NONE and last >= first:
            count += last - first + 1
    return count
