"""Microsoft.Network/virtualNetworks with their subnets, which live inside the network's document.

IPv4 only. A network's resourceGuid names it to the machine room.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Iterator
from ipaddress import AddressValueError, IPv4Address, IPv4Network
from itertools import islice
from typing import Final

from vmstamp.arm.catalog import Catalog, new_etag
from vmstamp.arm.faults import invalid_parameter, missing_parameter, unsupported
from vmstamp.arm.links import Link, linked, names
from vmstamp.arm.network.addresses import free_addresses, is_reserved, used_addresses
from vmstamp.arm.network.style import API_VERSIONS, STYLE, check_name
from vmstamp.arm.resource import Json, Reference, Resource
from vmstamp.arm.shape import KEEP, READ_ONLY, Only, clean
from vmstamp.arm.types import Change, Put, Request, ResourceType
from vmstamp.errors import AzureError
from vmstamp.resource_id import ResourceId

NAME: Final = "Microsoft.Network/virtualNetworks"
SUBNET: Final = "Microsoft.Network/virtualNetworks/subnets"
SECURITY_GROUP: Final = "Microsoft.Network/networkSecurityGroups"
OTHER_ADDRESSES = 5  # so many are offered for one that cannot be had
LONGEST_SUBNET_PREFIX = 29  # Azure keeps five addresses of each subnet

SUBNET_SHAPE = {
    "id": READ_ONLY,
    "name": str,
    "type": READ_ONLY,
    "etag": READ_ONLY,
    "properties": {
        "addressPrefix": str,
        "addressPrefixes": [str],
        "networkSecurityGroup": Link(),
        "defaultOutboundAccess": Only(True),
        "privateEndpointNetworkPolicies": KEEP,
        "privateLinkServiceNetworkPolicies": KEEP,
        "ipConfigurations": READ_ONLY,
        "provisioningState": READ_ONLY,
    },
}

SHAPE = {
    "location": str,
    "tags": KEEP,
    "properties": {
        "addressSpace": {"addressPrefixes": [str]},
        "subnets": [SUBNET_SHAPE],
        "dhcpOptions": {},
        "enableDdosProtection": Only(False),
        "enableVmProtection": Only(False),
        "flowTimeoutInMinutes": KEEP,
        "privateEndpointVNetPolicies": KEEP,
        "provisioningState": READ_ONLY,
        "resourceGuid": READ_ONLY,
    },
}


class VirtualNetworks:
    """The type. Subnets are children inside `properties.subnets`."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def type(self) -> ResourceType:
        return ResourceType(
            name=NAME,
            api_versions=API_VERSIONS,
            style=STYLE,
            parse=self.parse,
            view=self.view,
            references=references,
            check_delete=self.check_delete,
            embedded={"subnets": "subnets"},
            queries={"CheckIPAddressAvailability": self.check_address},
            etag_in_body=True,
            delete_rank=5,
        )

    def parse(self, put: Put) -> Change:
        check_name(put.id)
        properties = clean(put.body, SHAPE).get("properties", {})
        space = [
            parse_prefix(p, put.id.name)
            for p in properties.get("addressSpace", {}).get("addressPrefixes", [])
        ]
        if not space:
            raise missing_parameter("addressSpace")
        subnets = [self._subnet(put, subnet) for subnet in properties.get("subnets", [])]
        _check_ranges(put.id, space, subnets)
        self._check_in_use(put, subnets)
        guid = put.existing.properties["resourceGuid"] if put.existing else str(uuid.uuid4())
        own = {"resourceGuid": guid, "enableDdosProtection": False, "subnets": subnets}
        return Change({"properties": {**properties, **own}})

    def _subnet(self, put: Put, subnet: Json) -> Json:
        if "name" not in subnet:
            raise missing_parameter("subnets.name")
        id = put.id.child("subnets", subnet["name"])
        check_name(id)
        properties = subnet.get("properties", {})
        prefixes = properties.pop("addressPrefixes", [])
        if len(prefixes) > 1:
            raise unsupported("More than one address prefix of a subnet", target="addressPrefixes")
        prefix = properties.get("addressPrefix") or (prefixes[0] if prefixes else None)
        if prefix is None:
            raise missing_parameter("addressPrefix")
        parse_prefix(prefix, subnet["name"])
        if group := properties.get("networkSecurityGroup"):
            linked(put, group, "properties.networkSecurityGroup", SECURITY_GROUP)
        fixed = {"addressPrefix": prefix, "provisioningState": "Succeeded"}
        return {
            "name": subnet["name"],
            "id": str(id),
            "type": SUBNET,
            "etag": new_etag(),
            "properties": {**properties, **fixed},
        }

    def _check_in_use(self, put: Put, subnets: list[Json]) -> None:
        """Subnets with addresses in use can neither go nor change their range."""
        new = {subnet["name"].lower(): subnet["properties"]["addressPrefix"] for subnet in subnets}
        for old in put.existing.properties["subnets"] if put.existing else []:
            users = names(self._catalog, old["id"], "subnet")
            if users and old["name"].lower() not in new:
                raise subnet_in_use(old["name"], users)
            if users and new[old["name"].lower()] != old["properties"]["addressPrefix"]:
                prefix = old["properties"]["addressPrefix"]
                raise AzureError(
                    400,
                    "InUsePrefixCannotBeDeleted",
                    f"IpPrefix {prefix} on Subnet {old['name']} has active allocations and cannot be "
                    "deleted.",
                )

    def check_delete(self, resource: Resource) -> None:
        for subnet in resource.properties["subnets"]:
            if users := names(self._catalog, subnet["id"], "subnet"):
                raise subnet_in_use(subnet["name"], users)

    def check_address(self, network: Resource, request: Request) -> Json:
        """Whether `ipAddress` is free in this network; if not, the next free ones of its subnet.

        REST: Virtual Networks - Check IP Address Availability, 2024-05-01. Azure's own clients know the code
        of an address in no subnet; its text is ours.
        """
        text = request.query.get("ipaddress", "")
        if not text:
            raise missing_parameter("ipAddress")
        try:
            address = IPv4Address(text)
        except AddressValueError as error:
            raise invalid_parameter(f"'{text}' is no IPv4 address.", "ipAddress") from error
        for subnet in network.properties["subnets"]:
            prefix = IPv4Network(subnet["properties"]["addressPrefix"])
            if address in prefix:
                return self._availability(address, prefix, subnet["id"])
        raise AzureError(
            400,
            "PrivateIPAddressNotInAnySubnet",
            f"Private static IP address {address} does not belong to the range of any subnet in the virtual "
            f"network {network.id}.",
        )

    def _availability(self, address: IPv4Address, prefix: IPv4Network, subnet: str) -> Json:
        used, reserved = used_addresses(self._catalog, subnet), is_reserved(address, prefix)
        if address not in used and not reserved:
            return {"available": True, "isPlatformReserved": False}
        after = (free for free in free_addresses(prefix, used) if free > address)
        others = [str(free) for free in islice(after, OTHER_ADDRESSES)]
        return {"available": False, "availableIPAddresses": others, "isPlatformReserved": reserved}

    def view(self, resource: Resource, expand: str) -> Json:
        subnets = [self._view_subnet(subnet) for subnet in resource.properties["subnets"]]
        return resource.with_properties(subnets=subnets).document

    def _view_subnet(self, subnet: Json) -> Json:
        users = names(self._catalog, subnet["id"], "subnet")
        if not users:
            return subnet
        return {
            **subnet,
            "properties": {**subnet["properties"], "ipConfigurations": [{"id": id} for id in users]},
        }


