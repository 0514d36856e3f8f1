"""Families of incremental snapshots, and how far the copy of one to another region is. Pure.

A copy (createOption CopyStart) takes the time that its bytes need at `COPY_SPEED`; in the stamp they are
shared at once, so how far it is follows from the clock, and a crash in between changes nothing.
Documentation: Copy an incremental snapshot to a new region.
"""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import Final

from vmstamp.arm.resource import Json, Resource

COPY_SPEED: Final = 2**30  # bytes per second between regions: a figure of ours
_FAMILIES: Final = uuid.UUID("6c7a3a5e-3f1f-4a52-9b53-3c1f6b0d9a11")


def family_of(unique_id: str, location: str = "") -> str:
    """The incrementalSnapshotFamilyId of the disk with this uniqueId; of its copies in another region."""
    return str(uuid.uuid5(_FAMILIES, f"{unique_id.lower()} {location}".strip()))


def begin(now: datetime, length: int) -> Json:
    """What the state keeps of a copy of `length` bytes that begins now."""
    return {"begun": now.isoformat(), "length": length}


def fail(copy: Json, now: datetime, source: str) -> Json:
    """The copy when its source goes."""
    message = f"The copy failed because its source snapshot {source} was deleted while it was being copied."
    return {
        **copy,
        "failed": {"errorCode": "CopySourceNotFound", "errorMessage": message},
        "at": _done(copy, now),
    }


def _done(copy: Json, now: datetime) -> float:
    """The part that is copied, 0 to 1."""
    if "at" in copy:
        return float(copy["at"])
    if not copy["length"]:
        return 1.0
    elapsed = (now - datetime.fromisoformat(copy["begun"])) / timedelta(seconds=1)
    done: float = elapsed * COPY_SPEED / copy["length"]
    return min(1.0, max(0.0, done))


def is_complete(resource: Resource, now: datetime) -> bool:
    """Whether all bytes of a disk or snapshot are there, as far as a copy brings them."""
    copy = resource.state.get("copy")
    return copy is None or ("failed" not in copy and _done(copy, now) == 1.0)


def is_under_way(resource: Resource, now: datetime) -> bool:
    copy = resource.state.get("copy")
    return copy is not None and "failed" not in copy and _done(copy, now) < 1.0


def shown(resource: Resource, now: datetime) -> Json:
    """The properties of a copy: completionPercent, and copyCompletionError when it failed."""
    copy = resource.state.get("copy")
    if copy is None:
        return {}
    failed = {"copyCompletionError": copy["failed"]} if "failed" in copy else {}
    return {"completionPercent": round(_done(copy, now) * 100, 1), **failed}
