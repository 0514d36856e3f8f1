"""Who asks a network's doors, and doors that open and close."""

from __future__ import annotations

import gc
import json
import socket
import threading
from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from tests.client.fabric_doors import API, FIRST, METADATA, SECOND, Doors, health_of, make_instance
from vmstamp.errors import StampError
from vmstamp.fabric.fabric import Fabric
from vmstamp.fabric.instance import Instance
from vmstamp.timeline import Stage, Timeline

# Who asks


def test_two_networks_with_the_same_addresses_are_kept_apart(fabric: Fabric, doors: Doors) -> None:
    other = Doors(fabric, "net2")
    one, two = make_instance(FIRST, "one", "127.0.0.2"), make_instance(SECOND, "two", "127.0.0.2")
    fabric.register("net1", one, Timeline())
    fabric.register("net2", two, Timeline())
    assert doors.goal_state().find("Container/ContainerId") == one.container_id
    assert other.goal_state().find("Container/ContainerId") == two.container_id
    other.report(health_of(two))
    assert not fabric.agent(FIRST).reports
    assert len(fabric.agent(SECOND).reports) == 1


def test_every_address_of_a_vm_is_the_vm(doors: Doors, timeline: Timeline, vm: Instance) -> None:
    assert doors.goal_state(guest="127.0.0.3").find("Container/ContainerId") == vm.container_id


def test_further_addresses_of_an_interface_are_told_and_are_the_vms(fabric: Fabric, doors: Doors) -> None:
    vm = make_instance(FIRST, "vm1", "127.0.0.2")
    further = ((IPv4Address("127.0.0.5"), IPv4Address("127.64.0.9")), (IPv4Address("127.0.0.6"), None))
    vm = replace(vm, nics=(replace(vm.nics[0], secondary=further),))
    fabric.register("net1", vm, Timeline())
    assert doors.goal_state(guest="127.0.0.6").find("Container/ContainerId") == vm.container_id
    path = f"/metadata/instance/network/interface/0/ipv4/ipAddress?{API}"
    assert json.loads(doors.ask(doors.imds, path, METADATA).text) == [
        {"privateIpAddress": "127.0.0.2", "publicIpAddress": ""},
        {"privateIpAddress": "127.0.0.5", "publicIpAddress": "127.64.0.9"},
        {"privateIpAddress": "127.0.0.6", "publicIpAddress": ""},
    ]


def test_what_came_before_a_request_is_marked_before_it(fabric: Fabric, vm: Instance) -> None:
    made = Timeline()

    def catch_up() -> None:
        made.mark(Stage.DHCP)

    doors = Doors(fabric, "net1", catch_up=catch_up)
    fabric.register("net1", vm, made)
    doors.goal_state()
    assert [event.stage for event in made.events()][:2] == [Stage.DHCP, Stage.WIRESERVER]


def test_unknown_peer_gets_nothing(doors: Doors, timeline: Timeline) -> None:
    assert doors.goal_state(guest="127.0.0.9").status == 404
    assert doors.ask(doors.plugin, "/versions", guest="127.0.0.9").status == 404
    reply = doors.ask(doors.imds, f"/metadata/instance?{API}", METADATA, guest="127.0.0.9")
    assert (reply.status, json.loads(reply.body)) == (404, {"error": "Not found"})
    assert timeline.events() == []


def test_forgotten_vm_gets_nothing_and_its_address_may_be_another_vms(
    fabric: Fabric, doors: Doors, timeline: Timeline, vm: Instance
) -> None:
    fabric.forget(FIRST)
    assert doors.goal_state().status == 404
    two = make_instance(SECOND, "two", "127.0.0.2")
    fabric.register("net1", two, Timeline())
    fabric.forget(FIRST)
    assert doors.goal_state().find("Container/ContainerId") == two.container_id


def test_address_goes_to_the_vm_that_was_registered_last(
    fabric: Fabric, doors: Doors, timeline: Timeline
) -> None:
    two = make_instance(SECOND, "two", "127.0.0.2")
    fabric.register("net1", two, Timeline())
    fabric.forget(FIRST)
    assert doors.goal_state().find("Container/ContainerId") == two.container_id


# Opening and closing


def test_network_closes_with_its_sockets_and_opens_again(fabric: Fabric, vm: Instance) -> None:
    for _ in range(3):
        doors = Doors(fabric, "net1")
        fabric.register("net1", vm, Timeline())
        assert doors.goal_state().status == 200
        doors.report(health_of(vm))
        fabric.close_network("net1")
        assert all(listener.fileno() == -1 for listener in doors.listeners)
        with pytest.raises(ConnectionRefusedError):
            doors.goal_state()
        assert fabric.agent(FIRST).first_ready is not None
    fabric.close_network("net1")


def test_network_closes_while_guests_hold_connections(
    fabric: Fabric, doors: Doors, timeline: Timeline
) -> None:
    head = b"POST /machine?comp=health HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n"
    address = ("127.0.0.1", doors.wireserver)
    with socket.create_connection(address, 10, ("127.0.0.2", 0)) as connection:
        connection.sendall(head)
        with socket.create_connection(address, 10, ("127.0.0.2", 0)) as idle:
            fabric.close_network("net1")
            assert idle.recv(1) == b""


def test_network_is_served_once(fabric: Fabric, doors: Doors, timeline: Timeline) -> None:
    with pytest.raises(StampError, match="serves the network net1 already"):
        Doors(fabric, "net1")
    assert doors.goal_state().status == 200


def test_vm_is_registered_in_a_served_network_only(fabric: Fabric, vm: Instance) -> None:
    with pytest.raises(StampError, match="does not serve the network net9"):
        fabric.register("net9", vm, Timeline())
    with pytest.raises(StampError, match="does not know the VM"):
        fabric.advance(FIRST)
    assert fabric.agent(FIRST).reports == ()


def test_closed_fabric_leaves_no_thread_and_no_socket(vm: Instance) -> None:
    before = threading.active_count()
    fabric = Fabric()
    doors = Doors(fabric, "net1")
    fabric.register("net1", vm, Timeline())
    doors.goal_state()
    fabric.close()
    fabric.close()
    assert all(listener.fileno() == -1 for listener in doors.listeners)
    assert threading.active_count() == before
    with pytest.raises(StampError, match="the fabric is closed"):
        Doors(fabric, "net1")
    gc.collect()
