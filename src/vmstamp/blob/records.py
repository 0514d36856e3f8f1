"""What the store keeps of accounts, containers and blobs, as values; and their JSON in the database."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, Literal, NamedTuple

from vmstamp.blob.lease import Lease
from vmstamp.db import Row

PAGE_BLOB: Final = "PageBlob"
BLOCK_BLOB: Final = "BlockBlob"
APPEND_BLOB: Final = "AppendBlob"
BlobType = Literal["PageBlob", "BlockBlob", "AppendBlob"]
CopyStatus = Literal["pending", "success", "aborted", "failed"]
PublicAccess = Literal["", "blob", "container"]


class BlobRef(NamedTuple):
    """The full name of a blob, or of one of its snapshots."""

    account: str
    container: str
    name: str
    snapshot: str = ""

    @property
    def base(self) -> BlobRef:
        """The blob itself."""
        return self._replace(snapshot="")


@dataclass(frozen=True)
class CorsRule:
    """Which web pages of other origins may ask what. REST: Set Blob Service Properties."""

    origins: tuple[str, ...]
    methods: tuple[str, ...]
    allowed_headers: tuple[str, ...]
    exposed_headers: tuple[str, ...]
    max_age: int  # seconds


@dataclass(frozen=True)
class ServiceProperties:
    """What an account's Blob service was told. `retention_days`: how long deleted blobs are kept, or 0."""

    cors: tuple[CorsRule, ...] = ()
    retention_days: int = 0
    default_version: str = ""


@dataclass(frozen=True)
class Account:
    """A storage account with its two keys (base64). `hidden`: the stamp's own, reached by SAS only.

    `delegation_secret` (base64) is what its user delegation keys are made of.
    """

    name: str
    key1: str
    key2: str
    hidden: bool
    created: datetime
    sku: str = "Standard_LRS"
    kind: str = "StorageV2"
    delegation_secret: str = ""
    properties: ServiceProperties = ServiceProperties()
    allow_public_access: bool = True  # whether containers may have public access


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
    lease: Lease | None = None


@dataclass(frozen=True)
class HttpHeaders:
    """The headers that a reader of the blob gets; empty: not sent. `content_md5` is base64."""

    content_type: str = "application/octet-stream"
    content_encoding: str = ""
    content_language: str = ""
    content_md5: str = ""
    cache_control: str = ""
    content_disposition: str = ""


# The name in HTTP of each field of HttpHeaders.
HTTP_HEADERS: Final = {
    "content_type": "content-type",
    "content_encoding": "content-encoding",
    "content_language": "content-language",
    "content_md5": "content-md5",
    "cache_control": "cache-control",
    "content_disposition": "content-disposition",
}


@dataclass(frozen=True)
class CopyState:
    """How a blob came, or comes, from another one. A copy inside a stamp is complete when it is answered."""

    id: str
    source: str  # a URL, without its SAS
    copied: int  # bytes
    total: int
    completed: datetime | None
    status: CopyStatus = "success"
    description: str = ""  # why it failed
    snapshot: str = ""  # of an incremental copy: the destination's newest snapshot

    @property
    def progress(self) -> str:
        return f"{self.copied}/{self.total}"


@dataclass(frozen=True)
class Blob:
    """A blob, or a snapshot, as it is now. `content` names the file with its bytes; `size` is in bytes.

    `lineage` stays the same until the blob is overwritten as a whole: it tells whether a snapshot is of this
    blob or of one that had its name before.
    """

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
    tags: dict[str, str] = field(default_factory=dict)
    lineage: str = ""
    tier: str = ""  # "": none was set, which is Hot
    appended: int = 0  # committed blocks of an append blob
    append_sealed: bool = False
    incremental: bool = False  # made by Incremental Copy Blob: only its snapshots are read
    sealed: bool = False  # its content: never written again
    generation: int = 0  # its content's
    deleted: datetime | None = None  # soft-deleted
    expires: datetime | None = None  # when a soft-deleted one is gone for good

    @property
    def is_pending(self) -> bool:
        """Whether it is the destination of a copy that goes on."""
        return self.copy is not None and self.copy.status == "pending"

    def awaits(self, begun: Blob) -> bool:
        """Whether it still waits for the copy with which `begun` was made."""
        mine, its = self.copy, begun.copy
        return self.is_pending and mine is not None and its is not None and mine.id == its.id


