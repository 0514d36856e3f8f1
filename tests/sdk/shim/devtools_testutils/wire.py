"""Where requests of the SDK's tests go: those for Blob to our server, others nowhere; waits are short."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from typing import Any, Final

from azure.core.pipeline.transport import AsyncHttpTransport, HttpTransport

SUFFIX: Final = ".blob.core.windows.net"
WAIT: Final = 0.05  # seconds: the longest that a client waits before it tries again

_look_up = socket.getaddrinfo


def connect() -> None:
    """For this process and its life: patch the look-up of names and the SDK's waits between retries."""
    setattr(socket, "getaddrinfo", _find)  # noqa: B010 - its stub's overloads are not ours to repeat
    setattr(HttpTransport, "sleep", _wait)  # noqa: B010
    setattr(AsyncHttpTransport, "sleep", _wait_async)  # noqa: B010


def _find(host: bytes | str | None, port: Any, *arguments: Any, **named: Any) -> Any:
    name = host.decode() if isinstance(host, bytes) else host or ""
    if name.endswith(SUFFIX):
        return _look_up("127.0.0.1", int(os.environ["VMSTAMP_SDK_PORT"]), *arguments, **named)
    if name in ("", "localhost", "127.0.0.1", "::1"):
        return _look_up(host, port, *arguments, **named)
    raise socket.gaierror(socket.EAI_NONAME, f"{name} is not offered here")


def _wait(_: object, duration: float) -> None:
    time.sleep(min(duration, WAIT))


async def _wait_async(_: object, duration: float) -> None:
    await asyncio.sleep(min(duration, WAIT))
