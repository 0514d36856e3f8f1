"""The guest's files: its root file system and what its fstab mounts, as one tree of absolute paths.

Symbolic links are resolved inside the guest: an absolute target starts at the guest's root, and `..` stops
there. Nothing of the host is ever looked at.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from vmstamp.disk.base import Disk
from vmstamp.disk.partitions import EFI_SYSTEM, Partition, PartitionTable, read_partitions
from vmstamp.errors import DiskError, GuestError
from vmstamp.guest.files.btrfs import Btrfs
from vmstamp.guest.files.fstab import Mount, parse_fstab
from vmstamp.guest.files.lvm import LogicalDisk, LogicalVolume, read_physical_volume, read_volumes
from vmstamp.guest.files.probe import FileSystem, probe
from vmstamp.guest.files.volume import Kind, Node, Tree, Volume
from vmstamp.guest.files.window import Window

MAX_LINKS = 40  # symbolic links followed for one path, as in Linux
MAX_PATH = 4096  # bytes of a path, as in Linux
MAX_KEPT = 8192  # nodes that are not looked up again
MAX_FILE = 16 * 1024 * 1024  # bytes of a file that is read whole

OS_RELEASE = ("/etc/os-release", "/usr/lib/os-release")
WINDOWS_HIVE = "/Windows/System32/config/SYSTEM"  # every Windows has this registry hive


class Files:
    """A tree of files by absolute path. Not thread-safe.

    `mounts` maps a directory's path to the volume that lies on it; "/" must be among them. Every method
    raises GuestError for a damaged file system and for symbolic links that form a loop.
    """

    def __init__(self, mounts: dict[str, Tree]) -> None:
        self._mounts = mounts
        self._kept: dict[str, Node | None] = {}

    @property
    def trees(self) -> dict[str, Tree]:
        """The volumes by the directory on which they lie."""
        return dict(self._mounts)

    @property
    def mounts(self) -> tuple[str, ...]:
        return tuple(sorted(self._mounts))

    def tree(self, path: str) -> Tree:
        """The volume that lies on one of `mounts`."""
        return self._mounts[path]

    def find(self, path: str, *, follow: bool = True) -> Node | None:
        """The node at `path`, or None. `follow`: resolve a link in the last component too."""
        waiting = _components(path)
        seen: list[tuple[str, Node]] = []  # the directories above, each with its path
        node, here = self._mounts["/"].root, ""
        links = 0
        while waiting:
            name = waiting.pop()
            if name == "..":
                here, node = seen.pop() if seen else (here, node)
                continue
            child = self._step(node, f"{here}/{name}", name)
            if child is None:
                return None
            if child.kind is Kind.SYMLINK and (waiting or follow):
                links += 1
                target = child.target()
                if links > MAX_LINKS or len(target) > MAX_PATH or len(waiting) > MAX_PATH:
                    raise GuestError(f"{path}: too many symbolic links, they may form a loop")
                if target.startswith("/"):
                    node, here, seen = self._mounts["/"].root, "", []
                waiting += _components(target)
                continue
            seen.append((here, node))
            node, here = child, f"{here}/{name}"
        return node

    def _step(self, node: Node, path: str, name: str) -> Node | None:
        if node.kind is not Kind.DIRECTORY:
            return None
        mounted = self._mounts.get(path)
        return mounted.root if mounted else self._child(node, path, name)

    def _child(self, node: Node, path: str, name: str) -> Node | None:
        """The directory's entry, kept by its path: the checks ask for the same few hundred time and again."""
        if path not in self._kept:
            if len(self._kept) >= MAX_KEPT:
                self._kept.clear()
            self._kept[path] = node.child(name)
        return self._kept[path]

    def exists(self, path: str) -> bool:
        return self.find(path) is not None

    def is_directory(self, path: str) -> bool:
        node = self.find(path)
        return node is not None and node.kind is Kind.DIRECTORY

    def is_file(self, path: str) -> bool:
        node = self.find(path)
        return node is not None and node.kind is Kind.FILE

    def readlink(self, path: str) -> str | None:
        """The target of the symbolic link at `path` as stored; None when there is no link."""
        node = self.find(path, follow=False)
        return node.target() if node is not None and node.kind is Kind.SYMLINK else None

    def list(self, path: str) -> list[str]:
        """The names in the directory at `path`, sorted; [] when it is no directory or absent."""
        node = self.find(path)
        if node is None or node.kind is not Kind.DIRECTORY:
            return []
        return sorted(name for name in node.names() if name not in (".", "..", "lost+found"))

    def read_bytes(self, path: str, limit: int = MAX_FILE) -> bytes:
        """The whole file. GuestError when it is absent, no regular file, or longer than `limit` bytes."""
        node = self.find(path)
        if node is None:
            raise GuestError(f"{path}: no such file in the guest")
        if node.kind is not Kind.FILE:
            raise GuestError(f"{path}: a {node.kind} in the guest, not a regular file")
        if node.size > limit:
            raise GuestError(f"{path}: {node.size} bytes long, at most {limit} are read")
        return node.read(0, node.size)

    def read_part(self, path: str, offset: int, length: int) -> bytes:
        """At most `length` bytes of the file from `offset`; b'' when it is absent or no regular file."""
        node = self.find(path)
        return node.read(offset, length) if node is not None and node.kind is Kind.FILE else b""

    def find_text(self, path: str, limit: int = MAX_FILE) -> str | None:
        """The file as text (bytes that are not UTF-8 are replaced), or None when there is no such file."""
        return self.read_bytes(path, limit).decode("utf-8", "replace") if self.is_file(path) else None


