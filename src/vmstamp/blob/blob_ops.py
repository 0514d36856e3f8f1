"""The REST operations on blobs: one function each, from a request to a reply."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from vmstamp.blob import faults
from vmstamp.blob.blob_replies import (
    ENCRYPTION,
    blob_headers,
    content_md5,
    overrides,
    page_headers,
    validators,
)
from vmstamp.blob.blob_requests import (
    MAXIMUM_SEQUENCE,
    access_tier,
    blob_metadata,
    check_blob,
    check_read,
    http_headers,
    read_range,
    sent_http_headers,
    sequence_number,
)
from vmstamp.blob.body import crc64_text, md5_text
from vmstamp.blob.records import PAGE_BLOB, Blob
from vmstamp.blob.request import Reply, Request, Stream
from vmstamp.blob.store import BlobStore, Check

MAXIMUM_CHECKED_RANGE: Final = 4 * 2**20  # bytes of a range whose digest is asked for


# -- making and deleting


def delete_blob(store: BlobStore, request: Request) -> Reply:
    """Delete Blob, a snapshot, or a blob's snapshots."""
    which = request.header("x-ms-delete-snapshots").lower()
    if which not in ("", "include", "only") or (which and request.ref.snapshot):
        raise faults.invalid_header("x-ms-delete-snapshots", which)
    if request.query.get("deletetype"):
        raise faults.unsupported("deleting for good what is soft-deleted")
    gone = store.delete_blob(*request.ref, snapshots=which, check=check_blob(store, request, pending=True))
    return Reply(202, {"x-ms-delete-type-permanent": str(gone).lower()})


def undelete_blob(store: BlobStore, request: Request) -> Reply:
    """Undelete Blob."""
    store.undelete_blob(request.ref)
    return Reply(200)


def snapshot_blob(store: BlobStore, request: Request) -> Reply:
    """Snapshot Blob."""
    check = check_blob(store, request, lease_needed=False)
    blob = store.snapshot_blob(request.ref, metadata=blob_metadata(request), check=check)
    return Reply(201, {**validators(blob), **ENCRYPTION, "x-ms-snapshot": blob.ref.snapshot})


# -- bytes


def get_blob(store: BlobStore, request: Request) -> Reply:
    """Get Blob; Get Blob Properties for HEAD."""
    blob = store.get_blob(*request.ref)
    check_read(store, request, blob)
    if blob.incremental and not blob.ref.snapshot and request.method == "GET":
        raise faults.fault("OperationNotAllowedOnIncrementalCopyBlob")
    headers = blob_headers(store, blob) | overrides(request)
    if request.method == "HEAD":
        return Reply(200, headers | {"content-length": str(blob.size)} | content_md5(blob))
    asked = read_range(request, blob)
    if asked is None:
        return Reply(200, headers | content_md5(blob), Stream(blob, 0, blob.size))
    start, end = asked
    headers["content-range"] = f"bytes {start}-{end - 1}/{blob.size}"
    if blob.headers.content_md5:
        headers["x-ms-blob-content-md5"] = blob.headers.content_md5
    digest = _digest_asked(request, end - start)
    if digest is None:
        return Reply(206, headers, Stream(blob, start, end))
    store.take_time()
    with store.reader(blob) as read:
        data = read(start, end - start)
    name, compute = digest
    return Reply(206, headers | {name: compute(data)}, data)


def _digest_asked(request: Request, length: int) -> tuple[str, Callable[[bytes], str]] | None:
    """The digest of a range that is asked for: its header, and what computes it. Raises 400."""
    asked = {
        name: request.header(f"x-ms-range-get-content-{name}").lower() == "true" for name in ("md5", "crc64")
    }
    if not any(asked.values()):
        return None
    if all(asked.values()) or length > MAXIMUM_CHECKED_RANGE:
        name = "x-ms-range-get-content-md5" if asked["md5"] else "x-ms-range-get-content-crc64"
        raise faults.invalid_header(name, "true")
    return ("content-md5", md5_text) if asked["md5"] else ("x-ms-content-crc64", crc64_text)


# -- properties


def set_properties(store: BlobStore, request: Request) -> Reply:
    """Set Blob Properties: HTTP headers, or the size, or the sequence number of a page blob."""
    size, action = request.number("x-ms-blob-content-length"), request.header("x-ms-sequence-number-action")
    check = check_blob(store, request)
    if size is not None:
        blob = store.resize(request.ref, size, check=check)
        if not action and not sent_http_headers(request):
            return Reply(200, page_headers(blob))
    change = _sequence_change(request, action) if action else None
    headers = (
        http_headers(request) if sent_http_headers(request) or not (action or size is not None) else None
    )

    def apply(blob: Blob) -> Blob:
        if change is not None:
            if blob.type != PAGE_BLOB:
                raise faults.fault("InvalidBlobType")
            blob = replace(blob, sequence_number=change(blob.sequence_number))
        return blob if headers is None else replace(blob, headers=headers)

    blob = store.update_blob(request.ref, apply, check=_unless(size is not None, check))
    return Reply(200, page_headers(blob))


def _unless(done: bool, check: Check) -> Check:
    """No second check after a first change: it has given the blob another ETag."""
    return (lambda blob: None) if done else check


def _sequence_change(request: Request, action: str) -> Callable[[int], int]:
    number = sequence_number(request)
    if action == "increment":
        if number is not None:
            raise faults.invalid_header("x-ms-blob-sequence-number", str(number))
        return _increment
    if action not in ("max", "update"):
        raise faults.invalid_header("x-ms-sequence-number-action", action)
    if number is None:
        raise faults.missing_header("x-ms-blob-sequence-number")
    return (lambda old: max(old, number)) if action == "max" else (lambda old: number)


def _increment(number: int) -> int:
    if number >= MAXIMUM_SEQUENCE:
        raise faults.fault("SequenceNumberIncrementTooLarge")
    return number + 1


def get_metadata(store: BlobStore, request: Request) -> Reply:
    """Get Blob Metadata."""
    blob = store.get_blob(*request.ref)
    check_read(store, request, blob)
    metadata = {f"x-ms-meta-{name}": value for name, value in blob.metadata.items()}
    return Reply(200, {**validators(blob), **metadata})


def set_metadata(store: BlobStore, request: Request) -> Reply:
    """Set Blob Metadata."""
    metadata = blob_metadata(request)
    blob = store.update_blob(
        request.ref, lambda found: replace(found, metadata=metadata), check=check_blob(store, request)
    )
    return Reply(200, {**validators(blob), **ENCRYPTION})


def set_tier(store: BlobStore, request: Request) -> Reply:
    """Set Blob Tier."""
    request.required_header("x-ms-access-tier")

    def apply(blob: Blob) -> Blob:
        return replace(blob, tier=access_tier(request, blob.type))

    store.update_blob(request.ref, apply, check=check_blob(store, request, lease_needed=False), touch=False)
    return Reply(200)