def references(resource: Resource) -> Iterator[Reference]:
    for subnet in resource.properties["subnets"]:
        if group := subnet["properties"].get("networkSecurityGroup"):
            yield Reference("security group", group["id"], subnet["id"])


def subnet_in_use(name: str, users: Iterable[str]) -> AzureError:
    return AzureError(
        400,
        "InUseSubnetCannotBeDeleted",
        f"Subnet {name} is in use by {', '.join(users)} and cannot be deleted. In order to delete the "
        "subnet, delete all the resources within the subnet. See aka.ms/deletesubnet.",
    )


def find_subnet(network: Resource, name: str) -> Json | None:
    found: Iterable[Json] = network.properties["subnets"]
    return next((subnet for subnet in found if subnet["name"].lower() == name.lower()), None)


def parse_prefix(text: str, resource: str) -> IPv4Network:
    """An IPv4 prefix whose host bits are zero. Raises AzureError (400)."""
    if re.fullmatch(r"[0-9a-fA-F:]*:[0-9a-fA-F:.]*(/\d+)?", text):
        raise unsupported(f"The IPv6 address prefix '{text}'", target="addressPrefix")
    try:
        found = IPv4Network(text, strict=False)
        if "/" not in text:
            raise ValueError(text)
    except ValueError as error:
        raise AzureError(
            400,
            "InvalidAddressPrefixFormat",
            f"Address prefix {text} of resource {resource} is not formatted correctly. It should follow "
            "CIDR notation, for example 10.0.0.0/24.",
        ) from error
    if str(found.network_address) != text.split("/", 1)[0]:
        raise AzureError(
            400,
            "InvalidCIDRNotation",
            f"The address prefix {text} in resource {resource} has an invalid CIDR notation. For the given "
            f"prefix length, the address prefix should be {found}.",
        )
    return found


def _check_ranges(network: ResourceId, space: list[IPv4Network], subnets: list[Json]) -> None:
    seen: list[IPv4Network] = []
    taken: set[str] = set()
    for subnet in subnets:
        name, prefix = subnet["name"], IPv4Network(subnet["properties"]["addressPrefix"])
        if name.lower() in taken:
            raise AzureError(
                400,
                "DuplicateResourceName",
                f"Resource {network} has two child resources with the same name ({name}).",
            )
        taken.add(name.lower())
        if prefix.prefixlen > LONGEST_SUBNET_PREFIX or not any(prefix.subnet_of(whole) for whole in space):
            raise AzureError(
                400,
                "NetcfgInvalidSubnet",
                f"Subnet '{name}' is not valid because its IP address range is outside the IP address range "
                f"of virtual network '{network.name}', or smaller than a /{LONGEST_SUBNET_PREFIX}.",
            )
        if any(prefix.overlaps(other) for other in seen):
            raise AzureError(
                400,
                "NetcfgSubnetRangesOverlap",
                f"Subnet '{name}' is not valid because its IP address range overlaps with that of an "
                f"existing subnet in virtual network '{network.name}'.",
            )
        seen.append(prefix)
