"""The REST operations that read their bytes from a URL: one method each, from a request to a reply.

A source in this stamp is read where it lies, if its URL opens it (a SAS, public access, or the same account);
any other is asked by HTTP (`sources`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import uuid4

from vmstamp.blob import conditions, faults, lease, sources
from vmstamp.blob.blob_replies import ENCRYPTION, page_headers, validators
from vmstamp.blob.blob_requests import (
    access_tier,
    append_conditions,
    blob_metadata,
    block_id,
    check_blob,
    http_headers,
    new_check,
    page_check,
    page_range,
    sent_http_headers,
    sent_tags,
)
from vmstamp.blob.block_ops import MAXIMUM_BLOCK
from vmstamp.blob.body import crc64_text, md5_text
from vmstamp.blob.copies import Copies
from vmstamp.blob.page_ops import MAXIMUM_PAGES
from vmstamp.blob.records import BLOCK_BLOB, Blob, CopyState, HttpHeaders
from vmstamp.blob.request import Reply, Request, parse_address, parse_query, parse_range
from vmstamp.blob.sources import Source
from vmstamp.blob.store import BlobStore, Check
from vmstamp.errors import AzureError

MAXIMUM_SYNCHRONOUS: Final = 5000 * 2**20  # bytes of Put Blob From URL; REST: Put Blob From URL
# What Azure answers where blocks and block blobs come from a URL whose conditions are not met.
_UNVERIFIED: Final = "CannotVerifyCopySource"
MAXIMUM_FOREIGN: Final = 256 * 2**20  # bytes that are moved while the client waits


class Opener:
    """Opens the sources of copies. `authorities`: the hosts, with ports, by which this service is reached."""

    def __init__(
        self, store: BlobStore, authorities: frozenset[str], authenticate: Callable[[Request], Request]
    ) -> None:
        self._store = store
        self._authorities = authorities
        self._authenticate = authenticate

    def __call__(self, request: Request, *, trusting: bool = False) -> Source:
        """The source that a request names. Raises CannotVerifyCopySource, InvalidHeaderValue.

        `trusting`: who may do all in the destination's account needs no other proof for a source in it.
        """
        url = request.required_header("x-ms-copy-source")
        proof = request.header("x-ms-copy-source-authorization")
        try:
            parts = urlsplit(url)
            known = parts.scheme in ("http", "https") and parts.hostname
        except ValueError:
            known = None
        if not known:
            raise faults.invalid_header("x-ms-copy-source", "not a URL")
        if _service(parts.netloc) not in {_service(request.host), *self._authorities}:
            return sources.open_foreign(url, proof)
        return self._open_own(request, url, proof, trusting)

    def _open_own(self, request: Request, url: str, proof: str, trusting: bool) -> Source:
        parts = urlsplit(url)
        source = Request(
            method="GET",
            raw_path=parts.path,
            raw_query=parts.query,
            query=parse_query(parts.query),
            headers={"authorization": proof} if proof else {},
            address=parse_address(parts.netloc, parts.path),
            scheme=parts.scheme,
            host=parts.netloc,
            client=request.client,
        )
        if not source.address.blob:
            raise faults.invalid_header("x-ms-copy-source", source.url)
        if source.query.get("versionid"):
            raise faults.unsupported("versions of blobs")
        try:
            same = source.address.account == request.address.account
            if not (trusting and same and request.grant.everything):
                self._check_access(source)
            blob = self._store.get_blob(*source.ref)
        except AzureError as error:
            headers = {
                "x-ms-copy-source-status-code": str(error.status),
                "x-ms-copy-source-error-code": error.code,
            }
            raise AzureError(
                error.status, "CannotVerifyCopySource", error.message, headers=headers
            ) from error
        return self._own(blob, source)

    def _check_access(self, source: Request) -> None:
        grant = self._authenticate(source).grant
        if not grant.everything and "r" not in grant.permissions:
            raise AzureError(403, "CannotVerifyCopySource", "The source's SAS does not allow to read it.")

    def _own(self, blob: Blob, source: Request) -> Source:
        def read(offset: int, length: int) -> bytes:
            with self._store.reader(blob) as reading:
                return reading(offset, length)

        taken = blob.ref.snapshot
        return Source(
            source.url + (f"?snapshot={taken}" if taken else ""),
            blob.ref,
            blob.type,
            blob.size,
            blob.etag,
            blob.last_modified,
            read,
            lambda: self._store.content_ranges(blob),
            blob.headers,
            blob.metadata,
            blob.sequence_number,
        )


class Copying:
    """The operations, over the copies that go on and what opens their sources."""

    def __init__(self, copies: Copies, open_source: Opener) -> None:
        self._copies = copies
        self._open = open_source

    def copy_blob(self, store: BlobStore, request: Request) -> Reply:
        """Copy Blob; with x-ms-requires-sync Copy Blob From URL."""
        if request.header("x-ms-requires-sync").lower() == "true":
            return self._copy_and_wait(store, request)
        source = self._open(request, trusting=True)
        check = new_check(store, request, code="TargetConditionNotMet")
        if source.ref is None:
            _check_source(store, request, None, source)
            change = partial(_as_copy, request, source.type)
            blob = self._copies.start(source, request.ref, change, check)
        else:
            blob = _share(store, request, source, check)
        return Reply(202, {**validators(blob), **_copy_headers(blob)})

    def _copy_and_wait(self, store: BlobStore, request: Request) -> Reply:
        """Copy Blob From URL: a block blob, answered when it is there."""
        source = self._open(request)
        if source.type != BLOCK_BLOB:
            raise _unfit("The copy source must be a block blob.")
        if source.size > MAXIMUM_FOREIGN:
            raise _unfit(f"The copy source has {source.size} bytes, the limit is {MAXIMUM_FOREIGN}.")
        digests = _whole_digests(request, source)
        check = new_check(store, request, code="TargetConditionNotMet")
        if source.ref is None:
            _check_source(store, request, None, source)
            blob = store.put_block_blob(
                request.ref,
                _read_all(source),
                headers=source.headers,
                metadata=blob_metadata(request) or source.metadata,
                tags=sent_tags(request),
                tier=access_tier(request, BLOCK_BLOB),
                copy=CopyState(str(uuid4()), source.url, source.size, source.size, store.now()),
                check=check,
            )
        else:
            blob = _share(store, request, source, check)
        digest = {"content-md5": source.headers.content_md5} if source.headers.content_md5 else {}
        return Reply(202, {**validators(blob), **_copy_headers(blob), **digest, **digests})

    def abort_copy(self, store: BlobStore, request: Request) -> Reply:
        """Abort Copy Blob."""
        if request.header("x-ms-copy-action").lower() != "abort":
            raise faults.invalid_header("x-ms-copy-action", request.header("x-ms-copy-action"))
        wanted = request.query.get("copyid", "")
        if not wanted:
            raise faults.fault("MissingRequiredQueryParameter", "QueryParameterName: copyid.")
        self._copies.abort(request.ref, wanted, check_blob(store, request, pending=True))
        return Reply(204)

    def incremental_copy(self, store: BlobStore, request: Request) -> Reply:
        """Incremental Copy Blob."""
        source = self._open(request, trusting=True)
        if source.ref is None:
            raise faults.unsupported("Incremental Copy Blob from another service")
        if not source.ref.snapshot:
            raise faults.fault("IncrementalCopySourceMustBeSnapshot")
        blob = store.incremental_copy(source.ref, request.ref, source.url, check=check_blob(store, request))
        return Reply(202, {**validators(blob), **_copy_headers(blob)})

    def put_blob(self, store: BlobStore, request: Request) -> Reply:
        """Put Blob From URL: a block blob of what a source holds."""
        source = self._open(request)
        digests = _whole_digests(request, source)
        if source.size > MAXIMUM_SYNCHRONOUS or (source.ref is None and source.size > MAXIMUM_FOREIGN):
            raise faults.fault("CannotVerifyCopySource", f"It has {source.size} bytes, too many.")
        check = new_check(store, request)
        made: dict[str, Any] = {
            "headers": _block_blob_headers(request, source.headers),
            "metadata": blob_metadata(request),
            "tags": sent_tags(request),
            "tier": access_tier(request, BLOCK_BLOB),
        }
        if source.ref is not None:
            blob = store.share(
                source.ref,
                request.ref,
                overwrite=True,
                check=check,
                source_check=lambda found: _check_source(store, request, found, source, _UNVERIFIED),
                change=lambda blob: replace(blob, type=BLOCK_BLOB, sequence_number=0, **made),
            )
        else:
            _check_source(store, request, None, source, _UNVERIFIED)
            blob = store.put_block_blob(request.ref, _read_all(source), check=check, **made)
        digest = {"content-md5": blob.headers.content_md5} if blob.headers.content_md5 else {}
        return Reply(201, {**validators(blob), **ENCRYPTION, **digest, **digests})

    def put_page(self, store: BlobStore, request: Request) -> Reply:
        """Put Page From URL."""
        start, end = page_range(request)
        if end - start > MAXIMUM_PAGES:
            raise faults.fault("RequestBodyTooLarge")
        data = self._read(store, request, end - start)
        check, alone = page_check(store, request)
        blob = store.write_pages(request.ref, start, data, check=check, alone=alone)
        return Reply(201, {**page_headers(blob), **ENCRYPTION, **_digest(request, data)})

    def put_block(self, store: BlobStore, request: Request) -> Reply:
        """Put Block From URL."""
        identity = block_id(request)
        data = self._read(store, request, None)
        store.put_block(request.ref, identity, data, check=check_blob(store, request))
        return Reply(201, {**ENCRYPTION, **_digest(request, data)})

    def append_block(self, store: BlobStore, request: Request) -> Reply:
        """Append Block From URL."""
        data = self._read(store, request, None)
        position, maximum = append_conditions(request)
        blob, offset = store.append_block(
            request.ref, data, position=position, maximum=maximum, check=check_blob(store, request)
        )
        headers = {
            "x-ms-blob-append-offset": str(offset),
            "x-ms-blob-committed-block-count": str(blob.appended),
        }
        return Reply(201, {**validators(blob), **ENCRYPTION, **headers, **_digest(request, data)})

    def _read(self, store: BlobStore, request: Request, length: int | None) -> bytes:
        """The range of the source that a request asks for; `length`: what it has to be, if that is known."""
        if request.header("content-length") not in ("", "0"):
            raise faults.invalid_header("Content-Length", request.header("content-length"))
        source = self._open(request)
        found = store.find_blob(*source.ref) if source.ref is not None else None
        code = "SourceConditionNotMet" if "page" in request.query.get("comp", "") else _UNVERIFIED
        _check_source(store, request, found, source, code)
        start, end = parse_range("x-ms-source-range", request.header("x-ms-source-range")) or (0, None)
        end = source.size if end is None else end
        if start > end or end > source.size:
            raise faults.fault("InvalidRange")
        if length is not None and end - start != length:
            raise faults.invalid_header("x-ms-source-range", request.header("x-ms-source-range"))
        if end - start > MAXIMUM_BLOCK:
            raise faults.fault("RequestBodyTooLarge", f"The limit is {MAXIMUM_BLOCK} bytes.")
        data = source.read(start, end - start) if end > start else b""
        _check_digests(request, data)
        return data


def _check_source(
    store: BlobStore,
    request: Request,
    blob: Blob | None,
    source: Source,
    code: str = "SourceConditionNotMet",
) -> None:
    """The conditions on the source, as it is now."""
    wanted = conditions.parse_conditions(request.headers, "x-ms-source-")
    etag = source.etag if blob is None else blob.etag
    modified = source.last_modified if blob is None else blob.last_modified
    conditions.check(wanted, etag or None, modified, read=False, code=code)
    if blob is not None and blob.incremental and not blob.ref.snapshot:
        raise faults.fault("CopySourceCannotBeIncrementalCopyBlob")
    if blob is not None:
        lease.check(blob.lease, request.headers.get("x-ms-source-lease-id"), store.now(), write=False)


def _unfit(why: str) -> AzureError:
    """A source that Copy Blob From URL does not take."""
    return AzureError(409, "CannotVerifyCopySource", why)


def _share(store: BlobStore, request: Request, source: Source, check: Check) -> Blob:
    """A copy of a blob of this stamp."""
    assert source.ref is not None
    return store.share(
        source.ref,
        request.ref,
        overwrite=True,
        check=check,
        source_check=lambda found: _check_source(store, request, found, source),
        change=partial(_as_copy, request, source.type),
        copied_from=source.url,
    )


def _copy_headers(blob: Blob) -> dict[str, str]:
    copy = blob.copy
    return {} if copy is None else {"x-ms-copy-id": copy.id, "x-ms-copy-status": copy.status}


def _as_copy(request: Request, kind: str, blob: Blob) -> Blob:
    """What a Copy Blob gives its destination beside the bytes."""
    option = request.header("x-ms-copy-source-tag-option").upper()
    if option not in ("", "REPLACE", "COPY"):
        raise faults.invalid_header("x-ms-copy-source-tag-option", option)
    sealing = request.header("x-ms-seal-blob").lower()
    return replace(
        blob,
        metadata=blob_metadata(request) or blob.metadata,
        tags=blob.tags if option == "COPY" else sent_tags(request),
        tier=access_tier(request, kind) or blob.tier,
        append_sealed=sealing == "true" if sealing else blob.append_sealed,
    )


def _block_blob_headers(request: Request, source: HttpHeaders) -> HttpHeaders:
    """The HTTP headers of what Put Blob From URL makes: those sent, else the source's unless refused."""
    if sent_http_headers(request):
        return http_headers(request)
    kept = request.header("x-ms-copy-source-blob-properties").lower() != "false"
    return source if kept else HttpHeaders()


