"""The plan of a rework: which file systems of a disk are mounted where, and the edits as JSON.

Pure but for reads of the disk. What cannot be done is refused here, before anything is copied.
"""

from __future__ import annotations

import base64
import ctypes
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from vmstamp.disk.base import Disk
from vmstamp.errors import GuestError, ProgramMissing
from vmstamp.guest.edits import (
    CopyKey,
    DeleteValue,
    Empty,
    GuestEdit,
    HiveEdit,
    Remove,
    Run,
    SetValue,
    Symlink,
    Truncate,
    Write,
    describe,
)
from vmstamp.guest.files.fs import OS_RELEASE, WINDOWS_HIVE, Content, Survey, find_source, no_operating_system
from vmstamp.guest.files.fstab import Mount, parse_fstab
from vmstamp.guest.system import find_architecture
from vmstamp.run import find_program

LINUX = ("ext2", "ext3", "ext4", "xfs", "btrfs")
MOUNTED = (*LINUX, "vfat")
ENCRYPTED = ("LUKS", "BitLocker")
# Where distributions keep the root in a btrfs whose default subvolume is not it.
SUBVOLUMES = ("@", "root", "@rootfs", "@/.snapshots/1/snapshot")
MACHINE = "x86_64"  # the only one that User Mode Linux runs programs of here
# Registry types by number. Spec: [MS-RRP] 3.1.1.5
KINDS = {
    "REG_SZ": 1,
    "REG_EXPAND_SZ": 2,
    "REG_BINARY": 3,
    "REG_DWORD": 4,
    "REG_MULTI_SZ": 7,
    "REG_QWORD": 11,
}

# They write where the root lies into the boot loader's configuration.
BOOT_LOADER = ("update-grub", "update-grub2", "grub-mkconfig", "grub2-mkconfig", "update-bootloader")

Place = list[tuple[int, list[int], int]]


@dataclass(frozen=True)
class Target:
    """A file system to mount: `place` as in `inside.devices`, `where` for people, `options` mount's.

    `number` is its partition's (0: it lies in none), `dirty` says that it was not left clean.
    """

    target: str
    where: str
    kind: str
    place: Place
    number: int = 0
    uuid: str = ""
    options: str = ""
    optional: bool = False
    dirty: str = ""

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))


def make_plan(
    disk: Disk, found: Survey, edits: Sequence[GuestEdit], *, replay: bool = False, trim: bool = False
) -> dict[str, Any]:
    """The document that the executor carries out. Raises GuestError for what cannot be done."""
    for edit in edits:
        check_edit(edit)
    roots = find_roots(disk, found)
    others = find_others(found) if roots[0].kind != "ntfs" else []
    volumes = find_volumes(found, edits)
    if not replay:
        refuse_dirty([roots[0], *others, *volumes])
    refuse_programs(found, roots[0].kind, edits)
    needs_hives = any(isinstance(edit, HiveEdit) for edit in edits)
    refuse_missing(ntfs=roots[0].kind == "ntfs", hives=needs_hives)
    return {
        "roots": [root.to_json() for root in roots],
        "marks": list((WINDOWS_HIVE,) if roots[0].kind == "ntfs" else OS_RELEASE),
        "mounts": [other.to_json() for other in others],
        "volumes": [volume.to_json() for volume in volumes],
        "edits": [edit_to_json(edit) for edit in edits],
        "replay": replay,
        "trim": trim,
    }


def check_edit(edit: GuestEdit) -> None:
    """GuestError for a path that is not absolute, is the root itself, or has `..`."""
    if isinstance(edit, Run):
        if not edit.argv or any("\0" in word for word in edit.argv):
            raise GuestError("a program to run in the guest has no name, or a NUL in its words")
        return
    path = edit.hive if isinstance(edit, HiveEdit) else edit.path
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if not path.startswith("/") or not parts or ".." in parts or "\0" in path:
        raise GuestError(f"{path!r}: not an absolute path below the guest's root, without '..'")
    if isinstance(edit, Symlink) and (not edit.target or "\0" in edit.target):
        raise GuestError(f"{path}: a link without a target")
    if isinstance(edit, SetValue) and edit.kind not in KINDS:
        raise GuestError(f"{describe(edit)}: the kinds written are {', '.join(KINDS)}")