def _components(path: str) -> list[str]:
    """The components of a path, last first, so that the next one is popped."""
    return [part for part in reversed(path.split("/")) if part not in ("", ".")]


@dataclass(frozen=True)
class Content:
    """What was found in one partition (`partition` None: on the whole disk, which has no table).

    `logical` is the logical volume in which it lies, of the group whose first physical volume is `partition`.
    """

    partition: Partition | None
    file_system: FileSystem | None
    volume: Volume | Btrfs | None = field(default=None, repr=False)
    partition_uuid: str = ""  # PARTUUID: a GPT's GUID, or an MBR's disk signature and number
    problem: str = ""  # why a file system of a kind that is read could not be opened
    logical: LogicalVolume | None = None

    @property
    def number(self) -> int:
        return self.partition.number if self.partition else 0

    @property
    def where(self) -> str:
        if self.logical is not None:
            return f"logical volume {self.logical.group}/{self.logical.name}"
        return f"partition {self.partition.number}" if self.partition else "the whole disk"

    @property
    def note(self) -> str:
        """Why its file system is not read, or that it is dirty; '' otherwise."""
        found = self.file_system
        return self.problem or ((found.unread or found.dirty) if found else "")

    def describe(self) -> str:
        """The kind of its file system, with the note."""
        kind = self.file_system.kind if self.file_system else "nothing known"
        return f"{kind} ({self.note})" if self.note else kind


@dataclass(frozen=True)
class Survey:
    """A disk's partition table and the content of each partition.

    `problem` is what is wrong with the partition table ('' : nothing). `root` is the content that holds
    the operating system, with `files` its tree; None when there is none that this version reads.
    """

    table: PartitionTable | None
    problem: str
    contents: tuple[Content, ...]
    root: Content | None = None
    files: Files | None = None
    unmounted: tuple[tuple[str, str], ...] = ()  # fstab's (source, target) not on this disk, or not read


def survey(disk: Disk) -> Survey:
    """Look at every partition of `disk`. A damaged part is recorded, not raised; DiskError is raised."""
    table, problem = _read_table(disk)
    if table is None or table.scheme is None:
        contents: tuple[Content, ...] = (_look(disk, None, 0, disk.size, ""),)
    else:
        contents = tuple(
            _look(disk, p, p.start, p.length, _partition_uuid(disk, p)) for p in table.partitions
        )
    contents = _with_logical(disk, contents)
    root = _find_root(contents)
    tree = find_system(root) if root is not None else None
    if tree is None:
        return Survey(table, problem, contents)
    files, unmounted = mount(tree, contents)
    return Survey(table, problem, contents, root, files, unmounted)


def open_root(disk: Disk) -> Files:
    """The files of the operating system on `disk`, its other partitions mounted as its fstab says.

    Raises GuestError when the disk holds no operating system that this version reads.
    """
    found = survey(disk)
    if found.files is None:
        raise no_operating_system(disk, found)
    return found.files


