"""A real virtual network, asked by a DHCP client, a DNS client and sockets that live in it."""

from __future__ import annotations

import os
import select
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from vmstamp.errors import MachineError
from vmstamp.machine.dhcp import IMDS, WIRESERVER, NetworkSpec, SubnetSpec, internal_domain
from vmstamp.machine.network import Network

SPEC = NetworkSpec(
    "11112222",
    "vnet",
    (SubnetSpec("default", IPv4Network("10.0.0.0/24")), SubnetSpec("back", IPv4Network("10.0.1.0/24"))),
)
MAC = "00-0D-3A-01-02-03"
DISCOVER, OFFER, REQUEST, ACK = 1, 2, 3, 5
COOKIE = b"\x63\x82\x53\x63"  # RFC 2131 3


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    try:
        made = Network.open(SPEC, tmp_path / "networks" / SPEC.id, way_out=False)
    except MachineError as error:
        pytest.skip(f"no network namespace: {error}")
    yield made
    made.close()


def nothing() -> None:
    pass


def checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def dhcp_frame(mac: bytes, kind: int, options: bytes) -> bytes:
    body = struct.pack("!BBBBIHH16x6s10x192x", 1, 1, 6, 0, 0x1234, 0, 0x8000, mac) + COOKIE
    body += bytes([53, 1, kind]) + options + b"\xff"
    udp = struct.pack("!HHHH", 68, 67, 8 + len(body), 0) + body
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, bytes(4), b"\xff" * 4)
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    return b"\xff" * 6 + mac + b"\x08\x00" + head + udp


def read_reply(tap: int, mac: bytes, timeout: float = 5.0) -> dict[int, bytes] | None:
    """The options of the next DHCP reply to a MAC on a tap, the address as option 0; None in silence."""
    deadline = time.monotonic() + timeout
    while select.select([tap], [], [], max(0.0, deadline - time.monotonic()))[0]:
        frame = os.read(tap, 2048)
        if frame[12:14] != b"\x08\x00" or frame[23] != 17 or frame[36:38] != b"\x00\x44":
            continue
        body = frame[42:]
        if body[28:34] != mac:  # replies are broadcast
            continue
        found = {0: body[16:20]}
        options = body[240:]
        while options and options[0] != 255:
            found[options[0]] = options[2 : 2 + options[1]]
            options = options[2 + options[1] :]
        return found
    return None


def ask(
    tap: int, mac: str, kind: int, options: bytes = b"", *, client_id: bytes = b"one", timeout: float = 5.0
) -> dict[int, bytes] | None:
    client = bytes([61, len(client_id)]) + client_id + bytes([55, 6, 1, 3, 6, 15, 51, 121])
    hardware = bytes.fromhex(mac.replace("-", ""))
    os.write(tap, dhcp_frame(hardware, kind, client + options))
    return read_reply(tap, hardware, timeout)


def lease(tap: int, mac: str, client_id: bytes = b"one") -> dict[int, bytes]:
    """A whole exchange. A tap learns for a moment before it forwards, so the first question is repeated."""
    offered = None
    for _ in range(10):
        offered = ask(tap, mac, DISCOVER, client_id=client_id, timeout=1.0)
        if offered:
            break
    assert offered is not None, "no DHCP offer"
    wanted = bytes([50, 4]) + offered[0] + bytes([54, 4]) + offered[54]
    acknowledged = ask(tap, mac, REQUEST, wanted, client_id=client_id)
    assert acknowledged is not None
    assert acknowledged[53] == bytes([ACK])
    return acknowledged


def test_a_lease_carries_azures_options(network: Network) -> None:
    leased = threading.Event()
    tap = network.add_port(MAC, IPv4Address("10.0.1.7"), "web", leased.set)
    options = lease(tap, MAC)
    assert options[0] == bytes([10, 0, 1, 7])
    assert options[1] == bytes([255, 255, 255, 0])
    assert options[3] == bytes([10, 0, 1, 1])
    assert options[6] == WIRESERVER.packed
    assert options[15] == SPEC.domain.encode()
    assert options[51] == b"\xff\xff\xff\xff"
    gateway = bytes([10, 0, 1, 1])
    assert options[121] == b"\0" + gateway + b"\x20" + WIRESERVER.packed + gateway + (
        b"\x20" + IMDS.packed + gateway
    )
    assert options[245] == bytes.fromhex("a83f8110")
    assert leased.wait(5)
    os.close(tap)


def test_another_client_id_gets_the_same_address(network: Network) -> None:
    tap = network.add_port(MAC, IPv4Address("10.0.0.4"), "web", nothing)
    assert lease(tap, MAC, b"first boot")[0] == lease(tap, MAC, b"generalized, booted again")[0]
    os.close(tap)