def find_roots(disk: Disk, found: Survey) -> list[Target]:
    """The places where the root may be, best first: more than one only for subvolumes and for Windows.

    Raises GuestError when there is none.
    """
    root = found.root
    if root is not None and root.file_system is not None:
        kind = root.file_system.kind
        options = _root_options(found) if kind == "btrfs" else [""]
        return [_target("/", root, one) for one in options]
    candidates = [
        target
        for content in sorted(found.contents, key=_length, reverse=True)
        if content.file_system is not None and not content.problem
        for target in _candidates(content, content.file_system.kind)
    ]
    if candidates:
        kind = candidates[0].kind
        return [target for target in candidates if target.kind == kind]
    for content in found.contents:
        if content.file_system is not None and content.file_system.kind in ENCRYPTED:
            raise GuestError(
                f"{disk.path or 'the disk'}: {content.where} is encrypted ({content.file_system.kind})",
                hint="decrypt it in the guest first: nothing of it can be changed from outside",
            )
    raise no_operating_system(disk, found)


def _candidates(content: Content, kind: str) -> list[Target]:
    """For a survey that did not look into these kinds."""
    if kind == "btrfs":
        return [_target("/", content, option) for option in ("", *_subvolume_options())]
    return [_target("/", content)] if kind == "ntfs" else []


def _subvolume_options() -> Iterator[str]:
    return (f"subvol={name}" for name in SUBVOLUMES)


def _root_options(found: Survey) -> list[str]:
    """What to mount a btrfs root with: what fstab says, the default subvolume, the usual names."""
    told = [_subvolume(entry) for entry in _fstab(found) if entry.target == "/"]
    return list(dict.fromkeys([*filter(None, told), "", *_subvolume_options()]))


def _subvolume(entry: Mount) -> str:
    """The subvolume among a mount's options; the kernel's own parser judges it."""
    return next((option for option in entry.options if option.startswith(("subvol=", "subvolid="))), "")


def find_others(found: Survey) -> list[Target]:
    """The file systems of the guest's fstab that lie on the disk, a directory before what lies in it."""
    targets: dict[str, Target] = {}
    for entry in _fstab(found):
        path = "/" + "/".join(part for part in entry.target.split("/") if part not in ("", "."))
        content = find_source(entry.source, found.contents)
        usable = entry.target.startswith("/") and path != "/" and ".." not in path.split("/")
        if not usable or content is None or content.file_system is None:
            continue
        kind = content.file_system.kind
        if kind in MOUNTED:
            options = _subvolume(entry) if kind == "btrfs" else ""
            targets[path] = _target(path, content, options, optional=entry.is_optional)
    return sorted(targets.values(), key=lambda one: one.target.count("/"))


def find_volumes(found: Survey, edits: Sequence[GuestEdit]) -> list[Target]:
    """The partitions beside the root's in which edits are. GuestError for one that is not written to."""
    numbers = {edit.partition for edit in edits if isinstance(edit, SetValue | Write) and edit.partition}
    contents = {content.number: content for content in found.contents if content.logical is None}
    targets = []
    for number in sorted(numbers):
        content = contents.get(number)
        if content is not None and content == found.root:
            raise GuestError(f"partition {number} is the guest's own: its files have paths in the guest")
        kind = content.file_system.kind if content is not None and content.file_system is not None else ""
        if content is None or kind not in ("vfat", "ntfs"):
            raise GuestError(f"partition {number} has no file system that could be edited")
        targets.append(_target("/", content))
    return targets


def _fstab(found: Survey) -> tuple[Mount, ...]:
    text = found.files.find_text("/etc/fstab", 1024 * 1024) if found.files is not None else None
    return tuple(parse_fstab(text or ""))


def _target(path: str, content: Content, options: str = "", *, optional: bool = False) -> Target:
    assert content.file_system is not None
    found = content.file_system
    number = content.number if content.logical is None else 0
    place = place_of(content)
    return Target(path, content.where, found.kind, place, number, found.uuid, options, optional, found.dirty)


def place_of(content: Content) -> Place:
    """Where the content lies on the disk: [(length, starts, stripe size)], all in bytes."""
    logical = content.logical
    if logical is not None:
        return [(segment.length, list(segment.starts), segment.stripe_size) for segment in logical.segments]
    part = content.partition
    return [(part.length, [part.start], 0)] if part is not None else [(0, [0], 0)]


