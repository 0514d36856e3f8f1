"""The fabric's doors on loopback, asked by urllib and by raw sockets as guests ask them.

A guest's address is the peer's: 127.0.0.2 and so on, all of them loopback.
"""

from __future__ import annotations

import base64
import gc
import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree.ElementTree import fromstring

import pytest

from vmstamp.errors import StampError
from vmstamp.fabric.extensions import CUSTOM_SCRIPT, RUN_COMMAND, find_status, processed_goal_state
from vmstamp.fabric.fabric import Fabric
from vmstamp.fabric.instance import DiskFacts, Instance, Nic
from vmstamp.run import run
from vmstamp.timeline import Stage, Timeline

FIRST = "11111111-0000-4000-8000-000000000001"
SECOND = "22222222-0000-4000-8000-000000000002"
WAAGENT = {
    "User-Agent": "WALinuxAgent/2.7.3.0",
    "x-ms-agent-name": "WALinuxAgent",
    "x-ms-version": "2012-11-30",
}
CLOUD_INIT = {**WAAGENT, "User-Agent": "Cloud-Init/22.4.2"}
METADATA = {"Metadata": "true"}
API = "api-version=2021-08-01"


def make_instance(vm_id: str, name: str, *addresses: str) -> Instance:
    return Instance(
        vm_id=vm_id,
        name=name,
        resource_group="rg",
        subscription_id="8d10da13-8125-4ba9-a717-bf7490507b3d",
        resource_id=f"/subscriptions/s/virtualMachines/{name}",
        location="local",
        vm_size="Standard_B1s",
        computer_name=name,
        admin_username="azureuser",
        nics=tuple(
            Nic(f"00-0D-3A-00-00-{number:02X}", IPv4Address(address), IPv4Network("127.0.0.0/8"))
            for number, address in enumerate(addresses)
        ),
        os_disk=DiskFacts("os", 1 << 30),
    )


class Reply(NamedTuple):
    status: int
    body: bytes
    type: str

    @property
    def text(self) -> str:
        return self.body.decode()

    def find(self, path: str) -> str:
        """The text of an element of an XML body."""
        return fromstring(self.body).findtext(path) or ""


class Doors:
    """One network's three doors; requests come from `guest` unless another address is given."""

    def __init__(
        self,
        fabric: Fabric,
        network_id: str,
        guest: str = "127.0.0.2",
        catch_up: Callable[[], None] = lambda: None,
    ) -> None:
        self.listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
        self.wireserver, self.plugin, self.imds = (each.getsockname()[1] for each in self.listeners)
        self.guest = guest
        wireserver, plugin, imds = self.listeners
        fabric.serve(network_id, wireserver, plugin, imds, catch_up=catch_up)

    def ask(
        self,
        port: int,
        path: str,
        headers: dict[str, str] | None = None,
        *,
        body: bytes | None = None,
        method: str | None = None,
        guest: str = "",
    ) -> Reply:
        source = (guest or self.guest, 0)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10, source_address=source)
        with closing(connection):
            connection.request(method or ("POST" if body else "GET"), path, body, headers or {})
            reply = connection.getresponse()
            return Reply(reply.status, reply.read(), reply.getheader("content-type") or "")

    def goal_state(self, headers: dict[str, str] = WAAGENT, guest: str = "") -> Reply:
        return self.ask(self.wireserver, "/machine/?comp=goalstate", headers, guest=guest)

    def report(self, health: bytes, headers: dict[str, str] = WAAGENT, guest: str = "") -> Reply:
        return self.ask(self.wireserver, "/machine?comp=health", headers, body=health, guest=guest)


def health_of(instance: Instance, state: str = "Ready", substatus: str = "", description: str = "") -> bytes:
    details = f"<Details><SubStatus>{substatus}</SubStatus><Description>{description}</Description></Details>"
    return (
        '<?xml version="1.0" encoding="utf-8"?><Health><GoalStateIncarnation>1</GoalStateIncarnation>'
        f"<Container><ContainerId>{instance.container_id}</ContainerId><RoleInstanceList><Role>"
        f"<InstanceId>{instance.role_instance_id}</InstanceId><Health><State>{state}</State>"
        f"{details if substatus else ''}</Health></Role></RoleInstanceList></Container></Health>"
    ).encode()


