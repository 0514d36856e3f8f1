"""The REST operations on blobs: one function each, from a request to a reply."""

from __future__ import annotations

import base64
import hashlib
import re
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from azure.storage.extensions import checksums

from vmstamp.blob import conditions, documents, faults, lease
from vmstamp.blob.conditions import SequenceConditions
from vmstamp.blob.lease import Lease
from vmstamp.blob.records import PAGE_BLOB, Blob, HttpHeaders
from vmstamp.blob.request import Reply, Request, Stream, http_time
from vmstamp.blob.store import PAGE, BlobStore, Check

MAXIMUM_PAGES: Final = 4 * 2**20  # bytes of one Put Page
MAXIMUM_BLOCK_BLOB: Final = 32 * 2**20  # bytes of one Put Blob
MAXIMUM_CHECKED_RANGE: Final = 4 * 2**20  # bytes of a range whose digest is asked for
MAXIMUM_RANGES: Final = 10_000  # of one Get Page Ranges
MAXIMUM_SEQUENCE: Final = 2**63 - 1
_DIGEST_PIECE: Final = 256 * 1024  # bytes
_METADATA_NAME: Final = re.compile(r"[a-z_][a-z0-9_]*")


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
        metadata=_metadata(request),
        headers=_http_headers(request),
        sequence_number=_sequence_number(request) or 0,
        check=_new_check(store, request),
    )
    return Reply(201, {**_validators(blob), **_ENCRYPTION})


def put_block_blob(store: BlobStore, request: Request) -> Reply:
    """Put Blob, BlockBlob."""
    crc, md5 = _check_digests(request)
    headers = _http_headers(request)
    if not headers.content_md5:
        headers = replace(headers, content_md5=md5 or _md5(request.body))
    blob = store.put_block_blob(
        *request.address,
        request.body,
        metadata=_metadata(request),
        headers=headers,
        check=_new_check(store, request),
    )
    digests = {"x-ms-content-crc64": crc, "content-md5": headers.content_md5}
    return Reply(201, {**_validators(blob), **_ENCRYPTION, **digests})


def delete_blob(store: BlobStore, request: Request) -> Reply:
    """Delete Blob."""
    if request.header("x-ms-delete-snapshots") not in ("", "include"):
        raise faults.unsupported("deleting snapshots only")
    store.delete_blob(*request.address, check=_check(store, request))
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
        check=_new_check(store, request, code="TargetConditionNotMet"),
        source_check=check_source,
        metadata=_metadata(request),
        copied_from=source.url,
    )
    identity = blob.copy.id if blob.copy is not None else ""
    return Reply(202, {**_validators(blob), "x-ms-copy-id": identity, "x-ms-copy-status": "success"})


def abort_copy(store: BlobStore, request: Request) -> Reply:
    """Abort Copy Blob: a copy inside a stamp is complete when it is answered."""
    store.get_blob(*request.address)
    raise faults.fault("NoPendingCopyOperation")


# -- bytes


def update_pages(store: BlobStore, request: Request) -> Reply:
    """Put Page, update."""
    start, end = _page_range(request)
    if end - start > MAXIMUM_PAGES:
        raise faults.fault("RequestBodyTooLarge")
    if len(request.body) != end - start:
        raise faults.invalid_header("Content-Length", str(len(request.body)))
    crc, md5 = _check_digests(request)
    check, alone = _page_check(store, request)
    blob = store.write_pages(*request.address, start, request.body, check=check, alone=alone)
    headers = {**_page_headers(blob), **_ENCRYPTION, "x-ms-content-crc64": crc}
    return Reply(201, headers | ({"content-md5": md5} if md5 else {}))


def clear_pages(store: BlobStore, request: Request) -> Reply:
    """Put Page, clear."""
    start, end = _page_range(request)
    if request.header("content-length") not in ("", "0"):
        raise faults.invalid_header("Content-Length", request.header("content-length"))
    check, _ = _page_check(store, request)
    return Reply(201, _page_headers(store.clear_pages(*request.address, start, end - start, check=check)))