def _length(content: Content) -> int:
    return content.partition.length if content.partition is not None else 0


def refuse_dirty(targets: Sequence[Target]) -> None:
    """GuestError when a file system that would be mounted was not left clean."""
    for target in targets:
        if target.dirty:
            raise GuestError(
                f"{target.where}: {target.kind}, {target.dirty}",
                hint="start the guest and shut it down, or allow its journal to be replayed",
            )


def refuse_programs(found: Survey, kind: str, edits: Sequence[GuestEdit]) -> None:
    """GuestError when a program of the guest is to run that is not for this machine."""
    programs = [edit for edit in edits if isinstance(edit, Run)]
    if not programs:
        return
    program = programs[0]
    if kind == "ntfs":
        raise GuestError(f"{describe(program)}: programs of Windows cannot run here", hint="boot the guest")
    if found.files is None:
        return
    if found.root is not None and found.root.logical is not None:
        refuse_boot_loader(programs)
    machine = find_architecture(found.files)
    if machine not in (None, MACHINE):
        raise GuestError(
            f"{describe(program)}: the guest is {machine}, and only {MACHINE} programs can run here",
            hint="run it in the guest itself",
        )


def refuse_boot_loader(programs: Sequence[Run]) -> None:
    """GuestError for what asks the device mapper where the root lies: here it would get another answer."""
    for program in programs:
        if program.argv[0].rpartition("/")[2] in BOOT_LOADER:
            raise GuestError(
                f"{describe(program)}: cannot be run offline for a root on a logical volume",
                hint="run it in the guest itself",
            )


def refuse_missing(*, ntfs: bool, hives: bool) -> None:
    """ProgramMissing when what the rework needs is not installed."""
    find_program("linux.uml")
    find_program("setpriv")
    if ntfs:
        find_program("ntfs-3g")
    if hives:
        try:
            ctypes.CDLL("libhivex.so.0")
        except OSError as error:
            raise ProgramMissing(
                "the library libhivex.so.0 is not installed", hint="install it: apt-get install libhivex0"
            ) from error


def edit_to_json(edit: GuestEdit) -> dict[str, Any]:
    """What the executor reads; bytes are base64."""
    match edit:
        case Remove(path):
            return {"do": "remove", "path": path}
        case Empty(path):
            return {"do": "empty", "path": path}
        case Truncate(path):
            return {"do": "truncate", "path": path}
        case Write(path, data, mode, number):
            known = {"path": path, "mode": mode, "partition": number}
            return {"do": "write", **known, "data": base64.b64encode(data).decode()}
        case Symlink(path, target):
            return {"do": "symlink", "path": path, "target": target}
        case Run(argv, timeout):
            return {"do": "run", "argv": list(argv), "timeout": timeout}
        case SetValue(hive, key, name, kind, data, number):
            value = base64.b64encode(encode_value(kind, data)).decode()
            known = {"hive": hive, "key": key, "name": name, "partition": number}
            return {"do": "set", **known, "kind": KINDS[kind], "data": value}
        case DeleteValue(hive, key, name):
            return {"do": "delete", "hive": hive, "key": key, "name": name}
        case CopyKey(hive, source, target):
            return {"do": "copy", "hive": hive, "key": source, "target": target}


def encode_value(kind: str, data: int | str | bytes | tuple[str, ...]) -> bytes:
    """A registry value's bytes; strings are UTF-16LE with a NUL, as Windows stores them.

    GuestError when the data is not of the kind.
    """
    try:
        match kind, data:
            case (("REG_DWORD" | "REG_QWORD"), int()):
                return data.to_bytes(4 if kind == "REG_DWORD" else 8, "little")
            case (("REG_SZ" | "REG_EXPAND_SZ"), str()):
                return (data + "\0").encode("utf-16-le")
            case "REG_MULTI_SZ", tuple():
                return ("".join(one + "\0" for one in data) + "\0").encode("utf-16-le")
            case "REG_BINARY", bytes():
                return data
    except OverflowError as error:
        raise GuestError(f"{data!r} does not fit into a {kind}") from error
    raise GuestError(f"a {type(data).__name__} cannot be a {kind}")
