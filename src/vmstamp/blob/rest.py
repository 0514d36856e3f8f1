"""The Blob service's door: HTTP in, an operation on a thread, the reply or Azure's XML error out.

Who asks is settled before the body is read; a body is held once, at its operation's limit. Blobs are sent
in pieces, read while they are sent.
"""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Final

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from vmstamp.blob import documents, faults
from vmstamp.blob.operations import Operation, Operations
from vmstamp.blob.request import Reply, Request, Stream, parse_address
from vmstamp.blob.store import BlobStore
from vmstamp.errors import AzureError

log = logging.getLogger("vmstamp.blob")

METHODS: Final = ["GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS"]
PIECE: Final = 2**20  # bytes of a blob that are read at once
_VERSION: Final = re.compile(r"\d{4}-\d{2}-\d{2}")


def app(store: BlobStore, authorities: Collection[str] = ()) -> Starlette:
    """The application. `authorities`: the hosts, with ports, by which a copy's source may name it."""
    door = _Door(store, Operations(store, authorities))
    return Starlette(routes=[Route("/{path:path}", door.serve, methods=METHODS)])


class _Door:
    def __init__(self, store: BlobStore, operations: Operations) -> None:
        self._store = store
        self._operations = operations

    async def serve(self, http: HttpRequest) -> Response:
        common = {"x-ms-request-id": str(uuid.uuid4())}
        try:
            request = _request(http)
            common |= _echoed(request)
            operation = self._operations.find(request)
            request = await run_in_threadpool(self._operations.authorize, request, operation)
            request = replace(request, body=await _read(http, operation))
            reply = await run_in_threadpool(self._operations.run, request, operation)
        except AzureError as error:
            return _error(http, error, common)
        except ClientDisconnect:
            return Response(status_code=400)
        except Exception:
            log.exception("%s %s failed", http.method, http.url.path)
            return _error(http, faults.fault("InternalError"), common)
        return self._response(http, reply, common)

    def _response(self, http: HttpRequest, reply: Reply, common: dict[str, str]) -> Response:
        headers = {**common, **reply.headers}
        if not isinstance(reply.body, Stream):
            return Response(reply.body, reply.status, headers)
        headers["content-length"] = str(reply.body.end - reply.body.start)
        headers.setdefault("content-type", "application/octet-stream")
        return StreamingResponse(self._pieces(reply.body), reply.status, headers)

    def _pieces(self, stream: Stream) -> Iterator[bytes]:
        with self._store.reader(stream.blob) as read:
            for offset in range(stream.start, stream.end, PIECE):
                yield read(offset, min(PIECE, stream.end - offset))


def _request(http: HttpRequest) -> Request:
    raw_path: bytes = http.scope.get("raw_path") or http.scope["path"].encode()
    path, host = raw_path.decode("latin-1"), http.headers.get("host", "")
    return Request(
        method=http.method,
        raw_path=path,
        raw_query=http.url.query,
        query={name.lower(): value for name, value in http.query_params.items()},
        headers={name.lower(): value for name, value in http.headers.items()},
        address=parse_address(host, path),
        scheme=http.url.scheme,
        host=host,
        client=http.client.host if http.client else "",
    )


def _echoed(request: Request) -> dict[str, str]:
    """Headers that come back; a version of the protocol is any date, the client's own or its SAS's."""
    version = request.header("x-ms-version") or request.query.get("sv", "")
    if version and not _VERSION.fullmatch(version):
        raise faults.invalid_header("x-ms-version", version)
    echoed = {"x-ms-version": version} if version else {}
    if client := request.header("x-ms-client-request-id"):
        echoed["x-ms-client-request-id"] = client
    return echoed


async def _read(http: HttpRequest, operation: Operation) -> bytearray:
    """The body, at most what the operation takes."""
    if not operation.body:
        return bytearray()
    length = http.headers.get("content-length", "")
    if not length.isdigit():
        raise faults.fault("MissingContentLengthHeader")
    if int(length) > operation.body:
        raise faults.fault("RequestBodyTooLarge")
    body = bytearray()
    async for piece in http.stream():
        body += piece
    return body


def _error(http: HttpRequest, error: AzureError, common: dict[str, str]) -> Response:
    body = b"" if http.method == "HEAD" else documents.error(error.code, error.message)
    headers = {**common, **error.headers, "x-ms-error-code": error.code}
    if body:
        headers["content-type"] = documents.CONTENT_TYPE
    return Response(body, error.status, headers)
