"""What several operations on blobs read of their requests: checks, ranges, HTTP headers, digests."""

from __future__ import annotations

import base64
import re
import uuid
from dataclasses import replace
from typing import Final

from vmstamp.blob import conditions, faults, lease, tags
from vmstamp.blob.body import crc64_text, md5_text
from vmstamp.blob.conditions import SequenceConditions
from vmstamp.blob.lease import Lease
from vmstamp.blob.records import BLOCK_BLOB, HTTP_HEADERS, Blob, HttpHeaders
from vmstamp.blob.request import Request
from vmstamp.blob.store import PAGE, BlobStore, Check

_TIERS: Final = ("Hot", "Cool", "Cold")
MAXIMUM_SEQUENCE: Final = 2**63 - 1
METADATA_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


# -- checks


def check_blob(
    store: BlobStore,
    request: Request,
    *,
    read: bool = False,
    code: str = "ConditionNotMet",
    pending: bool = False,
    lease_needed: bool = True,
) -> Check:
    """Lease and conditions of a request, to be asked about the blob as it is.

    `pending`: also a blob to which a copy goes on is taken; `lease_needed`: whoever writes shows the lease.
    """
    wanted = conditions.parse_conditions(request.headers)
    identity = lease_id(request, "x-ms-lease-id") or None
    if identity is not None and wanted.if_none_match == "*" and not read:
        # As Azure answers: whoever shows the blob's lease may replace it in spite of this condition.
        wanted = replace(wanted, if_none_match="")

    def check(blob: Blob | None) -> None:
        if blob is None:
            conditions.check(wanted, None, None, read=read, code=code)
            return
        if not read and code != "ConditionNotMet" and wanted.if_none_match == "*":
            raise faults.fault("BlobAlreadyExists")
        conditions.check(wanted, blob.etag, blob.last_modified, read=read, code=code)
        check_tags(request, blob, code)
        held = blob.lease if blob.lease is None or identity is None else _with_lower_id(blob.lease, identity)
        lease.check(held, identity, store.now(), write=lease_needed and not read)
        if blob.is_pending and not read and not pending:
            raise faults.fault("PendingCopyOperation")

    return check


def _with_lower_id(held: Lease, identity: str) -> Lease:
    """The stamp's own leases may have an id that is no GUID; clients' ids are GUIDs in lower case."""
    return replace(held, id=held.id.lower()) if held.id.lower() == identity else held


def check_tags(request: Request, blob: Blob, code: str = "ConditionNotMet") -> None:
    """Raise 412 unless the blob's tags are as x-ms-if-tags says."""
    wanted = request.header("x-ms-if-tags")
    if wanted and not tags.matches(tags.parse_expression(wanted, "x-ms-if-tags"), blob.tags):
        raise faults.fault(code)


def new_check(store: BlobStore, request: Request, code: str = "") -> Check:
    """The check of what makes a blob: who may only create must not replace one."""
    check = check_blob(store, request, code=code or "ConditionNotMet")
    leased = bool(request.header("x-ms-lease-id"))
    only_if_absent = conditions.parse_conditions(request.headers).if_none_match == "*" and not leased

    def check_new(blob: Blob | None) -> None:
        if blob is not None:
            if only_if_absent:
                raise faults.fault("BlobAlreadyExists")
            if not request.grant.everything and "w" not in request.grant.permissions:
                raise faults.fault("AuthorizationPermissionMismatch")
        check(blob)

    return check_new


def check_read(store: BlobStore, request: Request, blob: Blob) -> None:
    check_blob(store, request, read=True)(blob)


def page_check(store: BlobStore, request: Request) -> tuple[Check, bool]:
    """The check of a Put Page, and whether it needs the blob for itself: an ETag changes with each write."""
    sequence = SequenceConditions(
        request.number("x-ms-if-sequence-number-le"),
        request.number("x-ms-if-sequence-number-lt"),
        request.number("x-ms-if-sequence-number-eq"),
    )
    check = check_blob(store, request)

    def check_page(blob: Blob | None) -> None:
        check(blob)
        if blob is not None:
            sequence.check(blob.sequence_number)

    return check_page, conditions.parse_conditions(request.headers).any


