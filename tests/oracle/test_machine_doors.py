"""The ports that lead to a machine: opened, closed and kept while it runs."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing
from ipaddress import IPv4Address

import pytest

from vmstamp.errors import MachineError
from vmstamp.machine.doors import Door, Doors

HOST = IPv4Address("127.0.0.1")
GUEST = IPv4Address("10.0.0.4")


class Inside:
    """A network whose guests are a listener of this computer."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))

    def connect(self, address: IPv4Address, port: int, timeout: float) -> socket.socket:
        return socket.create_connection(self.listener.getsockname(), timeout)


@pytest.fixture
def inside() -> Iterator[Inside]:
    network = Inside()
    with closing(network.listener):
        yield network


@pytest.fixture
def doors() -> Iterator[Doors]:
    found = Doors()
    yield found
    found.shut()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def door(inside: Inside, port: int, *, guest_port: int = 80, sure: bool = True) -> Door:
    return Door(HOST, port, GUEST, guest_port, inside, sure)


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except ConnectionRefusedError:
        return False
    return True


def test_doors_are_opened_and_closed_until_they_are_those_wanted(doors: Doors, inside: Inside) -> None:
    one, two = free_port(), free_port()
    doors.keep([door(inside, one)])
    assert (answers(one), answers(two)) == (True, False)
    doors.keep([door(inside, two)])
    assert (answers(one), answers(two)) == (False, True)
    doors.keep([])
    assert (answers(one), answers(two)) == (False, False)


def test_a_door_that_stays_keeps_its_connections(doors: Doors, inside: Inside) -> None:
    one, two = free_port(), free_port()
    doors.keep([door(inside, one)])
    with socket.create_connection(("127.0.0.1", one), 5) as client:
        guest, _ = inside.listener.accept()
        doors.keep([door(inside, one), door(inside, two)])
        with guest:
            client.sendall(b"on")
            guest.settimeout(5)
            assert guest.recv(2) == b"on"


def test_a_door_that_goes_takes_its_connections_along(doors: Doors, inside: Inside) -> None:
    one = free_port()
    doors.keep([door(inside, one)])
    with socket.create_connection(("127.0.0.1", one), 5) as client:
        guest, _ = inside.listener.accept()
        with guest:
            client.sendall(b"x")
            assert guest.recv(1) == b"x"
            doors.keep([])
            client.settimeout(5)
            assert client.recv(1) == b""


def test_a_port_that_leads_elsewhere_is_opened_anew(doors: Doors, inside: Inside) -> None:
    one = free_port()
    doors.keep([door(inside, one, guest_port=80)])
    doors.keep([door(inside, one, guest_port=81)])
    assert answers(one)


def test_a_sure_port_that_is_taken_is_told_and_the_others_are_open(doors: Doors, inside: Inside) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken, free = other.getsockname()[1], free_port()
        with pytest.raises(MachineError, match=f"cannot listen on 127.0.0.1:{taken}"):
            doors.keep([door(inside, taken), door(inside, free)])
        assert answers(free)
        doors.keep([door(inside, taken, sure=False), door(inside, free)])


def test_nothing_is_opened_once_all_are_shut(doors: Doors, inside: Inside) -> None:
    one = free_port()
    doors.shut()
    doors.keep([door(inside, one)])
    assert not answers(one)
