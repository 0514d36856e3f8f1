"""The Blob service behind an HTTP proxy: azcopy reaches it by names that no resolver knows.

azcopy is written in Go and asks DNS alone for a name as `md-1.blob.localhost`. Given HTTP_PROXY it asks
nobody, but sends the whole URL to the proxy. The proxy is the service itself: each URL in a request line is
cut down to its path, and the Host header says which account is meant.
"""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from vmstamp.blob.rest import app
from vmstamp.blob.store import BlobStore


@contextmanager
def proxy(store: BlobStore) -> Iterator[dict[str, str]]:
    """Serve a store as an HTTP proxy does; the environment for a client that shall use it."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    door = _Proxied(app(store))
    server = uvicorn.Server(uvicorn.Config(door, http="h11", log_level="warning", lifespan="off", ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield {"HTTP_PROXY": f"http://127.0.0.1:{listener.getsockname()[1]}", "NO_PROXY": ""}
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()


@contextmanager
def forwarding(service: str) -> Iterator[dict[str, str]]:
    """An HTTP proxy that asks one service, HOST:PORT, for every URL; the environment for its client."""

    class Forward(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _forward(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            connection = HTTPConnection(service, timeout=60)
            connection.request(self.command, f"{parts.path}?{parts.query}", body, dict(self.headers))
            answer = connection.getresponse()
            data = answer.read()
            connection.close()
            self.send_response_only(answer.status, answer.reason)
            for name, value in answer.getheaders():
                if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                    self.send_header(name, value)
            length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(data))
            self.send_header("Content-Length", length or "0")
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _forward

        def log_message(self, format: str, *words: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Forward)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield {"HTTP_PROXY": f"http://127.0.0.1:{server.server_address[1]}", "NO_PROXY": ""}
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()


class _Proxied:
    """An ASGI application that takes whole URLs for paths."""

    def __init__(self, inner: ASGIApp) -> None:
        self._inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raw = scope["raw_path"]
        if b"://" in raw.split(b"?")[0]:
            _, _, rest = raw.partition(b"://")
            raw = b"/" + rest.partition(b"/")[2]
        await self._inner({**scope, "raw_path": raw, "path": unquote(raw.decode())}, receive, send)
