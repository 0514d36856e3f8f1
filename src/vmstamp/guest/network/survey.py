"""Which tools bring up a guest's network at boot, and what their files say."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from vmstamp.guest.files.fs import Files
from vmstamp.guest.network.ifcfg import read_ifcfg, read_suse
from vmstamp.guest.network.ifupdown import read_ifupdown
from vmstamp.guest.network.interface import FILE_LIMIT, Interface
from vmstamp.guest.network.netplan import netplan_files, read_netplan
from vmstamp.guest.network.networkd import read_links, read_networkd
from vmstamp.guest.network.networkmanager import makes_default_profiles, read_networkmanager
from vmstamp.guest.packages import find_program
from vmstamp.guest.services import starts_at_boot

NETPLAN_GENERATORS = (
    "/usr/lib/systemd/system-generators/netplan", "/lib/systemd/system-generators/netplan",
)  # fmt: skip

# Files that cloud-init writes at first boot, anew for each machine.
CLOUD_INIT_FILES = (
    "/etc/netplan/50-cloud-init.yaml", "/etc/network/interfaces.d/50-cloud-init",
    "/etc/network/interfaces.d/50-cloud-init.cfg",
)  # fmt: skip
_CLOUD_INIT_MARK = "cloud-init"
# Source: canonical/cloud-init cloudinit/net/{eni,netplan,network_manager,sysconfig}.py
_CLOUD_INIT_HEAD = re.compile(r"#.*\b(created|generated) (by cloud-init|from information provided by)", re.I)

# The tools that read what another's files are written for.
_READS = {
    "NetworkManager": ("NetworkManager", "ifcfg"),
    "network": ("ifcfg",),
    "wicked": ("wicked",),
    "ifupdown": ("ifupdown",),
    "networkd": ("networkd",),
    "netplan": ("netplan",),
}
ANY = ("dhcpcd", "connman")  # they run DHCP on every interface without being told


@dataclass(frozen=True)
class Network:
    """A guest's network configuration.

    `tools` start at boot. `interfaces` are what their files say (of networkd's in order of precedence),
    `written` those that cloud-init wrote for the machine the disk was built on, `links` udev's that are
    bound to a hardware address. `takes_all`: a tool runs DHCP on an interface that nobody configured.
    `errors` are files that cannot be read.
    """

    tools: tuple[str, ...]
    interfaces: tuple[Interface, ...]
    written: tuple[Interface, ...] = ()
    links: tuple[Interface, ...] = ()
    takes_all: bool = False
    errors: tuple[str, ...] = ()

    @property
    def primary(self) -> tuple[Interface, ...]:
        return in_force(self.interfaces)


def in_force(interfaces: Iterable[Interface]) -> tuple[Interface, ...]:
    """The configurations of a VM's first interface that count; of networkd's only the first that matches."""
    found = [one for one in interfaces if one.automatic and one.is_for_primary]
    networkd = [one for one in found if one.tool == "networkd"][:1]
    return (*networkd, *(one for one in found if one.tool != "networkd"))


def read_network(files: Files) -> Network:
    """Read all. Files of tools that do not start at boot are left out."""
    tools = tuple(_tools(files))
    read = {name for tool in tools for name in _READS.get(tool, ())}
    everything: list[Interface] = []
    errors: list[str] = []
    if "netplan" in read:
        paths = netplan_files(files)
        ours = [path for path in paths if path not in CLOUD_INIT_FILES]
        theirs = [path for path in paths if path in CLOUD_INIT_FILES]
        for some in (ours, theirs):  # the latter is written anew, so the former has to do without it
            interfaces, wrong = read_netplan(files, some)
            everything += interfaces
            errors += wrong
    for tool, reader in (
        ("ifupdown", read_ifupdown),
        ("networkd", read_networkd),
        ("NetworkManager", read_networkmanager),
        ("ifcfg", read_ifcfg),
        ("wicked", read_suse),
    ):
        if tool in read:
            everything += reader(files)
    written = [one for one in everything if is_written_by_cloud_init(files, one.where)]
    return Network(
        tools,
        tuple(one for one in everything if one not in written),
        tuple(written),
        read_links(files),
        takes_all=any(tool in ANY for tool in tools)
        or ("NetworkManager" in tools and makes_default_profiles(files)),
        errors=tuple(errors),
    )


def _tools(files: Files) -> Iterator[str]:
    netplan = [path for path in NETPLAN_GENERATORS if files.exists(path)]
    if netplan:
        yield "netplan"
    # netplan's generator starts networkd for what it renders for it
    if starts_at_boot(files, "systemd-networkd") or (netplan and netplan_files(files)):
        yield "networkd"
    if starts_at_boot(files, "NetworkManager", "network-manager"):
        yield "NetworkManager"
    if starts_at_boot(files, "wicked"):
        yield "wicked"
    elif starts_at_boot(files, "network"):
        yield "network"
    if starts_at_boot(files, "networking") and find_program(files, "ifup"):
        yield "ifupdown"
    for tool in ANY:
        if starts_at_boot(files, tool):
            yield tool


def is_written_by_cloud_init(files: Files, where: str) -> bool:
    """The file is one of cloud-init's, by its name or by the comment at its head."""
    path = where.partition(":")[0]
    if not path:
        return False
    if path in CLOUD_INIT_FILES or _CLOUD_INIT_MARK in path.rsplit("/", 1)[-1]:
        return True
    head = files.read_part(path, 0, min(FILE_LIMIT, 512)).decode("utf-8", "replace")
    return any(_CLOUD_INIT_HEAD.match(line) for line in head.splitlines()[:4])