class Clock:
    """Goes one second forward with every look at it."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


@pytest.fixture
def fabric() -> Iterator[Fabric]:
    made = Fabric(Clock())
    yield made
    made.close()


@pytest.fixture
def doors(fabric: Fabric) -> Doors:
    return Doors(fabric, "net1")


@pytest.fixture
def vm() -> Instance:
    return make_instance(FIRST, "vm1", "127.0.0.2", "127.0.0.3")


@pytest.fixture
def timeline(fabric: Fabric, doors: Doors, vm: Instance) -> Timeline:
    """The VM's timeline; the VM is registered."""
    made = Timeline()
    fabric.register("net1", vm, made)
    return made


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


# Health


def test_cloud_init_and_then_the_running_agent_report(
    fabric: Fabric, doors: Doors, timeline: Timeline, vm: Instance
) -> None:
    doors.goal_state(CLOUD_INIT)
    assert doors.report(health_of(vm), CLOUD_INIT).status == 200
    assert timeline.find(Stage.AGENT) is None
    doors.goal_state()
    doors.report(health_of(vm, "NotReady", "Provisioning", "Starting"))
    doors.report(health_of(vm))

    agent = fabric.agent(FIRST)
    assert [(report.state, report.substatus, report.reporter) for report in agent.reports] == [
        ("Ready", "", "cloud-init 22.4.2"),
        ("NotReady", "Provisioning", "WALinuxAgent 2.7.3.0"),
        ("Ready", "", "WALinuxAgent 2.7.3.0"),
    ]
    times = [report.at for report in agent.reports]
    assert times == sorted(times)
    assert agent.first_ready is agent.reports[0]
    assert agent.reports[0].user_agent == "Cloud-Init/22.4.2"
    assert agent.reports[0].incarnation == 1
    assert agent.version == "2.7.3.0"
    ready = timeline.find(Stage.READY)
    assert ready is not None
    assert ready.detail == "reported by cloud-init 22.4.2"
    assert timeline.find(Stage.FAILED) is None
    order = [event.stage for event in timeline.events()]
    assert order == [Stage.WIRESERVER, Stage.GOAL_STATE, Stage.READY, Stage.AGENT]


def test_failure_is_marked_with_its_reason(
    fabric: Fabric, doors: Doors, timeline: Timeline, vm: Instance
) -> None:
    doors.report(health_of(vm, "NotReady", "ProvisioningFailed", "no &lt;DVD&gt;"))
    failed = timeline.find(Stage.FAILED)
    assert failed is not None
    assert failed.detail == "WALinuxAgent 2.7.3.0: no <DVD>"
    assert timeline.find(Stage.READY) is None
    last = fabric.agent(FIRST).last
    assert last is not None
    assert last.failed


def test_not_ready_yet_is_no_end(doors: Doors, timeline: Timeline, vm: Instance) -> None:
    doors.report(health_of(vm, "NotReady", "Provisioning", "Starting"))
    assert not {Stage.READY, Stage.FAILED} & {event.stage for event in timeline.events()}


def test_goal_state_alone_does_not_make_a_vm_ready(doors: Doors, timeline: Timeline) -> None:
    doors.goal_state()
    assert timeline.find(Stage.READY) is None


@pytest.mark.parametrize("other", ["ContainerId", "InstanceId"])
def test_health_of_another_vm_is_refused(
    other: str, fabric: Fabric, doors: Doors, timeline: Timeline, vm: Instance
) -> None:
    reply = doors.report(health_of(vm).replace(f"<{other}>".encode(), f"<{other}>x".encode()))
    assert (reply.status, reply.find("Code")) == (400, "InvalidInput")
    assert not fabric.agent(FIRST).reports
    assert timeline.find(Stage.READY) is None


