"""What a changed copy of a disk is called and written as. Pure; `doctor --fix` and `generalize` share it."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from vmstamp.disk.convert import SUFFIXES

# What is written of a disk of this (format, subformat); what is not here becomes a VHDX.
WRITTEN = {
    ("raw", ""): ("raw", ".raw"),
    ("vhd", "fixed"): ("vhd-fixed", ".vhd"),
    ("vhd", "dynamic"): ("vhd-dynamic", ".vhd"),
    ("vhdx", "dynamic"): ("vhdx", ".vhdx"),
    ("vhdx", "fixed"): ("vhdx-fixed", ".vhdx"),
    ("qcow2", ""): ("qcow2", ".qcow2"),
    ("qcow2", "dynamic"): ("qcow2", ".qcow2"),
    ("vmdk", ""): ("vmdk", ".vmdk"),
    ("vmdk", "dynamic"): ("vmdk", ".vmdk"),
}
ELSE = ("vhdx", ".vhdx")
PACKED = (".gz", ".xz", ".zst", ".bz2", ".tar", ".vdi")


def beside(source: Path, stem_end: str, suffix: str) -> Path:
    """disk.vhdx with .doctored as its `stem_end` becomes disk.doctored.vhdx, in its directory."""
    stem = source.name
    while PurePosixPath(stem).suffix.lower() in (*SUFFIXES, *PACKED):
        stem = PurePosixPath(stem).stem
    return source.with_name(f"{stem}{stem_end}{suffix}")
