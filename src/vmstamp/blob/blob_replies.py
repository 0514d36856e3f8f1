"""The headers of replies about blobs."""

from __future__ import annotations

from typing import Final

from vmstamp.blob import lease
from vmstamp.blob.blob_requests import HTTP_HEADERS
from vmstamp.blob.records import PAGE_BLOB, Blob
from vmstamp.blob.request import Request, http_time
from vmstamp.blob.store import BlobStore

ENCRYPTION: Final = {"x-ms-request-server-encrypted": "false"}


def validators(blob: Blob) -> dict[str, str]:
    return {"etag": blob.etag, "last-modified": http_time(blob.last_modified)}


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


def blob_headers(store: BlobStore, blob: Blob) -> dict[str, str]:
    state = lease.state(blob.lease, store.now())
    headers = {
        **page_headers(blob),
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
    for field, name in HTTP_HEADERS.items():
        value = getattr(blob.headers, field)
        if value and field != "content_md5":
            headers[name] = value
    return headers | {f"x-ms-meta-{name}": value for name, value in blob.metadata.items()}