def no_operating_system(disk: Disk, found: Survey) -> GuestError:
    """The error that says what is on the disk instead of an operating system."""
    seen = ", ".join(content.describe() for content in found.contents if content.file_system)
    return GuestError(
        f"{disk.path or 'the disk'}: no operating system found; it holds: {seen or 'nothing known'}",
        hint="a Linux on ext4, XFS or btrfs and a Windows on NTFS are read; is this a data disk?",
    )


def _read_table(disk: Disk) -> tuple[PartitionTable | None, str]:
    try:
        return read_partitions(disk), ""
    except DiskError as error:
        return None, error.message


def _partition_uuid(disk: Disk, partition: Partition) -> str:
    """What Linux calls PARTUUID. Spec: Linux block/partitions/msdos.c: `%08x-%02x`."""
    if partition.unique_guid is not None:
        return str(partition.unique_guid)
    return f"{int.from_bytes(disk.read(440, 4), 'little'):08x}-{partition.number:02x}"


def _look(disk: Disk, partition: Partition | None, start: int, size: int, uuid: str) -> Content:
    window = Window(disk, start, size)
    file_system = probe(window)
    content = Content(partition, file_system, partition_uuid=uuid)
    return content if file_system is None else _open(content, window, file_system)


def _open(content: Content, window: Window, file_system: FileSystem) -> Content:
    """The content with its volume, or with the problem that it has."""
    if file_system.unread or file_system.kind == "LVM":
        return content
    try:
        make = Btrfs if file_system.kind == "btrfs" else Volume
        opened = replace(content, volume=make(window, file_system))
        find_system(opened)  # a first look, so that a damaged tree shows here
    except GuestError as error:
        return replace(content, problem=error.message)
    return opened


def open_window(disk: Disk, content: Content) -> Window:
    """The bytes of a content: its partition, its logical volume, or the whole disk."""
    if content.logical is not None:
        return Window(LogicalDisk(disk, content.logical), 0, content.logical.size)
    part = content.partition
    return Window(disk, *((part.start, part.length) if part is not None else (0, disk.size)))


def _with_logical(disk: Disk, contents: tuple[Content, ...]) -> tuple[Content, ...]:
    """The contents, and behind them those of the logical volumes on LVM's physical volumes."""
    known, physical, first = [], [], None
    for content in contents:
        if content.file_system is not None and content.file_system.kind == "LVM":
            part = content.partition
            start, size = (part.start, part.length) if part else (0, disk.size)
            try:
                physical.append(read_physical_volume(Window(disk, start, size), start))
                first = first or content
            except GuestError as error:
                content = replace(content, problem=error.message)
        known.append(content)
    if first is None:
        return tuple(known)
    try:
        volumes = read_volumes(disk, tuple(physical))
    except GuestError as error:
        return tuple(replace(one, problem=error.message) if one is first else one for one in known)
    return (*known, *(_look_in_volume(disk, first.partition, volume) for volume in volumes))


def _look_in_volume(disk: Disk, partition: Partition | None, logical: LogicalVolume) -> Content:
    if logical.problem:
        return Content(partition, None, problem=logical.problem, logical=logical)
    window = Window(LogicalDisk(disk, logical), 0, logical.size)
    file_system = probe(window)
    content = Content(partition, file_system, logical=logical)
    return content if file_system is None else _open(content, window, file_system)


def _find_root(contents: tuple[Content, ...]) -> Content | None:
    """The first content whose files name an operating system."""
    return next((content for content in contents if find_system(content) is not None), None)


# Where the root lies when the default subvolume is the top: Ubuntu, Fedora, Debian, openSUSE.
ROOT_SUBVOLUMES = ("@", "root", "@rootfs", "@/.snapshots/1/snapshot")


def find_system(content: Content) -> Tree | None:
    """The tree of the content's that has an operating system; None when there is none."""
    volume = content.volume
    if volume is None or volume.file_system.kind == "vfat":
        return None
    if _names_a_system(volume):
        return volume
    if isinstance(volume, Btrfs):
        subvolumes = (volume.find_subvolume(path) for path in ROOT_SUBVOLUMES)
        return next((one for one in subvolumes if one is not None and _names_a_system(one)), None)
    return None


def _names_a_system(tree: Tree) -> bool:
    files = Files({"/": tree})
    ntfs = isinstance(tree, Volume) and tree.file_system.kind == "ntfs"
    marks = (WINDOWS_HIVE,) if ntfs else OS_RELEASE
    return any(files.find(path, follow=False) for path in marks)


