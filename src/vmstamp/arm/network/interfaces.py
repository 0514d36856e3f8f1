"""Microsoft.Network/networkInterfaces: IP configurations of one subnet, one of them the primary.

DHCP gives a guest the primary's address alone; the others are for the guest to configure, as in Azure.

What a change means for the ports that a running virtual machine offers is for `compute.vm_doors`; another
private address is the guest's when it is started next.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from ipaddress import AddressValueError, IPv4Address, IPv4Network
from typing import Final

from vmstamp.arm.catalog import Catalog, new_etag
from vmstamp.arm.faults import invalid_parameter, invalid_reference, missing_parameter
from vmstamp.arm.links import DELETE_OPTION, Link, linked, linked_id, text_of
from vmstamp.arm.network import public_addresses, security_groups, virtual_networks
from vmstamp.arm.network.addresses import free_addresses, is_reserved, used_addresses
from vmstamp.arm.network.configurations import (
    check_configurations,
    primary_name,
    public_address_in_use,
)
from vmstamp.arm.network.style import API_VERSIONS, STYLE, check_name
from vmstamp.arm.resource import Json, Reference, Resource
from vmstamp.arm.shape import KEEP, READ_ONLY, OneOf, Only, clean
from vmstamp.arm.types import Change, Put, ResourceType
from vmstamp.errors import AzureError
from vmstamp.machine.network import internal_domain
from vmstamp.resource_id import ResourceId

NAME: Final = "Microsoft.Network/networkInterfaces"
MAC_PREFIX = "00-0D-3A"  # one of Azure's own, which agents and udev rules know

SHAPE = {
    "location": str,
    "tags": KEEP,
    "properties": {
        "ipConfigurations": [
            {
                "id": READ_ONLY,
                "name": str,
                "type": READ_ONLY,
                "etag": READ_ONLY,
                "properties": {
                    "primary": bool,
                    "privateIPAddress": str,
                    "privateIPAddressVersion": Only("IPv4"),
                    "privateIPAllocationMethod": OneOf("Dynamic", "Static"),
                    "publicIPAddress": Link(properties=Link(**DELETE_OPTION)),
                    "subnet": Link(),
                    "provisioningState": READ_ONLY,
                },
            }
        ],
        "networkSecurityGroup": Link(),
        "enableAcceleratedNetworking": KEEP,
        "enableIPForwarding": Only(False),
        "disableTcpStateTracking": KEEP,
        "nicType": Only("Standard"),
        "auxiliaryMode": Only("None"),
        "auxiliarySku": Only("None"),
        "allowPort25Out": KEEP,
        "defaultOutboundConnectivityEnabled": KEEP,
        "dnsSettings": {
            "dnsServers": [Only()],
            "appliedDnsServers": READ_ONLY,
            "internalDnsNameLabel": Only(),
            "internalDomainNameSuffix": READ_ONLY,
        },
        "hostedWorkloads": READ_ONLY,
        "macAddress": READ_ONLY,
        "primary": READ_ONLY,
        "provisioningState": READ_ONLY,
        "resourceGuid": READ_ONLY,
        "tapConfigurations": READ_ONLY,
        "virtualMachine": READ_ONLY,
        "vnetEncryptionSupported": READ_ONLY,
    },
}


def random_mac() -> str:
    number = uuid.uuid4().int & 0xFFFFFF
    return "-".join([MAC_PREFIX, *(f"{number >> shift & 0xFF:02X}" for shift in (16, 8, 0))])


class Interfaces:
    """The type. `new_mac` gives a MAC address, AA-BB-CC-DD-EE-FF."""

    def __init__(self, catalog: Catalog, new_mac: Callable[[], str] = random_mac) -> None:
        self._catalog = catalog
        self._new_mac = new_mac

    def type(self) -> ResourceType:
        return ResourceType(
            name=NAME,
            api_versions=API_VERSIONS,
            style=STYLE,
            parse=self.parse,
            view=self.view,
            references=references,
            check_delete=self.check_delete,
            etag_in_body=True,
            delete_rank=2,
        )

    def parse(self, put: Put) -> Change:
        check_name(put.id)
        properties = clean(put.body, SHAPE).get("properties", {})
        configurations = properties.get("ipConfigurations", [])
        if not configurations:
            raise AzureError(
                400,
                "NetworkInterfaceMustHaveOneIpConfiguration",
                f"Network interface {put.id} must have one.",
            )
        if group := properties.get("networkSecurityGroup"):
            linked(put, group, "properties.networkSecurityGroup", security_groups.NAME)
        old = put.existing.properties if put.existing else {}
        network, shown = self._configurations(put, configurations)
        suffix = internal_domain(network.properties["resourceGuid"])
        fixed = {
            "ipConfigurations": shown,
            "resourceGuid": old.get("resourceGuid") or str(uuid.uuid4()),
            "enableAcceleratedNetworking": properties.get("enableAcceleratedNetworking", False),
            "enableIPForwarding": False,
            "dnsSettings": {"dnsServers": [], "appliedDnsServers": [], "internalDomainNameSuffix": suffix},
            "nicType": "Standard",
        }
        state = put.existing.state if put.existing else {"mac": self._free_mac()}
        return Change({"properties": {**properties, **fixed}}, state)

    def _free_mac(self) -> str:
        while self._catalog.any_state(NAME, "mac", mac := self._new_mac()):
            pass
        return mac

    def _configurations(self, put: Put, given: list[Json]) -> tuple[Resource, list[Json]]:
        """The interface's virtual network and its IP configurations."""
        check_configurations(put, given)
        network, subnet, prefix = self._subnet(put, given[0].get("properties", {}).get("subnet"))
        taken = used_addresses(self._catalog, subnet, but=put.id)
        kept = [_kept(put, one, subnet) for one in given]
        # What is asked for or kept by name is nobody else's, whatever its place in the list.
        reserved = {address for one in given if (address := _wanted(one))} | {old for old in kept if old}
        primary = primary_name(given)
        shown: list[Json] = []
        for number, one in enumerate(given):
            id = put.id.child("ipConfigurations", one["name"])
            properties = one.get("properties", {})
            if self._subnet(put, properties.get("subnet"), number)[1].key != subnet.key:
                raise AzureError(
                    400,
                    "IpConfigurationsOnSameNicCannotUseDifferentSubnets",
                    f"The IP configurations of network interface {put.id} cannot use different subnets.",
                )
            if properties.get("privateIPAllocationMethod", "Dynamic") == "Dynamic":
                address = kept[number] or _free_address(
                    subnet, prefix, {**taken, **dict.fromkeys(reserved, "")}
                )
            else:
                address = _static_address(id, properties.get("privateIPAddress"), prefix, taken)
            taken[address] = str(id)
            if public := properties.get("publicIPAddress"):
                self._check_public(put, id, public, number)
            shown.append(_shown(id, properties, address, subnet, primary=one["name"] == primary))
        return network, shown

    def _subnet(
        self, put: Put, link: Json | None, number: int = 0
    ) -> tuple[Resource, ResourceId, IPv4Network]:
        if link is None:
            raise missing_parameter("subnet")
        path = f"properties.ipConfigurations[{number}].properties.subnet"
        id = linked_id(link, path, virtual_networks.SUBNET)
        network = self._catalog.find(id.parent)
        subnet = virtual_networks.find_subnet(network, id.name) if network else None
        deleting = network is not None and network.provisioning_state == "Deleting"
        if network is None or subnet is None or network.location != put.location or deleting:
            raise invalid_reference(text_of(link), str(put.id))
        return network, id, IPv4Network(subnet["properties"]["addressPrefix"])

    def _check_public(self, put: Put, id: ResourceId, link: Json, number: int) -> None:
        path = f"properties.ipConfigurations[{number}].properties.publicIPAddress"
        address = linked(put, link, path, public_addresses.NAME)
        for user in self._catalog.referrers(address.id, "public address"):
            if user.source.key != put.id.key:
                raise public_address_in_use(id, address.id, user.part)

    def view(self, resource: Resource, expand: str) -> Json:
        users = self._catalog.referrers(resource.id, "interface")
        if not users:
            return resource.document
        return resource.with_properties(
            virtualMachine={"id": str(users[0].source)},
            macAddress=resource.state["mac"],
            primary=users[0].part.endswith("#primary"),
        ).document

    def check_delete(self, resource: Resource) -> None:
        if users := self._catalog.referrers(resource.id, "interface"):
            raise AzureError(
                400,
                "NicInUse",
                f"Network Interface {resource.id} is used by existing VM {users[0].source}. In order to "
                "delete the network interface, it must be dissociated from the VM. To learn more, see "
                "aka.ms/deletenic.",
            )