def get_page_ranges(store: BlobStore, request: Request) -> Reply:
    """Get Page Ranges, in pieces where maxresults or their number asks for it."""
    if {"prevsnapshot"} & request.query.keys() or request.header("x-ms-previous-snapshot-url"):
        raise faults.unsupported("Get Page Ranges with a previous snapshot")
    blob = store.get_blob(*request.address)
    _check_read(store, request, blob)
    if blob.type != PAGE_BLOB:
        raise faults.fault("InvalidBlobType")
    start, end = _read_range(request, blob) or (0, blob.size)
    marker, limit = request.query.get("marker", ""), request.query.get("maxresults", str(MAXIMUM_RANGES))
    if not re.fullmatch(r"\d{0,19}", marker):
        raise faults.invalid_parameter("marker", marker)
    if not re.fullmatch(r"[1-9]\d{0,9}", limit):
        raise faults.fault("OutOfRangeInput", f"maxresults is {limit}.")
    count = min(int(limit), MAXIMUM_RANGES)
    found = store.content_ranges(blob, max(start, int(marker or 0)), end, count + 1)
    following = str(found[count].start) if len(found) > count else ""
    headers = {
        **_validators(blob),
        "x-ms-blob-content-length": str(blob.size),
        "content-type": documents.CONTENT_TYPE,
    }
    return Reply(200, headers, documents.page_list(found[:count], following))


def get_blob(store: BlobStore, request: Request) -> Reply:
    """Get Blob; Get Blob Properties for HEAD."""
    blob = store.get_blob(*request.address)
    _check_read(store, request, blob)
    headers = _blob_headers(store, blob) | _overrides(request)
    if request.method == "HEAD":
        return Reply(200, headers | {"content-length": str(blob.size)} | _content_md5(blob))
    asked = _read_range(request, blob)
    if asked is None:
        return Reply(200, headers | _content_md5(blob), Stream(blob, 0, blob.size))
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
    return {"content-md5": _md5(data)} if asked["md5"] else {"x-ms-content-crc64": _crc64(data)}


# -- properties


def set_properties(store: BlobStore, request: Request) -> Reply:
    """Set Blob Properties: HTTP headers, or the size, or the sequence number of a page blob."""
    size, action = request.number("x-ms-blob-content-length"), request.header("x-ms-sequence-number-action")
    check = _check(store, request)
    if size is not None:
        blob = store.resize(*request.address, size, check=check)
        if not action and not _sent_http_headers(request):
            return Reply(200, _page_headers(blob))
    change = _sequence_change(request, action) if action else None
    headers = (
        _http_headers(request) if _sent_http_headers(request) or not (action or size is not None) else None
    )

    def apply(blob: Blob) -> Blob:
        if change is not None:
            if blob.type != PAGE_BLOB:
                raise faults.fault("InvalidBlobType")
            blob = replace(blob, sequence_number=change(blob.sequence_number))
        return blob if headers is None else replace(blob, headers=headers)

    blob = store.update_blob(request.address.ref, apply, check=_unless(size is not None, check))
    return Reply(200, _page_headers(blob))


def _unless(done: bool, check: Check) -> Check:
    """No second check after a first change: it has given the blob another ETag."""
    return (lambda blob: None) if done else check


def _sequence_change(request: Request, action: str) -> Callable[[int], int]:
    number = _sequence_number(request)
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
    _check_read(store, request, blob)
    metadata = {f"x-ms-meta-{name}": value for name, value in blob.metadata.items()}
    return Reply(200, {**_validators(blob), **metadata})


def set_metadata(store: BlobStore, request: Request) -> Reply:
    """Set Blob Metadata."""
    metadata = _metadata(request)
    blob = store.update_blob(
        request.address.ref, lambda found: replace(found, metadata=metadata), check=_check(store, request)
    )
    return Reply(200, {**_validators(blob), **_ENCRYPTION})


def lease_blob(store: BlobStore, request: Request) -> Reply:
    """Lease Blob: acquire, renew, change, release, break."""
    action = request.required_header("x-ms-lease-action").lower()
    steps = {"acquire": _acquire, "renew": _renew, "change": _change, "release": _release, "break": _break}
    if action not in steps:
        raise faults.invalid_header("x-ms-lease-action", action)
    wanted = conditions.parse_conditions(request.headers)
    status, headers = 200, dict[str, str]()

    def apply(blob: Blob) -> Blob:
        nonlocal status
        conditions.check(wanted, blob.etag, blob.last_modified, read=False)
        status, found, more = steps[action](store, request, blob.lease)
        headers.update(more)
        return replace(blob, lease=found)

    blob = store.update_blob(request.address.ref, apply, touch=False)
    return Reply(status, {**_validators(blob), **headers})


Leased = tuple[int, Lease | None, dict[str, str]]