@pytest.mark.parametrize("path", ["/machine?comp=health", "/machine/?comp=health"])
def test_health_is_taken_with_and_without_a_slash(
    path: str, doors: Doors, timeline: Timeline, vm: Instance
) -> None:
    assert doors.ask(doors.wireserver, path, WAAGENT, body=health_of(vm)).status == 200
    assert timeline.find(Stage.READY) is not None


# Goal state


def test_new_goal_state_has_the_next_incarnation_everywhere(
    fabric: Fabric, doors: Doors, timeline: Timeline
) -> None:
    assert doors.goal_state().find("Incarnation") == "1"
    assert fabric.advance(FIRST) == 2
    goal = doors.goal_state()
    assert goal.find("Incarnation") == "2"
    place = goal.find("Container/RoleInstanceList/RoleInstance/Configuration/ExtensionsConfig")
    reply = doors.ask(doors.wireserver, place.removeprefix("http://168.63.129.16:80"), WAAGENT)
    metadata = fromstring(reply.body).find("InVMGoalStateMetaData")
    assert metadata is not None
    assert metadata.get("inSvdSeqNo") == "2"


def test_next_boot_keeps_goal_state_and_tenant_but_no_reports(
    fabric: Fabric, doors: Doors, timeline: Timeline, vm: Instance, tmp_path: Path
) -> None:
    fabric.advance(FIRST)
    doors.report(health_of(vm))
    before = fetch_tenant(doors, vm, "AES128_CBC", tmp_path)
    fabric.register("net1", vm, Timeline())
    assert not fabric.agent(FIRST).reports
    assert doors.goal_state().find("Incarnation") == "2"
    assert fetch_tenant(doors, vm, "DES_EDE3_CBC", tmp_path) == before


def test_configuration_of_another_goal_state_is_gone(doors: Doors, timeline: Timeline, vm: Instance) -> None:
    path = f"/machine/{FIRST}/{vm.role_instance_id}?comp=config&type=sharedConfig"
    reply = doors.ask(doors.wireserver, path, WAAGENT)
    assert (reply.status, reply.find("Code")) == (410, "ResourceNotAvailable")


# Certificates


def make_transport(directory: Path, key: str = "rsa:2048") -> str:
    """A guest's transport key and certificate in `directory`; the certificate as base64 of DER."""
    words = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        key,
        "-subj",
        "/CN=LinuxTransport",
        "-days",
        "30",
        "-nodes",
    ]
    if key == "ec":
        words += ["-pkeyopt", "ec_paramgen_curve:prime256v1"]
    run([*words, "-keyout", directory / "transport.key", "-out", directory / "transport.pem"])
    der = run(["openssl", "x509", "-in", directory / "transport.pem", "-outform", "DER"]).stdout
    return base64.b64encode(der).decode()


def fetch_tenant(doors: Doors, vm: Instance, cipher: str, directory: Path) -> str:
    """The tenant's key as openssl reads it out of the Certificates document, as a guest does."""
    headers = {
        **WAAGENT,
        "x-ms-cipher-name": cipher,
        "x-ms-guest-agent-public-x509-cert": make_transport(directory),
    }
    path = f"/machine/{vm.container_id}/{vm.role_instance_id}?comp=certificates&incarnation=1"
    reply = doors.ask(doors.wireserver, path, headers)
    assert (reply.status, reply.find("Format")) == (200, "Pkcs7BlobWithPfxContents")
    lines = reply.find("Data").strip().splitlines()
    assert max(map(len, lines)) <= 76
    envelope = base64.b64decode("".join(lines))
    printed = run(["openssl", "cms", "-cmsout", "-print", "-inform", "DER"], input=envelope).text
    assert {"AES128_CBC": "aes-128-cbc", "DES_EDE3_CBC": "des-ede3-cbc"}[cipher] in printed
    key, certificate = directory / "transport.key", directory / "transport.pem"
    decrypt = ["openssl", "cms", "-decrypt", "-inform", "DER", "-inkey", str(key), "-recip", str(certificate)]
    pfx = run(decrypt, input=envelope).stdout
    return run(["openssl", "pkcs12", "-nodes", "-nocerts", "-password", "pass:"], input=pfx).text


