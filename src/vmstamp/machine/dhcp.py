"""What dnsmasq is told about a virtual network: DHCP by MAC address, with Azure's options, and DNS. Pure.

Options: 1 (mask), 3 (router), 6 (DNS: 168.63.129.16), 15 (domain), 51 (lease time), 121 (the default route
again, since it makes clients ignore 3, and host routes to the fabric's two addresses: WALinuxAgent looks
for the first) and 245 (the WireServer's address, in hexadecimal). Client ids are ignored: they change
whenever a generalized image boots.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

WIRESERVER = IPv4Address("168.63.129.16")
IMDS = IPv4Address("169.254.169.254")
BRIDGE = "az0"
DOMAIN = "internal.cloudapp.net"
REGION_LABEL = "ax"  # Azure has two letters for each region before that, the second an x
WIRESERVER_OPTION = 245  # Azure's own


@dataclass(frozen=True)
class SubnetSpec:
    name: str
    prefix: IPv4Network

    @property
    def gateway(self) -> IPv4Address:
        """Azure's: the first address of the subnet."""
        return self.prefix.network_address + 1


@dataclass(frozen=True)
class NetworkSpec:
    """A virtual network: `id` is its resourceGuid."""

    id: str
    name: str
    subnets: tuple[SubnetSpec, ...]

    @property
    def domain(self) -> str:
        return internal_domain(self.id)


@dataclass(frozen=True)
class Port:
    """A NIC's place on the bridge: MAC as `00:0d:3a:01:02:03`, its one address, its host name."""

    mac: str
    address: IPv4Address
    hostname: str
    tap: str


def internal_domain(network_id: str) -> str:
    """The DNS suffix of a virtual network's VMs in Azure's form: 26 letters and digits, a region's label.

    It is told by the id alone, so no two networks have the same, and a network keeps its own.
    """
    digest = hashlib.sha256(network_id.lower().encode()).digest()[:16]
    label = base64.b32encode(digest).decode().lower().rstrip("=")
    return f"{label}.{REGION_LABEL}.{DOMAIN}"


def colon_mac(mac: str) -> str:
    """`00-0D-3A-01-02-03` or `000D3A010203` as `00:0d:3a:01:02:03`; ValueError for anything else."""
    digits = mac.replace("-", "").replace(":", "").lower()
    if len(digits) != 12 or any(digit not in "0123456789abcdef" for digit in digits):
        raise ValueError(f"not a MAC address: {mac!r}")
    return ":".join(digits[i : i + 2] for i in range(0, 12, 2))


def dnsmasq_config(spec: NetworkSpec, directory: Path, upstream: IPv4Address | None) -> str:
    """The configuration of a network's dnsmasq. Without `upstream` every foreign name is NXDOMAIN at once.

    Options: RFC 2132; 121: RFC 3442.
    """
    lines = [
        "keep-in-foreground",
        # In a user namespace there is no other user to become, and groups may not be changed: none is named.
        "user=root",
        "group=",
        "bind-dynamic",
        f"interface={BRIDGE}",
        f"listen-address={WIRESERVER}",
        "no-resolv",
        "no-hosts",
        f"addn-hosts={directory / 'names'}",
        f"domain={spec.domain}",
        # What is internal to another network is nobody's business outside either.
        f"local=/{DOMAIN}/",
        "expand-hosts",
        # No lease outlives dnsmasq, so none can be in the way of a new VM's.
        "leasefile-ro",
        "dhcp-authoritative",
        "dhcp-ignore-clid",
        "no-ping",
        "log-dhcp",
        f"log-facility={directory / 'dnsmasq.log'}",
        "pid-file=",
        f"dhcp-hostsfile={directory / 'hosts'}",
        f"dhcp-option=option:dns-server,{WIRESERVER}",
        f"dhcp-option=option:domain-name,{spec.domain}",
        f"dhcp-option-force={WIRESERVER_OPTION},{WIRESERVER.packed.hex(':')}",
    ]
    for number, subnet in enumerate(spec.subnets):
        tag, gateway, prefix = f"subnet{number}", subnet.gateway, subnet.prefix
        routes = f"0.0.0.0/0,{gateway},{WIRESERVER}/32,{gateway},{IMDS}/32,{gateway}"
        lines += [
            f"dhcp-range=set:{tag},{prefix.network_address},static,{prefix.netmask},infinite",
            f"dhcp-option=tag:{tag},option:router,{gateway}",
            f"dhcp-option-force=tag:{tag},121,{routes}",
        ]
    lines.append("address=/#/" if upstream is None else f"server={upstream}")
    return "\n".join(lines) + "\n"


def hosts_file(ports: Sequence[Port]) -> str:
    """dnsmasq's dhcp-hostsfile: who gets which address."""
    return "".join(f"{port.mac},{port.address},{port.hostname},infinite\n" for port in ports)


def names_file(ports: Sequence[Port], domain: str) -> str:
    """dnsmasq's addn-hosts: names by address, known before a lease is and for guests that take none."""
    return "".join(f"{port.address} {port.hostname}.{domain} {port.hostname}\n" for port in ports)
