"""cloud-init's configuration: cloud.cfg and cloud.cfg.d, merged as cloud-init does.

Spec: cloud-init `cloudinit/util.py` read_conf_with_confd and mergemanydict: of two files the later name wins,
mappings are merged key by key, lists are replaced; cloud.cfg is the weakest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from vmstamp.errors import GuestError
from vmstamp.guest.files.fs import Files
from vmstamp.guest.network.interface import Interface
from vmstamp.guest.network.netplan import parse_network
from vmstamp.guest.yaml_values import TEXT_LIMIT, TOTAL_LIMIT, parse_yaml

CONFIGURATION = "/etc/cloud/cloud.cfg"
DIRECTORY = "/etc/cloud/cloud.cfg.d"
FILE_COUNT = 200


@dataclass(frozen=True)
class CloudConfig:
    """The merged values, the files they come from (the weakest first), and files that are no YAML."""

    values: Mapping[str, Any]
    sources: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    errors: tuple[str, ...] = ()

    def where(self, *keys: str) -> str:
        """The file that decides the value at the path of keys; '' when none sets it."""
        return next((path for path, values in reversed(self.sources) if _has(values, keys)), "")

    def get(self, *keys: str) -> Any:
        """The merged value at the path of keys; None when it is not set."""
        value: Any = self.values
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        return value


def _has(values: Any, keys: tuple[str, ...]) -> bool:
    for key in keys:
        if not isinstance(values, dict) or key not in values:
            return False
        values = values[key]
    return True


def configuration_files(files: Files) -> list[str]:
    """The files that exist, the weakest first."""
    names = [name for name in files.list(DIRECTORY) if name.endswith(".cfg")][:FILE_COUNT]
    return [path for path in (CONFIGURATION, *(f"{DIRECTORY}/{n}" for n in names)) if files.is_file(path)]


def read_cloud_config(files: Files) -> CloudConfig:
    """Read and merge. A file that cannot be read as YAML is told of and left out, as cloud-init does."""
    merged: dict[str, Any] = {}
    sources, errors = [], []
    left = TOTAL_LIMIT
    for path in configuration_files(files):
        try:
            text = files.find_text(path, TEXT_LIMIT) or ""
            left -= len(text)
            values = parse_yaml(text, path, left)
        except GuestError as error:
            errors.append(error.message)
            continue
        if isinstance(values, dict):
            sources.append((path, values))
            merged = merge(merged, values)
    return CloudConfig(merged, tuple(sources), tuple(errors))


def merge(weaker: Any, stronger: Any) -> Any:
    if isinstance(weaker, dict) and isinstance(stronger, dict):
        return {**weaker, **{key: merge(weaker.get(key), value) for key, value in stronger.items()}}
    return stronger


def network_disabled(config: CloudConfig) -> str:
    """The file with `network: {config: disabled}`, by which cloud-init leaves the network alone; ''."""
    return config.where("network", "config") if config.get("network", "config") == "disabled" else ""


def system_network(config: CloudConfig) -> tuple[Interface, ...] | None:
    """The interfaces of a network configuration in cloud-init's own files, which wins over the datasource's.

    None: there is none. Spec: cloud-init network config versions 1 and 2.
    """
    network = config.get("network")
    if not isinstance(network, dict) or network.get("config") == "disabled":
        return None
    network = network["network"] if isinstance(network.get("network"), dict) else network
    where = config.where("network")
    if network.get("version") == 2:
        return tuple(replace(one, where=where) for one in parse_network(network, "cloud-init", {}))
    if isinstance(network.get("config"), list):
        return tuple(_version_1(one, where) for one in network["config"] if _is_physical(one))
    return None


def _is_physical(value: Any) -> bool:
    return isinstance(value, dict) and value.get("type") in ("physical", "bond", "bridge")


def _version_1(value: Mapping[str, Any], where: str) -> Interface:
    listed = value.get("subnets")
    subnets = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    mac = value.get("mac_address")
    return Interface(
        "cloud-init",
        where,
        names=(str(value.get("name", "")),) if value.get("name") and not mac else (),
        macs=(str(mac),) if mac else (),
        dhcp4=any(one.get("type") in ("dhcp", "dhcp4") for one in subnets),
        addresses=tuple(str(one["address"]) for one in subnets if "address" in one),
    )
