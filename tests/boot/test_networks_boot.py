"""Guests of two virtual networks, made by the official SDK: who reaches whom, by address and by name."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from azure.identity import ClientSecretCredential
from azure.mgmt.compute import ComputeManagementClient
from azure.mgmt.network import NetworkManagementClient

from tests.boot.road import Stamp, stamp_in

pytestmark = [pytest.mark.boot, pytest.mark.timeout(600)]

GROUP = "vmstamp"
WHERE = {"location": "local"}
ORDERS = 8080  # the port at which the tiny guest takes orders
PATIENCE = 120.0  # seconds until a guest that is ready takes orders, on a busy computer
KEY = {"path": "/home/azureuser/.ssh/authorized_keys", "keyData": "ssh-ed25519 AAAA azureuser"}


class Azure:
    """The SDK's clients on a stamp, and what the test makes with them."""

    def __init__(self, stamp: Stamp, closing: ExitStack) -> None:
        stamp.shell('eval "$(vmstamp env)"; env > environment')
        told = (stamp.directory / "environment").read_text().splitlines()
        env = dict(line.split("=", 1) for line in told if "=" in line)
        url, subscription = env["AZURE_AUTHORITY_HOST"], env["AZURE_SUBSCRIPTION_ID"]
        verify = {"connection_verify": env["REQUESTS_CA_BUNDLE"]}
        words = [env[f"AZURE_{name}"] for name in ("TENANT_ID", "CLIENT_ID", "CLIENT_SECRET")]
        credential = closing.enter_context(
            ClientSecretCredential(*words, authority=url, disable_instance_discovery=True, **verify)
        )
        options: dict[str, Any] = {"base_url": url, "credential_scopes": [f"{url}/.default"], **verify}
        network = NetworkManagementClient(credential, subscription, **options)
        compute = ComputeManagementClient(credential, subscription, **options)
        self.network: Any = closing.enter_context(network)
        self.compute: Any = closing.enter_context(compute)

    def virtual_network(self, name: str, **subnets: str) -> None:
        children = [{"name": n, "properties": {"addressPrefix": p}} for n, p in subnets.items()]
        space = {"addressPrefixes": ["10.0.0.0/16"]}
        body = {**WHERE, "properties": {"addressSpace": space, "subnets": children}}
        self.network.virtual_networks.begin_create_or_update(GROUP, name, body).result()

    def door(self, name: str) -> dict[str, Any]:
        """A public address and a security group that lets orders in, as members of an interface."""
        rule = {
            "protocol": "Tcp",
            "access": "Allow",
            "direction": "Inbound",
            "priority": 1000,
            "sourceAddressPrefix": "*",
            "sourcePortRange": "*",
            "destinationAddressPrefix": "*",
            "destinationPortRange": str(ORDERS),
        }
        rules = [{"name": "orders", "properties": rule}]
        group = self.network.network_security_groups.begin_create_or_update(
            GROUP, f"{name}-nsg", {**WHERE, "properties": {"securityRules": rules}}
        ).result()
        address = self.network.public_ip_addresses.begin_create_or_update(
            GROUP, f"{name}-ip", {**WHERE, "sku": {"name": "Standard"}, "properties": {}}
        ).result()
        return {"group": group.id, "address": address.id, "ip": address.properties.ip_address}

    def interface(self, name: str, subnet: tuple[str, str], *, static: str = "", door: Any = None) -> Any:
        properties: dict[str, Any] = {"subnet": {"id": self.network.subnets.get(GROUP, *subnet).id}}
        if static:
            properties |= {"privateIPAllocationMethod": "Static", "privateIPAddress": static}
        whole: dict[str, Any] = {"ipConfigurations": [{"name": "ipconfig1", "properties": properties}]}
        if door:
            properties["publicIPAddress"] = {"id": door["address"]}
            whole["networkSecurityGroup"] = {"id": door["group"]}
        body = {**WHERE, "properties": whole}
        return self.network.network_interfaces.begin_create_or_update(GROUP, name, body).result().properties

    def start_making(self, name: str, interface: str) -> Any:
        """Begin to make the VM `NAME-vm`, whose computer name is NAME; its poller."""
        image = self.compute.images.get(GROUP, "tiny").id
        nic = self.network.network_interfaces.get(GROUP, interface).id
        linux = {"disablePasswordAuthentication": True, "ssh": {"publicKeys": [KEY]}}
        properties = {
            "hardwareProfile": {"vmSize": "Standard_B1ls"},
            "storageProfile": {"imageReference": {"id": image}, "osDisk": {"createOption": "FromImage"}},
            "osProfile": {"computerName": name, "adminUsername": "azureuser", "linuxConfiguration": linux},
            "networkProfile": {"networkInterfaces": [{"id": nic}]},
        }
        machines = self.compute.virtual_machines
        return machines.begin_create_or_update(GROUP, f"{name}-vm", {**WHERE, "properties": properties})


