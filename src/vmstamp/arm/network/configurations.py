"""What the IP configurations of one network interface must keep to among themselves. Pure."""

from __future__ import annotations

from vmstamp.arm.faults import missing_parameter
from vmstamp.arm.resource import Json
from vmstamp.arm.types import Put
from vmstamp.errors import AzureError
from vmstamp.resource_id import ResourceId


def primary_name(given: list[Json]) -> str | None:
    """The name of the primary one: the only one, or that which says so; None when none or several do."""
    if len(given) == 1:
        return str(given[0]["name"])
    found = [str(one["name"]) for one in given if one.get("properties", {}).get("primary")]
    return found[0] if len(found) == 1 else None


def check_configurations(put: Put, given: list[Json]) -> None:
    """Names are there and differ, one is the primary and stays it, no public address is there twice.

    Raises AzureError (400).
    """
    names: set[str] = set()
    for one in given:
        if "name" not in one:
            raise missing_parameter("ipConfigurations.name")
        if one["name"].lower() in names:
            raise AzureError(
                400,
                "DuplicateResourceName",
                f"Resource {put.id} has two child resources with the same name ({one['name']}).",
            )
        names.add(one["name"].lower())
    if primary_name(given) is None:
        raise AzureError(
            400,
            "NetworkInterfaceMustHaveOneOneIPConfigAsPrimary",  # spelled so
            f"Network Interface {put.id.name} specifies multiple IPConfigurations but none of the "
            "IPConfigurations is specified as Primary.",
        )
    for old in put.existing.properties["ipConfigurations"] if put.existing else []:
        if old["properties"]["primary"] and old["name"].lower() not in names:
            raise AzureError(
                400,
                "IpConfigDeleteNotSupported",
                f"IP Configuration {old['name']} cannot be deleted. Deletion and renaming of primary IP "
                "Configuration is not supported",
            )
    _check_public_once(put.id, given)


def _check_public_once(interface: ResourceId, given: list[Json]) -> None:
    seen: dict[str, str] = {}
    for one in given:
        link = one.get("properties", {}).get("publicIPAddress") or {}
        id = interface.child("ipConfigurations", one["name"])
        if (address := str(link.get("id", ""))) and address.lower() in seen:
            raise public_address_in_use(id, address, seen[address.lower()])
        seen[address.lower()] = str(id)


def public_address_in_use(id: ResourceId, address: ResourceId | str, user: str) -> AzureError:
    return AzureError(
        400,
        "PublicIPAddressInUse",
        f"Resource {id} is referencing public IP address {address} that is already allocated to resource "
        f"{user}.",
    )
