"""Edits of a guest's network configuration: DHCP for a VM's first interface, and nothing of the old machine.

Every edit of a file is computed from all that is wrong with it, so that two checks that mend one file give
the same edit.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from vmstamp.guest.edits import Edit, Remove, Symlink, Write
from vmstamp.guest.files.fs import Files
from vmstamp.guest.lines import as_bytes, comment_out, find_exact, without_lines
from vmstamp.guest.network.ifcfg import RED_HAT, SUSE
from vmstamp.guest.network.ifupdown import INTERFACES
from vmstamp.guest.network.interface import FILE_LIMIT, PRIMARY, Interface
from vmstamp.guest.network.survey import Network
from vmstamp.guest.services import find_unit

HEAD = "# Written by vmstamp doctor: a VM on Azure has its address from DHCP.\n"

NETPLAN_FILE = "/etc/netplan/90-azure-dhcp.yaml"
NETWORKD_FILE = "/etc/systemd/network/05-azure-dhcp.network"
NETWORKMANAGER_FILE = "/etc/NetworkManager/system-connections/azure-dhcp.nmconnection"
WANTS = "/etc/systemd/system/multi-user.target.wants"

# Names of synthetic interfaces (eth0) and, beside Azure, of emulated ones; not those of a virtual function,
# enP1s2, which belongs to the synthetic interface.
_NAMES = f"{PRIMARY} en[!P]*"

NETPLAN = f"""{HEAD}network:
  version: 2
  ethernets:
    {PRIMARY}:
      dhcp4: true
      optional: true
    azure:
      match:
        name: "en[!P]*"
      dhcp4: true
      optional: true
"""
NETWORKD = f"{HEAD}[Match]\nName={_NAMES}\n\n[Network]\nDHCP=yes\n\n[DHCPv4]\nUseDomains=yes\n"
NETWORKMANAGER = (
    f"{HEAD}[connection]\nid=azure-dhcp\ntype=ethernet\nmulti-connect=3\n\n"
    "[ipv4]\nmethod=auto\n\n[ipv6]\nmethod=auto\n"
)
IFCFG = f"{HEAD}DEVICE={PRIMARY}\nTYPE=Ethernet\nONBOOT=yes\nBOOTPROTO=dhcp\nPEERDNS=yes\nIPV6INIT=no\n"
IFCFG_SUSE = f"{HEAD}STARTMODE='auto'\nBOOTPROTO='dhcp'\n"
STANZA = f"{HEAD}allow-hotplug {PRIMARY}\niface {PRIMARY} inet dhcp\n"

# What binds a file of lines to a hardware address.
_MAC_LINES = {
    "networkd": r"(Permanent)?MACAddress\s*=",
    "NetworkManager": r"mac-address\s*=",
    "ifcfg": r"\s*(export\s+)?(HWADDR|MACADDR)=",
    "wicked": r"\s*LLADDR=",
}


def has_dhcp(network: Network) -> bool:
    """A tool that starts at boot runs DHCP on a VM's first interface."""
    found = network.primary
    return any(one.dhcp4 for one in found) or (network.takes_all and not found)


def dhcp_edits(files: Files, network: Network) -> Iterator[Edit]:
    """One DHCP configuration, of the first tool that starts at boot; of networkd when there is no tool."""
    tool = next(iter(network.tools), "")
    if "NetworkManager" in network.tools:  # netplan renders no patterns of names for it
        tool = "NetworkManager"
    match tool:
        case "netplan":
            yield Write(NETPLAN_FILE, NETPLAN.encode(), 0o600)
        case "networkd":
            yield Write(NETWORKD_FILE, NETWORKD.encode())
        case "NetworkManager":
            yield Write(NETWORKMANAGER_FILE, NETWORKMANAGER.encode(), 0o600)
        case "network":
            yield Write(f"{RED_HAT}/ifcfg-{PRIMARY}", IFCFG.encode())
        case "wicked":
            yield Write(f"{SUSE}/ifcfg-{PRIMARY}", IFCFG_SUSE.encode())
        case "ifupdown":
            yield from ifupdown_edits(files, network)
        case "":
            yield from _start_networkd(files)