def _acquire(store: BlobStore, request: Request, held: Lease | None) -> Leased:
    seconds = request.required_header("x-ms-lease-duration")
    if not re.fullmatch(r"-1|\d{1,9}", seconds):
        raise faults.invalid_header("x-ms-lease-duration", seconds)
    identity = _lease_id(request, "x-ms-proposed-lease-id") or str(uuid.uuid4())
    new = lease.acquire(held, identity, int(seconds), store.now())
    return 201, new, {"x-ms-lease-id": new.id}


def _renew(store: BlobStore, request: Request, held: Lease | None) -> Leased:
    new = lease.renew(held, _own_lease_id(request), store.now())
    return 200, new, {"x-ms-lease-id": new.id}


def _change(store: BlobStore, request: Request, held: Lease | None) -> Leased:
    proposed = _lease_id(request, "x-ms-proposed-lease-id")
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


def _own_lease_id(request: Request) -> str:
    request.required_header("x-ms-lease-id")
    return _lease_id(request, "x-ms-lease-id")


def _lease_id(request: Request, name: str) -> str:
    """A lease id, a GUID in any form, as the service writes it; "" when it is not sent."""
    value = request.header(name)
    if not value:
        return ""
    try:
        return str(uuid.UUID(value))
    except ValueError:
        raise faults.invalid_header(name, value) from None


# -- what several operations read


def _check(store: BlobStore, request: Request, *, read: bool = False, code: str = "ConditionNotMet") -> Check:
    """Lease and conditions of a request, to be asked about the blob as it is."""
    wanted = conditions.parse_conditions(request.headers)
    identity = _lease_id(request, "x-ms-lease-id") or None

    def check(blob: Blob | None) -> None:
        if blob is None:
            conditions.check(wanted, None, None, read=read, code=code)
            return
        if not read and code != "ConditionNotMet" and wanted.if_none_match == "*":
            raise faults.fault("BlobAlreadyExists")
        conditions.check(wanted, blob.etag, blob.last_modified, read=read, code=code)
        held = blob.lease if blob.lease is None or identity is None else _with_lower_id(blob.lease, identity)
        lease.check(held, identity, store.now(), write=not read)

    return check


def _with_lower_id(held: Lease, identity: str) -> Lease:
    """The stamp's own leases may have an id that is no GUID; clients' ids are GUIDs in lower case."""
    return replace(held, id=held.id.lower()) if held.id.lower() == identity else held


def _new_check(store: BlobStore, request: Request, code: str = "") -> Check:
    """The check of what makes a blob: who may only create must not replace one."""
    check = _check(store, request, code=code or "ConditionNotMet")
    only_if_absent = conditions.parse_conditions(request.headers).if_none_match == "*"

    def check_new(blob: Blob | None) -> None:
        if blob is not None:
            if only_if_absent:
                raise faults.fault("BlobAlreadyExists")
            if not request.grant.everything and "w" not in request.grant.permissions:
                raise faults.fault("AuthorizationPermissionMismatch")
        check(blob)

    return check_new


def _check_read(store: BlobStore, request: Request, blob: Blob) -> None:
    _check(store, request, read=True)(blob)


def _page_check(store: BlobStore, request: Request) -> tuple[Check, bool]:
    """The check of a Put Page, and whether it needs the blob for itself: an ETag changes with each write."""
    sequence = SequenceConditions(
        request.number("x-ms-if-sequence-number-le"),
        request.number("x-ms-if-sequence-number-lt"),
        request.number("x-ms-if-sequence-number-eq"),
    )
    check = _check(store, request)

    def check_page(blob: Blob | None) -> None:
        check(blob)
        if blob is not None:
            sequence.check(blob.sequence_number)

    return check_page, conditions.parse_conditions(request.headers).any


def _page_range(request: Request) -> tuple[int, int]:
    asked = request.range()
    if asked is None:
        raise faults.missing_header("x-ms-range")
    start, end = asked
    if end is None or start % PAGE or end % PAGE:
        raise faults.fault("InvalidPageRange")
    return start, end


def _read_range(request: Request, blob: Blob) -> tuple[int, int] | None:
    """The range to read, cut at the end of the blob; None for all of it. Raises 416 InvalidRange."""
    asked = request.range()
    if asked is None:
        return None
    start, end = asked
    if start >= blob.size:
        raise faults.fault("InvalidRange")
    return start, blob.size if end is None else min(end, blob.size)


def _sequence_number(request: Request) -> int | None:
    number = request.number("x-ms-blob-sequence-number")
    if number is not None and number > MAXIMUM_SEQUENCE:
        raise faults.invalid_header("x-ms-blob-sequence-number", str(number))
    return number