def mount(root: Tree, contents: tuple[Content, ...]) -> tuple[Files, tuple[tuple[str, str], ...]]:
    """The tree of root and of those fstab entries that lie on this disk."""
    mounts: dict[str, Tree] = {"/": root}
    unmounted = []
    text = Files({"/": root}).find_text("/etc/fstab", 1024 * 1024) or ""
    for entry in parse_fstab(text):
        if not entry.target.startswith("/") or entry.target == "/":
            continue
        content = find_source(entry.source, contents)
        tree = _tree_of(content, entry) if content is not None else None
        if tree is not None:
            mounts[entry.target.rstrip("/")] = tree
        elif entry.is_device:
            unmounted.append((entry.source, entry.target))
    mounts |= _mounted_by_systemd(Files(mounts), mounts, contents)
    return Files(mounts), tuple(unmounted)


GPT_AUTO = "/usr/lib/systemd/system-generators/systemd-gpt-auto-generator"


def _mounted_by_systemd(
    files: Files, mounts: dict[str, Tree], contents: tuple[Content, ...]
) -> dict[str, Tree]:
    """The EFI system partition that fstab leaves out: on /efi or /boot, if it is there and empty.

    Spec: systemd-gpt-auto-generator(8).
    """
    esp = next((c for c in contents if c.partition and c.partition.type_guid == EFI_SYSTEM), None)
    if esp is None or esp.volume is None or esp.volume in mounts.values() or not files.exists(GPT_AUTO):
        return {}
    for path in ("/efi", "/boot"):
        if files.is_directory(path) and path not in mounts and not files.list(path):
            return {path: esp.volume}
    return {}


def _tree_of(content: Content, entry: Mount) -> Tree | None:
    """What `entry` shows of the content: of btrfs the subvolume that its options name. Spec: btrfs(5)."""
    volume = content.volume
    if not isinstance(volume, Btrfs):
        return volume
    found: Tree | None = volume
    for option in entry.options:
        key, _, value = option.partition("=")
        try:
            if key == "subvol":
                found = volume.find_subvolume(value)
            elif key == "subvolid" and value.isascii() and value.isdigit() and len(value) < 20:
                found = volume.subvolume(int(value) or 5)
        except GuestError:
            return None
    return found


def find_source(source: str, contents: tuple[Content, ...]) -> Content | None:
    """The content that an fstab source or a `root=` names by UUID, label or PARTUUID, or as a volume."""
    for prefix, key in _BY_PATH.items():
        if source.startswith(prefix):
            source = f"{key}={source[len(prefix) :]}"
    if source.startswith("/dev/"):
        return next((c for c in contents if c.logical is not None and source in c.logical.paths), None)
    key, _, value = source.partition("=")
    value = value.strip("\"'")
    if not value:
        return None
    return next((c for c in contents if _is_named(c, key.upper(), value)), None)


def names_content(source: str) -> bool:
    """Whether the source names a file system or partition in a way that the disk alone can answer."""
    if source.upper().startswith(("UUID=", "LABEL=", "PARTUUID=", "PARTLABEL=", *_BY_PATH_UPPER)):
        return True
    volume = _VOLUME_PATH.match(source)
    return volume is not None and volume[1] not in _OTHER_DEVICES


# A logical volume's path, and the directories of /dev whose names look like a volume group's.
_VOLUME_PATH = re.compile(r"/dev/([\w.+-]+)/[\w.+-]+$")
_OTHER_DEVICES = ("disk", "md", "zvol", "block", "char", "loop", "shm", "pts", "bus", "cciss", "ida")

_BY_PATH = {
    "/dev/disk/by-uuid/": "UUID",
    "/dev/disk/by-label/": "LABEL",
    "/dev/disk/by-partuuid/": "PARTUUID",
    "/dev/disk/by-partlabel/": "PARTLABEL",
}
_BY_PATH_UPPER = tuple(path.upper() for path in _BY_PATH)


def _is_named(content: Content, key: str, value: str) -> bool:
    if key == "UUID":
        return content.file_system is not None and content.file_system.uuid.lower() == value.lower()
    if key == "LABEL":
        return content.file_system is not None and content.file_system.label == value
    if content.partition is None or content.logical is not None:
        return False
    if key == "PARTUUID":
        return content.partition_uuid == value.lower()
    return key == "PARTLABEL" and content.partition.name == value
