"""The fabric of one stamp: serves WireServer, HostGAPlugin and IMDS to the VMs of its virtual networks.

    caller's threads           thread "fabric": one event loop
    ----------------           -------------------------------
    serve, close_network  -->  per network three uvicorn servers, each on one listening socket
    register, forget      -->  Guests of the network, by address   (locks, no loop)
    agent                 <--  the guest's AgentStatus

The same address may be served in many networks at once: which socket a request came in by says the
network, the peer's address says the VM. Public methods may be called from any thread but the loop's.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Coroutine, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import uvicorn
from starlette.applications import Starlette

from vmstamp.errors import StampError
from vmstamp.fabric.extensions import Handler, Plugin
from vmstamp.fabric.guests import Guest, Guests
from vmstamp.fabric.imds import imds_app
from vmstamp.fabric.instance import Instance
from vmstamp.fabric.report import AgentStatus
from vmstamp.fabric.wireserver import host_plugin_app, wireserver_app
from vmstamp.timeline import Timeline

CLOSE_TIMEOUT = 10.0  # seconds
GRACE = 1  # seconds for requests under way when a network closes

__all__ = ["AgentStatus", "Fabric"]


class _Network:
    def __init__(self, catch_up: Callable[[], None]) -> None:
        self.guests = Guests(catch_up)
        self.servers: list[uvicorn.Server] = []
        self.tasks: list[asyncio.Task[None]] = []


class Fabric:
    """Serves until `close`. `clock` gives the times of reports and goal states, in UTC."""

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._networks: dict[str, _Network] = {}
        self._vms: dict[str, tuple[str, Guest]] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="fabric", daemon=True)
        self._thread.start()

    def serve(
        self,
        network_id: str,
        wireserver: socket.socket,
        host_plugin: socket.socket,
        imds: socket.socket,
        *,
        catch_up: Callable[[], None] = lambda: None,
    ) -> None:
        """Serve a network on three listening sockets, which become the fabric's own, also on an error.

        Returns when requests are answered. Before each answer `catch_up` is called, from the fabric's
        thread: what came first can be marked first. Raises StampError when the network is served already,
        when the fabric is closed, or when a socket cannot be served.
        """
        listeners = (wireserver, host_plugin, imds)
        network = _Network(catch_up)
        with self._lock:
            refused = "is closed" if self._loop.is_closed() else ""
            if network_id in self._networks:
                refused = f"serves the network {network_id} already"
            if not refused:
                self._networks[network_id] = network
        if refused:
            _close_all(listeners)
            raise StampError(f"the fabric {refused}")
        apps = (
            wireserver_app(network.guests),
            host_plugin_app(network.guests),
            imds_app(network.guests),
        )
        try:
            self._do(_open(network, list(zip(apps, listeners, strict=True))))
        except OSError as error:
            self.close_network(network_id)
            _close_all(listeners)
            raise StampError(f"the fabric cannot serve the network {network_id}: {error}") from error

    def close_network(self, network_id: str) -> None:
        """Stop serving a network and close its sockets. No error when it is not served.

        What its VMs reported stays known until they are registered anew or forgotten.
        """
        with self._lock:
            network = self._networks.pop(network_id, None)
        if network is not None:
            self._do(_close(network))

    def register(self, network_id: str, instance: Instance, timeline: Timeline) -> None:
        """Know a VM: its requests are answered and marked on the timeline. Once more: its next boot.

        Raises StampError when the network is not served.
        """
        with self._lock:
            network = self._networks.get(network_id)
            if network is None:
                raise StampError(f"the fabric does not serve the network {network_id}")
            _, previous = self._vms.get(instance.vm_id, ("", None))
            self._stop_answering(instance.vm_id)
            guest = Guest(instance, timeline, self._clock, previous)
            network.guests.add(guest)
            self._vms[instance.vm_id] = (network_id, guest)

    def forget(self, vm_id: str) -> None:
        """Answer a VM no longer. No error when it is not known."""
        with self._lock:
            self._stop_answering(vm_id)
            self._vms.pop(vm_id, None)

    def agent(self, vm_id: str) -> AgentStatus:
        """What the VM's agents reported in this boot; empty for a VM that is not known."""
        guest = self._find(vm_id)
        return guest.agent if guest else AgentStatus()

    def advance(self, vm_id: str) -> int:
        """Give the VM a new goal state, which its agent fetches within seconds; the new incarnation.

        Raises StampError for a VM that is not known.
        """
        return self._get(vm_id).advance()

    def extend(
        self,
        vm_id: str,
        handler: Handler,
        sequence: int,
        public: Mapping[str, Any],
        protected: Mapping[str, Any] | None = None,
        name: str = "",
    ) -> int:
        """Have the VM's agent run a handler with new settings; the goal state's incarnation that says so.

        `name` is the extension's, of a handler of several.

        Protected settings are sealed for the guest and not kept otherwise. Raises StampError for a VM that is
        not known, ProgramMissing and ProgramError of openssl.
        """
        guest = self._get(vm_id)
        if not protected:
            return guest.extend(Plugin(handler, sequence, public, name=name))
        sealed = guest.tenant.seal(json.dumps(protected).encode())
        return guest.extend(Plugin(handler, sequence, public, sealed, guest.tenant.thumbprint, name=name))

    def withdraw(self, vm_id: str, handler: Handler, sequence: int, name: str = "") -> int:
        """Have the VM's agent uninstall a handler, or disable one of its extensions.

        The incarnation of the goal state that says so.
        """
        state = "disabled" if handler.several else "uninstall"
        return self._get(vm_id).extend(Plugin(handler, sequence, {}, state=state, name=name))

    def drop(self, vm_id: str, handler: Handler, name: str = "") -> None:
        """Leave a handler, or one of its extensions, out of the VM's next goal states; forget its settings.

        No error for any VM.
        """
        guest = self._find(vm_id)
        if guest is not None:
            guest.forget(handler, name)

    def close(self) -> None:
        """Stop serving everything. Idempotent."""
        for network_id in list(self._networks):
            self.close_network(network_id)
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(CLOSE_TIMEOUT)

    def _find(self, vm_id: str) -> Guest | None:
        with self._lock:
            _, guest = self._vms.get(vm_id, ("", None))
            return guest

    def _get(self, vm_id: str) -> Guest:
        guest = self._find(vm_id)
        if guest is None:
            raise StampError(f"the fabric does not know the VM {vm_id}")
        return guest

    def _stop_answering(self, vm_id: str) -> None:
        network_id, _ = self._vms.get(vm_id, ("", None))
        network = self._networks.get(network_id)
        if network is not None:
            network.guests.remove(vm_id)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(CLOSE_TIMEOUT)


def _close_all(listeners: Iterable[socket.socket]) -> None:
    for listener in listeners:
        listener.close()


async def _open(network: _Network, doors: list[tuple[Starlette, socket.socket]]) -> None:
    for app, listener in doors:
        server = uvicorn.Server(_config(app))
        network.servers.append(server)
        network.tasks.append(asyncio.create_task(server.serve(sockets=[listener])))
    while not all(server.started for server in network.servers):
        for task in network.tasks:
            if task.done():
                task.result()
        await asyncio.sleep(0.005)


async def _close(network: _Network) -> None:
    for server in network.servers:
        server.should_exit = True
    await asyncio.gather(*network.tasks, return_exceptions=True)


def _config(app: Starlette) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE,
    )