@pytest.mark.parametrize("cipher", ["AES128_CBC", "DES_EDE3_CBC"])
def test_tenant_key_comes_encrypted_to_the_transport_certificate(
    cipher: str, doors: Doors, timeline: Timeline, vm: Instance, tmp_path: Path
) -> None:
    assert "BEGIN PRIVATE KEY" in fetch_tenant(doors, vm, cipher, tmp_path)


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({}, "the header x-ms-guest-agent-public-x509-cert is missing"),
        ({"x-ms-guest-agent-public-x509-cert": "AAAA"}, "the transport certificate is not one in base64"),
        ({"x-ms-guest-agent-public-x509-cert": "%%"}, "the transport certificate is not one in base64"),
        (
            {"x-ms-guest-agent-public-x509-cert": "AAAA", "x-ms-cipher-name": "RC4"},
            "cipher 'RC4' is not one of AES128_CBC, DES_EDE3_CBC",
        ),
    ],
)
def test_bad_certificate_request_is_refused(
    headers: dict[str, str], message: str, doors: Doors, timeline: Timeline, vm: Instance
) -> None:
    path = f"/machine/{vm.container_id}/{vm.role_instance_id}?comp=certificates&incarnation=1"
    reply = doors.ask(doors.wireserver, path, {**WAAGENT, **headers})
    assert reply.status == 400
    assert reply.find("Message").startswith(message)


def test_transport_certificate_without_an_rsa_key_is_refused(
    doors: Doors, timeline: Timeline, vm: Instance, tmp_path: Path
) -> None:
    headers = {**WAAGENT, "x-ms-guest-agent-public-x509-cert": make_transport(tmp_path, "ec")}
    path = f"/machine/{vm.container_id}/{vm.role_instance_id}?comp=certificates&incarnation=1"
    reply = doors.ask(doors.wireserver, path, headers)
    assert (reply.status, reply.find("Message")) == (400, "the transport certificate has no RSA key")


# The running agent


def status_request(vm: Instance, content: bytes) -> bytes:
    return json.dumps(
        {
            "requestUri": f"http://168.63.129.16:80/vmstamp/status/{vm.vm_id}?sig=local",
            "headers": [{"headerName": "x-ms-blob-type", "headerValue": "BlockBlob"}],
            "content": base64.b64encode(content).decode(),
        }
    ).encode()


def test_status_blob_is_kept_with_its_time(
    fabric: Fabric, doors: Doors, timeline: Timeline, vm: Instance
) -> None:
    body = status_request(vm, b'{"version": "1.1"}')
    assert doors.ask(doors.plugin, "/status", WAAGENT, body=body, method="PUT").status == 200
    first = fabric.agent(FIRST)
    assert first.status == {"version": "1.1"}
    assert first.heartbeat == first.status_at is not None

    direct = f"/vmstamp/status/{FIRST}?sig=local"
    reply = doors.ask(doors.wireserver, direct, WAAGENT, body=b'{"version": "2"}', method="PUT")
    assert reply.status == 201
    second = fabric.agent(FIRST)
    assert second.status == {"version": "2"}
    assert second.status_at is not None
    assert first.status_at is not None
    assert second.status_at > first.status_at


def test_heartbeat_is_the_running_agents_alone(fabric: Fabric, doors: Doors, timeline: Timeline) -> None:
    doors.goal_state(CLOUD_INIT)
    assert fabric.agent(FIRST).heartbeat is None
    doors.goal_state()
    first = fabric.agent(FIRST).heartbeat
    doors.goal_state()
    second = fabric.agent(FIRST).heartbeat
    assert first is not None
    assert second is not None
    assert second > first


