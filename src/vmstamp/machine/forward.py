"""A loopback port of this computer that leads to a port of a guest: how a public IP address works here."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from ipaddress import IPv4Address

from vmstamp.errors import MachineError
from vmstamp.machine.network import Network

CONNECT_TIMEOUT = 10.0  # seconds
CHUNK = 1 << 16  # bytes


class Forward:
    """Serves one host port until closed: a thread accepts, a thread carries each connection."""

    def __init__(
        self, network: Network, guest: IPv4Address, guest_port: int, listener: socket.socket
    ) -> None:
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
        cls, host: IPv4Address, host_port: int, network: Network, guest: IPv4Address, guest_port: int
    ) -> Forward:
        """Listen on `host`:`host_port`. Raises MachineError when that is taken or not allowed."""
        listener = socket.socket()
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((str(host), host_port))
            listener.listen(64)
        except OSError as error:
            listener.close()
            raise MachineError(f"cannot listen on {host}:{host_port}: {error.strerror}") from error
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
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
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
                try:
                    _pump(client, guest)
                except OSError:
                    pass  # either side went away
                finally:
                    with self._lock:
                        self._open -= {client, guest}


def _pump(one: socket.socket, other: socket.socket) -> None:
    """Carry bytes both ways until both sides have ended."""
    with selectors.DefaultSelector() as selector:
        selector.register(one, selectors.EVENT_READ, other)
        selector.register(other, selectors.EVENT_READ, one)
        while selector.get_map():
            for key, _ in selector.select():
                source, target = key.fileobj, key.data
                assert isinstance(source, socket.socket)
                chunk = source.recv(CHUNK)
                if chunk:
                    target.sendall(chunk)
                else:
                    selector.unregister(source)
                    _shut(target, socket.SHUT_WR)


def _shut(connection: socket.socket, how: int = socket.SHUT_RDWR) -> None:
    with contextlib.suppress(OSError):  # it was never connected, or is gone
        connection.shutdown(how)
