"""The check of what lies in blocks that no file has any more."""

from __future__ import annotations

from collections.abc import Iterator

from vmstamp.disk.base import Disk
from vmstamp.extents import Extents
from vmstamp.guest.facts import Facts, has_guest
from vmstamp.guest.files.ext_free import free_ranges
from vmstamp.guest.files.fs import Content, open_window
from vmstamp.guest.files.lvm import LogicalDisk
from vmstamp.guest.finding import Check, Severity, Verdict, not_applicable, passed, warned

BLOCK = 4096  # bytes that are read of one place
SAMPLES = 1024  # places of one file system, evenly spread: 4 MiB


def _is_ext(content: Content) -> bool:
    kind = content.file_system.kind if content.file_system is not None else ""
    return kind.startswith("ext") and content.volume is not None


def _device(disk: Disk, content: Content) -> tuple[Disk, int]:
    """What the content lies on, and where it starts there."""
    if content.logical is not None:
        return LogicalDisk(disk, content.logical), 0
    return disk, content.partition.start if content.partition is not None else 0


def _places(disk: Disk, content: Content) -> Iterator[tuple[Disk, int]]:
    """Some free blocks that the disk has storage for: those that it has none for are zeros."""
    device, start = _device(disk, content)
    free = Extents((start + low, start + high) for low, high in free_ranges(open_window(disk, content)))
    stored = list(free.intersect(Extents(device.extents())))
    step = max(1, sum(extent.length // BLOCK for extent in stored) // SAMPLES)
    skipped = 0
    for extent in stored:
        count = extent.length // BLOCK
        yield from ((device, extent.start + index * BLOCK) for index in range(skipped, count, step))
        skipped = (skipped - count) % step if count > skipped else skipped - count


def _free_space(facts: Facts) -> Verdict:
    if facts.disk.uploaded:
        return not_applicable("the free space of a blob is not looked at")
    contents = [content for content in facts.survey.contents if _is_ext(content)]
    if not contents:
        return not_applicable("only the free space of ext2, ext3 and ext4 is looked at")
    looked = 0
    for content in contents:
        places = list(_places(facts.disk, content))
        looked += len(places)
        held = sum(bool(device.read(place, BLOCK).strip(b"\0")) for device, place in places)
        if held:
            return warned(f"{held} of {len(places)} free blocks that were read hold old data", content.where)
    return passed(f"the {looked} free blocks that were read hold nothing")


CHECKS = (
    Check(
        "free-space-zeroed",
        "free space holds no old data",
        Severity.SECURITY,
        "what was deleted, keys and passwords too, can be read from every disk of the image",
        "vmstamp",
        has_guest,
        _free_space,
        "vmstamp generalize FILE gives the free space back; in the guest: fstrim --all",
        identity=True,
        trace=True,
    ),
)
