"""The network of a VM that nobody described: virtual network, address, rules and interface, by derived names.

Idempotent: what is there is used as it is. The virtual network is shared by the group's VMs; address, rules
and interface belong to one VM and go with it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from vmstamp.cli.arm_client import ArmClient, Document
from vmstamp.cli.names import SUBNET, SUBNET_PREFIX, VNET, VNET_PREFIX, vm_names

VNETS = "Microsoft.Network/virtualNetworks"
NICS = "Microsoft.Network/networkInterfaces"
ADDRESSES = "Microsoft.Network/publicIPAddresses"
SECURITY_GROUPS = "Microsoft.Network/networkSecurityGroups"
SSH_PORT = 22


@dataclass
class Made:
    """The ids that a flow made, in the order of making; what must be undone when it fails."""

    ids: list[str] = field(default_factory=list)


def _ensure(arm: ArmClient, resource: str, body: Document, made: Made) -> str:
    """PUT a resource unless it is there; its id."""
    if arm.find(resource) is None:
        made.ids.append(resource)
        arm.put(resource, {"location": arm.endpoint.location, **body})
    return resource


def ensure_network(arm: ArmClient, group: str, vm: str, made: Made) -> str:
    """The id of the network interface for a VM, with everything that it needs."""
    names = vm_names(vm)
    vnet = arm.resource_id(group, VNETS, VNET)
    if arm.find(vnet) is None:
        arm.put(vnet, {"location": arm.endpoint.location, "properties": _vnet_properties()})
    address = _ensure(
        arm,
        arm.resource_id(group, ADDRESSES, names.address),
        {"sku": {"name": "Standard"}, "properties": {"publicIPAllocationMethod": "Static"}},
        made,
    )
    rules = _ensure(
        arm,
        arm.resource_id(group, SECURITY_GROUPS, names.security_group),
        {"properties": {"securityRules": [_allow_ssh()]}},
        made,
    )
    configuration = {
        "name": "ipconfig1",
        "properties": {
            "subnet": {"id": f"{vnet}/subnets/{SUBNET}"},
            "privateIPAllocationMethod": "Dynamic",
            "publicIPAddress": {"id": address},
        },
    }
    nic = {"ipConfigurations": [configuration], "networkSecurityGroup": {"id": rules}}
    return _ensure(arm, arm.resource_id(group, NICS, names.nic), {"properties": nic}, made)


def _vnet_properties() -> Document:
    return {
        "addressSpace": {"addressPrefixes": [VNET_PREFIX]},
        "subnets": [{"name": SUBNET, "properties": {"addressPrefix": SUBNET_PREFIX}}],
    }


def _allow_ssh() -> Document:
    return {
        "name": "allow-ssh",
        "properties": {
            "priority": 1000,
            "direction": "Inbound",
            "access": "Allow",
            "protocol": "Tcp",
            "sourceAddressPrefix": "*",
            "sourcePortRange": "*",
            "destinationAddressPrefix": "*",
            "destinationPortRange": str(SSH_PORT),
        },
    }


def public_address(arm: ArmClient, vm: Document) -> str | None:
    """The public IP address of a VM's first interface, None when it has none."""
    for reference in vm["properties"]["networkProfile"]["networkInterfaces"]:
        nic = arm.find(reference["id"])
        for configuration in (nic or {}).get("properties", {}).get("ipConfigurations", ()):
            found = configuration["properties"].get("publicIPAddress")
            if found and (address := arm.find(found["id"])):
                return str(address["properties"].get("ipAddress") or "") or None
    return None


def remains_of(arm: ArmClient, group: str, vm: str) -> list[str]:
    """The ids of a VM's own network resources by derived name, in the order in which they can be deleted."""
    names = vm_names(vm)
    return [
        arm.resource_id(group, NICS, names.nic),
        arm.resource_id(group, ADDRESSES, names.address),
        arm.resource_id(group, SECURITY_GROUPS, names.security_group),
    ]