def lease_id(request: Request, name: str) -> str:
    """A lease id, a GUID in any form, as the service writes it; "" when it is not sent."""
    value = request.header(name)
    if not value:
        return ""
    try:
        return str(uuid.UUID(value))
    except ValueError:
        raise faults.invalid_header(name, value) from None


# -- values


def access_tier(request: Request, kind: str) -> str:
    """The access tier that a request gives a blob of this type, "" for none. Raises 400."""
    value = request.header("x-ms-access-tier")
    if not value:
        return ""
    if kind != BLOCK_BLOB:
        raise faults.fault("AccessTierNotSupportedForBlobType")
    if value == "Archive":
        raise faults.unsupported("the archive tier")
    if value not in _TIERS:
        raise faults.invalid_header("x-ms-access-tier", value)
    return value


def sent_tags(request: Request) -> dict[str, str]:
    """The tags that a new blob gets. Raises 400; 403 for a SAS that may not tag."""
    text = request.header("x-ms-tags")
    if text and not request.grant.everything and "t" not in request.grant.permissions:
        raise faults.fault("AuthorizationPermissionMismatch")
    return tags.parse_tags_header(text)


def block_id(request: Request) -> str:
    """The id of a block, base64 of at most 64 bytes, as it was sent."""
    value = request.query.get("blockid", "")
    if not value:
        raise faults.fault("MissingRequiredQueryParameter", "QueryParameterName: blockid.")
    try:
        length = len(base64.b64decode(value, validate=True))
    except ValueError:
        raise faults.fault("InvalidBlockId") from None
    if not 1 <= length <= 64:
        raise faults.fault("OutOfRangeInput", "A block's id has 1 to 64 bytes.")
    return value


def append_conditions(request: Request) -> tuple[int | None, int | None]:
    """Where the append blob must end before, and how long it may be afterwards."""
    return request.number("x-ms-blob-condition-appendpos"), request.number("x-ms-blob-condition-maxsize")


def page_range(request: Request) -> tuple[int, int]:
    asked = request.range()
    if asked is None:
        raise faults.missing_header("x-ms-range")
    start, end = asked
    if end is None or start % PAGE or end % PAGE:
        raise faults.fault("InvalidPageRange")
    return start, end


def read_range(request: Request, blob: Blob) -> tuple[int, int] | None:
    """The range to read, cut at the end of the blob; None for all of it. Raises 416 InvalidRange."""
    asked = request.range()
    if asked is None:
        return None
    start, end = asked
    if start >= blob.size:
        raise faults.fault("InvalidRange")
    return start, blob.size if end is None else min(end, blob.size)


def sequence_number(request: Request) -> int | None:
    number = request.number("x-ms-blob-sequence-number")
    if number is not None and number > MAXIMUM_SEQUENCE:
        raise faults.invalid_header("x-ms-blob-sequence-number", str(number))
    return number


def blob_metadata(request: Request) -> dict[str, str]:
    metadata = request.metadata()
    for name in metadata:
        if not METADATA_NAME.fullmatch(name):
            raise faults.fault("InvalidMetadata")
    return metadata


def sent_http_headers(request: Request) -> bool:
    return any(request.header(f"x-ms-blob-{name}") for name in HTTP_HEADERS.values())


def http_headers(request: Request) -> HttpHeaders:
    """The x-ms-blob-... headers of Put Blob and Set Blob Properties; what is not sent is cleared."""
    sent = {field: request.header(f"x-ms-blob-{name}") for field, name in HTTP_HEADERS.items()}
    plain = request.header("content-type") if request.method == "PUT" and "comp" not in request.query else ""
    sent["content_type"] = sent["content_type"] or plain or HttpHeaders().content_type
    return HttpHeaders(**sent)


# -- digests


def check_digests(request: Request) -> tuple[str, str]:
    """The body's CRC64, and its MD5 if that was sent, in base64. Raises 400 on a mismatch."""
    md5, crc = request.header("content-md5"), request.header("x-ms-content-crc64")
    if md5 and crc:
        raise faults.fault("BothCrc64AndMd5HeaderPresent")
    computed = crc64_text(request.body)
    if crc and crc != computed:
        raise faults.fault("Crc64Mismatch")
    if md5 and md5 != md5_text(request.body):
        raise faults.fault("Md5Mismatch")
    return computed, md5
