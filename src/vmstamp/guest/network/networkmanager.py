"""NetworkManager: keyfiles and configuration. Spec: nm-settings-keyfile(5), NetworkManager.conf(5)."""

from __future__ import annotations

from collections.abc import Iterator

from vmstamp.guest.files.fs import Files
from vmstamp.guest.network.interface import FILE_COUNT, FILE_LIMIT, Interface
from vmstamp.guest.services import parse_unit

CONNECTIONS = ("/etc/NetworkManager/system-connections", "/usr/lib/NetworkManager/system-connections")
CONFIGURATIONS = (
    "/usr/lib/NetworkManager/conf.d", "/etc/NetworkManager/NetworkManager.conf", "/etc/NetworkManager/conf.d",
)  # fmt: skip
TOOL = "NetworkManager"

_ETHERNET = ("ethernet", "802-3-ethernet")
_STACKED = ("bridge", "bond", "team")


def read_networkmanager(files: Files) -> tuple[Interface, ...]:
    """The profiles of Ethernet interfaces, and of bridges and bonds, which take what they are given."""
    return tuple(_profiles(files))


def _profiles(files: Files) -> Iterator[Interface]:
    for directory in CONNECTIONS:
        for name in files.list(directory)[:FILE_COUNT]:
            path = f"{directory}/{name}"
            if name.startswith(".") or name.endswith(("~", ".bak", ".rpmsave")) or not files.is_file(path):
                continue
            keys = {(s, k): v for s, k, v in parse_unit(files.find_text(path, FILE_LIMIT) or "")}
            kind = keys.get(("connection", "type"), "")
            if kind in (*_ETHERNET, *_STACKED):
                yield _profile(path, kind, keys)


def _profile(path: str, kind: str, keys: dict[tuple[str, str], str]) -> Interface:
    names = _list(keys.get(("match", "interface-name"), "")) or _list(
        keys.get(("connection", "interface-name"), "")
    )
    ethernet = "ethernet" if any(s == "ethernet" for s, _ in keys) else "802-3-ethernet"
    method = keys.get(("ipv4", "method"), "auto")
    static = ("address", "addresses", "gateway", "dns")
    slave = ("connection", "master") in keys or ("connection", "controller") in keys
    return Interface(
        TOOL,
        path,
        names=() if kind in _STACKED else tuple(name for name in names if not name.startswith(("!", "&"))),
        drivers=tuple(_list(keys.get(("match", "driver"), ""))),
        macs=tuple(_list(keys.get((ethernet, "mac-address"), ""))),
        dhcp4=method == "auto" and not slave,
        addresses=tuple(
            value
            for (section, key), value in keys.items()
            if section == "ipv4" and key.rstrip("0123456789") in static and value
        ),
        automatic=keys.get(("connection", "autoconnect"), "true").lower() not in ("false", "no", "0"),
        possible=("match", "path") not in keys,
    )


def _list(value: str) -> list[str]:
    return [one for one in value.replace(",", ";").replace(";", " ").split() if one]


def read_configuration(files: Files) -> dict[tuple[str, str], tuple[str, str]]:
    """(section, key) to (value, path) of NetworkManager.conf and its directories; the last one wins."""
    settings: dict[tuple[str, str], tuple[str, str]] = {}
    for place in CONFIGURATIONS:
        names = [f"{place}/{n}" for n in files.list(place) if n.endswith(".conf")][:FILE_COUNT]
        for path in names or [place]:
            for section, key, value in parse_unit(files.find_text(path, FILE_LIMIT) or ""):
                settings[section, key.rstrip("+-")] = (value, path)
    return settings


def makes_default_profiles(files: Files) -> bool:
    """NetworkManager runs DHCP on an Ethernet interface without a profile, unless `no-auto-default=*`."""
    value, _ = read_configuration(files).get(("main", "no-auto-default"), ("", ""))
    return "*" not in value.replace(",", " ").split()
