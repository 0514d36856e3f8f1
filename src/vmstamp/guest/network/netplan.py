"""netplan: YAML files merged by name. Spec: netplan(5), netplan-generate(8)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vmstamp.errors import GuestError
from vmstamp.guest.files.fs import Files
from vmstamp.guest.network.interface import FILE_COUNT, FILE_LIMIT, Interface
from vmstamp.guest.yaml_values import TOTAL_LIMIT, parse_yaml

DIRECTORIES = ("/etc/netplan", "/usr/lib/netplan", "/lib/netplan")  # the first that has a name decides
TOOL = "netplan"

_STACKED = ("bridges", "bonds")  # made of other interfaces, which they name


def netplan_files(files: Files) -> list[str]:
    """The paths that are merged, in order of their names."""
    named: dict[str, str] = {}
    for directory in DIRECTORIES:
        for name in files.list(directory):
            if name.endswith(".yaml"):
                named.setdefault(name, f"{directory}/{name}")
    return [named[name] for name in sorted(named)][:FILE_COUNT]


def read_netplan(files: Files, paths: Sequence[str]) -> tuple[tuple[Interface, ...], list[str]]:
    """The interfaces of the files, merged, and what is wrong with files (path: error)."""
    merged: dict[str, Any] = {}
    where: dict[tuple[str, str], str] = {}
    errors = []
    left = TOTAL_LIMIT
    for path in paths:
        try:
            text = files.find_text(path, FILE_LIMIT) or ""
            left -= len(text)
            document = parse_yaml(text, path, left)
        except GuestError as error:
            errors.append(error.message)
            continue
        network = document.get("network") if isinstance(document, dict) else None
        if isinstance(network, dict):
            for kind, name in _definitions(network):
                where[kind, name] = path
            merged = merge(merged, network)
    return tuple(parse_network(merged, TOOL, where)), errors


def _definitions(network: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for kind in ("ethernets", *_STACKED):
        section = network.get(kind)
        if isinstance(section, dict):
            yield from ((kind, name) for name in section)


def merge(old: Any, new: Any) -> Any:
    """netplan's merge: mappings key by key, sequences one after the other, the later of all else."""
    if isinstance(old, dict) and isinstance(new, dict):
        return {**old, **{key: merge(old.get(key), value) for key, value in new.items()}}
    if isinstance(old, list) and isinstance(new, list):
        return [*old, *new][:FILE_COUNT]
    return new


def parse_network(
    network: Mapping[str, Any], tool: str, where: Mapping[tuple[str, str], str]
) -> Iterator[Interface]:
    """The interfaces of netplan's `network` mapping; cloud-init's network config version 2 is the same."""
    for kind, name in _definitions(network):
        value = _mapping(network[kind][name])
        match = _mapping(value.get("match"))
        names = _strings(match.get("name")) if match else (name,)
        if kind in _STACKED:
            names = (name, *_strings(value.get("interfaces")))
        yield Interface(
            tool,
            where.get((kind, name), ""),
            names=names,
            drivers=_strings(match.get("driver")),
            macs=_strings(match.get("macaddress")) + _strings(value.get("macaddress")),
            dhcp4=value.get("dhcp4") is True,
            addresses=(
                *_addresses(value.get("addresses")),
                *_strings(value.get("gateway4")),
                *_strings(_mapping(value.get("nameservers")).get("addresses")),
            ),
            automatic=value.get("activation-mode") not in ("manual", "off"),
        )


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _strings(value: Any) -> tuple[str, ...]:
    if isinstance(value, list):
        return tuple(str(one) for one in value if isinstance(one, (str, int)))
    return (str(value),) if isinstance(value, (str, int)) and not isinstance(value, bool) else ()


def _addresses(value: Any) -> tuple[str, ...]:
    """Static addresses; each is text, or a mapping with the address as its key."""
    listed = value if isinstance(value, list) else []
    flat = [next(iter(one), "") if isinstance(one, dict) else one for one in listed]
    return tuple(str(one) for one in flat if one and ":" not in str(one))
