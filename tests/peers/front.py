"""The Blob service behind an HTTP proxy: azcopy reaches it by names that no resolver knows.

azcopy is written in Go and asks DNS alone for a name as `md-1.blob.localhost`. Given HTTP_PROXY it asks
nobody, but sends the whole URL to the proxy. The proxy is the service itself: each URL in a request line is
cut down to its path, and the Host header says which account is meant.
"""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import unquote

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
