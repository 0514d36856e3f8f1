"""The client that both services are measured with: http.client, a SAS, 8 connections, at most 4 MiB a piece.

It sends the data of a sparse disk and fetches a page blob's ranges; holes are neither sent nor asked for.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from urllib.parse import quote, urlsplit

from bench.scale import MIB
from bench.servers import CONTAINER, Server
from vmstamp import disk
from vmstamp.extents import Extent, Extents

CONNECTIONS = 8
PIECE = 4 * MIB
VERSION = "2021-12-02"
DEADLINE = 120.0  # seconds without an answer, and for a copy
_RANGE = re.compile(rb"<PageRange><Start>(\d+)</Start><End>(\d+)</End></PageRange>")
_MARKER = re.compile(rb"<NextMarker>([^<]+)</NextMarker>")


class PageClient:
    """Page blobs of one server. Raises RuntimeError on an answer that was not expected. Close it."""

    def __init__(self, server: Server) -> None:
        parts = urlsplit(server.endpoint)
        self._netloc, self._path, self._sas = parts.netloc, parts.path, server.sas
        self._pool = ThreadPoolExecutor(CONNECTIONS)
        self._local = threading.local()
        self._connections: list[HTTPConnection] = []

    def close(self) -> None:
        self._pool.shutdown()
        for connection in self._connections:
            connection.close()

    def create_container(self) -> None:
        self._ask("PUT", "", "restype=container", 201)

    def create(self, name: str, size: int) -> None:
        """An empty page blob."""
        headers = {"x-ms-blob-type": "PageBlob", "x-ms-blob-content-length": str(size), "Content-Length": "0"}
        self._ask("PUT", name, "", 201, headers)

    def delete(self, name: str) -> None:
        self._ask("DELETE", name, "", 202)

    def put(self, name: str, offset: int, data: bytes) -> None:
        """Put Page."""
        headers = {"x-ms-page-write": "update", "x-ms-range": f"bytes={offset}-{offset + len(data) - 1}"}
        self._ask("PUT", name, "comp=page", 201, headers, data)

    def upload(self, name: str, path: Path) -> None:
        """A new page blob with the data of a sparse file."""
        self.create(name, path.stat().st_size)
        with disk.open(path) as opened:
            pieces = list(Extents(opened.extents()).split(PIECE))
        with path.open("rb") as file:
            number = file.fileno()

            def send(piece: Extent) -> None:
                self.put(name, piece.start, os.pread(number, piece.length, piece.start))

            self._each(send, pieces)

    def download(self, name: str, take: Callable[[int, bytes], None]) -> None:
        """Every piece of a page blob's data, given to `take` with its offset, from any thread."""
        pieces = list(Extents(self.ranges(name)).split(PIECE))
        self._each(lambda piece: take(piece.start, self._get(name, piece)), pieces)

    def scatter(self, name: str, offsets: Iterable[int], data: bytes) -> None:
        """The same data at each offset."""
        self._each(lambda piece: self.put(name, piece.start, data), [Extent(at, at) for at in offsets])

    def count_ranges(self, name: str) -> int:
        """How many ranges Get Page Ranges gives, in all its answers; they are not made into numbers."""
        return sum(len(_RANGE.findall(body)) for body in self._page_lists(name))

    def ranges(self, name: str) -> Iterator[Extent]:
        """Get Page Ranges, all answers of it."""
        for body in self._page_lists(name):
            yield from (Extent(int(start), int(last) + 1) for start, last in _RANGE.findall(body))

    def _page_lists(self, name: str) -> Iterator[bytes]:
        marker = ""
        while True:
            more = f"&marker={quote(marker)}" if marker else ""
            body = self._ask("GET", name, f"comp=pagelist{more}", 200)
            yield body
            found = _MARKER.search(body)
            if found is None:
                return
            marker = found[1].decode()

    def copy(self, source: str, name: str, url: str) -> None:
        """Copy Blob from a URL; returns when the copy is whole."""
        self._ask("PUT", name, "", 202, {"x-ms-copy-source": url, "Content-Length": "0"})
        deadline = time.monotonic() + DEADLINE
        while self._copy_status(name) != "success":
            if time.monotonic() > deadline:
                raise RuntimeError(
                    f"the copy of {source} is {self._copy_status(name)} after {DEADLINE:.0f} s"
                )
            time.sleep(0.005)

    def _copy_status(self, name: str) -> str:
        return self._send("HEAD", name, "", {}, b"")[2].get("x-ms-copy-status", "")

    def _get(self, name: str, piece: Extent) -> bytes:
        return self._ask("GET", name, "", 206, {"x-ms-range": f"bytes={piece.start}-{piece.end - 1}"})

    def _each(self, work: Callable[[Extent], None], pieces: list[Extent]) -> None:
        for _ in self._pool.map(work, pieces):
            pass

    def _ask(
        self,
        method: str,
        name: str,
        query: str,
        status: int,
        headers: dict[str, str] | None = None,
        body: bytes = b"",
    ) -> bytes:
        got, answer, _ = self._send(method, name, query, headers or {}, body)
        if got != status:
            raise RuntimeError(f"{method} {name}?{query}: {got}, expected {status}: {answer[:500]!r}")
        return answer

    def _send(
        self, method: str, name: str, query: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, bytes, dict[str, str]]:
        path = f"{self._path}/{CONTAINER}" + (f"/{quote(name)}" if name else "")
        connection = self._connection()
        words = (method, f"{path}?{query}&{self._sas}", body or None, {"x-ms-version": VERSION, **headers})
        try:
            response = _answer(connection, *words)
        except ConnectionError:  # servers close what was idle for 5 s
            connection.close()
            response = _answer(connection, *words)
        answer = response.read()
        return response.status, answer, {key.lower(): value for key, value in response.getheaders()}

    def _connection(self) -> HTTPConnection:
        """This thread's own."""
        if not hasattr(self._local, "connection"):
            self._local.connection = HTTPConnection(self._netloc, timeout=DEADLINE)
            self._connections.append(self._local.connection)
        found: HTTPConnection = self._local.connection
        return found


def _answer(
    connection: HTTPConnection, method: str, url: str, body: bytes | None, headers: dict[str, str]
) -> HTTPResponse:
    connection.request(method, url, body, headers)
    return connection.getresponse()
