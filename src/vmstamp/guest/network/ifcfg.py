"""ifcfg files: Red Hat's (initscripts, NetworkManager's ifcfg-rh) and SUSE's (wicked).

Spec: initscripts sysconfig.txt; nm-settings-ifcfg-rh(5); SUSE ifcfg(5).
"""

from __future__ import annotations

import re
import shlex

from vmstamp.guest.files.fs import Files
from vmstamp.guest.network.interface import FILE_COUNT, FILE_LIMIT, Interface

RED_HAT = "/etc/sysconfig/network-scripts"
SUSE = "/etc/sysconfig/network"
TOOL = "ifcfg"
SUSE_TOOL = "wicked"

_IGNORED = (
    "~", ".bak", ".orig", ".old", ".rpmsave", ".rpmnew", ".rpmorig", ".swp", ".scpmbackup", ".template",
)  # fmt: skip
_STARTED = ("auto", "boot", "onboot", "on", "hotplug", "ifplugd", "nfsroot")
_DHCP = ("dhcp", "dhcp4", "dhcp+autoip", "bootp")
_STATIC_KEY = re.compile(r"(IPADDR|GATEWAY|DNS)[0-9_]*$")


def read_shell(text: str) -> dict[str, str]:
    """NAME=value lines as a shell would assign them; what a shell would not read is left out."""
    settings: dict[str, str] = {}
    for line in text.splitlines():
        key, equals, value = line.strip().removeprefix("export ").partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z_]\w*", key):
            continue
        try:
            words = shlex.split(value, comments=True)
        except ValueError:
            continue
        settings[key] = words[0] if words else ""
    return settings


def _ifcfg_files(files: Files, directory: str) -> list[tuple[str, str]]:
    names = [name for name in files.list(directory) if name.startswith("ifcfg-")]
    kept = [name for name in names if name != "ifcfg-lo" and not name.endswith(_IGNORED)][:FILE_COUNT]
    return [(name.removeprefix("ifcfg-"), f"{directory}/{name}") for name in kept]


def read_ifcfg(files: Files) -> tuple[Interface, ...]:
    """Red Hat's files."""
    found = []
    for name, path in _ifcfg_files(files, RED_HAT):
        keys = read_shell(files.find_text(path, FILE_LIMIT) or "")
        if keys.get("TYPE", "Ethernet").lower() not in ("ethernet", "bridge", "bond", ""):
            continue
        hardware = [keys[key] for key in ("HWADDR", "MACADDR") if keys.get(key)]
        device = keys.get("DEVICE", "" if hardware else name)
        found.append(
            Interface(
                TOOL,
                path,
                names=(device,) if device and not keys.get("BONDING_OPTS") else (),
                macs=tuple(hardware),
                dhcp4=keys.get("BOOTPROTO", "").lower() in _DHCP and not keys.get("MASTER"),
                addresses=tuple(v for k, v in keys.items() if _STATIC_KEY.match(k) and v),
                automatic=keys.get("ONBOOT", "yes").lower() not in ("no", "false", "0"),
            )
        )
    return tuple(found)


def _ports(keys: dict[str, str]) -> list[str]:
    """The interfaces that a bridge or bond is made of."""
    return [v for k, v in keys.items() if k.startswith(("BRIDGE_PORTS", "BONDING_SLAVE"))]


def read_suse(files: Files) -> tuple[Interface, ...]:
    """SUSE's files; the interface is in the file's name."""
    found = []
    for name, path in _ifcfg_files(files, SUSE):
        keys = read_shell(files.find_text(path, FILE_LIMIT) or "")
        found.append(
            Interface(
                SUSE_TOOL,
                path,
                names=(name, *_ports(keys)),
                macs=(keys["LLADDR"],) if keys.get("LLADDR") else (),
                dhcp4=keys.get("BOOTPROTO", "static").lower() in _DHCP,
                addresses=tuple(v for k, v in keys.items() if _STATIC_KEY.match(k) and v),
                automatic=keys.get("STARTMODE", "manual").lower() in _STARTED,
            )
        )
    return tuple(found)
