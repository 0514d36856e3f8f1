"""systemd-networkd and udev's link files. Spec: systemd.network(5), systemd.link(5)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vmstamp.guest.files.fs import Files
from vmstamp.guest.files.globs import matches
from vmstamp.guest.network.interface import FILE_COUNT, FILE_LIMIT, PRIMARY, Interface
from vmstamp.guest.services import parse_unit

DIRECTORIES = (
    "/etc/systemd/network", "/usr/local/lib/systemd/network", "/usr/lib/systemd/network",
    "/lib/systemd/network",
)  # fmt: skip
TOOL = "networkd"
LINK_TOOL = "udev"

Settings = Sequence[tuple[str, str, str]]

_DHCP4 = ("yes", "true", "on", "1", "ipv4", "both", "v4", "y", "t")
# Conditions of [Match] that no interface of a VM on Azure fulfils.
_IMPOSSIBLE = ("Path", "Host", "Kind", "SSID", "BSSID", "WLANInterfaceType", "KernelCommandLine", "Property")
_VIRTUAL = ("yes", "true", "1", "on", "vm", "microsoft")


def read_networkd(files: Files) -> tuple[Interface, ...]:
    """The .network files in networkd's order: the first that matches an interface wins."""
    return tuple(
        _network(path, settings) for path, settings in _files(files, ".network") if _has_match(settings)
    )


def read_links(files: Files) -> tuple[Interface, ...]:
    """The .link files that are bound to a hardware address, or set one."""
    links = (_link(path, settings) for path, settings in _files(files, ".link"))
    return tuple(link for link in links if link.macs)


def _files(files: Files, suffix: str) -> Iterator[tuple[str, Settings]]:
    named: dict[str, str] = {}
    for directory in DIRECTORIES:
        for name in files.list(directory):
            if name.endswith(suffix):
                named.setdefault(name, f"{directory}/{name}")
    for name in sorted(named)[:FILE_COUNT]:
        path = named[name]
        if files.readlink(path) == "/dev/null" or not files.is_file(path):
            continue
        settings = parse_unit(files.find_text(path, FILE_LIMIT) or "")
        for directory in reversed(DIRECTORIES):
            for drop_in in files.list(f"{directory}/{name}.d")[:FILE_COUNT]:
                if drop_in.endswith(".conf"):
                    text = files.find_text(f"{directory}/{name}.d/{drop_in}", FILE_LIMIT)
                    settings += parse_unit(text or "")
        yield path, settings


def _values(settings: Settings, section: str, *names: str) -> list[str]:
    return [word for s, name, value in settings if s == section and name in names for word in value.split()]


def _has_match(settings: Settings) -> bool:
    """networkd ignores a file without a [Match] that says something."""
    return any(section == "Match" and value for section, _, value in settings)


def _network(path: str, settings: Settings) -> Interface:
    names = _values(settings, "Match", "Name")
    inverted = names[:1] != [] and names[0].startswith("!")  # the sense of the whole list
    excluded = inverted and any(matches(PRIMARY, name.removeprefix("!")) for name in names)
    return Interface(
        TOOL,
        path,
        names=() if inverted else tuple(names),
        drivers=tuple(_values(settings, "Match", "Driver")),
        macs=tuple(_values(settings, "Match", "MACAddress", "PermanentMACAddress")),
        dhcp4=any(value.lower() in _DHCP4 for value in _values(settings, "Network", "DHCP")[-1:]),
        addresses=tuple(
            value
            for section, keys in (("Network", ("Address", "Gateway", "DNS")), ("Address", ("Address",)))
            for value in _values(settings, section, *keys)
            if ":" not in value
        ),
        automatic=_values(settings, "Link", "Unmanaged")[-1:] != ["yes"],
        possible=_is_possible(settings) and not excluded,
    )


def _is_possible(settings: Settings) -> bool:
    types = _values(settings, "Match", "Type")
    virtual = _values(settings, "Match", "Virtualization")
    return (
        not any(_values(settings, "Match", name) for name in _IMPOSSIBLE)
        and (not types or "ether" in types)
        and (not virtual or any(value in _VIRTUAL for value in virtual))
    )


def _link(path: str, settings: Settings) -> Interface:
    return Interface(
        LINK_TOOL,
        path,
        names=tuple(_values(settings, "Match", "OriginalName")),
        macs=(
            *_values(settings, "Match", "MACAddress", "PermanentMACAddress"),
            *_values(settings, "Link", "MACAddress"),
        ),
    )