def _metadata(request: Request) -> dict[str, str]:
    metadata = request.metadata()
    for name in metadata:
        if not _METADATA_NAME.fullmatch(name):
            raise faults.fault("InvalidMetadata")
    return metadata


_HTTP_HEADERS: Final = {
    "content_type": "content-type",
    "content_encoding": "content-encoding",
    "content_language": "content-language",
    "content_md5": "content-md5",
    "cache_control": "cache-control",
    "content_disposition": "content-disposition",
}


def _sent_http_headers(request: Request) -> bool:
    return any(request.header(f"x-ms-blob-{name}") for name in _HTTP_HEADERS.values())


def _http_headers(request: Request) -> HttpHeaders:
    """The x-ms-blob-... headers of Put Blob and Set Blob Properties; what is not sent is cleared."""
    sent = {field: request.header(f"x-ms-blob-{name}") for field, name in _HTTP_HEADERS.items()}
    plain = request.header("content-type") if request.method == "PUT" and "comp" not in request.query else ""
    sent["content_type"] = sent["content_type"] or plain or HttpHeaders().content_type
    return HttpHeaders(**sent)


def _check_digests(request: Request) -> tuple[str, str]:
    """The body's CRC64, and its MD5 if that was sent, in base64. Raises 400 on a mismatch."""
    md5, crc = request.header("content-md5"), request.header("x-ms-content-crc64")
    if md5 and crc:
        raise faults.fault("BothCrc64AndMd5HeaderPresent")
    computed = _crc64(request.body)
    if crc and crc != computed:
        raise faults.fault("Crc64Mismatch")
    if md5 and md5 != _md5(request.body):
        raise faults.fault("Md5Mismatch")
    return computed, md5


def _crc64(data: bytes | bytearray) -> str:
    """CRC-64/NVME, little-endian, as the service writes it."""
    value = 0
    with memoryview(data) as view:
        for start in range(0, len(view), _DIGEST_PIECE):  # the library takes bytes alone: small copies
            value = checksums.crc64.compute(bytes(view[start : start + _DIGEST_PIECE]), value)
    return base64.b64encode(value.to_bytes(8, "little")).decode()


def _md5(data: bytes | bytearray) -> str:
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


# -- headers of replies

_ENCRYPTION: Final = {"x-ms-request-server-encrypted": "false"}


def _validators(blob: Blob) -> dict[str, str]:
    return {"etag": blob.etag, "last-modified": http_time(blob.last_modified)}


def _page_headers(blob: Blob) -> dict[str, str]:
    headers = _validators(blob)
    if blob.type == PAGE_BLOB:
        headers["x-ms-blob-sequence-number"] = str(blob.sequence_number)
    return headers


def _content_md5(blob: Blob) -> dict[str, str]:
    return {"content-md5": blob.headers.content_md5} if blob.headers.content_md5 else {}


def _overrides(request: Request) -> dict[str, str]:
    """The headers that a SAS asks to be sent instead of the blob's."""
    if "sig" not in request.query:
        return {}
    names = {
        "rscc": "cache-control",
        "rscd": "content-disposition",
        "rsce": "content-encoding",
        "rscl": "content-language",
        "rsct": "content-type",
    }
    return {header: request.query[name] for name, header in names.items() if name in request.query}


def _blob_headers(store: BlobStore, blob: Blob) -> dict[str, str]:
    state = lease.state(blob.lease, store.now())
    headers = {
        **_page_headers(blob),
        "accept-ranges": "bytes",
        "x-ms-blob-type": blob.type,
        "x-ms-creation-time": http_time(blob.created),
        "x-ms-lease-state": state,
        "x-ms-lease-status": "locked" if state in ("leased", "breaking") else "unlocked",
        "x-ms-server-encrypted": "false",
    }
    if state == "leased" and blob.lease is not None:
        fixed = blob.lease.seconds != lease.INFINITE
        headers["x-ms-lease-duration"] = "fixed" if fixed else "infinite"
    if blob.copy is not None:
        headers |= {
            "x-ms-copy-id": blob.copy.id,
            "x-ms-copy-source": blob.copy.source,
            "x-ms-copy-status": "success",
            "x-ms-copy-progress": blob.copy.progress,
            "x-ms-copy-completion-time": http_time(blob.copy.completed),
        }
    for field, name in _HTTP_HEADERS.items():
        value = getattr(blob.headers, field)
        if value and field != "content_md5":
            headers[name] = value
    return headers | {f"x-ms-meta-{name}": value for name, value in blob.metadata.items()}
