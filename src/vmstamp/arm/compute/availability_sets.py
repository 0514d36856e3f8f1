"""Microsoft.Compute/availabilitySets: virtual machines that are counted into fault and update domains.

The stamp is one computer: a domain is a number in the instance view and nothing else. A set with sku
Aligned takes VMs with managed disks, one with Classic those with blob-based disks.

REST: Availability Sets.
"""

from __future__ import annotations

from typing import Final

from vmstamp.arm.catalog import Catalog
from vmstamp.arm.compute.naming import API_VERSIONS, check_name
from vmstamp.arm.compute.sizes import vm_sizes
from vmstamp.arm.faults import change_not_allowed, invalid_parameter, not_allowed, not_found
from vmstamp.arm.links import linked_id, names
from vmstamp.arm.resource import Json, Resource
from vmstamp.arm.shape import KEEP, READ_ONLY, OneOf, clean
from vmstamp.arm.types import AsyncStyle, Change, Put, ResourceType
from vmstamp.errors import AzureError

NAME: Final = "Microsoft.Compute/availabilitySets"
MOST_FAULT_DOMAINS: Final = 3
MOST_UPDATE_DOMAINS: Final = 20
# The service answers at once: neither a PUT nor a DELETE has an operation.
STYLE: Final = AsyncStyle(created_status=200, async_header=False, synchronous_delete=True)

SHAPE: Final = {
    "location": str,
    "tags": KEEP,
    "sku": {"name": OneOf("Aligned", "Classic"), "tier": READ_ONLY, "capacity": READ_ONLY},
    "properties": {
        "platformFaultDomainCount": int,
        "platformUpdateDomainCount": int,
        "virtualMachines": READ_ONLY,
        "statuses": READ_ONLY,
        "provisioningState": READ_ONLY,
        "virtualMachineScaleSetMigrationInfo": READ_ONLY,
    },
}


class AvailabilitySets:
    """The type."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def type(self) -> ResourceType:
        return ResourceType(
            name=NAME,
            api_versions=API_VERSIONS,
            style=STYLE,
            parse=parse,
            view=self.view,
            check_delete=self.check_delete,
            patch="all",
            delete_rank=2,
            reads={"vmSizes": lambda found: vm_sizes()},
        )

    def view(self, found: Resource, expand: str) -> Json:
        members = [{"id": id} for id in names(self._catalog, found.id, "availability set")]
        return found.with_properties(virtualMachines=members).stateless_document

    def check_delete(self, found: Resource) -> None:
        if self._catalog.referrers(found.id, "availability set"):
            raise not_allowed(
                f"Availability Set '{found.name}' cannot be deleted. Before deleting an Availability Set "
                "please ensure that it does not contain any VM."
            )


def parse(put: Put) -> Change:
    check_name(put.id.name, "availabilitySetName")
    body = clean(put.body, SHAPE)
    old = put.existing
    sku = body.get("sku", {}).get("name") or (old.document["sku"]["name"] if old else "Classic")
    if old and old.document["sku"]["name"] == "Aligned" and sku == "Classic":
        raise not_allowed("Changing availability set SKU from 'Aligned' to 'Classic' is not allowed.")
    properties = body.get("properties", {})
    counts = {
        "platformFaultDomainCount": _count(properties, "platformFaultDomainCount", 2, MOST_FAULT_DOMAINS),
        "platformUpdateDomainCount": _count(properties, "platformUpdateDomainCount", 5, MOST_UPDATE_DOMAINS),
    }
    for name, value in counts.items():
        if old and name in properties and old.properties[name] != value:
            raise change_not_allowed(name)
    kept = {name: old.properties[name] for name in counts} if old else counts
    return Change({**body, "sku": {"name": sku}, "properties": kept})


def _count(properties: Json, name: str, default: int, most: int) -> int:
    count = int(properties.get(name, default))
    if not 1 <= count <= most:
        what = "fault" if "Fault" in name else "update"
        raise invalid_parameter(
            f"The specified {what} domain count {count} must fall in the range 1 to {most}.", name
        )
    return count


def check_member(put: Put, link: Json, *, managed: bool) -> Resource:
    """The set that a new VM is to belong to. Raises AzureError when there is none of its kind."""
    id = linked_id(link, "properties.availabilitySet", NAME)
    found = put.catalog.find(id)
    if found is None or found.location != put.location or found.provisioning_state == "Deleting":
        raise not_found(f"The Availability Set '{id}' cannot be found.")
    if (found.document["sku"]["name"] == "Aligned") != managed:
        raise AzureError(
            400,
            "BadRequest",
            "Addition of a VM with managed disks to non-managed Availability Set or addition of a VM with "
            "blob based disks to managed Availability Set is not supported. Please create an Availability "
            "Set with 'managed' property set in order to add a VM with managed disks to it.",
        )
    return found


def next_domains(catalog: Catalog, found: Resource) -> Json:
    """The fault and update domain of the next member: in turn."""
    number = len(catalog.referrers(found.id, "availability set"))
    return {
        "platformFaultDomain": number % found.properties["platformFaultDomainCount"],
        "platformUpdateDomain": number % found.properties["platformUpdateDomainCount"],
    }