def test_an_address_that_was_leased_is_free_for_the_next_nic(network: Network) -> None:
    first = network.add_port(MAC, IPv4Address("10.0.0.4"), "web", nothing)
    lease(first, MAC)
    network.remove_port(MAC)
    os.close(first)
    second = network.add_port("00-0D-3A-01-02-04", IPv4Address("10.0.0.4"), "web2", nothing)
    assert lease(second, "00-0D-3A-01-02-04")[0] == bytes([10, 0, 0, 4])
    os.close(second)


def test_a_subnet_that_is_added_later_serves_its_nics_and_the_others_stay(network: Network) -> None:
    first = network.add_port(MAC, IPv4Address("10.0.0.4"), "web", nothing)
    lease(first, MAC)
    network.change(replace(SPEC, subnets=(SPEC.subnets[0], SubnetSpec("new", IPv4Network("10.0.2.0/24")))))
    second = network.add_port("00-0D-3A-01-02-04", IPv4Address("10.0.2.4"), "db", nothing)
    options = lease(second, "00-0D-3A-01-02-04")
    assert (options[0], options[3]) == (bytes([10, 0, 2, 4]), bytes([10, 0, 2, 1]))
    assert lease(first, MAC)[0] == bytes([10, 0, 0, 4])
    with network.listen(IPv4Address("10.0.2.1"), 8080), pytest.raises(MachineError, match="assign requested"):
        network.listen(IPv4Address("10.0.1.1"), 8080)
    os.close(first)
    os.close(second)


def test_a_stranger_gets_no_address(network: Network) -> None:
    tap = network.add_port(MAC, IPv4Address("10.0.0.4"), "web", nothing)
    lease(tap, MAC)
    assert ask(tap, "00-0D-3A-0F-0F-0F", DISCOVER, timeout=1.0) is None
    os.close(tap)


def resolve(network: Network, name: str, kind: int = 1) -> tuple[int, bytes]:
    """The response code and the last four bytes of a DNS answer."""
    question = b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\0"
    query = struct.pack("!HHHHHH", 7, 0x0100, 1, 0, 0, 0) + question + struct.pack("!HH", kind, 1)
    with network.connect(WIRESERVER, 53, 5.0) as connection:
        connection.settimeout(5.0)
        connection.sendall(struct.pack("!H", len(query)) + query)
        answer = connection.recv(2048)[2:]
    return answer[3] & 15, answer[-4:]


def test_names_of_the_network_are_answered_and_others_do_not_exist(network: Network) -> None:
    tap = network.add_port(MAC, IPv4Address("10.0.0.4"), "web", nothing)
    deadline = time.monotonic() + 5
    while resolve(network, f"web.{SPEC.domain}")[0] != 0 and time.monotonic() < deadline:
        pass
    assert resolve(network, f"web.{SPEC.domain}") == (0, bytes([10, 0, 0, 4]))
    assert resolve(network, "web") == (0, bytes([10, 0, 0, 4]))
    assert resolve(network, "www.example.org")[0] == 3
    assert resolve(network, f"no.{SPEC.domain}")[0] == 3
    assert resolve(network, f"web.{internal_domain('another')}")[0] == 3
    network.remove_port(MAC)
    while resolve(network, f"web.{SPEC.domain}")[0] == 0 and time.monotonic() < deadline:
        pass
    assert resolve(network, f"web.{SPEC.domain}")[0] == 3
    os.close(tap)


def test_the_same_address_is_served_in_two_networks(network: Network, tmp_path: Path) -> None:
    other = Network.open(SPEC, tmp_path / "other", way_out=False)
    listeners = [one.listen(WIRESERVER, 80) for one in (network, other)]
    for one, listener in zip((network, other), listeners, strict=True):
        with one.connect(WIRESERVER, 80, 1.0) as client:
            accepted, _ = listener.accept()
            client.sendall(b"hello")
            assert accepted.recv(5) == b"hello"
            accepted.close()
        listener.close()
    other.close()


def test_the_host_is_not_reached_from_a_network(network: Network) -> None:
    with socket.create_server(("127.0.0.1", 0)) as outside:
        port = outside.getsockname()[1]
        with pytest.raises(OSError, match="refused"):
            network.connect(IPv4Address("127.0.0.1"), port, 1.0)


def test_a_taken_port_is_named(network: Network) -> None:
    with network.listen(WIRESERVER, 80), pytest.raises(MachineError, match=r"168\.63\.129\.16:80"):
        network.listen(WIRESERVER, 80)


def test_a_closed_network_refuses_in_its_own_words(network: Network) -> None:
    network.close()
    with pytest.raises(MachineError, match="its namespace is gone"):
        network.listen(WIRESERVER, 80)
