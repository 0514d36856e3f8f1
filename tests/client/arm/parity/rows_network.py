"""Rules of networks, interfaces, addresses and security groups."""

from __future__ import annotations

from typing import Any, Final

import requests

from tests.client.arm.parity.machines import VM
from tests.client.arm.parity.row import NETWORK, Row, ask

TITLE: Final = "Networks"

NIC: Final = f"{NETWORK}/networkInterfaces/nic1"
ADDRESS: Final = f"{NETWORK}/publicIPAddresses/ip1"
GROUP: Final = f"{NETWORK}/networkSecurityGroups/nsg1"
CONFIGURATION: Final = f"{NIC}/ipConfigurations/ipconfig1"


def _address(arm: Any, sku: str = "Standard", **properties: Any) -> requests.Response:
    method = "Static" if sku == "Standard" else "Dynamic"
    properties = {"publicIPAllocationMethod": method, **properties}
    body = {"location": "westeurope", "sku": {"name": sku}, "properties": properties}
    return ask(arm, "PUT", ADDRESS, body)


def _security_group(arm: Any) -> None:
    assert ask(arm, "PUT", GROUP, {"location": "westeurope", "properties": {}}).ok


def _interface(arm: Any) -> requests.Response:
    arm.nic()
    return ask(arm, "GET", NIC)


def _delete_used_interface(arm: Any) -> requests.Response:
    arm.compute.virtual_machines.begin_create_or_update(
        "rg", "vm1", arm.vm_body(arm.image(), arm.nic())
    ).result()
    return ask(arm, "DELETE", NIC)


def _used_interface(arm: Any) -> requests.Response:
    body = arm.vm_body(arm.image(), arm.nic())
    before = ask(arm, "GET", NIC).json()["properties"]
    assert "virtualMachine" not in before and "macAddress" not in before
    arm.compute.virtual_machines.begin_create_or_update("rg", "vm1", body).result()
    return ask(arm, "GET", NIC)


def _knows_its_vm(answer: requests.Response) -> bool:
    properties = answer.json()["properties"]
    assert properties["virtualMachine"] == {"id": VM}
    return bool(properties["primary"] is True and len(properties["macAddress"].split("-")) == 6)


def _delete_used_address(arm: Any) -> requests.Response:
    _address(arm)
    arm.nic(publicIPAddress={"id": ADDRESS})
    return ask(arm, "DELETE", ADDRESS)


def _dynamic_address(arm: Any) -> requests.Response:
    _address(arm, "Basic")
    arm.nic(publicIPAddress={"id": ADDRESS})
    return ask(arm, "GET", ADDRESS)


def _attached_dynamic_address(arm: Any) -> requests.Response:
    _address(arm, "Basic")
    body = arm.vm_body(arm.image(), arm.nic(publicIPAddress={"id": ADDRESS}))
    arm.compute.virtual_machines.begin_create_or_update("rg", "vm1", body).result()
    return ask(arm, "GET", ADDRESS)


def _delete_used_subnet(arm: Any) -> requests.Response:
    arm.nic()
    return ask(arm, "DELETE", f"{NETWORK}/virtualNetworks/vnet1/subnets/default")


def _delete_used_network(arm: Any) -> requests.Response:
    arm.nic()
    return ask(arm, "DELETE", f"{NETWORK}/virtualNetworks/vnet1")


def _label(arm: Any) -> requests.Response:
    return _address(arm, dnsSettings={"domainNameLabel": "Not_a_label"})


def _good_label(arm: Any) -> requests.Response:
    _address(arm, dnsSettings={"domainNameLabel": "web-1"})
    return ask(arm, "GET", ADDRESS)


def _delete_used_group(arm: Any) -> requests.Response:
    _security_group(arm)
    configuration = {
        "name": "ipconfig1",
        "properties": {"subnet": {"id": f"{NETWORK}/virtualNetworks/vnet1/subnets/default"}},
    }
    properties = {"ipConfigurations": [configuration], "networkSecurityGroup": {"id": GROUP}}
    arm.nic("other")
    assert ask(arm, "PUT", NIC, {"location": "westeurope", "properties": properties}).ok
    return ask(arm, "DELETE", GROUP)


def _longest_label(arm: Any) -> requests.Response:
    return _address(arm, dnsSettings={"domainNameLabel": "w" * 63})


def _delete_group_of_a_subnet(arm: Any) -> requests.Response:
    _security_group(arm)
    subnet = {"properties": {"addressPrefix": "10.0.0.0/24", "networkSecurityGroup": {"id": GROUP}}}
    arm.nic()
    assert ask(arm, "PUT", f"{NETWORK}/virtualNetworks/vnet1/subnets/default", subnet).ok
    return ask(arm, "DELETE", GROUP)


def _delete_freed_interface(arm: Any) -> requests.Response:
    vm = arm.vm_body(arm.image(), arm.nic())
    arm.compute.virtual_machines.begin_create_or_update("rg", "vm1", vm).result()
    arm.compute.virtual_machines.begin_delete("rg", "vm1").result()
    return ask(arm, "DELETE", NIC)


def _delete_freed_address(arm: Any) -> requests.Response:
    _address(arm)
    arm.nic(publicIPAddress={"id": ADDRESS})
    arm.nic()
    return ask(arm, "DELETE", ADDRESS)