def test_status_of_another_vm_is_refused(
    fabric: Fabric, doors: Doors, timeline: Timeline, vm: Instance
) -> None:
    body = status_request(vm, b"{}").replace(FIRST.encode(), SECOND.encode())
    assert doors.ask(doors.plugin, "/status", WAAGENT, body=body, method="PUT").status == 400
    direct = f"/vmstamp/status/{SECOND}?sig=local"
    assert doors.ask(doors.wireserver, direct, WAAGENT, body=b"{}", method="PUT").status == 403
    assert fabric.agent(FIRST).status is None


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b'{"content": "%"}'])
def test_malformed_status_is_refused_in_json(body: bytes, doors: Doors, timeline: Timeline) -> None:
    reply = doors.ask(doors.plugin, "/status", WAAGENT, body=body, method="PUT")
    assert (reply.status, json.loads(reply.body)["errorCode"]) == (400, "InvalidInput")


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\x00" * 512])
def test_status_blob_that_is_no_json_object_is_refused(
    content: bytes, fabric: Fabric, doors: Doors, timeline: Timeline, vm: Instance
) -> None:
    body = status_request(vm, content)
    assert doors.ask(doors.plugin, "/status", WAAGENT, body=body, method="PUT").status == 400
    assert fabric.agent(FIRST).status is None


def test_what_the_running_agent_tells_is_taken(doors: Doors, timeline: Timeline) -> None:
    wireserver, plugin = doors.wireserver, doors.plugin
    assert doors.ask(wireserver, "/machine?comp=roleProperties", WAAGENT, body=b"<R/>").status == 202
    assert doors.ask(wireserver, "/machine?comp=telemetrydata", WAAGENT, body=b"x" * 65_700).status == 200
    observation = (
        b'{"Api": "reporttargethealth", "Version": "1.0", "Source": "WALinuxAgent", "Observations": []}'
    )
    assert doors.ask(wireserver, "/HealthService", WAAGENT, body=observation).status == 200
    assert doors.ask(plugin, "/vmAgentLog", WAAGENT, body=b"PK" * (1 << 20), method="PUT").status == 200
    assert json.loads(doors.ask(plugin, "/versions").body) == ["2015-09-01"]
    assert doors.ask(plugin, "/health").status == 200


def test_plugin_has_no_fast_track(doors: Doors, timeline: Timeline) -> None:
    reply = doors.ask(doors.plugin, "/vmSettings", WAAGENT)
    assert (reply.status, json.loads(reply.body)["errorCode"]) == (404, "NotSupported")


# Bad requests


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


# IMDS


def test_metadata_header_is_needed(doors: Doors, timeline: Timeline) -> None:
    reply = doors.ask(doors.imds, f"/metadata/instance?{API}")
    assert reply.status == 400
    assert json.loads(reply.body) == {"error": "Bad request. Required metadata header not specified"}
    assert timeline.find(Stage.IMDS) is None


def test_forwarded_request_is_refused(doors: Doors, timeline: Timeline) -> None:
    headers = {**METADATA, "X-Forwarded-For": "10.0.0.1"}
    reply = doors.ask(doors.imds, f"/metadata/instance?{API}", headers)
    assert reply.status == 400
    assert "X-Forwarded-For" in json.loads(reply.body)["error"]


@pytest.mark.parametrize("query", ["", "?api-version=", "?api-version=2017-07-01", "?api-version=latest"])
@pytest.mark.parametrize("path", ["/metadata", "/metadata/instance", "/metadata/instance/compute/name"])
def test_wrong_api_version_is_refused_with_the_newest(
    path: str, query: str, doors: Doors, timeline: Timeline
) -> None:
    reply = doors.ask(doors.imds, path + query, METADATA)
    assert reply.status == 400
    assert json.loads(reply.body) == {
        "error": "Bad request. api-version is invalid or was not specified in the request. "
        "For more information refer to aka.ms/azureimds",
        "newest-versions": ["2025-04-07", "2024-07-17", "2024-03-15"],
    }


