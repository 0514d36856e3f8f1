"""The REST operations on the account and on containers: one function each, from a request to a reply."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from vmstamp.blob import conditions, documents, faults, lease
from vmstamp.blob.accounts import MAXIMUM_POLICIES
from vmstamp.blob.blob_replies import lease_headers, validators
from vmstamp.blob.blob_requests import blob_metadata, lease_id
from vmstamp.blob.records import Blob, Container, PublicAccess
from vmstamp.blob.request import Reply, Request
from vmstamp.blob.store import BlobStore, Position

MAXIMUM_RESULTS: Final = 5000
_CONTAINER_NAME: Final = re.compile(r"[a-z0-9](?:-?[a-z0-9])+|\$root|\$logs|\$web")
# Values of `include` that name nothing this service could have: they add nothing to a listing.
_INCLUDES: Final = {
    *("metadata", "copy", "snapshots", "deleted", "uncommittedblobs", "tags"),
    *("versions", "deletedwithversions", "immutabilitypolicy", "legalhold", "permissions", "system"),
}


def list_containers(store: BlobStore, request: Request) -> Reply:
    """List Containers."""
    query = request.query
    account = request.address.account
    start, count = listing_page(request)
    page = store.list_containers(account, prefix=query.get("prefix", ""), start=start[0], count=count)
    found = [store.find_container(account, name) for name in page.names]
    body = documents.containers(
        request.endpoint,
        [container for container in found if container is not None],
        query,
        continuation(page.following),
        store.now(),
        metadata="metadata" in _includes(request),
    )
    return Reply(200, {"content-type": documents.CONTENT_TYPE}, body)


def create_container(store: BlobStore, request: Request) -> Reply:
    """Create Container."""
    account, name = request.address[:2]
    check_container_name(name)
    container = store.create_container(
        account, name, metadata=blob_metadata(request), public_access=_public_access(store, request)
    )
    return Reply(201, validators(container))


def check_container_name(name: str) -> None:
    """Raises 400 unless a container may have this name."""
    if not 3 <= len(name) <= 63:
        raise faults.fault("OutOfRangeInput", "A container's name has 3 to 63 characters.")
    if not _CONTAINER_NAME.fullmatch(name):
        raise faults.fault("InvalidResourceName")


def delete_container(store: BlobStore, request: Request) -> Reply:
    """Delete Container."""
    store.delete_container(*request.address[:2], _check(store, request, write=True))
    return Reply(202)


def get_container(store: BlobStore, request: Request) -> Reply:
    """Get Container Properties; Get Container Metadata."""
    container = store.get_container(*request.address[:2])
    _check_lease(store, request, container)
    headers = validators(container)
    headers |= {f"x-ms-meta-{name}": value for name, value in container.metadata.items()}
    if request.query.get("comp") != "metadata":
        headers |= lease_headers(container.lease, store.now())
        headers |= {
            "x-ms-has-immutability-policy": "false",
            "x-ms-has-legal-hold": "false",
            "x-ms-immutable-storage-with-versioning-enabled": "false",
        }
        if container.public_access:
            headers["x-ms-blob-public-access"] = container.public_access
    return Reply(200, headers)


def set_container_metadata(store: BlobStore, request: Request) -> Reply:
    """Set Container Metadata."""
    metadata = blob_metadata(request)
    container = store.update_container(
        *request.address[:2],
        lambda found: replace(found, metadata=metadata),
        _check(store, request),
    )
    return Reply(200, validators(container))


def get_container_acl(store: BlobStore, request: Request) -> Reply:
    """Get Container ACL."""
    container = store.get_container(*request.address[:2])
    _check_lease(store, request, container)
    headers = {**validators(container), "content-type": documents.CONTENT_TYPE}
    if container.public_access:
        headers["x-ms-blob-public-access"] = container.public_access
    return Reply(200, headers, documents.access_policies(container.policies))


def set_container_acl(store: BlobStore, request: Request) -> Reply:
    """Set Container ACL."""
    access = _public_access(store, request)
    policies = documents.parse_access_policies(request.body)
    if len(policies) > MAXIMUM_POLICIES:
        raise faults.fault(
            "InvalidXmlDocument", f"At most {MAXIMUM_POLICIES} signed identifiers are allowed."
        )
    container = store.update_container(
        *request.address[:2],
        lambda found: replace(found, public_access=access, policies=policies),
        _check(store, request),
    )
    return Reply(200, validators(container))


def list_blobs(store: BlobStore, request: Request) -> Reply:
    """List Blobs, flat or folded at a delimiter."""
    account, container = request.address[:2]
    store.get_container(account, container)
    include = _includes(request)
    if request.query.get("delimiter") and "snapshots" in include:
        raise faults.invalid_parameter("include", "snapshots with a delimiter")
    start, count = listing_page(request)
    found, following = _fold(store, request, Position(*start), count, include)
    body = documents.blobs(
        request.endpoint,
        container,
        found,
        request.query,
        continuation(*following) if following is not None else "",
        store.now(),
        include=frozenset(include),
    )
    return Reply(200, {"content-type": documents.CONTENT_TYPE}, body)


def _fold(
    store: BlobStore, request: Request, start: Position, count: int, include: set[str]
) -> tuple[list[Blob | str], Position | None]:
    """At most `count` blobs and common prefixes from `start` on, and where to go on (None: nowhere)."""
    account, container = request.address[:2]
    prefix, delimiter = request.query.get("prefix", ""), request.query.get("delimiter", "")
    found: list[Blob | str] = []
    while True:
        blobs, more = store.list_blobs(
            account,
            container,
            prefix=prefix,
            start=start,
            count=count - len(found) + 1,
            snapshots="snapshots" in include,
            deleted="deleted" in include,
            uncommitted="uncommittedblobs" in include,
        )
        for blob in blobs:
            if len(found) == count:
                return found, Position.of(blob)
            head, cut, _ = blob.ref.name[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
            if cut:
                found.append(prefix + head + cut)
                start = _behind(prefix + head + cut)
                break
            found.append(blob)
            start = Position.of(blob).behind
        else:
            if not more:
                return found, None


def _behind(prefix: str) -> Position:
    """A place behind all names with this prefix: no name goes on with Unicode's last code point."""
    return Position(prefix + "\U0010ffff")


