"""NTFS images for tests, made without root or a mount: mkntfs, ntfscp, and libntfs-3g for the directories."""

from __future__ import annotations

import ctypes
import os
import shutil
import stat
import subprocess
from collections.abc import Mapping
from ctypes.util import find_library
from pathlib import Path

TOOLS = ("mkntfs", "ntfscp")
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
    """Makes directories, parents before children. Spec: ntfs-3g include/ntfs-3g/volume.h, dir.h."""
    library = ctypes.CDLL(find_library("ntfs-3g"), use_errno=True)
    library.ntfs_mount.restype = library.ntfs_pathname_to_inode.restype = ctypes.c_void_p
    library.ntfs_create.restype = ctypes.c_void_p
    library.ntfs_pathname_to_inode.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)
    library.ntfs_create.argtypes = (
        ctypes.c_void_p, ctypes.c_uint32, ctypes.c_char_p, ctypes.c_uint8, ctypes.c_uint)  # fmt: skip
    library.ntfs_inode_close.argtypes = (ctypes.c_void_p,)
    library.ntfs_umount.argtypes = (ctypes.c_void_p, ctypes.c_int)
    volume = library.ntfs_mount(os.fsencode(image), 0)
    assert volume, os.strerror(ctypes.get_errno())
    try:
        for path in paths:
            parent, name = path.rsplit("/", 1)
            inode = library.ntfs_pathname_to_inode(volume, None, (parent or "/").encode())
            raw = name.encode("utf-16-le")
            made = library.ntfs_create(inode, 0, raw, len(raw) // 2, stat.S_IFDIR)
            assert made, f"{path}: {os.strerror(ctypes.get_errno())}"
            library.ntfs_inode_close(made)
            library.ntfs_inode_close(inode)
    finally:
        library.ntfs_umount(volume, 0)


def _run(tool: str, *arguments: str) -> None:
    program = find_tool(tool)
    assert program is not None
    subprocess.run([program, *arguments], check=True, capture_output=True)