@contextmanager
def azure(directory: Path) -> Iterator[Azure]:
    with stamp_in(directory) as stamp, ExitStack() as closing:
        stamp.vmstamp("image build tiny -o tiny.vhdx")
        stamp.vmstamp("up")
        stamp.vmstamp("image create tiny --source tiny.vhdx")
        yield Azure(stamp, closing)


def order(ip: str, words: str) -> str:
    """What the guest behind a public address answers to an order; it may not be listening yet."""
    said, deadline = "", time.monotonic() + PATIENCE
    while not said:
        assert time.monotonic() < deadline, f"the guest at {ip} takes no orders"
        with socket.create_connection((ip, ORDERS), timeout=30) as connection:
            connection.sendall(f"{words}\n".encode())
            said = connection.makefile().readline().strip()
        time.sleep(0 if said else 0.2)
    return said.removeprefix("tiny: ")


def test_a_virtual_network_joins_its_machines_and_keeps_others_out(tmp_path: Path) -> None:
    with azure(tmp_path) as cloud:
        cloud.virtual_network("one", front="10.0.0.0/24", back="10.0.1.0/24")
        cloud.virtual_network("two", front="10.0.0.0/24")
        web_door, lone_door = cloud.door("web"), cloud.door("lone")
        web = cloud.interface("web-nic", ("one", "front"), door=web_door)
        db = cloud.interface("db-nic", ("one", "back"), static="10.0.1.77")
        lone = cloud.interface("lone-nic", ("two", "front"), static="10.0.0.9", door=lone_door)
        domain, foreign = (nic.dns_settings.internal_domain_name_suffix for nic in (web, lone))
        assert domain == db.dns_settings.internal_domain_name_suffix != foreign
        for making in [cloud.start_making(name, f"{name}-nic") for name in ("web", "db", "lone")]:
            making.result()
        ip, lone_ip = web_door["ip"], lone_door["ip"]

        def web_reaches(name: str) -> str:
            return order(ip, f"reach {name} 22")

        # Two subnets of one network, by address and by both names.
        there = "10.0.1.77 and says SSH-2.0-vmstamp_tiny db"
        assert web_reaches("10.0.1.77") == f"10.0.1.77 is {there}"
        assert web_reaches("db") == f"db is {there}"
        assert web_reaches(f"db.{domain}") == f"db.{domain} is {there}"
        assert web_reaches("web") == "web is 10.0.0.4 and says SSH-2.0-vmstamp_tiny web"

        # The other network has the same addresses; neither knows of the other's machines.
        assert web_reaches("10.0.0.9") == "10.0.0.9 is 10.0.0.9 and is silent"
        assert web_reaches("lone") == "lone is unknown"
        assert web_reaches(f"lone.{foreign}") == f"lone.{foreign} is unknown"
        itself = f"lone.{foreign}"
        assert order(lone_ip, f"reach {itself} 22") == (
            f"{itself} is 10.0.0.9 and says SSH-2.0-vmstamp_tiny lone"
        )
        for address in ("10.0.0.4", "10.0.1.77"):
            assert order(lone_ip, f"reach {address} 22") == f"{address} is {address} and is silent"
        assert order(lone_ip, f"reach web.{domain} 22") == f"web.{domain} is unknown"

        # Who is deallocated has no name and does not answer; it comes back where its interface is now.
        cloud.compute.virtual_machines.begin_deallocate(GROUP, "db-vm").result()
        assert web_reaches("db") == "db is unknown"
        assert web_reaches("10.0.1.77") == "10.0.1.77 is 10.0.1.77 and is silent"
        cloud.interface("db-nic", ("one", "front"), static="10.0.0.5")
        cloud.compute.virtual_machines.begin_start(GROUP, "db-vm").result()
        deadline = time.monotonic() + PATIENCE
        while (said := web_reaches("db")).endswith("is silent") and time.monotonic() < deadline:
            time.sleep(0.2)
        assert said == "db is 10.0.0.5 and says SSH-2.0-vmstamp_tiny db"