def _digest(request: Request, data: bytes) -> dict[str, str]:
    digests = {"x-ms-content-crc64": crc64_text(data)}
    if request.header("x-ms-source-content-md5"):
        digests["content-md5"] = md5_text(data)
    return digests


def _whole_digests(request: Request, source: Source) -> dict[str, str]:
    """The digests of all of a source, where the request tells what one has to be. Raises 400."""
    if not (request.header("x-ms-source-content-md5") or request.header("x-ms-source-content-crc64")):
        return {}
    if source.size > MAXIMUM_FOREIGN:
        raise faults.fault("CannotVerifyCopySource", f"It has {source.size} bytes, too many for a digest.")
    data = _read_all(source)
    _check_digests(request, data)
    return _digest(request, data)


def _read_all(source: Source) -> bytes:
    return source.read(0, source.size) if source.size else b""


def _check_digests(request: Request, data: bytes) -> None:
    md5, crc = request.header("x-ms-source-content-md5"), request.header("x-ms-source-content-crc64")
    if md5 and md5 != md5_text(data):
        raise faults.fault("Md5Mismatch")
    if crc and crc != crc64_text(data):
        raise faults.fault("Crc64Mismatch")


def _service(host: str) -> str:
    """A host, with its port, without the account that host style puts first."""
    account, mark, suffix = host.partition(".blob.")
    return suffix if mark and "." not in account else host
