"""The doors of a network on loopback, as a guest asks them: by urllib and by raw sockets.

A guest's address is the peer's: 127.0.0.2 and so on, all of them loopback.
"""

from __future__ import annotations

import base64
import http.client
import socket
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import fromstring

from vmstamp.fabric.fabric import Fabric
from vmstamp.fabric.instance import DiskFacts, Instance, Nic
from vmstamp.run import run

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