def listing_page(request: Request) -> tuple[tuple[str, str], int]:
    """Where a listing starts, in two words, and how many entries it may have."""
    text = request.query.get("maxresults", str(MAXIMUM_RESULTS))
    if not re.fullmatch(r"\d{1,9}", text) or int(text) == 0:
        raise faults.fault("OutOfRangeInput", f"maxresults is {text}.")
    marker = request.query.get("marker", "")
    return _parse_marker(marker) if marker else ("", ""), min(int(text), MAXIMUM_RESULTS)


def _parse_marker(marker: str) -> tuple[str, str]:
    try:
        first, second = json.loads(base64.urlsafe_b64decode(marker))
    except (ValueError, TypeError):
        raise faults.invalid_parameter("marker", marker) from None
    if not (isinstance(first, str) and isinstance(second, str)):
        raise faults.invalid_parameter("marker", marker)
    return first, second


def continuation(first: str, second: str = "") -> str:
    """What a listing's next page is asked for with; "" for the last page."""
    return base64.urlsafe_b64encode(json.dumps([first, second]).encode()).decode() if first else ""


def _includes(request: Request) -> set[str]:
    words = set(filter(None, request.query.get("include", "").lower().split(",")))
    unknown = words - _INCLUDES
    if unknown:
        raise faults.unsupported(f"listing with include={','.join(sorted(unknown))}")
    return words


def _public_access(store: BlobStore, request: Request) -> PublicAccess:
    """The public access that a request asks for. Raises 409 when its account permits none."""
    value = request.header("x-ms-blob-public-access")
    if value and not store.get_account(request.address.account).allow_public_access:
        raise faults.fault("PublicAccessNotPermitted")
    if value == "container":
        return "container"
    if value in ("blob", "true"):
        return "blob"
    if value:
        raise faults.invalid_header("x-ms-blob-public-access", value)
    return ""


def _check(store: BlobStore, request: Request, *, write: bool = False) -> Callable[[Container], None]:
    """Lease and conditions of a request, to be asked about the container as it is."""
    wanted = conditions.parse_conditions(request.headers)

    def check(container: Container) -> None:
        conditions.check(wanted, container.etag, container.last_modified, read=False)
        _check_lease(store, request, container, write=write)

    return check


def _check_lease(store: BlobStore, request: Request, container: Container, *, write: bool = False) -> None:
    identity = lease_id(request, "x-ms-lease-id") or None
    lease.check(container.lease, identity, store.now(), write=write, what="Container")
