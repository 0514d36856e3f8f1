"""The REST operations on block blobs and append blobs: one function each, from a request to a reply."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from vmstamp.blob import documents, faults
from vmstamp.blob.blob_replies import ENCRYPTION, validators
from vmstamp.blob.blob_requests import (
    access_tier,
    append_conditions,
    blob_metadata,
    block_id,
    check_blob,
    check_digests,
    http_headers,
    new_check,
    sent_tags,
)
from vmstamp.blob.body import md5_text
from vmstamp.blob.records import APPEND_BLOB, BLOCK_BLOB, Blob
from vmstamp.blob.request import Reply, Request
from vmstamp.blob.store import BlobStore

MAXIMUM_BLOCK: Final = 100 * 2**20  # bytes of one Put Blob, Put Block or Append Block


def put_block_blob(store: BlobStore, request: Request) -> Reply:
    """Put Blob, BlockBlob."""
    crc, _ = check_digests(request)
    headers, whole = http_headers(request), md5_text(request.body)
    if headers.content_md5 not in ("", whole):
        raise faults.fault("Md5Mismatch")
    headers = replace(headers, content_md5=whole)
    blob = store.put_block_blob(
        request.ref,
        request.body,
        metadata=blob_metadata(request),
        headers=headers,
        tags=sent_tags(request),
        tier=access_tier(request, BLOCK_BLOB),
        check=new_check(store, request),
    )
    digests = {"x-ms-content-crc64": crc, "content-md5": headers.content_md5}
    return Reply(201, {**validators(blob), **ENCRYPTION, **digests})


def put_append_blob(store: BlobStore, request: Request) -> Reply:
    """Put Blob, AppendBlob."""
    if request.header("content-length") not in ("", "0"):
        raise faults.invalid_header("Content-Length", request.header("content-length"))
    blob = store.create_append_blob(
        request.ref,
        metadata=blob_metadata(request),
        headers=http_headers(request),
        tags=sent_tags(request),
        check=new_check(store, request),
    )
    return Reply(201, {**validators(blob), **ENCRYPTION})


def put_block(store: BlobStore, request: Request) -> Reply:
    """Put Block."""
    identity = block_id(request)
    crc, md5 = check_digests(request)
    store.put_block(request.ref, identity, request.body, check=check_blob(store, request))
    return Reply(201, {**ENCRYPTION, "x-ms-content-crc64": crc} | ({"content-md5": md5} if md5 else {}))


def put_block_list(store: BlobStore, request: Request) -> Reply:
    """Put Block List."""
    crc, _ = check_digests(request)
    blob = store.put_block_list(
        request.ref,
        documents.parse_block_list(request.body),
        metadata=blob_metadata(request),
        headers=http_headers(request),
        tags=sent_tags(request),
        tier=access_tier(request, BLOCK_BLOB),
        check=new_check(store, request),
    )
    return Reply(201, {**validators(blob), **ENCRYPTION, "x-ms-content-crc64": crc})


def get_block_list(store: BlobStore, request: Request) -> Reply:
    """Get Block List."""
    which = request.query.get("blocklisttype", "committed").lower()
    if which not in ("committed", "uncommitted", "all"):
        raise faults.invalid_parameter("blocklisttype", which)
    found = store.block_lists(request.ref, check=check_blob(store, request, read=True))
    headers = {"content-type": documents.CONTENT_TYPE}
    if found.blob is not None:
        headers |= validators(found.blob) | {"x-ms-blob-content-length": str(found.blob.size)}
    body = documents.block_list(
        found.committed if which != "uncommitted" else None,
        found.uncommitted if which != "committed" else None,
    )
    return Reply(200, headers, body)


def append_block(store: BlobStore, request: Request) -> Reply:
    """Append Block."""
    if not request.body:
        raise faults.invalid_header("Content-Length", "0")
    crc, md5 = check_digests(request)
    position, maximum = append_conditions(request)
    blob, offset = store.append_block(
        request.ref, request.body, position=position, maximum=maximum, check=check_blob(store, request)
    )
    headers = {
        **validators(blob),
        **ENCRYPTION,
        "x-ms-content-crc64": crc,
        "x-ms-blob-append-offset": str(offset),
        "x-ms-blob-committed-block-count": str(blob.appended),
    }
    return Reply(201, headers | ({"content-md5": md5} if md5 else {}))


def seal_append_blob(store: BlobStore, request: Request) -> Reply:
    """Append Blob Seal."""
    position, _ = append_conditions(request)

    def apply(blob: Blob) -> Blob:
        if blob.type != APPEND_BLOB:
            raise faults.fault("InvalidBlobType")
        if position is not None and position != blob.size:
            raise faults.fault("AppendPositionConditionNotMet")
        return replace(blob, append_sealed=True)

    blob = store.update_blob(request.ref, apply, check=check_blob(store, request))
    return Reply(200, {**validators(blob), "x-ms-blob-sealed": "true"})
