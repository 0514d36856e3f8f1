"""Bodies as strangers send them: in crumbs, after a 100 Continue, one behind the other, or not whole."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.client.blob_service import BlobService, serving
from vmstamp.blob import rest
from vmstamp.blob.body import Body, crc64_text, md5_text
from vmstamp.blob.content import write_all

SIZE = 1024 * 1024
DATA = bytes(range(256)) * (SIZE // 256)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[BlobService]:
    with serving(tmp_path) as running:
        running.blob("disk").create_page_blob(2 * SIZE)
        yield running


def head(service: BlobService, length: int, *more: str, offset: int = 0) -> bytes:
    """The head of a Put Page of `length` bytes."""
    parts = urlsplit(service.signed("disk"))
    return "\r\n".join(
        (
            f"PUT {parts.path}?{parts.query}&comp=page HTTP/1.1",
            f"Host: {parts.netloc}",
            "x-ms-version: 2021-12-02",
            "x-ms-page-write: update",
            f"x-ms-range: bytes={offset}-{offset + length - 1}",
            f"Content-Length: {length}",
            *more,
            "\r\n",
        )
    ).encode()


def connected(service: BlobService) -> socket.socket:
    parts = urlsplit(service.url)
    assert parts.hostname is not None and parts.port is not None
    connection = socket.create_connection((parts.hostname, parts.port), timeout=20)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def status(connection: socket.socket) -> str:
    """The status line of the next reply; what follows of it stays unread."""
    line = b""
    while not line.endswith(b"\r\n"):
        line += connection.recv(1)
    return line.decode().strip()


def written(service: BlobService) -> bytes:
    return service.blob("disk").download_blob().readall()


def test_a_body_in_crumbs_is_whole_and_its_digests_are_checked(service: BlobService) -> None:
    digest = f"Content-MD5: {md5_text(DATA)}"
    with connected(service) as connection:
        connection.sendall(head(service, SIZE, digest))
        at = 0
        for size in (1, 2, 3, 15_000, 17_000, 1, 100_000, 16_384, 400_000, 1):
            connection.sendall(DATA[at : at + size])
            at += size
        connection.sendall(DATA[at:])
        assert status(connection) == "HTTP/1.1 201 Created"
    assert written(service) == DATA + bytes(SIZE)


def test_a_wrong_digest_of_a_body_in_pieces_writes_nothing(service: BlobService) -> None:
    with connected(service) as connection:
        connection.sendall(head(service, SIZE, f"x-ms-content-crc64: {crc64_text(b'other')}") + DATA)
        assert status(connection) == "HTTP/1.1 400 Bad Request"
    assert written(service) == bytes(2 * SIZE)


def test_a_body_is_asked_for_once_its_head_is_admitted(service: BlobService) -> None:
    with connected(service) as connection:
        connection.sendall(head(service, SIZE, "Expect: 100-continue"))
        assert status(connection) == "HTTP/1.1 100 Continue"
        connection.sendall(DATA)
        assert status(connection) == ""
        assert status(connection) == "HTTP/1.1 201 Created"


def test_a_refused_head_is_answered_without_its_body(service: BlobService) -> None:
    refused = head(service, SIZE, "Expect: 100-continue").replace(b"sig=", b"sig=A")
    with connected(service) as connection:
        connection.sendall(refused)
        assert status(connection).startswith("HTTP/1.1 403 ")


def test_requests_one_behind_the_other_keep_their_bodies_apart(service: BlobService) -> None:
    other = DATA[::-1]
    with connected(service) as connection:
        connection.sendall(head(service, SIZE) + DATA + head(service, SIZE, offset=SIZE) + other)
        assert status(connection) == "HTTP/1.1 201 Created"
        reply = b""
        while reply.count(b"HTTP/1.1 201 Created") < 1:
            reply += connection.recv(4096)
    assert written(service) == DATA + other


def test_half_a_body_writes_nothing(service: BlobService) -> None:
    with connected(service) as connection:
        connection.sendall(head(service, SIZE) + DATA[: SIZE // 2])
    assert written(service) == bytes(2 * SIZE)


def test_pieces_are_written_one_behind_the_other(tmp_path: Path) -> None:
    pieces = [DATA[at : at + 300] for at in range(0, SIZE, 300)]  # more than one call takes
    path = tmp_path / "file"
    with path.open("wb") as file:
        write_all(file.fileno(), 512, Body(pieces))
    assert path.read_bytes() == bytes(512) + DATA
    assert crc64_text(Body(pieces)) == crc64_text(DATA)


def test_a_body_that_stalls_is_given_up_and_one_that_crawls_is_not(
    service: BlobService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rest, "STALL", 1)
    with connected(service) as connection:
        connection.sendall(head(service, SIZE) + DATA[: SIZE // 2])
        assert status(connection) == "HTTP/1.1 500 Internal Server Error"
    with connected(service) as connection:
        connection.sendall(head(service, SIZE))
        for start in range(0, SIZE, SIZE // 16):
            connection.sendall(DATA[start : start + SIZE // 16])
            time.sleep(0.1)
        assert status(connection) == "HTTP/1.1 201 Created"
    assert written(service) == DATA + bytes(SIZE)
