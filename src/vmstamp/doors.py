"""The doors of one stamp: opened, served until told to stop, nothing left running.

Doors, all on 127.0.0.1: ARM and sign-in over HTTPS, Blob over HTTP and HTTPS. When they are open the
process writes `stamp.json` into the home; it is removed at the end. A lock on `stamp.lock` makes sure
that a home has one server at a time; the kernel drops it however the process ends. SIGTERM and SIGINT
stop the VMs and then the doors.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Literal

import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp

from vmstamp import __version__, settings
from vmstamp.arm import rest as arm_rest
from vmstamp.arm.compute.guest_agent import Patience
from vmstamp.blob import rest as blob_rest
from vmstamp.blob.protocol import BlobProtocol
from vmstamp.errors import StampError
from vmstamp.identity import Certificates, Subscription, Tokens, load_certificates, load_subscription
from vmstamp.paths import Home
from vmstamp.sign_in import routes as sign_in_routes
from vmstamp.stamp import Stamp

log = logging.getLogger("vmstamp")

LOOPBACK = "127.0.0.1"
BACKLOG = 256
SHUTDOWN_GRACE = 5  # seconds for requests that are under way


def serve(home: Home, arm_port: int, blob_port: int) -> None:
    """Serve a stamp until SIGTERM or SIGINT; after SIGUSR1 its end waits for no guest.

    Raises StampError: home in use, port taken.
    """
    _make_home(home)
    with _locked(home):
        home.endpoint.unlink(missing_ok=True)
        arm_socket = _listen(arm_port, "VMSTAMP_ARM_PORT")
        blob_socket = _listen(blob_port, "VMSTAMP_BLOB_PORT")
        blob_tls_socket = _listen(0, "")
        subscription, certificates = load_subscription(home), load_certificates(home)
        arm_base = f"https://{_authority(arm_socket)}"
        blob_base = f"http://{_authority(blob_socket)}"
        tokens = Tokens(subscription, certificates.token_key.read_bytes(), f"{arm_base}/adfs")
        stamp = Stamp.open(
            home,
            subscription,
            blob_base,
            ready_timeout=settings.ready_timeout(),
            way_out=settings.way_out(),
            patience=Patience(settings.extension_timeout(), settings.agent_timeout()),
        )
        signal.signal(signal.SIGUSR1, lambda *_: stamp.hurry())
        try:
            arm = arm_rest.app(stamp.control_plane, tokens.verify)
            aliases = Route("/aliases.json", lambda request: JSONResponse(stamp.image_aliases()))
            sign_in = sign_in_routes(tokens, arm_base, stamp.control_plane.tenants)
            front = Starlette(routes=[*sign_in, aliases, Mount("/", arm)])
            hosts = {_authority(blob_socket), _authority(blob_tls_socket)}
            blob = blob_rest.app(stamp.blobs, hosts, tokens.verify)
            doors = [
                _door(front, arm_socket, certificates),
                _door(blob, blob_socket, None, BlobProtocol),
                _door(blob, blob_tls_socket, certificates, BlobProtocol),
            ]
            document = _endpoint_document(subscription, certificates, stamp)
            document |= {"arm": arm_base, "blob": blob_base}
            document["blob_https"] = f"https://{_authority(blob_tls_socket)}"
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                try:
                    runner.run(_run(doors, lambda: _publish(home, document)))
                finally:
                    blob.close()
        finally:
            home.endpoint.unlink(missing_ok=True)
            stamp.close()


def _make_home(home: Home) -> None:
    try:
        home.make()
    except OSError as error:
        raise StampError(
            f"{home.root}: the stamp's home cannot be made: {error.strerror}",
            hint="set VMSTAMP_HOME to a directory that you can write",
        ) from error


@contextmanager
def _locked(home: Home) -> Iterator[None]:
    descriptor = os.open(home.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StampError(
                f"{home.root}: another server uses this home", hint="vmstamp status tells which"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)  # who it is while it opens, and while it closes
        yield
    finally:
        os.close(descriptor)


def _listen(port: int, variable: str) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((LOOPBACK, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise StampError(
            f"port {port} of {LOOPBACK} cannot be used: {error.strerror}",
            hint=f"set {variable} to a free port, or to 0 for any",
        ) from error
    return listener


def _authority(listener: socket.socket) -> str:
    """The address and port of a listening socket, as a URL has them."""
    return f"{LOOPBACK}:{listener.getsockname()[1]}"


Door = tuple[uvicorn.Server, socket.socket]


def _door(
    app: ASGIApp,
    listener: socket.socket,
    certificates: Certificates | None,
    protocol: type[asyncio.Protocol] | Literal["h11"] = "h11",
) -> Door:
    config = uvicorn.Config(
        app,
        http=protocol,
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=True,
        timeout_graceful_shutdown=SHUTDOWN_GRACE,
        ssl_certfile=None if certificates is None else str(certificates.server),
        ssl_keyfile=None if certificates is None else str(certificates.server_key),
    )
    return uvicorn.Server(config), listener


async def _run(doors: list[Door], opened: Callable[[], None]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    tasks = [asyncio.create_task(_serve_door(server, listener)) for server, listener in doors]
    while not all(server.started for server, _ in doors):
        if any(task.done() for task in tasks):
            await asyncio.gather(*tasks)
        await asyncio.sleep(0.01)
    opened()
    log.info("serving; pid %d", os.getpid())
    await stop.wait()
    log.info("stopping")
    for server, _ in doors:
        server.should_exit = True
    await asyncio.gather(*tasks)


async def _serve_door(server: uvicorn.Server, listener: socket.socket) -> None:
    # `_serve` is what `serve` runs inside its own signal handlers; the signals are ours.
    await server._serve(sockets=[listener])


def _endpoint_document(
    subscription: Subscription, certificates: Certificates, stamp: Stamp
) -> dict[str, Any]:
    return {
        "version": __version__,
        "pid": os.getpid(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "ca": str(certificates.ca),
        "subscription": subscription.subscription,
        "tenant": subscription.tenant,
        "client_id": subscription.client_id,
        "client_secret": subscription.client_secret,
        "location": stamp.location,
        "accelerator": {"name": stamp.accelerator.name, "reason": stamp.accelerator.reason},
    }


def _publish(home: Home, document: dict[str, Any]) -> None:
    beside = home.endpoint.with_name(home.endpoint.name + ".new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(document, file, indent=2)
    beside.replace(home.endpoint)
