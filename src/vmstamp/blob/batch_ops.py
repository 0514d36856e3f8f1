"""The REST operation Blob Batch: many Delete Blob or Set Blob Tier in one request, each authorised by itself.

The body is multipart/mixed; a part is a request of HTTP/1.1 with its Content-ID, and so is what is answered.
REST: Blob Batch.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesParser
from http import HTTPStatus
from typing import Final

from vmstamp.blob import documents, faults
from vmstamp.blob.request import Address, Reply, Request, parse_address, parse_query
from vmstamp.errors import AzureError

MAXIMUM_REQUESTS: Final = 256
_LINE: Final = re.compile(r"([A-Z]+) (\S+) HTTP/1\.1")

Answer = Callable[[Request], Reply]


@dataclass(frozen=True)
class Part:
    """One request of a batch, and the id under which it is answered."""

    id: str
    request: Request


def run_batch(outer: Request, answer: Answer) -> Reply:
    """Each request is answered by `answer`; one that is refused leaves the others alone."""
    boundary = f"batchresponse_{uuid.uuid4()}"
    answered = b"".join(_part(boundary, part.id, _reply(part.request, answer)) for part in parse_batch(outer))
    body = answered + f"--{boundary}--\r\n".encode()
    return Reply(202, {"content-type": f"multipart/mixed; boundary={boundary}"}, body)


def parse_batch(outer: Request) -> list[Part]:
    """The requests of a batch. Raises 400 InvalidInput when the body is no batch."""
    head = f"Content-Type: {outer.header('content-type')}\r\n\r\n".encode()
    message = BytesParser().parsebytes(head + bytes(outer.body))
    parts = message.get_payload()
    if not message.is_multipart() or not isinstance(parts, list):
        raise faults.fault("InvalidInput", "The body is not multipart/mixed.")
    if not 1 <= len(parts) <= MAXIMUM_REQUESTS:
        raise faults.fault("InvalidInput", f"A batch has 1 to {MAXIMUM_REQUESTS} requests.")
    return [_parse_part(outer, part) for part in parts if isinstance(part, Message)]


def _parse_part(outer: Request, part: Message) -> Part:
    payload = part.get_payload(decode=True)
    text = payload.decode("latin-1") if isinstance(payload, bytes) else ""
    line, _, rest = text.lstrip("\r\n").partition("\n")
    match = _LINE.fullmatch(line.strip())
    if match is None:
        raise faults.fault("InvalidInput", f"{line.strip()!r} is no request line.")
    fields = BytesParser().parsebytes(rest.encode("latin-1"), headersonly=True)
    path, _, query = match[2].partition("?")
    request = Request(
        method=match[1],
        raw_path=path,
        query=parse_query(query),
        headers={name.lower(): str(value).strip() for name, value in fields.items()},
        address=_address(outer, path),
        raw_query=query,
        scheme=outer.scheme,
        host=outer.host,
        client=outer.client,
    )
    return Part(str(part.get("Content-ID", "")).strip(), request)


def _address(outer: Request, path: str) -> Address:
    """What a request of a batch names: it is of the account that the batch was sent to."""
    address = parse_address(outer.host, path)
    if address.account != outer.address.account:
        raise faults.fault("InvalidInput", f"{path} is not of the account {outer.address.account}.")
    return address


def _reply(request: Request, answer: Answer) -> Reply:
    try:
        return answer(request)
    except AzureError as error:
        headers = {"x-ms-error-code": error.code, "content-type": documents.CONTENT_TYPE}
        return Reply(error.status, headers, documents.error(error.code, error.message))


def _part(boundary: str, identity: str, reply: Reply) -> bytes:
    body = reply.body if isinstance(reply.body, bytes) else b""
    lines = [
        f"--{boundary}",
        "Content-Type: application/http",
        f"Content-ID: {identity}",
        "",
        f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}",
        f"x-ms-request-id: {uuid.uuid4()}",
        *(f"{name}: {value}" for name, value in reply.headers.items()),
        *([f"Content-Length: {len(body)}"] if body else []),
        "",
        "",
    ]
    return "\r\n".join(lines).encode() + body + b"\r\n"