def _start_networkd(files: Files) -> Iterator[Edit]:
    for unit in ("systemd-networkd.service", "systemd-resolved.service"):
        if path := find_unit(files, unit):
            yield Symlink(f"{WANTS}/{unit}", path)
    if find_unit(files, "systemd-networkd.service"):
        yield Write(NETWORKD_FILE, NETWORKD.encode())


def is_static(interface: Interface) -> bool:
    """Addresses are fixed, and none comes by DHCP."""
    return bool(interface.addresses) and not interface.dhcp4


def interface_edits(files: Files, network: Network, interface: Interface) -> Iterator[Edit]:
    """What makes this configuration fit any machine: a static one goes, one bound to a MAC is set free.

    A package's file, which an upgrade would bring back, is hidden by one of its name below /etc.
    """
    path = interface.where.partition(":")[0]
    if not path or interface.tool == "cloud-init":
        return
    over = _overriding(path)
    if interface.tool == "ifupdown":
        yield from ifupdown_edits(files, network)
    elif interface.tool in ("netplan", "udev") or is_static(interface):
        primary = {f"{RED_HAT}/ifcfg-{PRIMARY}": IFCFG, f"{SUSE}/ifcfg-{PRIMARY}": IFCFG_SUSE}.get(path)
        if over != path:
            yield Symlink(over, "/dev/null")
        else:
            yield Write(path, primary.encode()) if primary else Remove(path)
    elif pattern := _MAC_LINES.get(interface.tool):
        text = find_exact(files, path, FILE_LIMIT)
        yield Write(over, as_bytes(without_lines(text, pattern)))


def _overriding(path: str) -> str:
    """The path below /etc that hides a package's file; the path itself when no package owns it.

    Spec: systemd.network(5), systemd.link(5), NetworkManager.conf(5) keyfile, netplan(5).
    """
    return re.sub(r"^(/usr)?(/local)?/lib/", "/etc/", path)


def ifupdown_edits(files: Files, network: Network) -> Iterator[Edit]:
    """/etc/network/interfaces and what it sources: static stanzas become comments, DHCP is added."""
    stanzas = [one for one in network.interfaces if one.tool == "ifupdown"]
    bad = [one for one in stanzas if is_static(one) or one.macs]
    gone = {name for one in bad if is_static(one) for name in one.names}
    paths = dict.fromkeys(one.where.partition(":")[0] for one in bad)
    texts = {path: _mended(files, path, [one for one in bad if one.where.startswith(f"{path}:")], gone)
             for path in paths}  # fmt: skip
    if not has_dhcp(network):
        main = texts.get(INTERFACES, find_exact(files, INTERFACES, FILE_LIMIT))
        main += "" if main.endswith("\n") or not main else "\n"
        texts[INTERFACES] = main + ("" if STANZA in main else STANZA)
    for path, text in texts.items():
        yield Write(path, as_bytes(text))


def _mended(files: Files, path: str, stanzas: list[Interface], gone: set[str]) -> str:
    """The file's text without the static stanzas, without hardware addresses and without what starts them."""
    text = find_exact(files, path, FILE_LIMIT)
    static = {int(one.where.rpartition(":")[2]) for one in stanzas if is_static(one)}
    bound = {int(one.where.rpartition(":")[2]) for one in stanzas if one.macs}
    numbers: set[int] = set()
    start = 0
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split() or [""]
        if words[0] == "iface":
            start = number
        elif words[0] in ("auto", "mapping", "source", "source-directory") or words[0].startswith("allow-"):
            start = 0
            if (
                words[1:]
                and words[0] not in ("mapping", "source", "source-directory")
                and gone >= set(words[1:])
            ):
                numbers.add(number)
        if start in static or (start in bound and re.match(r"\s*hwaddress\b", line)):
            numbers.add(number)
    return comment_out(text, numbers)
