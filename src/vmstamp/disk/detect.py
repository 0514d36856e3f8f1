"""Which format a file is, told by its content, never by its name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vmstamp.disk.base import SECTOR, Disk
from vmstamp.disk.file import ImageFile
from vmstamp.disk.footer import COOKIE, FOOTER_SIZE
from vmstamp.disk.packed import Progress, is_packed
from vmstamp.disk.packed import unpack as unpack_file
from vmstamp.disk.parents import find_parent, refuse_endless
from vmstamp.disk.raw import RawDisk
from vmstamp.disk.vhd import open_vhd
from vmstamp.disk.vhdx import Vhdx
from vmstamp.errors import DiskError

# Formats that QEMU's tools read for us: offset, magic, name.
FOREIGN = (
    (0, b"QFI\xfb", "qcow2"),
    (0, b"KDMV", "vmdk"),
    (0, b"COWD", "vmdk"),
    (0, b"# Disk Descriptor", "vmdk"),
    (64, b"\x7f\x10\xda\xbe", "vdi"),
)
# What people name by mistake: offset, magic, what it is, what to do.
NOT_DISKS = (
    (0, b"\x1f\x8b", "a gzip file", "unpack it first: gunzip FILE"),
    (0, b"\xfd7zXZ\0", "an xz file", "unpack it first: unxz FILE"),
    (0, b"BZh", "a bzip2 file", "unpack it first: bunzip2 FILE"),
    (0, b"\x28\xb5\x2f\xfd", "a zstd file", "unpack it first: unzstd FILE"),
    (0, b"\x04\x22\x4d\x18", "an lz4 file", "unpack it first: unlz4 FILE"),
    (0, b"PK\x03\x04", "a zip file", "unpack it first: unzip FILE"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z file", "unpack it first: 7z x FILE"),
    (257, b"ustar", "a tar file", "unpack it first (an OVA is a tar file): tar -xf FILE"),
    (0, b"MSWIM\0\0\0", "a Windows image (WIM)", "apply it to a disk first"),
    (0, b"LUKS\xba\xbe", "a LUKS container", "open it first: Azure cannot boot an encrypted disk"),
    (0, b"QED\0", "a QED disk", "convert it first: qemu-img convert -O qcow2 FILE OTHER"),
    (0, b"\x7fELF", "a program", "name a disk file"),
    (0, b"%PDF", "a PDF document", "name a disk file"),
    (0, b"WithoutFreeSpace", "a Parallels disk", "convert it first: qemu-img convert -O qcow2 FILE OTHER"),
    (0, b"WithouFreSpacExt", "a Parallels disk", "convert it first: qemu-img convert -O qcow2 FILE OTHER"),
    (32769, b"CD001", "an ISO 9660 image, an installation medium", "install from it to a disk first"),
)
# What a name promises, and where the format's signature would be.
PROMISES = {
    ".vhd": "a VHD in name only: no footer 'conectix' in its last 512 bytes",
    ".vpc": "a VHD in name only: no footer 'conectix' in its last 512 bytes",
    ".vhdx": "a VHDX in name only: no 'vhdxfile' at its start",
    ".avhdx": "a VHDX in name only: no 'vhdxfile' at its start",
    ".qcow2": "a qcow2 disk in name only: no 'QFI' at its start",
    ".vdi": "a VDI disk in name only: no signature at byte 64",
}
NAME_ONLY_HINT = "it may be truncated, or a raw disk: then give it a name that ends in .raw"


def open(
    path: Path | str, *, follow: bool = False, unpack: bool = False, progress: Progress | None = None
) -> Disk:
    """Open the disk in `path` for reading; the caller closes it.

    Any file that no format claims is a raw disk, unless its name promises a format, or it is plainly
    something else. A differencing disk opens its parents, which must lie in its own directory unless
    `follow`; a qcow2's backing file, and extents of a VMDK other than flat ones beside it, need `follow`.
    With `unpack` the disk in a .gz, .xz, .zst, .bz2 or .tar is unpacked first, to a temporary file without a
    name; `progress` is called with the bytes of each piece of the archive. Raises DiskError; costs a few
    reads else, whatever size the file claims.
    """
    if unpack and (inner := _unpacked(Path(path), progress)) is not None:
        try:
            return _open(inner, follow, ())
        except BaseException:
            inner.close()
            raise
    return _open_in_chain(Path(path), follow, ())


def _unpacked(path: Path, progress: Progress | None) -> ImageFile | None:
    """The disk in the archive `path`; None when it is no archive."""
    file = ImageFile(path)
    try:
        packed = is_packed(file.read(0, min(file.size, SECTOR)))
    finally:
        file.close()
    return unpack_file(path, progress) if packed else None


def _open_in_chain(path: Path, follow: bool, children: tuple[Path, ...]) -> Disk:
    """Open `path`, which is the parent of the last of `children`."""
    file = ImageFile(path)
    try:
        refuse_endless(path, children)
        return _open(file, follow, children)
    except BaseException:
        file.close()
        raise


def _open(file: ImageFile, follow: bool, children: tuple[Path, ...]) -> Disk:
    def open_parent(names: Sequence[str]) -> Disk:
        parent = find_parent(file.path, names, follow)
        return _open_in_chain(parent, follow, (*children, file.path.resolve()))

    if not file.size:
        raise DiskError(file.path, "is empty (zero bytes)", hint="copy it again from its source")
    head = file.read(0, min(file.size, 36864))
    tail = file.read(file.size - min(file.size, FOOTER_SIZE), min(file.size, FOOTER_SIZE))
    if head.startswith(b"vhdxfile"):
        return Vhdx(file, open_parent)
    if head.startswith(COOKIE) or COOKIE in (tail[:8], tail[1:9]):
        return open_vhd(file, open_parent)
    for offset, magic, name in FOREIGN:
        if head[offset : offset + len(magic)] == magic:
            from vmstamp.disk.foreign import open_foreign  # who reads our own formats does not wait for it

            return open_foreign(file, name, follow)
    _refuse_what_is_no_disk(file, head)
    return RawDisk(file)


def _refuse_what_is_no_disk(file: ImageFile, head: bytes) -> None:
    for offset, magic, what, hint in NOT_DISKS:
        if head[offset : offset + len(magic)] == magic:
            raise DiskError(file.path, f"is {what}, not a disk", offset=offset, hint=hint)
    promise = PROMISES.get(file.path.suffix.lower())
    if promise is not None:
        raise DiskError(file.path, f"is {promise}", hint=NAME_ONLY_HINT)
    if file.size < SECTOR:
        raise DiskError(file.path, f"has {file.size} bytes, less than one sector of {SECTOR}")
    if _is_text(head[:4096]):
        raise DiskError(
            file.path, "is text, not a disk", hint="look into it: a download may have saved an error page"
        )


def _is_text(data: bytes) -> bool:
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        if error.start < len(data) - 3:
            return False
        text = data[: error.start].decode()
    return all(character.isprintable() or character in "\r\n\t\f" for character in text)
