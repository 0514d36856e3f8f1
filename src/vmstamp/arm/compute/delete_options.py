"""deleteOption of a virtual machine's disks and interfaces, which older api-versions do not have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from vmstamp.arm.resource import Json
from vmstamp.arm.types import Put
from vmstamp.errors import AzureError

SINCE: Final = "2021-03-01"  # REST: Virtual Machines - Create Or Update, DiskDeleteOptionTypes


def check_delete_options(put: Put, properties: Json) -> None:
    """Raises AzureError (400) for an option in a body of an older api-version.

    One that is there already is taken: clients of these versions send back what they got.
    """
    if put.partial or put.api_version >= SINCE:
        return
    there = set(_options(put.existing.properties)) if put.existing else set()
    for path, kind, option in _options(properties):
        if (path, kind, option) not in there:
            where = f"properties.{path}.deleteOption"
            raise AzureError(
                400,
                "BadRequest",
                f"Could not find member 'deleteOption' on object of type '{kind}'. Path '{where}'.",
                target=f"vm.{where}",
            )


def _options(properties: Json) -> Iterator[tuple[str, str, str]]:
    """Each option: the path of what has it, the type of that, and the option's value."""
    storage, network = properties.get("storageProfile", {}), properties.get("networkProfile", {})
    found = [("storageProfile.osDisk", "OSDisk", storage.get("osDisk", {}))]
    for number, disk in enumerate(storage.get("dataDisks", [])):
        found.append((f"storageProfile.dataDisks[{number}]", "DataDisk", disk))
    for number, link in enumerate(network.get("networkInterfaces", [])):
        path = f"networkProfile.networkInterfaces[{number}].properties"
        found.append((path, "NetworkInterfaceReferenceProperties", link.get("properties", {})))
    for path, kind, part in found:
        if "deleteOption" in part:
            yield path, kind, part["deleteOption"]
