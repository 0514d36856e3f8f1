"""The REST operations on blobs: one function each, from a request to a reply."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from vmstamp.blob import conditions, documents, faults, lease
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
    blob_metadata,
    check_blob,
    check_digests,
    check_read,
    crc64_text,
    http_headers,
    md5_text,
    new_check,
    page_check,
    page_range,
    read_range,
    sent_http_headers,
    sequence_number,
)
from vmstamp.blob.records import PAGE_BLOB, Blob
from vmstamp.blob.request import Reply, Request, Stream
from vmstamp.blob.store import BlobStore, Check

MAXIMUM_PAGES: Final = 4 * 2**20  # bytes of one Put Page
MAXIMUM_BLOCK_BLOB: Final = 32 * 2**20  # bytes of one Put Blob
MAXIMUM_CHECKED_RANGE: Final = 4 * 2**20  # bytes of a range whose digest is asked for
MAXIMUM_RANGES: Final = 10_000  # of one Get Page Ranges


# -- making and deleting


def put_page_blob(store: BlobStore, request: Request) -> Reply:
    """Put Blob, PageBlob."""
    size = request.number("x-ms-blob-content-length")
    if size is None:
        raise faults.missing_header("x-ms-blob-content-length")
    if request.header("content-length") not in ("", "0"):
        raise faults.invalid_header("Content-Length", request.header("content-length"))
    blob = store.create_page_blob(
        *request.address,
        size,
        metadata=blob_metadata(request),
        headers=http_headers(request),
        sequence_number=sequence_number(request) or 0,
        check=new_check(store, request),
    )
    return Reply(201, {**validators(blob), **ENCRYPTION})


def put_block_blob(store: BlobStore, request: Request) -> Reply:
    """Put Blob, BlockBlob."""
    crc, md5 = check_digests(request)
    headers = http_headers(request)
    if not headers.content_md5:
        headers = replace(headers, content_md5=md5 or md5_text(request.body))
    blob = store.put_block_blob(
        *request.address,
        request.body,
        metadata=blob_metadata(request),
        headers=headers,
        check=new_check(store, request),
    )
    digests = {"x-ms-content-crc64": crc, "content-md5": headers.content_md5}
    return Reply(201, {**validators(blob), **ENCRYPTION, **digests})


def delete_blob(store: BlobStore, request: Request) -> Reply:
    """Delete Blob."""
    if request.header("x-ms-delete-snapshots") not in ("", "include"):
        raise faults.unsupported("deleting snapshots only")
    store.delete_blob(*request.address, check=check_blob(store, request))
    return Reply(202, {"x-ms-delete-type-permanent": "true"})


def copy_blob(store: BlobStore, request: Request, source: Request) -> Reply:
    """Copy Blob. `source` is the authorised read of the source."""
    wanted = conditions.parse_conditions(request.headers, "x-ms-source-")

    def check_source(blob: Blob | None) -> None:
        if blob is None:
            raise faults.fault("BlobNotFound")
        conditions.check(wanted, blob.etag, blob.last_modified, read=False, code="SourceConditionNotMet")
        lease.check(blob.lease, request.headers.get("x-ms-source-lease-id"), store.now(), write=False)

    blob = store.share(
        source.address.ref,
        request.address.ref,
        overwrite=True,
        check=new_check(store, request, code="TargetConditionNotMet"),
        source_check=check_source,
        metadata=blob_metadata(request),
        copied_from=source.url,
    )
    identity = blob.copy.id if blob.copy is not None else ""
    return Reply(202, {**validators(blob), "x-ms-copy-id": identity, "x-ms-copy-status": "success"})


def abort_copy(store: BlobStore, request: Request) -> Reply:
    """Abort Copy Blob: a copy inside a stamp is complete when it is answered."""
    store.get_blob(*request.address)
    raise faults.fault("NoPendingCopyOperation")


# -- bytes


def update_pages(store: BlobStore, request: Request) -> Reply:
    """Put Page, update."""
    start, end = page_range(request)
    if end - start > MAXIMUM_PAGES:
        raise faults.fault("RequestBodyTooLarge")
    if len(request.body) != end - start:
        raise faults.invalid_header("Content-Length", str(len(request.body)))
    crc, md5 = check_digests(request)
    check, alone = page_check(store, request)
    blob = store.write_pages(*request.address, start, request.body, check=check, alone=alone)
    headers = {**page_headers(blob), **ENCRYPTION, "x-ms-content-crc64": crc}
    return Reply(201, headers | ({"content-md5": md5} if md5 else {}))


def clear_pages(store: BlobStore, request: Request) -> Reply:
    """Put Page, clear."""
    start, end = page_range(request)
    if request.header("content-length") not in ("", "0"):
        raise faults.invalid_header("Content-Length", request.header("content-length"))
    check, _ = page_check(store, request)
    return Reply(201, page_headers(store.clear_pages(*request.address, start, end - start, check=check)))


def get_page_ranges(store: BlobStore, request: Request) -> Reply:
    """Get Page Ranges, in pieces where maxresults or their number asks for it."""
    if {"prevsnapshot"} & request.query.keys() or request.header("x-ms-previous-snapshot-url"):
        raise faults.unsupported("Get Page Ranges with a previous snapshot")
    blob = store.get_blob(*request.address)
    check_read(store, request, blob)
    if blob.type != PAGE_BLOB:
        raise faults.fault("InvalidBlobType")
    start, end = read_range(request, blob) or (0, blob.size)
    marker, limit = request.query.get("marker", ""), request.query.get("maxresults", str(MAXIMUM_RANGES))
    if not re.fullmatch(r"\d{0,19}", marker):
        raise faults.invalid_parameter("marker", marker)
    if not re.fullmatch(r"[1-9]\d{0,9}", limit):
        raise faults.fault("OutOfRangeInput", f"maxresults is {limit}.")
    count = min(int(limit), MAXIMUM_RANGES)
    found = store.content_ranges(blob, max(start, int(marker or 0)), end, count + 1)
    following = str(found[count].start) if len(found) > count else ""
    headers = {
        **validators(blob),
        "x-ms-blob-content-length": str(blob.size),
        "content-type": documents.CONTENT_TYPE,
    }
    return Reply(200, headers, documents.page_list(found[:count], following))


def get_blob(store: BlobStore, request: Request) -> Reply:
    """Get Blob; Get Blob Properties for HEAD."""
    blob = store.get_blob(*request.address)
    check_read(store, request, blob)
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
    return Reply(206, headers | _range_digests(store, request, blob, start, end), Stream(blob, start, end))


def _range_digests(store: BlobStore, request: Request, blob: Blob, start: int, end: int) -> dict[str, str]:
    asked = {
        name: request.header(f"x-ms-range-get-content-{name}").lower() == "true" for name in ("md5", "crc64")
    }
    if not any(asked.values()):
        return {}
    if all(asked.values()) or end - start > MAXIMUM_CHECKED_RANGE:
        name = "x-ms-range-get-content-md5" if asked["md5"] else "x-ms-range-get-content-crc64"
        raise faults.invalid_header(name, "true")
    with store.reader(blob) as read:
        data = read(start, end - start)
    return {"content-md5": md5_text(data)} if asked["md5"] else {"x-ms-content-crc64": crc64_text(data)}


# -- properties


def set_properties(store: BlobStore, request: Request) -> Reply:
    """Set Blob Properties: HTTP headers, or the size, or the sequence number of a page blob."""
    size, action = request.number("x-ms-blob-content-length"), request.header("x-ms-sequence-number-action")
    check = check_blob(store, request)
    if size is not None:
        blob = store.resize(*request.address, size, check=check)
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

    blob = store.update_blob(request.address.ref, apply, check=_unless(size is not None, check))
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
    blob = store.get_blob(*request.address)
    check_read(store, request, blob)
    metadata = {f"x-ms-meta-{name}": value for name, value in blob.metadata.items()}
    return Reply(200, {**validators(blob), **metadata})


def set_metadata(store: BlobStore, request: Request) -> Reply:
    """Set Blob Metadata."""
    metadata = blob_metadata(request)
    blob = store.update_blob(
        request.address.ref, lambda found: replace(found, metadata=metadata), check=check_blob(store, request)
    )
    return Reply(200, {**validators(blob), **ENCRYPTION})
