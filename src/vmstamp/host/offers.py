"""The way in: the ports of a public address that lead to a guest's."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address

from vmstamp.arm.compute.host import NicPlan
from vmstamp.machine.doors import Door
from vmstamp.machine.network import Network

PRIVILEGED_PORTS = 1024
UNPRIVILEGED_SHIFT = 10000  # added to a port that only root may listen on, and others may have


def offered_ports(port: int) -> tuple[int, ...]:
    """The host's ports for a guest's, the sure one first.

    A port below 1024 is offered 10000 higher, and as it is where that can be had: only root may listen
    there, and this computer's own SSH server usually has port 22 of every address.
    """
    return (port + UNPRIVILEGED_SHIFT, port) if port < PRIVILEGED_PORTS else (port,)


def nic_doors(nic: NicPlan, guest: IPv4Address, network: Network) -> Iterator[Door]:
    """The doors to a NIC whose primary address in its network is `guest`."""
    secondary = [(one.address, one.public_address) for one in nic.secondary]
    for address, public in [(guest, nic.public_address), *secondary]:
        for port in nic.open_ports if public else ():
            for number, offered in enumerate(offered_ports(port)):
                assert public is not None
                yield Door(public, offered, address, port, network, sure=number == 0)
