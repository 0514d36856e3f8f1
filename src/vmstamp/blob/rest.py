"""The Blob service's door: HTTP in, operations on a pool of threads, replies and errors out.

The order of things: the request's head is authorised before its body is read, unless that is small, and the
body is read before the operation sees it. Bodies in flight are bounded in sum, so many writers wait instead
of taking memory. Bodies of replies are read and sent piece by piece.
"""

from __future__ import annotations

import asyncio
import logging
import re
import uuid
from collections.abc import Awaitable, Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, Final, TypeVar

from starlette.types import Message, Receive, Scope, Send

from vmstamp.blob import documents, faults, service_ops
from vmstamp.blob.auth import VerifyToken
from vmstamp.blob.body import Body
from vmstamp.blob.operations import Operation, Operations
from vmstamp.blob.protocol import EXTENSION, BodyReader, Pieces
from vmstamp.blob.request import Reply, Request, Stream, parse_address, parse_query
from vmstamp.blob.store import BlobStore
from vmstamp.errors import AzureError

log = logging.getLogger("vmstamp.blob")

T = TypeVar("T")

THREADS: Final = 12
PIECE: Final = 256 * 1024  # bytes of a reply's body that are in memory at once
SMALL: Final = 64 * 1024  # bytes of a body that is read before anybody asks who sends it
BODIES: Final = 64 * 2**20  # bytes of all requests' bodies in memory at once
STALL: Final = 60  # seconds in which a body must go on: it holds memory that others wait for
CURRENT_VERSION: Final = "2026-02-06"  # answered to a request that names none
_VERSION: Final = re.compile(r"\d{4}-\d{2}-\d{2}")


def app(
    store: BlobStore, authorities: Collection[str] = (), verify_token: VerifyToken | None = None
) -> BlobApp:
    """The application, best served by `protocol.BlobProtocol`.

    Path style is /ACCOUNT/CONTAINER/BLOB, host style ACCOUNT.blob.SUFFIX/CONTAINER/BLOB.
    `authorities`: the hosts, with ports, by which a copy's source may name this service, beside the one
    that the copy's own request used. `verify_token` raises AzureError unless a bearer token is good; None:
    tokens are refused.
    """
    return BlobApp(store, Operations(store, authorities, verify_token))


class _Budget:
    """Bytes that may be held at once; one taker alone may exceed them."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken = 0
        self._condition = asyncio.Condition()

    async def take(self, count: int) -> None:
        async with self._condition:
            await self._condition.wait_for(lambda: not self._taken or self._taken + count <= self._limit)
            self._taken += count

    async def give(self, count: int) -> None:
        async with self._condition:
            self._taken -= count
            self._condition.notify_all()


class BlobApp:
    """The ASGI application."""

    def __init__(self, store: BlobStore, operations: Operations) -> None:
        self._store = store
        self._operations = operations
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="blob")
        self._budget = _Budget(BODIES)

    def close(self) -> None:
        """End the copies that go on: they have failed when the service is back."""
        self._operations.copies.close()
        self._pool.shutdown(wait=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.decode("latin-1"): _text(value) for name, value in scope["headers"]}
        request_id = str(uuid.uuid4())
        sender = _Sender(scope["method"], send, _common_headers(headers, request_id))
        try:
            request = _request(scope, headers)
            _check_version(request)
            if request.method == "OPTIONS":
                reply = await self._run(lambda: service_ops.preflight(self._store, request))
                await sender.send(reply.status, reply.headers, b"")
                return
            if "origin" in headers:
                sender.add(await self._run(lambda: service_ops.cors_headers(self._store, request)))
            await self._serve(request, _find_reader(scope, receive), sender)
        except AzureError as error:
            await sender.fail(error)
        except _Gone:
            return
        except Exception:
            log.exception("%s %s failed (%s)", scope["method"], scope["path"], request_id)
            await sender.fail(faults.fault("InternalError"))

    async def _serve(self, request: Request, reader: BodyReader, sender: _Sender) -> None:
        operation = self._operations.find(request)
        length = _body_length(request, operation)
        if length > SMALL:
            reply = await self._answer_large(request, operation, reader, length)
        else:
            request = request._replace(body=await _read_body(reader, length)) if length else request
            reply = await self._answer_small(request, operation)
        if isinstance(reply.body, Stream):
            await self._stream(reply, reply.body, sender)
        else:
            await sender.send(reply.status, reply.headers, reply.body)

    async def _answer_small(self, request: Request, operation: Operation) -> Reply:
        if operation.quick:
            # Right here: a change of threads would take longer than the operation does.
            reply = self._operations.find_answer(request, operation)
            if reply is not None:
                return reply
        return await self._run(lambda: self._operations.answer(request, operation))

    async def _answer_large(
        self, request: Request, operation: Operation, reader: BodyReader, length: int
    ) -> Reply:
        admitted = self._operations.find_authorized(request, operation)
        if admitted is None:
            admitted = await self._run(lambda: self._operations.authorize(request, operation))
        await self._budget.take(length)
        try:
            whole = admitted._replace(body=await _read_body(reader, length))
            return await self._run(lambda: self._operations.run(whole, operation))
        finally:
            whole = admitted
            await self._budget.give(length)

    async def _stream(self, reply: Reply, stream: Stream, sender: _Sender) -> None:
        with ExitStack() as stack:
            read = await self._run(lambda: stack.enter_context(self._store.reader(stream.blob)))
            headers = reply.headers | {"content-length": str(stream.end - stream.start)}
            await sender.start(reply.status, headers)
            for start in range(stream.start, stream.end, PIECE):
                length = min(PIECE, stream.end - start)
                await sender.piece(await self._run(read, start, length))
            await sender.end()

    async def _run(self, function: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)


class _MetadataName(bytes):
    """A header's name that stays as it is: the HTTP server turns all names into lower case."""

    def lower(self) -> bytes:
        return self


