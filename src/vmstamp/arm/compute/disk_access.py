"""Access by SAS to the bytes of disks and snapshots: beginGetAccess and endGetAccess have this in common.

An access rests on a stored access policy of the bytes' container, which endGetAccess removes; its end is kept
in the resource's state. REST: Disks, Grant Access; Snapshots, Grant Access.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from vmstamp.arm.catalog import Catalog, timestamp
from vmstamp.arm.compute.vhds import GIB, Vhds, place
from vmstamp.arm.faults import invalid_parameter, missing_parameter, not_allowed, not_found
from vmstamp.arm.resource import Json, Resource
from vmstamp.arm.shape import OneOf, Only, clean
from vmstamp.arm.types import Request
from vmstamp.errors import AzureError

LONGEST_ACCESS: Final = 60 * 86400  # seconds
SHAPE: Final = {
    "access": OneOf("Read", "Write", "None"),
    "durationInSeconds": int,
    "fileFormat": Only("VHD"),
    "getSecureVMGuestStateSAS": Only(False),
}


@dataclass(frozen=True)
class Wanted:
    """What a beginGetAccess asks for: `access` Read, Write or None."""

    access: str
    seconds: int


class Accesses:
    """Opens and closes the accesses to disks and snapshots."""

    def __init__(
        self, catalog: Catalog, vhds: Vhds, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._catalog = catalog
        self._vhds = vhds
        self._now = now

    def is_open(self, resource: Resource) -> bool:
        """Whether a SAS of the resource is outstanding."""
        return str(resource.state.get("access until", "")) > timestamp(self._now())

    def open(self, resource: Resource, *, write: bool, seconds: int) -> Json:
        """Grant access; one that is open gets a new end. The body of Azure's answer."""
        until = timestamp(self._now() + timedelta(seconds=seconds))
        policy = resource.state.get("policy") or str(uuid.uuid4())
        with self._catalog.db.write():
            self._keep(resource, **{"access until": until, "policy": policy})
            url = self._vhds.open_access(place(resource.state["place"]), write, seconds, policy)
        return {"accessSAS": url}

    def close(self, resource: Resource) -> None:
        """Revoke the access; of an upload, check that a fixed VHD was written. Raises InvalidVhd.

        An upload that fails this stays open to a next try.
        """
        ref, state = place(resource.state["place"]), resource.state
        if policy := state.get("policy"):
            self._vhds.close_access(ref, policy)
        uploaded = state.get("upload") == "ready" and "access until" in state
        self._keep(resource, **{"access until": "", "policy": ""})
        if uploaded:
            size = self._vhds.check(ref, resource.name)
            self._keep(resource, size=size, upload="done")

    def _keep(self, resource: Resource, **state: Any) -> None:
        with self._catalog.db.write():
            fresh = self._catalog.find(resource.id)
            if fresh is None:
                raise not_found(f"{resource.id.types[-1][:-1].capitalize()} {resource.name} is not found.")
            kept = fresh.with_state(**state)
            self._catalog.save(kept.with_properties(**sizes(kept.state["size"])))


def sizes(size: int) -> Json:
    """How a document shows a size in bytes."""
    return {"diskSizeBytes": size, "diskSizeGB": max(1, -(-size // GIB))}


def read_request(request: Request) -> Wanted:
    """The body of a beginGetAccess. Raises AzureError."""
    body = clean(request.json, SHAPE)
    seconds = body.get("durationInSeconds")
    if seconds is None:
        raise missing_parameter("durationInSeconds")
    if not 1 <= seconds <= LONGEST_ACCESS:
        raise invalid_parameter(
            f"The value '{seconds}' of parameter 'durationInSeconds' is out of range. The value must be "
            f"between '1' and '{LONGEST_ACCESS}', inclusive.",
            "durationInSeconds",
        )
    return Wanted(body.get("access", "None"), seconds)


def check_direction(wanted: Wanted, resource: Resource, state: str) -> Json:
    """The input of `open`: Write is for what is to be uploaded, Read for all else. Raises AzureError."""
    uploading = state in ("ReadyToUpload", "ActiveUpload")
    if wanted.access == "None" or (wanted.access == "Write") != uploading:
        raise not_allowed(
            f"Access '{wanted.access}' is not permitted because disk {resource.name} is in state {state}: "
            "Write is for disks that are to be uploaded, Read for all others."
        )
    return {"write": uploading, "seconds": wanted.seconds}


def active_access(disk: Resource, doing: str) -> AzureError:
    """The refusal to attach, start or delete (`doing`) a disk while a SAS of it is outstanding."""
    return not_allowed(
        f"There is an active shared access signature outstanding for disk {disk.name}. Call EndGetAccess "
        f"before {doing} the disk."
    )