@pytest.mark.parametrize(
    "version",
    ["2017-08-01", "2017-12-01", "2018-02-01", "2019-06-01", "2021-08-01", "2021-02-01", "2025-04-07"],
)
def test_versions_that_agents_ask_for_are_served(version: str, doors: Doors, timeline: Timeline) -> None:
    reply = doors.ask(doors.imds, f"/metadata/instance?api-version={version}", METADATA)
    assert reply.status == 200
    assert json.loads(reply.body)["network"]["interface"][0]["macAddress"] == "000D3A000000"
    assert timeline.find(Stage.IMDS) is not None


def test_versions_are_listed_without_an_api_version(doors: Doors, timeline: Timeline) -> None:
    versions = json.loads(doors.ask(doors.imds, "/metadata/versions", METADATA).body)["apiVersions"]
    assert {"2017-08-01", "2018-02-01", "2021-02-01", "2025-04-07"} <= set(versions)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("compute/name", "vm1"),
        ("compute/vmSize", "Standard_B1s"),
        ("compute/VMID", FIRST),
        ("compute/osProfile/", "adminUsername\ncomputerName\ndisablePasswordAuthentication"),
        ("network", "interface/"),
        ("network/interface", "0/\n1/"),
        ("network/interface/1/ipv4/ipAddress/0/privateIpAddress", "127.0.0.3"),
    ],
)
def test_nodes_and_leaves_are_served_as_text(path: str, text: str, doors: Doors, timeline: Timeline) -> None:
    reply = doors.ask(doors.imds, f"/metadata/instance/{path}?{API}&format=text", METADATA)
    assert (reply.status, reply.text) == (200, text)
    assert reply.type.startswith("text/plain")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/metadata/instance/compute/nothing?{}", 404),
        ("/metadata/instance/network/interface/2?{}", 404),
        ("/metadata/instance/network/interface/-1?{}", 404),
        ("/metadata/instance/compute/name/more?{}&format=text", 404),
        ("/metadata/instance/compute/name?{}", 400),
        ("/metadata/instance?{}&format=xml", 400),
        ("/metadata/attested/document?{}", 404),
        ("/metadata/scheduledevents?api-version=2020-07-01", 404),
        ("/metadata?{}", 404),
        ("/?{}", 404),
    ],
)
def test_what_imds_does_not_serve_is_refused_in_json(
    path: str, status: int, doors: Doors, timeline: Timeline
) -> None:
    reply = doors.ask(doors.imds, path.format(API), METADATA)
    assert reply.status == status
    assert json.loads(reply.body).keys() == {"error"}


def test_token_is_refused_as_for_a_vm_without_an_identity(doors: Doors, timeline: Timeline) -> None:
    path = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://management.azure.com/"
    reply = doors.ask(doors.imds, path, METADATA)
    assert reply.status == 400
    assert json.loads(reply.body) == {"error": "invalid_request", "error_description": "Identity not found"}


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_imds_takes_get_alone(method: str, doors: Doors, timeline: Timeline) -> None:
    assert doors.ask(doors.imds, f"/metadata/instance?{API}", METADATA, method=method).status == 405


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


# Extensions


def extensions_of(doors: Doors) -> Reply:
    url = doors.goal_state().find("Container/RoleInstanceList/RoleInstance/Configuration/ExtensionsConfig")
    return doors.ask(doors.wireserver, url.removeprefix("http://168.63.129.16:80"), WAAGENT)