def _name(name: str) -> bytes:
    return _MetadataName(name.encode()) if name.startswith("x-ms-meta-") else name.encode()


class _Gone(Exception):
    """The client went away before its request was complete."""


class _Sender:
    """Sends one reply; knows whether it has begun, so that an error is never sent into the middle of one."""

    def __init__(self, method: str, send: Send, common: dict[str, str]) -> None:
        self._method = method
        self._send: Callable[[Message], Awaitable[None]] = send
        self._common = common
        self._begun = False

    def add(self, headers: dict[str, str]) -> None:
        """Headers that the reply carries too, be it an error."""
        self._common |= headers

    async def start(self, status: int, headers: dict[str, str]) -> None:
        self._begun = True
        pairs = [(_name(name), value.encode()) for name, value in (self._common | headers).items()]
        await self._send({"type": "http.response.start", "status": status, "headers": pairs})

    async def piece(self, data: bytes) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self, data: bytes = b"") -> None:
        await self._send({"type": "http.response.body", "body": data})

    async def send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        await self.start(status, {"content-length": str(len(body))} | headers)
        if self._method == "HEAD":
            body = b""
        for start in range(PIECE, len(body), PIECE):  # a long one is not to be in the server's buffers too
            await self.piece(body[start - PIECE : start])
        await self.end(body[max(len(body) - 1, 0) // PIECE * PIECE :])

    async def fail(self, error: AzureError) -> None:
        if self._begun:
            log.error("a reply broke off: %s", error.message)
            raise error
        request_id = self._common["x-ms-request-id"]
        headers = {"x-ms-error-code": error.code, **error.headers}
        if error.status == 304:
            await self.start(304, headers)
            await self.end()
            return
        body = documents.error(error.code, f"{error.message}\nRequestId:{request_id}")
        await self.send(error.status, {**headers, "content-type": documents.CONTENT_TYPE}, body)


def _request(scope: Scope, headers: dict[str, str]) -> Request:
    raw_path = scope["raw_path"].decode("latin-1")
    raw_query = scope["query_string"].decode("latin-1")
    host = headers.get("host", "")
    client = scope.get("client")
    return Request(
        scope["method"],
        raw_path,
        parse_query(raw_query),
        headers,
        parse_address(host, raw_path),
        raw_query,
        scope["scheme"],
        host,
        client[0] if client else "",
    )


def _text(value: bytes) -> str:
    """A header's value: UTF-8, or Latin-1 as HTTP has it."""
    try:
        return value.decode().strip()
    except UnicodeDecodeError:
        return value.decode("latin-1").strip()


def _common_headers(headers: dict[str, str], request_id: str) -> dict[str, str]:
    """What every reply carries. Any version is taken and answered: newer clients ask for newer ones."""
    asked = headers.get("x-ms-version", "")
    common = {
        "server": "vmstamp-Blob/1.0",
        "x-ms-request-id": request_id,
        "x-ms-version": asked if _VERSION.fullmatch(asked) else CURRENT_VERSION,
    }
    client = headers.get("x-ms-client-request-id", "")
    if client and len(client) <= 1024 and client.isascii() and client.isprintable():
        common["x-ms-client-request-id"] = client
    return common


def _check_version(request: Request) -> None:
    version = request.header("x-ms-version")
    if version and not _VERSION.fullmatch(version):
        raise faults.invalid_header("x-ms-version", version)


def _body_length(request: Request, operation: Operation) -> int:
    """The length of the request's body in bytes. Raises 411 and 413."""
    length = request.number("content-length")
    if length is None:
        if request.header("transfer-encoding") or (operation.body and request.method in ("PUT", "POST")):
            raise faults.fault("MissingContentLengthHeader")
        return 0
    if length > operation.body and operation.body:
        raise faults.fault("RequestBodyTooLarge", f"The limit is {operation.body} bytes.")
    return length if operation.body else 0


def _find_reader(scope: Scope, receive: Receive) -> BodyReader:
    """What reads the request's body: BlobProtocol's extension; under another server, what ASGI has."""
    return scope.get("extensions", {}).get(EXTENSION) or _AsgiReader(receive)


class _AsgiReader:
    """Reads a body by ASGI's messages."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive

    def find(self) -> Pieces | None:
        return None

    async def read(self, progress: Callable[[], None]) -> Pieces | None:
        pieces: Pieces = []
        while True:
            message = await self._receive()
            progress()
            if message["type"] == "http.disconnect":
                return None
            pieces.append(message.get("body", b""))
            if not message.get("more_body", False):
                return pieces


async def _read_body(reader: BodyReader, length: int) -> Body:
    """A body of exactly `length` bytes. Raises _Gone, 400 when it is shorter, 500 when it stalls."""
    pieces = reader.find() or await _read_in_time(reader)
    if pieces is None:
        raise _Gone
    body = Body(pieces)
    if len(body) != length:
        raise faults.invalid_header("Content-Length", str(length))
    return body


async def _read_in_time(reader: BodyReader) -> Pieces | None:
    now = asyncio.get_running_loop().time
    extended = now()

    def extend() -> None:
        nonlocal extended
        if now() - extended > STALL / 60:  # not at every piece: there are thousands a second
            extended = now()
            limit.reschedule(extended + STALL)

    try:
        async with asyncio.timeout(STALL) as limit:
            return await reader.read(extend)
    except TimeoutError:
        raise faults.fault("OperationTimedOut") from None
