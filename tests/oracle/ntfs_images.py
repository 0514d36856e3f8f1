"""NTFS images for tests, made without root or a mount: mkntfs, ntfscp, and libntfs-3g for the directories."""

from __future__ import annotations

import ctypes
import os
import shutil
import stat
import struct
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from ctypes.util import find_library
from pathlib import Path
from typing import Any

TOOLS = ("mkntfs", "ntfscp")
MOUNT_POINT = 0xA0000003  # IO_REPARSE_TAG_MOUNT_POINT. Spec: [MS-FSCC] 2.1.2.1
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def find_tool(name: str) -> str | None:
    return shutil.which(name, path=_PATH)


def missing() -> str:
    """What is not installed, '' when all is."""
    names = [name for name in TOOLS if find_tool(name) is None]
    return ", ".join(names) or ("" if find_library("ntfs-3g") else "libntfs-3g")


def make_ntfs(image: Path, size: int, files: Mapping[str, bytes], *, label: str = "Windows") -> None:
    """An NTFS of `size` bytes with `files` by their absolute path; those that end in / are directories."""
    with image.open("wb") as stream:
        stream.truncate(size)
    _run("mkntfs", "--quiet", "--fast", "--force", "--label", label, str(image))
    directories = {str(parent) for path in files for parent in Path(f"{path}x").parents} - {"/"}
    make_directories(image, sorted(directories))
    content = image.with_suffix(".content")
    for path, data in files.items():
        if not path.endswith("/"):
            content.write_bytes(data)
            _run("ntfscp", "--quiet", "--force", str(image), str(content), path.lstrip("/"))
    content.unlink(missing_ok=True)


def make_directories(image: Path, paths: list[str]) -> None:
    """Makes directories, parents before children."""
    with _mounted(image) as (library, volume):
        for path in paths:
            parent, name = path.rsplit("/", 1)
            inode = library.ntfs_pathname_to_inode(volume, None, (parent or "/").encode())
            raw = name.encode("utf-16-le")
            made = library.ntfs_create(inode, 0, raw, len(raw) // 2, stat.S_IFDIR)
            assert made, f"{path}: {os.strerror(ctypes.get_errno())}"
            library.ntfs_inode_close(made)
            library.ntfs_inode_close(inode)


def add_junction(image: Path, path: str, target: str) -> None:
    """Makes the empty directory `path` a mount point. Spec: [MS-FSCC] 2.1.2.5"""
    name = target.encode("utf-16-le")
    buffer = struct.pack("<HHHH", 0, len(name), len(name) + 2, 0) + name + bytes(4)
    data = struct.pack("<IHH", MOUNT_POINT, len(buffer), 0) + buffer
    with _mounted(image) as (library, volume):
        inode = library.ntfs_pathname_to_inode(volume, None, path.encode())
        failed = library.ntfs_set_ntfs_reparse_data(inode, data, len(data), 0)
        assert not failed, os.strerror(ctypes.get_errno())
        library.ntfs_inode_close(inode)


@contextmanager
def _mounted(image: Path) -> Iterator[tuple[Any, Any]]:
    """The library and the volume opened by it. Spec: ntfs-3g include/ntfs-3g/volume.h, dir.h, reparse.h."""
    library = ctypes.CDLL(find_library("ntfs-3g"), use_errno=True)
    pointer, size = ctypes.c_void_p, ctypes.c_size_t
    library.ntfs_mount.restype = library.ntfs_pathname_to_inode.restype = library.ntfs_create.restype = (
        pointer
    )
    library.ntfs_pathname_to_inode.argtypes = (pointer, pointer, ctypes.c_char_p)
    name = (ctypes.c_char_p, ctypes.c_uint8)
    library.ntfs_create.argtypes = (pointer, ctypes.c_uint32, *name, ctypes.c_uint)
    library.ntfs_set_ntfs_reparse_data.argtypes = (pointer, ctypes.c_char_p, size, ctypes.c_int)
    library.ntfs_inode_close.argtypes = (pointer,)
    library.ntfs_umount.argtypes = (pointer, ctypes.c_int)
    volume = library.ntfs_mount(os.fsencode(image), 0)
    assert volume, os.strerror(ctypes.get_errno())
    try:
        yield library, volume
    finally:
        library.ntfs_umount(volume, 0)


def _run(tool: str, *arguments: str) -> None:
    program = find_tool(tool)
    assert program is not None
    subprocess.run([program, *arguments], check=True, capture_output=True)
