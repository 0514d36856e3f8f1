"""Forwards on real loopback sockets; the guest is a socket of this process."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest

from vmstamp.errors import MachineError
from vmstamp.machine.forward import Forward

HOST = IPv4Address("127.64.255.9")
GUEST = IPv4Address("10.0.0.4")
MUCH = 8 << 20  # bytes: more than the buffers of four sockets hold


class Loopback:
    """A network whose every guest is one listening socket of this computer."""

    def __init__(self) -> None:
        self.guest = socket.create_server(("127.0.0.1", 0))
        self.asked: list[tuple[IPv4Address, int]] = []

    def connect(self, address: IPv4Address, port: int, timeout: float) -> socket.socket:
        self.asked.append((address, port))
        connection = socket.create_connection(self.guest.getsockname(), timeout)
        connection.settimeout(None)
        return connection


def free_port() -> int:
    with socket.create_server((str(HOST), 0)) as server:
        port: int = server.getsockname()[1]
    return port


@pytest.fixture
def network() -> Iterator[Loopback]:
    made = Loopback()
    yield made
    made.guest.close()


@pytest.fixture
def forward(network: Loopback) -> Iterator[tuple[Forward, int]]:
    port = free_port()
    made = Forward.open(HOST, port, network, GUEST, 22)
    yield made, port
    made.close()


def join(network: Loopback, port: int) -> tuple[socket.socket, socket.socket]:
    """A client of the forward and the guest's end of its connection."""
    client = socket.create_connection((str(HOST), port), 5)
    guest, _ = network.guest.accept()
    guest.settimeout(5)
    return client, guest


def read_all(source: socket.socket) -> bytes:
    found = bytearray()
    while chunk := source.recv(1 << 16):
        found += chunk
    return bytes(found)


def test_bytes_go_both_ways_and_each_side_ends_for_itself(
    network: Loopback, forward: tuple[Forward, int]
) -> None:
    client, guest = join(network, forward[1])
    with client, guest:
        client.sendall(b"question")
        client.shutdown(socket.SHUT_WR)
        assert read_all(guest) == b"question"
        guest.sendall(b"answer")
        guest.close()
        assert read_all(client) == b"answer"
    assert network.asked == [(GUEST, 22)]


def test_two_full_directions_do_not_stop_each_other(network: Loopback, forward: tuple[Forward, int]) -> None:
    client, guest = join(network, forward[1])
    received: dict[str, bytes] = {}

    def send(target: socket.socket) -> None:
        target.sendall(b"x" * MUCH)
        target.shutdown(socket.SHUT_WR)

    def receive(name: str, source: socket.socket) -> None:
        received[name] = read_all(source)

    with client, guest:
        senders = [threading.Thread(target=send, args=(one,)) for one in (client, guest)]
        for thread in senders:
            thread.start()
        # The client reads last: until then its direction is full while the other must go on.
        receive("guest", guest)
        receive("client", client)
        for thread in senders:
            thread.join()
    assert [len(received[name]) for name in ("guest", "client")] == [MUCH, MUCH]


def test_a_guest_that_does_not_answer_ends_the_connection(
    network: Loopback, forward: tuple[Forward, int]
) -> None:
    network.guest.close()
    with socket.create_connection((str(HOST), forward[1]), 5) as client:
        assert client.recv(1) == b""


def test_closing_ends_open_connections(network: Loopback, forward: tuple[Forward, int]) -> None:
    client, guest = join(network, forward[1])
    with client, guest:
        client.sendall(b"x")
        assert guest.recv(1) == b"x"
        forward[0].close()
        assert client.recv(1) == b""
        assert guest.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((str(HOST), forward[1]), 5)


def test_a_taken_port_is_named_with_what_to_do(network: Loopback, forward: tuple[Forward, int]) -> None:
    with pytest.raises(
        MachineError, match=rf"127\.64\.255\.9:{forward[1]}: Address already in use"
    ) as raised:
        Forward.open(HOST, forward[1], network, GUEST, 22)
    assert "another program" in raised.value.hint
