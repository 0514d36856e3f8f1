"""What the store keeps of accounts, containers and blobs, as values; and their JSON in the database."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal, NamedTuple

from vmstamp.blob.lease import Lease
from vmstamp.db import Row

PAGE_BLOB: Final = "PageBlob"
BLOCK_BLOB: Final = "BlockBlob"
BlobType = Literal["PageBlob", "BlockBlob"]
PublicAccess = Literal["", "blob", "container"]


class BlobRef(NamedTuple):
    """The full name of a blob."""

    account: str
    container: str
    name: str


@dataclass(frozen=True)
class Account:
    """A storage account with its two keys (base64). `hidden`: the stamp's own, reached by SAS only."""

    name: str
    key1: str
    key2: str
    hidden: bool
    created: datetime


@dataclass(frozen=True)
class AccessPolicy:
    """A stored access policy; an empty field is left to the SAS that names the policy."""

    id: str
    permissions: str = ""
    start: datetime | None = None
    expiry: datetime | None = None


@dataclass(frozen=True)
class Container:
    account: str
    name: str
    etag: str
    last_modified: datetime
    metadata: dict[str, str] = field(default_factory=dict)
    public_access: PublicAccess = ""
    policies: tuple[AccessPolicy, ...] = ()


@dataclass(frozen=True)
class HttpHeaders:
    """The headers that a reader of the blob gets; empty: not sent. `content_md5` is base64."""

    content_type: str = "application/octet-stream"
    content_encoding: str = ""
    content_language: str = ""
    content_md5: str = ""
    cache_control: str = ""
    content_disposition: str = ""


@dataclass(frozen=True)
class CopyState:
    """How a blob came from another one; copies inside a stamp are complete when they are answered."""

    id: str
    source: str  # a URL, without its SAS
    progress: str  # "copied/total" in bytes
    completed: datetime


@dataclass(frozen=True)
class Blob:
    """A blob as it is now. `content` names the file with its bytes; `size` is in bytes."""

    ref: BlobRef
    type: BlobType
    size: int
    content: str
    etag: str
    created: datetime
    last_modified: datetime
    metadata: dict[str, str] = field(default_factory=dict)
    headers: HttpHeaders = HttpHeaders()
    sequence_number: int = 0
    lease: Lease | None = None
    copy: CopyState | None = None


def account_of(row: Row) -> Account:
    return Account(row["name"], row["key1"], row["key2"], bool(row["hidden"]), _time(row["created"]))


def container_of(row: Row) -> Container:
    document = json.loads(row["document"])
    policies = tuple(
        AccessPolicy(
            policy["id"], policy["permissions"], _find_time(policy["start"]), _find_time(policy["expiry"])
        )
        for policy in document["policies"]
    )
    return Container(
        row["account"],
        row["name"],
        row["etag"],
        _time(row["last_modified"]),
        document["metadata"],
        document["public_access"],
        policies,
    )


def container_document(container: Container) -> str:
    return _json(
        {
            "metadata": container.metadata,
            "public_access": container.public_access,
            "policies": [asdict(policy) for policy in container.policies],
        }
    )


def blob_of(row: Row) -> Blob:
    document = json.loads(row["document"])
    lease, copy = document["lease"], document["copy"]
    return Blob(
        BlobRef(row["account"], row["container"], row["name"]),
        row["type"],
        row["size"],
        row["content"],
        row["etag"],
        _time(row["created"]),
        _time(row["last_modified"]),
        document["metadata"],
        HttpHeaders(**document["headers"]),
        document["sequence_number"],
        None
        if lease is None
        else Lease(lease["id"], lease["seconds"], _find_time(lease["until"]), _find_time(lease["breaks"])),
        None
        if copy is None
        else CopyState(copy["id"], copy["source"], copy["progress"], _time(copy["completed"])),
    )


def blob_document(blob: Blob) -> str:
    return _json(
        {
            "metadata": blob.metadata,
            "headers": asdict(blob.headers),
            "sequence_number": blob.sequence_number,
            "lease": None if blob.lease is None else asdict(blob.lease),
            "copy": None if blob.copy is None else asdict(blob.copy),
        }
    )


def time_text(time: datetime) -> str:
    """A time as the database keeps it."""
    return time.astimezone(UTC).isoformat(timespec="microseconds")


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _find_time(text: str | None) -> datetime | None:
    return None if text is None else _time(text)


def _json(document: dict[str, Any]) -> str:
    return json.dumps(document, default=time_text, separators=(",", ":"))
