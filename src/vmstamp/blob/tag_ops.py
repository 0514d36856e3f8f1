"""The REST operations on tags of blobs: one function each, from a request to a reply."""

from __future__ import annotations

from dataclasses import replace

from vmstamp.blob import conditions, documents, faults
from vmstamp.blob.blob_requests import check_blob, check_digests, check_read
from vmstamp.blob.container_ops import continuation, listing_page
from vmstamp.blob.records import Blob
from vmstamp.blob.request import Reply, Request
from vmstamp.blob.store import BlobStore
from vmstamp.blob.tags import check_tags, parse_expression


def get_tags(store: BlobStore, request: Request) -> Reply:
    """Get Blob Tags."""
    blob = store.get_blob(*request.ref)
    check_read(store, request, blob)
    _check_blob_conditions(request, blob)
    return Reply(200, {"content-type": documents.CONTENT_TYPE}, documents.tags(blob.tags))


def set_tags(store: BlobStore, request: Request) -> Reply:
    """Set Blob Tags."""
    check_digests(request)
    tags = check_tags(documents.parse_tags(request.body))

    def apply(blob: Blob) -> Blob:
        _check_blob_conditions(request, blob)
        return replace(blob, tags=tags)

    store.update_blob(request.ref, apply, check=check_blob(store, request), touch=False)
    return Reply(204)


def _check_blob_conditions(request: Request, blob: Blob) -> None:
    """The conditions on the blob, beside those on its tags. Raises 412."""
    wanted = conditions.parse_conditions(request.headers, "x-ms-blob-")
    conditions.check(wanted, blob.etag, blob.last_modified, read=False)


def find_blobs(store: BlobStore, request: Request) -> Reply:
    """Find Blobs by Tags, in an account or in one of its containers."""
    where = request.query.get("where", "")
    if not where:
        raise faults.fault("MissingRequiredQueryParameter", "QueryParameterName: where.")
    expression = parse_expression(where, "where")
    account, container = request.address[:2]
    if container:
        store.get_container(account, container)
    start, count = listing_page(request)
    found = store.find_tagged(account, container, expression, start, count + 1)
    following = found[count] if len(found) > count else None
    marker = "" if following is None else continuation(*following.ref[1:3])
    asked = {term.key for terms in expression for term in terms}
    shown = [
        replace(blob, tags={key: value for key, value in blob.tags.items() if key in asked})
        for blob in found[:count]
    ]
    body = documents.tagged_blobs(request.endpoint, where, shown, marker)
    return Reply(200, {"content-type": documents.CONTENT_TYPE}, body)
