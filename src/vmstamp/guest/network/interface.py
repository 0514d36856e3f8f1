"""What one configuration says of one interface: the form that every tool's files are read into."""

from __future__ import annotations

from dataclasses import dataclass

from vmstamp.guest.files.globs import matches

# The name and driver of a VM's synthetic interface. Linux drivers/net/hyperv; udev has no other name for it.
PRIMARY = "eth0"
DRIVER = "hv_netvsc"

FILE_LIMIT = 128 * 1024  # bytes of one configuration file
FILE_COUNT = 300  # files of one tool


@dataclass(frozen=True)
class Interface:
    """A configuration of those interfaces that match it.

    `names` and `drivers` are shell patterns (any of them; () : every one), `macs` hardware addresses that
    it is bound to. `dhcp4`: IPv4 comes by DHCP. `addresses` are static ones. `automatic`: it is brought up
    at boot. `possible` is False when something else keeps it from ever matching a VM's interface.
    """

    tool: str
    where: str
    names: tuple[str, ...] = ()
    drivers: tuple[str, ...] = ()
    macs: tuple[str, ...] = ()
    dhcp4: bool = False
    addresses: tuple[str, ...] = ()
    automatic: bool = True
    possible: bool = True

    @property
    def names_primary(self) -> bool:
        """It is for a VM's first interface, whatever hardware address it asks for."""
        named = not self.names or any(matches(PRIMARY, pattern) for pattern in self.names)
        driven = not self.drivers or any(matches(DRIVER, pattern) for pattern in self.drivers)
        return self.possible and named and driven

    @property
    def is_for_primary(self) -> bool:
        return self.names_primary and not self.macs

    @property
    def who(self) -> str:
        """The interfaces it is for, for people."""
        return " ".join((*self.names, *self.drivers, *self.macs)) or "every interface"
