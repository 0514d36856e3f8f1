"""Functions on address ranges. Document: CIDR functions for ARM templates."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

from vmstamp.arm.template.faults import ExpressionError
from vmstamp.arm.template.functions import Function, integer, text


def _network(name: str, value: Any) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text(name, value), strict=False)
    except ValueError as error:
        raise ExpressionError(
            f"The template language function '{name}' expects a range in CIDR notation, not '{value}'"
        ) from error


def _parse(value: Any) -> dict[str, Any]:
    network = _network("parseCidr", value)
    found: dict[str, Any] = {
        "network": str(network.network_address),
        "netmask": str(network.netmask),
        "cidr": network.prefixlen,
    }
    if isinstance(network, IPv4Network):
        found["broadcast"] = str(network.broadcast_address)
    first, last = _usable(network)
    return {**found, "firstUsable": str(network[first]), "lastUsable": str(network[last])}


def _usable(network: IPv4Network | IPv6Network) -> tuple[int, int]:
    """The first and the last usable address, as offsets from the network's own; of IPv6 all are."""
    return (0, network.num_addresses - 1) if network.version == 6 else _hosts(network)


def _hosts(network: IPv4Network | IPv6Network) -> tuple[int, int]:
    """The addresses that `cidrHost` counts, as offsets from the network's own."""
    last = network.num_addresses - 1
    if network.max_prefixlen - network.prefixlen <= 1:
        return (0, last)
    return (1, last) if network.version == 6 else (1, last - 1)


def _subnet(value: Any, prefix: Any, index: Any) -> str:
    network, length, wanted = (
        _network("cidrSubnet", value),
        integer("cidrSubnet", prefix),
        integer("cidrSubnet", index),
    )
    if not network.prefixlen <= length <= network.max_prefixlen:
        raise ExpressionError(
            f"The template language function 'cidrSubnet' cannot cut '{network}' into ranges of prefix "
            f"'{length}'"
        )
    if not 0 <= wanted < 2 ** (length - network.prefixlen):
        raise ExpressionError(
            f"The template language function 'cidrSubnet' finds no range '{wanted}' of prefix '{length}' in "
            f"'{network}'"
        )
    step: int = 2 ** (network.max_prefixlen - length)
    return f"{network.network_address + wanted * step}/{length}"


def _host(value: Any, index: Any) -> str:
    network, wanted = _network("cidrHost", value), integer("cidrHost", index)
    first, last = _hosts(network)
    if not 0 <= wanted <= last - first:
        raise ExpressionError(
            f"The template language function 'cidrHost' finds no host '{wanted}' in '{network}'"
        )
    return str(network[first + wanted])


FUNCTIONS = (
    Function("parseCidr", 1, 1, _parse),
    Function("cidrSubnet", 3, 3, _subnet),
    Function("cidrHost", 2, 2, _host),
)
