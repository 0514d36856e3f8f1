"""A machine's screen as the picture that Azure gives: a bitmap of 24 bits per pixel. Pure.

QEMU writes PPM (P6): `P6 WIDTH HEIGHT 255`, one white space, then three bytes per pixel, red first, from the
top. A BMP has its rows from the bottom, blue first, each padded to four bytes, after 54 bytes of headers:

    offset  size  field (little-endian)
    0       2     "BM"
    2       4     size of the file
    10      4     offset of the pixels
    14      4     size of the second header: 40
    18      4     width;  22: height;  26, 2 bytes: planes, 1;  28, 2 bytes: bits per pixel, 24
    34      4     size of the pixels

Source: netpbm's ppm(5); BITMAPFILEHEADER and BITMAPINFOHEADER.
"""

from __future__ import annotations

import re
import struct
from typing import Final

PPM_HEADER: Final = re.compile(rb"P6\s+(\d+)\s+(\d+)\s+255\s")
HEADERS_LENGTH: Final = 54


def bitmap(ppm: bytes) -> bytes:
    """A PPM as a BMP. ValueError when it is none, or cut off."""
    header = PPM_HEADER.match(ppm)
    if header is None:
        raise ValueError("not a PPM of eight bits per colour")
    width, height, start = int(header[1]), int(header[2]), header.end()
    stride = width * 3
    if len(ppm) < start + stride * height:
        raise ValueError(f"a PPM of {width}x{height} pixels is cut off after {len(ppm)} bytes")
    rows = (ppm[start + row * stride : start + (row + 1) * stride] for row in reversed(range(height)))
    padding = bytes(-stride % 4)
    pixels = b"".join(_blue_first(row) + padding for row in rows)
    size = HEADERS_LENGTH + len(pixels)
    file = struct.pack("<2sIHHI", b"BM", size, 0, 0, HEADERS_LENGTH)
    return file + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, len(pixels), 0, 0, 0, 0) + pixels


def _blue_first(row: bytes) -> bytes:
    turned = bytearray(row)
    turned[0::3], turned[2::3] = row[2::3], row[0::3]
    return bytes(turned)
