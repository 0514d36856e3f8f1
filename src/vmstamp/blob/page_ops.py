"""The REST operations on the pages of page blobs: one function each, from a request to a reply."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

from vmstamp.blob import documents, faults
from vmstamp.blob.blob_replies import ENCRYPTION, page_headers, validators
from vmstamp.blob.blob_requests import (
    access_tier,
    blob_metadata,
    check_digests,
    check_read,
    http_headers,
    new_check,
    page_check,
    page_range,
    read_range,
    sent_tags,
    sequence_number,
)
from vmstamp.blob.records import PAGE_BLOB, Blob
from vmstamp.blob.request import Reply, Request, parse_query
from vmstamp.blob.store import BlobStore

MAXIMUM_PAGES: Final = 4 * 2**20  # bytes of one Put Page
MAXIMUM_RANGES: Final = 10_000  # of one Get Page Ranges


def put_page_blob(store: BlobStore, request: Request) -> Reply:
    """Put Blob, PageBlob."""
    size = request.number("x-ms-blob-content-length")
    if size is None:
        raise faults.missing_header("x-ms-blob-content-length")
    if request.header("content-length") not in ("", "0"):
        raise faults.invalid_header("Content-Length", request.header("content-length"))
    access_tier(request, PAGE_BLOB)
    blob = store.create_page_blob(
        request.ref,
        size,
        metadata=blob_metadata(request),
        headers=http_headers(request),
        sequence_number=sequence_number(request) or 0,
        tags=sent_tags(request),
        check=new_check(store, request),
    )
    return Reply(201, {**validators(blob), **ENCRYPTION})


def update_pages(store: BlobStore, request: Request) -> Reply:
    """Put Page, update."""
    start, end = page_range(request)
    if end - start > MAXIMUM_PAGES:
        raise faults.fault("RequestBodyTooLarge")
    if len(request.body) != end - start:
        raise faults.invalid_header("Content-Length", str(len(request.body)))
    crc, md5 = check_digests(request)
    check, alone = page_check(store, request)
    blob = store.write_pages(request.ref, start, request.body, check=check, alone=alone)
    headers = {**page_headers(blob), **ENCRYPTION, "x-ms-content-crc64": crc}
    return Reply(201, headers | ({"content-md5": md5} if md5 else {}))


def clear_pages(store: BlobStore, request: Request) -> Reply:
    """Put Page, clear."""
    start, end = page_range(request)
    if request.header("content-length") not in ("", "0"):
        raise faults.invalid_header("Content-Length", request.header("content-length"))
    check, _ = page_check(store, request)
    return Reply(201, page_headers(store.clear_pages(request.ref, start, end - start, check=check)))


def get_page_ranges(store: BlobStore, request: Request) -> Reply:
    """Get Page Ranges, or what changed since a snapshot; in pieces where their number asks for it."""
    blob = store.get_blob(*request.ref)
    check_read(store, request, blob)
    if blob.type != PAGE_BLOB:
        raise faults.fault("InvalidBlobType")
    start, end = read_range(request, blob) or (0, blob.size)
    marker, count = _page_of(request)
    start = max(start, marker)
    since = _previous(store, request, blob)
    if since is None:
        body = documents.page_list(store.content_spans(blob, start, end), count)
    else:
        body = documents.page_changes(store.changed_ranges(blob, since, start, end), count)
    headers = {
        **validators(blob),
        "x-ms-blob-content-length": str(blob.size),
        "content-type": documents.CONTENT_TYPE,
    }
    return Reply(200, headers, body)


def _page_of(request: Request) -> tuple[int, int]:
    """Where an answer begins, in bytes of the blob, and how many ranges it may have."""
    marker, limit = request.query.get("marker", ""), request.query.get("maxresults", str(MAXIMUM_RANGES))
    if not re.fullmatch(r"\d{0,19}", marker):
        raise faults.invalid_parameter("marker", marker)
    if not re.fullmatch(r"[1-9]\d{0,9}", limit):
        raise faults.fault("OutOfRangeInput", f"maxresults is {limit}.")
    return int(marker or 0), min(int(limit), MAXIMUM_RANGES)


def _previous(store: BlobStore, request: Request, blob: Blob) -> Blob | None:
    """The snapshot since which changes are asked for, by its time or, of managed disks, by its URL."""
    taken = request.query.get("prevsnapshot", "")
    url = request.header("x-ms-previous-snapshot-url")
    if url:
        taken = parse_query(urlsplit(url).query).get("snapshot", "")
        if not taken:
            raise faults.invalid_header("x-ms-previous-snapshot-url", url)
    if not taken:
        return None
    found = store.find_blob(*blob.ref.base[:3], taken)
    if found is None:
        raise faults.fault("PreviousSnapshotNotFound")
    return found
