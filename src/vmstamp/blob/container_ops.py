"""The REST operations on the account and on containers: one function each, from a request to a reply."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import replace
from typing import Final

from vmstamp.blob import conditions, documents, faults
from vmstamp.blob.accounts import MAXIMUM_POLICIES
from vmstamp.blob.records import Blob, Container, PublicAccess
from vmstamp.blob.request import Reply, Request, http_time
from vmstamp.blob.store import BlobStore

MAXIMUM_RESULTS: Final = 5000
_CONTAINER_NAME: Final = re.compile(r"[a-z0-9](?:-?[a-z0-9])+|\$root|\$logs|\$web")
# Values of `include` that name nothing this service could have: they add nothing to a listing.
_INCLUDES: Final = {"metadata", "copy", "snapshots", "deleted", "uncommittedblobs", "versions", "tags", ""}


def list_containers(store: BlobStore, request: Request) -> Reply:
    """List Containers."""
    query = dict(request.query)
    account = request.address.account
    start, count = _position(query)
    page = store.list_containers(account, prefix=query.get("prefix", ""), start=start, count=count)
    found = [store.find_container(account, name) for name in page.names]
    body = documents.containers(
        _endpoint(request),
        [container for container in found if container is not None],
        query,
        _marker(page.following),
        metadata="metadata" in _includes(query),
    )
    return Reply(200, {"content-type": documents.CONTENT_TYPE}, body)


def create_container(store: BlobStore, request: Request) -> Reply:
    """Create Container."""
    name = request.address.container
    if not _CONTAINER_NAME.fullmatch(name):
        raise faults.fault("InvalidResourceName")
    if not 3 <= len(name) <= 63:
        raise faults.fault("OutOfRangeInput", "A container's name has 3 to 63 characters.")
    container = store.create_container(
        request.address.account, name, metadata=request.metadata(), public_access=_public_access(request)
    )
    return Reply(201, _validators(container))


def delete_container(store: BlobStore, request: Request) -> Reply:
    """Delete Container."""
    wanted = conditions.parse_conditions(request.headers)
    store.delete_container(*request.address[:2], lambda container: _check(wanted, container))
    return Reply(202)


def get_container(store: BlobStore, request: Request) -> Reply:
    """Get Container Properties; Get Container Metadata."""
    container = store.get_container(*request.address[:2])
    headers = _validators(container)
    headers |= {f"x-ms-meta-{name}": value for name, value in container.metadata.items()}
    if request.query.get("comp") != "metadata":
        headers |= {
            "x-ms-lease-status": "unlocked",
            "x-ms-lease-state": "available",
            "x-ms-has-immutability-policy": "false",
            "x-ms-has-legal-hold": "false",
        }
        if container.public_access:
            headers["x-ms-blob-public-access"] = container.public_access
    return Reply(200, headers)


def set_container_metadata(store: BlobStore, request: Request) -> Reply:
    """Set Container Metadata."""
    wanted, metadata = conditions.parse_conditions(request.headers), request.metadata()
    container = store.update_container(
        *request.address[:2],
        lambda found: replace(found, metadata=metadata),
        lambda found: _check(wanted, found),
    )
    return Reply(200, _validators(container))


def get_container_acl(store: BlobStore, request: Request) -> Reply:
    """Get Container ACL."""
    container = store.get_container(*request.address[:2])
    headers = {**_validators(container), "content-type": documents.CONTENT_TYPE}
    if container.public_access:
        headers["x-ms-blob-public-access"] = container.public_access
    return Reply(200, headers, documents.access_policies(container.policies))


def set_container_acl(store: BlobStore, request: Request) -> Reply:
    """Set Container ACL."""
    wanted, access = conditions.parse_conditions(request.headers), _public_access(request)
    policies = documents.parse_access_policies(request.body)
    if len(policies) > MAXIMUM_POLICIES:
        raise faults.fault(
            "InvalidXmlDocument", f"At most {MAXIMUM_POLICIES} signed identifiers are allowed."
        )
    container = store.update_container(
        *request.address[:2],
        lambda found: replace(found, public_access=access, policies=policies),
        lambda found: _check(wanted, found),
    )
    return Reply(200, _validators(container))


def list_blobs(store: BlobStore, request: Request) -> Reply:
    """List Blobs, flat or folded at a delimiter."""
    query = dict(request.query)
    account, container = request.address[:2]
    store.get_container(account, container)
    start, count = _position(query)
    found, following = _fold(store, request, start, count)
    body = documents.blobs(
        _endpoint(request),
        container,
        found,
        query,
        _marker(following),
        store.now(),
        include=frozenset(_includes(query)),
    )
    return Reply(200, {"content-type": documents.CONTENT_TYPE}, body)


def _fold(store: BlobStore, request: Request, start: str, count: int) -> tuple[list[Blob | str], str]:
    """At most `count` blobs and common prefixes from `start` on, and where to go on ("": nowhere)."""
    account, container = request.address[:2]
    prefix, delimiter = request.query.get("prefix", ""), request.query.get("delimiter", "")
    found: list[Blob | str] = []
    while True:
        blobs, more = store.list_blobs(
            account, container, prefix=prefix, start=start, count=count - len(found) + 1
        )
        for blob in blobs:
            if len(found) == count:
                return found, blob.ref.name
            head, cut, _ = blob.ref.name[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
            if cut:
                found.append(prefix + head + cut)
                start = _behind(prefix + head + cut)
                break
            found.append(blob)
            start = blob.ref.name + "\0"
        else:
            if not more:
                return found, ""


def _behind(prefix: str) -> str:
    """A name behind all names with this prefix: no name goes on with Unicode's last code point."""
    return prefix + "\U0010ffff"


def _position(query: dict[str, str]) -> tuple[str, int]:
    """Where a listing starts and how many entries it may have."""
    text = query.get("maxresults", str(MAXIMUM_RESULTS))
    if not re.fullmatch(r"\d{1,9}", text) or int(text) == 0:
        raise faults.fault("OutOfRangeInput", f"maxresults is {text}.")
    marker = query.get("marker", "")
    try:
        start = base64.urlsafe_b64decode(marker).decode()
    except (binascii.Error, ValueError):
        raise faults.invalid_parameter("marker", marker) from None
    return start, min(int(text), MAXIMUM_RESULTS)


def _marker(name: str) -> str:
    """What a listing's next page is asked for with; "" for the last page."""
    return base64.urlsafe_b64encode(name.encode()).decode()


def _includes(query: dict[str, str]) -> set[str]:
    words = set(query.get("include", "").lower().split(","))
    unknown = words - _INCLUDES
    if unknown:
        raise faults.unsupported(f"listing with include={','.join(sorted(unknown))}")
    return words


def _endpoint(request: Request) -> str:
    """The account's own URL, as the request addressed it."""
    path_style = ".blob." not in request.host
    return f"{request.scheme}://{request.host}/" + (f"{request.address.account}/" if path_style else "")


def _public_access(request: Request) -> PublicAccess:
    value = request.header("x-ms-blob-public-access")
    if value == "container":
        return "container"
    if value in ("blob", "true"):
        return "blob"
    if value:
        raise faults.invalid_header("x-ms-blob-public-access", value)
    return ""


def _validators(container: Container) -> dict[str, str]:
    return {"etag": container.etag, "last-modified": http_time(container.last_modified)}


def _check(wanted: conditions.Conditions, container: Container) -> None:
    conditions.check(wanted, container.etag, container.last_modified, read=False)