def _static_address(arm: Any) -> requests.Response:
    _address(arm)
    return ask(arm, "GET", ADDRESS)


def _overlapping_subnets(arm: Any) -> requests.Response:
    arm.nic()
    subnet = {"properties": {"addressPrefix": "10.0.0.128/25"}}
    return ask(arm, "PUT", f"{NETWORK}/virtualNetworks/vnet1/subnets/two", subnet)


def _second_address(arm: Any) -> requests.Response:
    arm.nic("first")
    return _interface(arm)


def _private_address(answer: requests.Response) -> str:
    (configuration,) = answer.json()["properties"]["ipConfigurations"]
    return str(configuration["properties"]["privateIPAddress"])


ROWS: Final = (
    Row(
        "DELETE of an interface that a VM uses",
        "I",
        _delete_used_interface,
        400,
        "NicInUse",
        f"Network Interface {NIC} is used by existing VM {VM}....",
    ),
    Row(
        "an interface shows its VM, MAC address and primary once a VM uses it",
        "R",
        _used_interface,
        200,
        holds=_knows_its_vm,
    ),
    Row(
        "DELETE of a public address that an interface has",
        "I",
        _delete_used_address,
        400,
        "PublicIPAddressCannotBeDeleted",
        f"Public IP address {ADDRESS} can not be deleted since it is still allocated to resource "
        f"{CONFIGURATION}....",
    ),
    Row(
        "a Dynamic public address without a VM is empty",
        "R",
        _dynamic_address,
        200,
        holds=lambda answer: "ipAddress" not in answer.json()["properties"],
    ),
    Row(
        "a Dynamic public address of a VM is shown",
        "R",
        _attached_dynamic_address,
        200,
        holds=lambda answer: answer.json()["properties"]["ipAddress"].startswith("127."),
    ),
    Row(
        "DELETE of a subnet in use",
        "I",
        _delete_used_subnet,
        400,
        "InUseSubnetCannotBeDeleted",
        f"Subnet default is in use by {CONFIGURATION} and cannot be deleted....",
    ),
    Row(
        "DELETE of a virtual network in use",
        "I",
        _delete_used_network,
        400,
        "InUseSubnetCannotBeDeleted",
        f"Subnet default is in use by {CONFIGURATION} and cannot be deleted....",
    ),
    Row(
        "a domain name label that is none",
        "R",
        _label,
        400,
        "InvalidDomainNameLabel",
        "The domain name label Not_a_label is invalid. It must conform to the following regular expression: "
        "^[a-z][a-z0-9-]{1,61}[a-z0-9]$.",
    ),
    Row(
        "a domain name label",
        "R",
        _good_label,
        200,
        holds=lambda answer: (
            answer.json()["properties"]["dnsSettings"]["fqdn"] == "web-1.westeurope.cloudapp.azure.com"
        ),
    ),
    Row(
        "a domain name label of two characters",
        "R",
        lambda arm: _address(arm, dnsSettings={"domainNameLabel": "ab"}),
        400,
        "InvalidDomainNameLabel",
        "The domain name label ab is invalid. It must conform to the following regular expression: "
        "^[a-z][a-z0-9-]{1,61}[a-z0-9]$.",
    ),
    Row(
        "a domain name label that ends with a hyphen",
        "R",
        lambda arm: _address(arm, dnsSettings={"domainNameLabel": "web-"}),
        400,
        "InvalidDomainNameLabel",
        "The domain name label web- is invalid. It must conform to the following regular expression: "
        "^[a-z][a-z0-9-]{1,61}[a-z0-9]$.",
    ),
    Row("a domain name label of 63 characters", "R", _longest_label, 201),
    Row(
        "DELETE of a security group that a subnet has",
        "I",
        _delete_group_of_a_subnet,
        400,
        "InUseNetworkSecurityGroupCannotBeDeleted",
        f"Network security group {GROUP} cannot be deleted because it is in use by the following resources: "
        f"{NETWORK}/virtualNetworks/vnet1/subnets/default. In order to delete the Network security group, "
        "remove the association with the resource(s)....",
    ),
    Row("DELETE of an interface that no VM uses any more", "I", _delete_freed_interface, 202),
    Row("DELETE of a public address that no interface has any more", "I", _delete_freed_address, 202),
    Row(
        "a Static public address has its address without a VM",
        "R",
        _static_address,
        200,
        holds=lambda answer: answer.json()["properties"]["ipAddress"].startswith("127."),
    ),
    Row(
        "two subnets that overlap",
        "I",
        _overlapping_subnets,
        400,
        "NetcfgSubnetRangesOverlap",
        "Subnet 'two' is not valid because its IP address range overlaps with that of an existing subnet in "
        "virtual network 'vnet1'.",
    ),
    Row(
        "DELETE of a security group in use",
        "I",
        _delete_used_group,
        400,
        "InUseNetworkSecurityGroupCannotBeDeleted",
        f"Network security group {GROUP} cannot be deleted because it is in use by the following resources: "
        f"{NIC}. In order to delete the Network security group, remove the association with the "
        "resource(s)....",
    ),
    Row(
        "the first private address of a subnet",
        "D",
        _interface,
        200,
        holds=lambda answer: _private_address(answer) == "10.0.0.4",
    ),
    Row(
        "the next private address of a subnet",
        "D",
        _second_address,
        200,
        holds=lambda answer: _private_address(answer) == "10.0.0.5",
    ),
)
