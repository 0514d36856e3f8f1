"""The network of a VM that nobody described: virtual network, address, rules and interface, by derived names.

Idempotent: what is there is used as it is. The virtual network is shared by the group's VMs; address, rules
and interface belong to one VM and go with it.
"""

from __future__ import annotations

from vmstamp.cli.arm_client import ArmClient, Document
from vmstamp.cli.names import SUBNET, SUBNET_PREFIX, VNET, VNET_PREFIX, vm_names
from vmstamp.cli.resources import ensure, make
from vmstamp.cli.wanted import Cost, Wanted

VNETS = "Microsoft.Network/virtualNetworks"
NICS = "Microsoft.Network/networkInterfaces"
ADDRESSES = "Microsoft.Network/publicIPAddresses"
SECURITY_GROUPS = "Microsoft.Network/networkSecurityGroups"
SSH_PORT = 22


def network_wanted(arm: ArmClient, group: str, vm: str, region: str) -> tuple[Wanted, ...]:
    """What a VM's network needs, in the order of making, the interface last.

    The group's virtual network is one of the VM's region; where it lies in another, one more has the
    region's name.
    """
    names = vm_names(vm)
    vnet = arm.resource_id(group, VNETS, VNET)
    there = arm.find(vnet)
    if there is not None and str(there["location"]).lower() != region.lower():
        vnet = arm.resource_id(group, VNETS, f"{VNET}-{region}")
    address = arm.resource_id(group, ADDRESSES, names.address)
    rules = arm.resource_id(group, SECURITY_GROUPS, names.security_group)
    configuration = {
        "name": "ipconfig1",
        "properties": {
            "subnet": {"id": f"{vnet}/subnets/{SUBNET}"},
            "privateIPAllocationMethod": "Dynamic",
            "publicIPAddress": {"id": address},
        },
    }
    nic = {"ipConfigurations": [configuration], "networkSecurityGroup": {"id": rules}}
    static = {"sku": {"name": "Standard"}, "properties": {"publicIPAllocationMethod": "Static"}}

    def body(properties: Document) -> Document:
        return {"location": region, "properties": properties}

    return (
        Wanted("virtual network", vnet, body(_vnet_properties())),
        Wanted("public IP address", address, {"location": region, **static}, Cost.ADDRESS),
        Wanted("network security group", rules, body({"securityRules": [_allow_ssh()]})),
        Wanted("network interface", arm.resource_id(group, NICS, names.nic), body(nic)),
    )


def ensure_network(arm: ArmClient, wanted: tuple[Wanted, ...], made: list[str]) -> str:
    """The id of the network interface, with everything that it needs; what is the VM's own goes to `made`.

    The virtual network is the group's and stays, whatever becomes of the VM.
    """
    shared, *own = wanted
    ensure(arm, shared)
    for one in own:
        if arm.find(one.id) is None:
            made.append(one.id)
            make(arm, one)
    return own[-1].id


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