def test_plugins_are_in_the_next_goal_state(fabric: Fabric, doors: Doors, timeline: Timeline) -> None:
    assert fabric.extend(FIRST, CUSTOM_SCRIPT, 7, {"commandToExecute": "echo '<&>'"}) == 2
    assert fabric.extend(FIRST, RUN_COMMAND, 0, {"script": ""}) == 3
    assert doors.goal_state().find("Incarnation") == "3"
    config = fromstring(extensions_of(doors).body)
    assert [plugin.get("name") for plugin in config.findall("Plugins/Plugin")] == [
        "Microsoft.Azure.Extensions.CustomScript",
        "Microsoft.CPlat.Core.RunCommandLinux",
    ]
    settings = config.find("PluginSettings/Plugin/RuntimeSettings")
    assert settings is not None and settings.get("seqNo") == "7"
    [given] = json.loads(settings.text or "")["runtimeSettings"]
    assert given == {"handlerSettings": {"publicSettings": {"commandToExecute": "echo '<&>'"}}}
    assert fabric.withdraw(FIRST, CUSTOM_SCRIPT, 8) == 4
    fabric.drop(FIRST, RUN_COMMAND)
    [plugin] = fromstring(extensions_of(doors).body).findall("Plugins/Plugin")
    assert (plugin.get("name"), plugin.get("state")) == (CUSTOM_SCRIPT.name, "uninstall")


def test_protected_settings_are_for_the_tenant_certificate_alone(
    fabric: Fabric, doors: Doors, timeline: Timeline, tmp_path: Path
) -> None:
    fabric.extend(FIRST, CUSTOM_SCRIPT, 0, {}, {"commandToExecute": "a-secret-word"})
    body = extensions_of(doors)
    assert "a-secret-word" not in body.text
    given = json.loads(body.find("PluginSettings/Plugin/RuntimeSettings"))["runtimeSettings"][0]
    sealed = given["handlerSettings"]["protectedSettings"]
    printed = run(
        ["openssl", "cms", "-cmsout", "-print", "-inform", "DER"], input=base64.b64decode(sealed)
    ).stdout
    assert b"aes-128-cbc" in printed
    assert len(given["handlerSettings"]["protectedSettingsCertThumbprint"]) == 40


def test_a_handlers_manifest_names_its_package(doors: Doors, timeline: Timeline) -> None:
    base = "/vmstamp/extensions/microsoft.azure.extensions.customscript"
    manifest = doors.ask(doors.wireserver, f"{base}/manifest.xml", WAAGENT)
    assert manifest.find("Plugins/Plugin/Version") == CUSTOM_SCRIPT.version
    url = manifest.find("Plugins/Plugin/Uris/Uri").removeprefix("http://168.63.129.16:80")
    package = doors.ask(doors.wireserver, url, WAAGENT)
    assert (package.status, package.type, package.body[:2]) == (200, "application/zip", b"PK")
    assert doors.ask(doors.wireserver, f"{base}/9.9.zip", WAAGENT).status == 404
    unknown = doors.ask(doors.wireserver, "/vmstamp/extensions/Some.Other/manifest.xml", WAAGENT)
    assert unknown.status == 404


def test_what_an_agent_tells_of_a_handler_is_read() -> None:
    status = {"status": {"status": "success", "formattedMessage": {"lang": "en", "message": "done"}}}
    told = {
        "handlerName": "Microsoft.Azure.Extensions.CustomScript",
        "handlerVersion": "2.1.10",
        "status": "Ready",
        "code": 0,
        "runtimeSettingsStatus": {"settingsStatus": status, "sequenceNumber": "4"},
    }
    goal = {"goalStateAggregateStatus": {"inSvdSeqNo": "12"}}
    document = {
        "aggregateStatus": {"handlerAggregateStatus": ["?", told], "vmArtifactsAggregateStatus": goal}
    }
    found = find_status(document, CUSTOM_SCRIPT)
    assert found is not None
    assert (found.sequence, found.status, found.report, found.ended) == (4, "success", "done", True)
    assert processed_goal_state(document) == 12
    assert find_status(document, RUN_COMMAND) is None
    empty: dict[str, Any] = {}
    listed: dict[str, Any] = {"aggregateStatus": {"handlerAggregateStatus": {}}}
    wrong: dict[str, Any] = {"aggregateStatus": []}
    for broken in (None, empty, wrong, listed):
        assert find_status(broken, CUSTOM_SCRIPT) is None and processed_goal_state(broken) is None
