"""The REST operations Lease Blob and Lease Container: acquire, renew, change, release, break."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Final, TypeVar

from vmstamp.blob import conditions, faults, lease
from vmstamp.blob.blob_replies import validators
from vmstamp.blob.blob_requests import check_tags, lease_id
from vmstamp.blob.lease import Lease
from vmstamp.blob.records import Blob, Container
from vmstamp.blob.request import Reply, Request
from vmstamp.blob.store import BlobStore

Leased = tuple[int, Lease | None, dict[str, str]]


Leasable = TypeVar("Leasable", Blob, Container)


def lease_blob(store: BlobStore, request: Request) -> Reply:
    """Lease Blob."""

    def update(change: Callable[[Blob], Blob]) -> Blob:
        def apply(blob: Blob) -> Blob:
            check_tags(request, blob)
            return change(blob)

        return store.update_blob(request.ref, apply, touch=False)

    return _lease(store, request, update)


def lease_container(store: BlobStore, request: Request) -> Reply:
    """Lease Container."""
    return _lease(
        store,
        request,
        lambda change: store.update_container(*request.address[:2], change, touch=False),
    )


def _lease(
    store: BlobStore, request: Request, update: Callable[[Callable[[Leasable], Leasable]], Leasable]
) -> Reply:
    """Take the step that a request asks for; `update` stores what a change makes of the blob or container."""
    step = _step(request)
    wanted = conditions.parse_conditions(request.headers)
    status, headers = 200, dict[str, str]()

    def apply(found: Leasable) -> Leasable:
        nonlocal status
        conditions.check(wanted, found.etag, found.last_modified, read=False)
        status, held, more = step(store, request, found.lease)
        headers.update(more)
        return replace(found, lease=held)

    kept = update(apply)
    return Reply(status, {**validators(kept), **headers})


def _step(request: Request) -> Callable[[BlobStore, Request, Lease | None], Leased]:
    action = request.required_header("x-ms-lease-action").lower()
    if action not in _STEPS:
        raise faults.invalid_header("x-ms-lease-action", action)
    return _STEPS[action]


def _acquire(store: BlobStore, request: Request, held: Lease | None) -> Leased:
    seconds = request.required_header("x-ms-lease-duration")
    if not re.fullmatch(r"-1|\d{1,9}", seconds):
        raise faults.invalid_header("x-ms-lease-duration", seconds)
    identity = lease_id(request, "x-ms-proposed-lease-id") or str(uuid.uuid4())
    new = lease.acquire(held, identity, int(seconds), store.now())
    return 201, new, {"x-ms-lease-id": new.id}


def _renew(store: BlobStore, request: Request, held: Lease | None) -> Leased:
    new = lease.renew(held, _own_lease_id(request), store.now())
    return 200, new, {"x-ms-lease-id": new.id}


def _change(store: BlobStore, request: Request, held: Lease | None) -> Leased:
    proposed = lease_id(request, "x-ms-proposed-lease-id")
    if not proposed:
        raise faults.missing_header("x-ms-proposed-lease-id")
    new = lease.change(held, _own_lease_id(request), proposed, store.now())
    return 200, new, {"x-ms-lease-id": new.id}


def _release(store: BlobStore, request: Request, held: Lease | None) -> Leased:
    lease.release(held, _own_lease_id(request))
    return 200, None, {}


def _break(store: BlobStore, request: Request, held: Lease | None) -> Leased:
    new, seconds = lease.break_(held, request.number("x-ms-lease-break-period"), store.now())
    return 202, new, {"x-ms-lease-time": str(seconds)}


_STEPS: Final = {
    "acquire": _acquire,
    "renew": _renew,
    "change": _change,
    "release": _release,
    "break": _break,
}


def _own_lease_id(request: Request) -> str:
    request.required_header("x-ms-lease-id")
    return lease_id(request, "x-ms-lease-id")
