"""Microsoft.Network/publicIPAddresses: loopback addresses of this computer.

An address is kept for the resource from its creation; a Dynamic one is shown only once a virtual
machine has it, as in Azure. A domain name label is taken and shown, but no name server knows it.
"""

from __future__ import annotations

import re
import uuid
import zlib
from ipaddress import IPv4Address, IPv4Network
from typing import Final

from vmstamp.arm.catalog import Catalog
from vmstamp.arm.links import names
from vmstamp.arm.network.style import API_VERSIONS, STYLE, check_name
from vmstamp.arm.resource import Json, Resource
from vmstamp.arm.shape import KEEP, READ_ONLY, OneOf, Only, clean
from vmstamp.arm.types import Change, Put, ResourceType
from vmstamp.errors import AzureError
from vmstamp.resource_id import ResourceId, parse_resource_id

NAME: Final = "Microsoft.Network/publicIPAddresses"
# Shared out among the stamps of this computer, 256 addresses each.
POOL = IPv4Network("127.64.0.0/10")
BLOCK_PREFIX = 24
FIRST_OFFSET = 4
LABEL = re.compile(r"[a-z][a-z0-9-]{1,61}[a-z0-9]")

SHAPE = {
    "location": str,
    "tags": KEEP,
    "sku": {"name": OneOf("Basic", "Standard"), "tier": OneOf("Regional", "Global")},
    "zones": KEEP,
    "properties": {
        "publicIPAllocationMethod": OneOf("Dynamic", "Static"),
        "publicIPAddressVersion": Only("IPv4"),
        "deleteOption": KEEP,
        "dnsSettings": {"domainNameLabel": str, "domainNameLabelScope": Only(), "fqdn": READ_ONLY},
        "idleTimeoutInMinutes": KEEP,
        "ipAddress": READ_ONLY,
        "ipConfiguration": READ_ONLY,
        "provisioningState": READ_ONLY,
        "resourceGuid": READ_ONLY,
        "ipTags": [KEEP],
    },
}


class PublicAddresses:
    """The type."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def type(self) -> ResourceType:
        return ResourceType(
            name=NAME,
            api_versions=API_VERSIONS,
            style=STYLE,
            parse=self.parse,
            view=self.view,
            check_delete=self.check_delete,
            etag_in_body=True,
            delete_rank=4,
        )

    def parse(self, put: Put) -> Change:
        check_name(put.id)
        body = clean(put.body, SHAPE)
        sku = {"name": "Basic", "tier": "Regional", **body.get("sku", {})}
        properties = body.get("properties", {})
        method = properties.get(
            "publicIPAllocationMethod", "Static" if sku["name"] == "Standard" else "Dynamic"
        )
        fixed: Json = {
            "publicIPAddressVersion": "IPv4",
            "publicIPAllocationMethod": method,
            "idleTimeoutInMinutes": properties.get("idleTimeoutInMinutes", 4),
            "resourceGuid": put.existing.properties["resourceGuid"] if put.existing else str(uuid.uuid4()),
        }
        if dns := properties.get("dnsSettings"):
            fixed["dnsSettings"] = _dns(dns, put.location)
        state = put.existing.state if put.existing else {"address": str(self._free_address(put.id))}
        return Change({**body, "sku": sku, "properties": {**properties, **fixed}}, state)

    def _free_address(self, id: ResourceId) -> IPv4Address:
        taken = {resource.state["address"] for resource in self._catalog.select(type=NAME)}
        block = block_of(id.subscription)
        for offset in range(FIRST_OFFSET, block.num_addresses - 1):
            if str(block[offset]) not in taken:
                return block[offset]
        raise AzureError(
            400,
            "PublicIPCountLimitReached",
            f"Cannot create more than {len(taken)} public IP addresses here.",
        )

    def view(self, resource: Resource, expand: str) -> Json:
        users = names(self._catalog, resource.id, "public address")
        shown = resource
        if users:
            shown = shown.with_properties(ipConfiguration={"id": users[0]})
        if resource.properties["publicIPAllocationMethod"] == "Static" or self._is_attached(users):
            shown = shown.with_properties(ipAddress=resource.state["address"])
        return shown.document

    def _is_attached(self, users: list[str]) -> bool:
        """Whether the interface that has the address belongs to a virtual machine."""
        return any(self._catalog.referrers(parse_resource_id(user).parent, "interface") for user in users)

    def check_delete(self, resource: Resource) -> None:
        if users := names(self._catalog, resource.id, "public address"):
            raise AzureError(
                400,
                "PublicIPAddressCannotBeDeleted",
                f"Public IP address {resource.id} can not be deleted since it is still allocated to "
                f"resource {users[0]}. In order to delete the public IP, disassociate/detach the Public IP "
                "address from the resource.",
            )


def block_of(subscription: str) -> IPv4Network:
    """The addresses of a stamp, told by its subscription id, so that two stamps' VMs do not collide."""
    number = zlib.crc32(subscription.lower().encode()) % 2 ** (BLOCK_PREFIX - POOL.prefixlen)
    start = int(POOL.network_address) + number * 2 ** (32 - BLOCK_PREFIX)
    return IPv4Network((start, BLOCK_PREFIX))


def _dns(settings: Json, location: str) -> Json:
    label = settings.get("domainNameLabel", "")
    if not LABEL.fullmatch(label):
        raise AzureError(
            400,
            "InvalidDomainNameLabel",
            f"The domain name label {label} is invalid. It must conform to the following regular expression: "
            "^[a-z][a-z0-9-]{1,61}[a-z0-9]$.",
        )
    return {"domainNameLabel": label, "fqdn": f"{label}.{location}.cloudapp.azure.com"}
