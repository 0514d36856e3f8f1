"""A loopback port of this computer that leads to a port of a guest: how a public IP address works here."""

from __future__ import annotations

import contextlib
import errno
import socket
import threading
import time
from ipaddress import IPv4Address
from typing import Protocol

from vmstamp.errors import MachineError

CONNECT_TIMEOUT = 10.0  # seconds
CHUNK = 1 << 16  # bytes
PAUSE = 0.05  # seconds
HINTS = {
    errno.EADDRINUSE: "another program (an SSH server on all addresses?) or another stamp has it: end that, "
    "or run vmstamp without root, which offers ports below 1024 elsewhere",
    errno.EACCES: "only root may listen on ports below 1024",
}


class Inside(Protocol):
    """What a forward needs of a network: connections from inside it."""

    def connect(self, address: IPv4Address, port: int, timeout: float) -> socket.socket: ...


class Forward:
    """Serves one host port until closed: a thread accepts, two carry each connection."""

    def __init__(self, network: Inside, guest: IPv4Address, guest_port: int, listener: socket.socket) -> None:
        self._network = network
        self._guest = guest
        self._guest_port = guest_port
        self._listener = listener
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._closed = False
        self._thread = threading.Thread(target=self._accept, name="forward", daemon=True)

    @classmethod
    def open(
        cls, host: IPv4Address, host_port: int, network: Inside, guest: IPv4Address, guest_port: int
    ) -> Forward:
        """Listen on `host`:`host_port`. Raises MachineError when that is taken or not allowed."""
        listener = socket.socket()
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((str(host), host_port))
            listener.listen(64)
        except OSError as error:
            listener.close()
            raise MachineError(
                f"cannot listen on {host}:{host_port}: {error.strerror}", hint=HINTS.get(error.errno or 0, "")
            ) from error
        forward = cls(network, guest, guest_port, listener)
        forward._thread.start()
        return forward

    def close(self) -> None:
        """Stop listening and end the connections. Idempotent."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            for connection in self._open:
                _shut(connection)
        _shut(self._listener)
        self._thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                if not self._closed:
                    time.sleep(PAUSE)  # no descriptor is free just now, which must not end the forward
                continue
            threading.Thread(target=self._carry, args=(client,), name="forward", daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        with client:
            try:
                guest = self._network.connect(self._guest, self._guest_port, CONNECT_TIMEOUT)
            except (OSError, MachineError):
                return
            with guest:
                with self._lock:
                    if self._closed:
                        return
                    self._open |= {client, guest}
                # A thread per direction: one that waits for a full side must not stop the other.
                back = threading.Thread(target=_pump, args=(guest, client), name="forward", daemon=True)
                back.start()
                _pump(client, guest)
                back.join()
                with self._lock:
                    self._open -= {client, guest}


def _pump(source: socket.socket, target: socket.socket) -> None:
    """Carry bytes one way until the source ends; then the target's side of it ends too."""
    try:
        while chunk := source.recv(CHUNK):
            target.sendall(chunk)
    except OSError:
        _shut(source)  # the target is gone: nobody will read the rest
    _shut(target, socket.SHUT_WR)


def _shut(connection: socket.socket, how: int = socket.SHUT_RDWR) -> None:
    with contextlib.suppress(OSError):  # it was never connected, or is gone
        connection.shutdown(how)
