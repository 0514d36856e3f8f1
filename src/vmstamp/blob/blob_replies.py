"""The headers of replies about blobs."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from vmstamp.blob import lease
from vmstamp.blob.lease import Lease
from vmstamp.blob.records import APPEND_BLOB, BLOCK_BLOB, HTTP_HEADERS, PAGE_BLOB, Blob, Container, CopyState
from vmstamp.blob.request import Request, http_time
from vmstamp.blob.store import BlobStore

ENCRYPTION: Final = {"x-ms-request-server-encrypted": "false"}


def validators(what: Blob | Container) -> dict[str, str]:
    return {"etag": what.etag, "last-modified": http_time(what.last_modified)}


def page_headers(blob: Blob) -> dict[str, str]:
    headers = validators(blob)
    if blob.type == PAGE_BLOB:
        headers["x-ms-blob-sequence-number"] = str(blob.sequence_number)
    return headers


def content_md5(blob: Blob) -> dict[str, str]:
    return {"content-md5": blob.headers.content_md5} if blob.headers.content_md5 else {}


def overrides(request: Request) -> dict[str, str]:
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


def lease_headers(held: Lease | None, now: datetime) -> dict[str, str]:
    state = lease.state(held, now)
    headers = {
        "x-ms-lease-state": state,
        "x-ms-lease-status": "locked" if state in ("leased", "breaking") else "unlocked",
    }
    if state == "leased" and held is not None:
        headers["x-ms-lease-duration"] = "fixed" if held.seconds != lease.INFINITE else "infinite"
    return headers


def blob_headers(store: BlobStore, blob: Blob) -> dict[str, str]:
    headers = {
        **page_headers(blob),
        "accept-ranges": "bytes",
        "x-ms-blob-type": blob.type,
        "x-ms-creation-time": http_time(blob.created),
        "x-ms-server-encrypted": "false",
    }
    if not blob.ref.snapshot:
        headers |= lease_headers(blob.lease, store.now())
    if blob.type == BLOCK_BLOB:
        headers["x-ms-access-tier"] = blob.tier or "Hot"
        if not blob.tier:
            headers["x-ms-access-tier-inferred"] = "true"
    if blob.type == APPEND_BLOB:
        headers["x-ms-blob-committed-block-count"] = str(blob.appended)
        if blob.append_sealed:
            headers["x-ms-blob-sealed"] = "true"
    if blob.tags:
        headers["x-ms-tag-count"] = str(len(blob.tags))
    if blob.copy is not None:
        headers |= _copy_headers(blob.copy)
    if blob.incremental:
        headers["x-ms-incremental-copy"] = "true"
    for field, name in HTTP_HEADERS.items():
        value = getattr(blob.headers, field)
        if value and field != "content_md5":
            headers[name] = value
    return headers | {f"x-ms-meta-{name}": value for name, value in blob.metadata.items()}


def _copy_headers(copy: CopyState) -> dict[str, str]:
    headers = {
        "x-ms-copy-id": copy.id,
        "x-ms-copy-source": copy.source,
        "x-ms-copy-status": copy.status,
        "x-ms-copy-progress": copy.progress,
    }
    if copy.completed is not None:
        headers["x-ms-copy-completion-time"] = http_time(copy.completed)
    if copy.description:
        headers["x-ms-copy-status-description"] = copy.description
    if copy.snapshot:
        headers["x-ms-copy-destination-snapshot"] = copy.snapshot
    return headers
