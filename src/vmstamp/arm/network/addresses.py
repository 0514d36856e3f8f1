"""The private addresses of a subnet: which Azure keeps, which are in use, which are free.

Azure keeps the first four addresses of a subnet and the last, so the first interface gets .4.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from ipaddress import IPv4Address, IPv4Network
from typing import Final

from vmstamp.arm.catalog import Catalog
from vmstamp.resource_id import ResourceId

RESERVED: Final = 4  # first addresses of a subnet that Azure keeps
# Where an interface's document has its IP configurations, and each of these its address.
CONFIGURATIONS: Final = "$.properties.ipConfigurations"
ADDRESS: Final = "$.properties.privateIPAddress"


def is_reserved(address: IPv4Address, prefix: IPv4Network) -> bool:
    return int(address) - int(prefix[0]) < RESERVED or address == prefix.broadcast_address


def used_addresses(
    catalog: Catalog, subnet: ResourceId | str, *, but: ResourceId | None = None
) -> dict[IPv4Address, str]:
    """The addresses in use in a subnet and the ids of the IP configurations that have them.

    Those of the interface `but` are left out.
    """
    return {
        IPv4Address(address): part
        for source, part, address in catalog.referring_values(subnet, "subnet", CONFIGURATIONS, ADDRESS)
        if address and (but is None or source != but.key)
    }


def free_addresses(prefix: IPv4Network, used: Collection[IPv4Address]) -> Iterator[IPv4Address]:
    """The addresses that an interface may get, ascending."""
    for offset in range(RESERVED, prefix.num_addresses - 1):
        if (address := prefix[offset]) not in used:
            yield address