def primary_configuration(interface: Resource) -> Json:
    """The properties of an interface's primary IP configuration."""
    found: list[Json] = [one["properties"] for one in interface.properties["ipConfigurations"]]
    return next(one for one in found if one["primary"])


def secondary_configurations(interface: Resource) -> list[Json]:
    """The properties of its other IP configurations."""
    found: list[Json] = [one["properties"] for one in interface.properties["ipConfigurations"]]
    return [one for one in found if not one["primary"]]


def references(resource: Resource) -> Iterator[Reference]:
    for configuration in resource.properties["ipConfigurations"]:
        properties = configuration["properties"]
        yield Reference("subnet", properties["subnet"]["id"], configuration["id"])
        if public := properties.get("publicIPAddress"):
            yield Reference("public address", public["id"], configuration["id"])
    if group := resource.properties.get("networkSecurityGroup"):
        yield Reference("security group", group["id"], str(resource.id))


def _kept(put: Put, given: Json, subnet: ResourceId) -> IPv4Address | None:
    """The dynamic address that an IP configuration of this name has already."""
    for old in put.existing.properties["ipConfigurations"] if put.existing else []:
        here = old["properties"]["subnet"]["id"].lower() == subnet.key
        dynamic = given.get("properties", {}).get("privateIPAllocationMethod", "Dynamic") == "Dynamic"
        if old["name"].lower() == given["name"].lower() and here and dynamic:
            return IPv4Address(old["properties"]["privateIPAddress"])
    return None


