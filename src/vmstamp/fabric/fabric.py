"""The fabric of one stamp: serves WireServer, HostGAPlugin and IMDS to the VMs of its virtual networks.

One background thread with one event loop serves every socket of every network; the same address may be
served in many networks at once. Public methods may be called from any thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import uvicorn
from starlette.applications import Starlette

from vmstamp.fabric import imds, wireserver
from vmstamp.fabric.guests import Guest, Guests
from vmstamp.fabric.instance import Instance
from vmstamp.fabric.report import AgentStatus, HealthReport
from vmstamp.timeline import Timeline

CLOSE_TIMEOUT = 10.0  # seconds

__all__ = ["AgentStatus", "Fabric", "HealthReport"]


@dataclass
class _Network:
    guests: Guests = field(default_factory=Guests)
    doors: list[tuple[uvicorn.Server, asyncio.Task[None]]] = field(default_factory=list)


class Fabric:
    """Serves until `close`. `clock` gives the times of reports, in UTC."""

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._networks: dict[str, _Network] = {}
        self._vms: dict[str, tuple[str, Guest]] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="fabric", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(CLOSE_TIMEOUT)

    def serve(
        self,
        network_id: str,
        *,
        wireserver_socket: socket.socket,
        host_plugin_socket: socket.socket,
        imds_socket: socket.socket,
    ) -> None:
        """Serve a network on three listening sockets, which become the fabric's own."""
        network = _Network()
        with self._lock:
            if network_id in self._networks:
                raise ValueError(f"network {network_id} is served already")
            self._networks[network_id] = network
        doors = [
            (wireserver.app(network.guests), wireserver_socket),
            (wireserver.host_plugin(network.guests), host_plugin_socket),
            (imds.app(network.guests), imds_socket),
        ]
        self._do(self._open(network, doors))

    async def _open(self, network: _Network, doors: list[tuple[Starlette, socket.socket]]) -> None:
        for app, listener in doors:
            server = uvicorn.Server(
                uvicorn.Config(
                    app,
                    http="h11",
                    ws="none",
                    lifespan="off",
                    log_level="warning",
                    access_log=False,
                    server_header=False,
                    proxy_headers=False,
                    timeout_graceful_shutdown=1,
                )
            )
            # `_serve` is `serve` without signal handlers, which only the main thread may set.
            task = asyncio.create_task(server._serve(sockets=[listener]))
            network.doors.append((server, task))
        while not all(server.started or task.done() for server, task in network.doors):
            await asyncio.sleep(0.005)

    def close_network(self, network_id: str) -> None:
        """Stop serving a network and close its sockets. No error when it is not served."""
        with self._lock:
            network = self._networks.pop(network_id, None)
        if network is not None:
            self._do(self._close(network))

    async def _close(self, network: _Network) -> None:
        for server, _ in network.doors:
            server.should_exit = True
        for _, task in network.doors:
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def register(self, network_id: str, instance: Instance, timeline: Timeline) -> None:
        """Know a VM: its requests are answered and marked on the timeline. A second time: a new boot."""
        guest = Guest(instance, timeline, self._clock)
        self.forget(instance.vm_id)
        with self._lock:
            self._networks[network_id].guests.add(guest)
            self._vms[instance.vm_id] = (network_id, guest)

    def forget(self, vm_id: str) -> None:
        """Answer a VM no longer. No error when it is not known."""
        with self._lock:
            network_id, _ = self._vms.pop(vm_id, ("", None))
            network = self._networks.get(network_id)
            if network is not None:
                network.guests.remove(vm_id)

    def agent(self, vm_id: str) -> AgentStatus:
        """What the VM's agents reported in this boot; empty for a VM that is not known."""
        with self._lock:
            _, guest = self._vms.get(vm_id, ("", None))
        return guest.agent if guest is not None else AgentStatus()

    def close(self) -> None:
        """Stop serving everything. Idempotent."""
        for network_id in list(self._networks):
            self.close_network(network_id)
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(CLOSE_TIMEOUT)