class Block(NamedTuple):
    """A block of a block blob: its id (base64) and its size in bytes."""

    id: str
    size: int


def account_of(row: Row) -> Account:
    document = json.loads(row["document"])
    properties = document.get("properties", {})
    rules = tuple(
        CorsRule(
            tuple(rule["origins"]),
            tuple(rule["methods"]),
            tuple(rule["allowed_headers"]),
            tuple(rule["exposed_headers"]),
            rule["max_age"],
        )
        for rule in properties.get("cors", ())
    )
    return Account(
        row["name"],
        row["key1"],
        row["key2"],
        bool(row["hidden"]),
        _time(row["created"]),
        document.get("sku", Account.sku),
        document.get("kind", Account.kind),
        document.get("delegation_secret", ""),
        ServiceProperties(rules, properties.get("retention_days", 0), properties.get("default_version", "")),
        document.get("allow_public_access", True),
    )


def account_document(account: Account) -> str:
    return _json(
        {
            "sku": account.sku,
            "kind": account.kind,
            "delegation_secret": account.delegation_secret,
            "properties": asdict(account.properties),
            "allow_public_access": account.allow_public_access,
        }
    )


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
        _lease_of(document.get("lease")),
    )


def container_document(container: Container) -> str:
    return _json(
        {
            "metadata": container.metadata,
            "public_access": container.public_access,
            "policies": [asdict(policy) for policy in container.policies],
            "lease": None if container.lease is None else asdict(container.lease),
        }
    )


def blob_of(row: Row) -> Blob:
    return Blob(
        ref=BlobRef(row["account"], row["container"], row["name"], row["snapshot"]),
        type=row["type"],
        size=row["size"],
        content=row["content"],
        etag=row["etag"],
        created=_time(row["created"]),
        last_modified=_time(row["last_modified"]),
        sealed=bool(row["sealed"]),
        generation=row["generation"],
        deleted=_find_time(row["deleted"]),
        expires=_find_time(row["expires"]),
        **_parse_document(row["document"]),
    )


@lru_cache(maxsize=256)
def _parse_document(text: str) -> dict[str, Any]:
    """The fields of a blob that its document has; writing pages leaves it as it is."""
    fields = json.loads(text)
    return {
        **fields,
        "headers": HttpHeaders(**fields["headers"]),
        "lease": _lease_of(fields["lease"]),
        "copy": _copy_of(fields["copy"]),
    }


def blob_document(blob: Blob) -> str:
    document = {
        "metadata": blob.metadata,
        "headers": asdict(blob.headers),
        "sequence_number": blob.sequence_number,
        "lease": None if blob.lease is None else asdict(blob.lease),
        "copy": None if blob.copy is None else asdict(blob.copy),
        "lineage": blob.lineage,
    }
    rare = {
        "tags": blob.tags,
        "tier": blob.tier,
        "appended": blob.appended,
        "append_sealed": blob.append_sealed,
        "incremental": blob.incremental,
    }
    return _json(document | {name: value for name, value in rare.items() if value})


def _lease_of(document: dict[str, Any] | None) -> Lease | None:
    if document is None:
        return None
    until, breaks = (_find_time(document[name]) for name in ("until", "breaks"))
    return Lease(document["id"], document["seconds"], until, breaks)


def _copy_of(document: dict[str, Any] | None) -> CopyState | None:
    if document is None:
        return None
    if "progress" in document:  # as version 1 of the schema kept it
        copied, total = document.pop("progress").split("/")
        document |= {"copied": int(copied), "total": int(total)}
    return CopyState(**document | {"completed": _find_time(document["completed"])})


def time_text(time: datetime) -> str:
    """A time as the database keeps it."""
    return time.astimezone(UTC).isoformat(timespec="microseconds")


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _find_time(text: str | None) -> datetime | None:
    return _time(text) if text else None


def _json(document: dict[str, Any]) -> str:
    return json.dumps(document, default=time_text, separators=(",", ":"))
