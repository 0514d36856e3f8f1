"""What the doors refuse: malformed requests, and what is no HTTP."""

from __future__ import annotations

import socket

import pytest

from tests.client.fabric_doors import FIRST, WAAGENT, Doors, health_of
from vmstamp.fabric.fabric import Fabric
from vmstamp.fabric.instance import Instance
from vmstamp.timeline import Timeline


@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("/", "GET"),
        ("/?comp=unknown", "GET"),
        ("/machine/?comp=unknown", "GET"),
        ("/machine?comp=goalstate", "POST"),
        ("/machine?comp=health", "GET"),
        ("/machine?comp=health", "DELETE"),
        ("/nothing/here?x=<&>", "GET"),
        ("/%00%1b", "OPTIONS"),
    ],
)
def test_what_is_not_supported_is_named(path: str, method: str, doors: Doors, timeline: Timeline) -> None:
    reply = doors.ask(doors.wireserver, path, WAAGENT, method=method)
    assert (reply.status, reply.find("Code")) == (404, "NotSupported")
    assert reply.find("Message").startswith(f"not supported: {method} ")


def test_unknown_protocol_version_is_refused(doors: Doors, timeline: Timeline) -> None:
    reply = doors.goal_state({**WAAGENT, "x-ms-version": "1999-01-01"})
    assert (reply.status, reply.find("Code")) == (400, "InvalidVersion")


def test_bodies_are_bounded(doors: Doors, timeline: Timeline) -> None:
    for path, length in (("/machine?comp=health", 65), ("/machine?comp=telemetrydata", 97)):
        reply = doors.ask(doors.wireserver, path, WAAGENT, body=b"x" * (length << 10))
        assert (reply.status, reply.find("Code")) == (413, "RequestBodyTooLarge")
    reply = doors.ask(doors.plugin, "/status", WAAGENT, body=b"x" * (2 << 20) + b"x", method="PUT")
    assert reply.status == 413


@pytest.mark.parametrize("body", [b"x", b"<Health/>", b"\xff\xfe", b"<a>" * 20_000])
def test_malformed_health_is_refused_in_xml(body: bytes, doors: Doors, timeline: Timeline) -> None:
    reply = doors.report(body)
    assert (reply.status, reply.find("Code")) == (400, "InvalidInput")
    assert "Traceback" not in reply.text


@pytest.mark.parametrize(
    "request_", [b"\x00\x01\x02\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/1.1\r\nbad\r\n\r\n"]
)
def test_what_is_no_http_is_refused_and_the_door_stays_open(
    request_: bytes, doors: Doors, timeline: Timeline
) -> None:
    for port in (doors.wireserver, doors.plugin, doors.imds):
        with socket.create_connection(("127.0.0.1", port), 10, ("127.0.0.2", 0)) as connection:
            connection.sendall(request_)
            assert b" 400 " in connection.recv(4096).split(b"\r\n")[0] + b" "
    assert doors.goal_state().status == 200


def test_guest_that_goes_away_in_the_middle_harms_nobody(
    fabric: Fabric, doors: Doors, timeline: Timeline, vm: Instance
) -> None:
    head = b"POST /machine?comp=health HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n<Health>"
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", doors.wireserver), 10, ("127.0.0.2", 0)) as connection:
            connection.sendall(head)
    assert doors.report(health_of(vm)).status == 200
    assert len(fabric.agent(FIRST).reports) == 1
