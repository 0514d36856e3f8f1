"""The provisioning DVD. Azure's is UDF alone: a guest that cannot mount UDF fails here as it does there.

pycdlib writes an ISO 9660 and UDF bridge; for UDF alone its ISO descriptors are taken away and the
volume recognition sequence moved to where ECMA-167 part 2, 8.3 has it (from sector 16 on).
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

SECTOR = 2048
FIRST_DESCRIPTOR = 16  # ECMA-119 6.2.1, ECMA-167 2/8.3
ISO_IDENTIFIER = b"CD001"
UDF_SEQUENCE = (b"BEA01", b"NSR02", b"TEA01")
KINDS = ("udf", "bridge", "iso9660")


def build_dvd(files: Mapping[str, bytes], path: Path, kind: str = "udf") -> None:
    """Write a DVD with `files` (name to content) in its root.

    `kind` is udf, bridge (both) or iso9660 (with Joliet and Rock Ridge). Raises ValueError for another.
    """
    if kind not in KINDS:
        raise ValueError(f"no such kind of medium: {kind!r}; expected one of {', '.join(KINDS)}")
    import pycdlib  # not before a VM needs it: a server's start would wait for it

    medium = pycdlib.PyCdlib()
    medium.new(
        interchange_level=3,
        vol_ident="rd_rdfe_stable",
        rock_ridge=None if kind == "udf" else "1.09",
        joliet=None if kind == "udf" else 3,
        udf=None if kind == "iso9660" else "2.60",
    )
    for number, (name, content) in enumerate(sorted(files.items())):
        medium.add_fp(
            io.BytesIO(content),
            len(content),
            iso_path=f"/FILE{number}.;1",
            rr_name=None if kind == "udf" else name,
            joliet_path=None if kind == "udf" else f"/{name}",
            udf_path=None if kind == "iso9660" else f"/{name}",
        )
    image = io.BytesIO()
    medium.write_fp(image)
    medium.close()
    bytes_ = bytearray(image.getvalue())
    if kind == "udf":
        _drop_iso(bytes_)
    beside = path.with_name(path.name + ".new")
    beside.unlink(missing_ok=True)
    beside.touch(mode=0o600)  # it may hold a password
    beside.write_bytes(bytes_)
    beside.replace(path)


def _drop_iso(image: bytearray) -> None:
    """Leave only UDF's volume recognition sequence, from sector 16 on."""
    sectors = []
    for number in range(FIRST_DESCRIPTOR, len(image) // SECTOR):
        sector = bytes(image[number * SECTOR : (number + 1) * SECTOR])
        identifier = sector[1:6]
        if identifier not in (ISO_IDENTIFIER, *UDF_SEQUENCE):
            break
        image[number * SECTOR : (number + 1) * SECTOR] = bytes(SECTOR)
        if identifier != ISO_IDENTIFIER:
            sectors.append(sector)
    for number, sector in enumerate(sectors, FIRST_DESCRIPTOR):
        image[number * SECTOR : (number + 1) * SECTOR] = sector