def _wanted(given: Json) -> IPv4Address | None:
    """The static address that an IP configuration asks for; None also for one that is none."""
    properties = given.get("properties", {})
    if properties.get("privateIPAllocationMethod") != "Static":
        return None
    try:
        return IPv4Address(properties.get("privateIPAddress", ""))
    except AddressValueError:
        return None


def _shown(id: ResourceId, given: Json, address: IPv4Address, subnet: ResourceId, *, primary: bool) -> Json:
    fixed = {
        "primary": primary,
        "privateIPAddress": str(address),
        "privateIPAddressVersion": "IPv4",
        "privateIPAllocationMethod": given.get("privateIPAllocationMethod", "Dynamic"),
        "provisioningState": "Succeeded",
        "subnet": {"id": str(subnet)},
    }
    return {
        "name": id.name,
        "id": str(id),
        "type": f"{NAME}/ipConfigurations",
        "etag": new_etag(),
        "properties": {**given, **fixed},
    }


def _free_address(subnet: ResourceId, prefix: IPv4Network, taken: dict[IPv4Address, str]) -> IPv4Address:
    if free := next(free_addresses(prefix, taken), None):
        return free
    raise AzureError(
        400,
        "SubnetIsFull",
        f"Subnet {subnet.name} with address prefix {prefix} does not have enough capacity for 1 IP "
        "addresses.",
    )


def _static_address(
    id: ResourceId, text: str | None, prefix: IPv4Network, taken: dict[IPv4Address, str]
) -> IPv4Address:
    if not text:
        raise missing_parameter("privateIPAddress")
    try:
        address = IPv4Address(text)
    except AddressValueError as error:
        raise invalid_parameter(
            f"The private IP address '{text}' is no IPv4 address.", "privateIPAddress"
        ) from error
    if address not in prefix:
        raise AzureError(
            400,
            "PrivateIPAddressNotInSubnet",
            f"Private static IP address {address} does not belong to the range of subnet prefix {prefix}.",
        )
    if is_reserved(address, prefix):
        raise AzureError(
            400,
            "PrivateIPAddressInReservedRange",
            f"Private static IP address {address} falls within reserved IP range of subnet prefix {prefix}.",
        )
    if address in taken:
        raise AzureError(
            400,
            "PrivateIPAddressIsAllocated",
            f"IP configuration {id} is using the private IP address {address} which is already allocated to "
            f"resource {taken[address]}.",
        )
    return address
