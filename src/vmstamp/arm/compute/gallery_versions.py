"""Microsoft.Compute/galleries/images/versions: the bytes of a gallery's image, once per region.

A version has a replica in each of its target regions: VHDs of its own in hidden accounts. They share the
source's sealed content, so a replica takes no time and no room, and the source may go afterwards. A region
that is taken away loses its VHDs; the home region, that of the version, stays.

    state of a version (never shown)
    replicas   region -> `os` or LUN -> the VHD's place
    sizes      `os` or LUN -> virtual size in bytes
    sources    `os` or LUN -> the source's place, and the managed disk to be folded first
    machine    the VM to be folded first, '' for another source
    dropped    VHDs of regions that a change took away

REST: Gallery Image Versions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from vmstamp.arm.catalog import Catalog, Clock, utc_now
from vmstamp.arm.compute.galleries import (
    API_VERSIONS,
    VERSIONS,
    check_end_of_life,
    get_parent,
    parse_date,
    version_number,
)
from vmstamp.arm.compute.gallery_regions import target_regions
from vmstamp.arm.compute.gallery_sources import GallerySources, Source
from vmstamp.arm.compute.naming import CAPS_STYLE
from vmstamp.arm.compute.vhds import GIB, Vhds, new_place, place
from vmstamp.arm.faults import (
    change_not_allowed,
    missing_parameter,
    not_allowed,
    unsupported,
)
from vmstamp.arm.locations import Locations
from vmstamp.arm.resource import Json, Reference, Resource
from vmstamp.arm.shape import KEEP, READ_ONLY, OneOf, Only, Url, clean
from vmstamp.arm.types import Change, Put, ResourceType, Work
from vmstamp.errors import AzureError

PUBLISHING: Final = "galleryImageVersion.properties.publishingProfile"

CACHING: Final = OneOf("None", "ReadOnly", "ReadWrite")
ACCOUNT_TYPE: Final = OneOf("Standard_LRS", "Standard_ZRS", "Premium_LRS")
DISK_IMAGE: Final = {
    "hostCaching": CACHING,
    "sizeInGB": READ_ONLY,
    "source": {"id": str, "uri": Url(), "storageAccountId": KEEP, "resourceGroup": READ_ONLY},
}
SHAPE: Final = {
    "location": str,
    "tags": KEEP,
    "properties": {
        "provisioningState": READ_ONLY,
        "publishingProfile": {
            "endOfLifeDate": str,
            "excludeFromLatest": bool,
            "publishedDate": READ_ONLY,
            "replicaCount": int,
            "replicationMode": OneOf("Full", "Shallow"),
            "storageAccountType": ACCOUNT_TYPE,
            "targetRegions": [
                {
                    "name": str,
                    "regionalReplicaCount": int,
                    "storageAccountType": ACCOUNT_TYPE,
                    "excludeFromLatest": bool,
                }
            ],
        },
        "replicationStatus": READ_ONLY,
        "restore": Only(False),
        "safetyProfile": {
            "allowDeletionOfReplicatedLocations": bool,
            "blockDeletionBeforeEndOfLife": bool,
            "policyViolations": READ_ONLY,
            "reportedForPolicyViolation": READ_ONLY,
        },
        "storageProfile": {
            "source": {"id": str, "virtualMachineId": str, "resourceGroup": READ_ONLY},
            "osDiskImage": DISK_IMAGE,
            "dataDiskImages": [{**DISK_IMAGE, "lun": int}],
        },
        "validationsProfile": READ_ONLY,
    },
}


class GalleryVersions:
    """The type. `fold` and `fold_all` bring what VMs wrote into the VHDs of a disk or a VM."""

    def __init__(
        self,
        catalog: Catalog,
        vhds: Vhds,
        sources: GallerySources,
        fold: Callable[[Resource], None],
        fold_all: Callable[[Resource], None],
        now: Clock = utc_now,
        locations: Locations | None = None,
    ) -> None:
        self._catalog = catalog
        self._vhds = vhds
        self._sources = sources
        self._fold = fold
        self._fold_all = fold_all
        self._now = now
        self._locations = locations or Locations()

    def type(self) -> ResourceType:
        return ResourceType(
            name=VERSIONS,
            api_versions=API_VERSIONS,
            style=CAPS_STYLE,
            parse=self.parse,
            apply=self.apply,
            remove=self.remove,
            view=self.view,
            references=references,
            check_delete=self.check_delete,
            patch="all",
            delete_rank=3,
        )

    # -- PUT

    def parse(self, put: Put) -> Change:
        version_number(put.id.name)
        definition = get_parent(put)
        body = clean(put.body, SHAPE)
        given = body.get("properties", {})
        if put.existing:
            return self._update(put, put.existing, body, given)
        if "storageProfile" not in given:
            raise missing_parameter("galleryImageVersion.properties.storageProfile")
        profile = given["storageProfile"]
        source = self._sources.find(put, profile, definition)
        publishing = self._publishing(put, given.get("publishingProfile", {}), {})
        shown = {
            **given,
            "publishingProfile": {**publishing, "publishedDate": self._catalog.now()},
            "storageProfile": _shown_storage(profile, source),
        }
        state = {
            "replicas": {region: _new_replica(source.disks) for region in self._regions(publishing)},
            "sizes": {key: disk.size for key, disk in source.disks.items()},
            "sources": {k: {"place": disk.place, "disk": disk.disk} for k, disk in source.disks.items()},
            "machine": source.machine,
            "dropped": [],
        }
        return Change({**body, "properties": shown}, state)

    def _update(self, put: Put, existing: Resource, body: Json, given: Json) -> Change:
        old: Json = existing.properties
        _check_source_unchanged(old["storageProfile"], given.get("storageProfile", {}))
        was: Json = old["publishingProfile"]
        publishing = self._publishing(put, given.get("publishingProfile") or was, was)
        before: Json = existing.state["replicas"]
        after = self._regions(publishing)
        gone = [region for region in before if region not in after]
        safety: Json = given.get("safetyProfile") or old.get("safetyProfile") or {}
        if gone and safety.get("allowDeletionOfReplicatedLocations") is False:
            raise not_allowed(
                f"Removing the region '{self._locations.display_name(gone[0])}' from version '{put.id.name}' "
                "is not allowed because its safetyProfile.allowDeletionOfReplicatedLocations is false."
            )
        replicas = {region: before.get(region) or _new_replica(existing.state["sizes"]) for region in after}
        dropped = [vhd for region in gone for vhd in before[region].values()]
        shown = {
            **given,
            "publishingProfile": {**publishing, "publishedDate": was["publishedDate"]},
            "storageProfile": old["storageProfile"],
        }
        if safety:
            shown["safetyProfile"] = safety
        state = {
            **existing.state,
            "replicas": replicas,
            "dropped": [*existing.state["dropped"], *dropped],
        }
        return Change({**existing.document, **body, "properties": shown}, state)

    def _publishing(self, put: Put, given: Json, old: Json) -> Json:
        """The publishing profile with Azure's defaults. Raises AzureError."""
        for name in ("storageAccountType", "replicationMode"):
            if old and name in given and given[name] != old[name]:
                raise change_not_allowed(f"{PUBLISHING}.{name}")
        ends = given.get("endOfLifeDate")
        if ends is not None and ends != old.get("endOfLifeDate"):
            check_end_of_life(ends, f"{PUBLISHING}.endOfLifeDate", self._now())
        filled = {
            "excludeFromLatest": False,
            "replicaCount": 1,
            "storageAccountType": "Standard_LRS",
            "replicationMode": "Full",
            **given,
        }
        regions = target_regions(self._locations, put.location, filled, old.get("targetRegions", []))
        return {**filled, "targetRegions": regions}

    def _regions(self, publishing: Json) -> list[str]:
        """The target regions by name, not as they are shown."""
        return [self._locations.normalize(region["name"]) for region in publishing["targetRegions"]]

    def apply(self, version: Resource, work: Work) -> Resource:
        """Make the replicas that are not there, the home region's first. Idempotent."""
        home = version.state["replicas"][version.location]
        missing = [key for key, vhd in home.items() if not self._vhds.exists(place(vhd))]
        machine = version.state["machine"]
        if missing and machine and (vm := self._catalog.find(machine)):
            self._fold_all(vm)
        for key in missing:
            source = version.state["sources"][key]
            if source["disk"] and (disk := self._catalog.find(source["disk"])):
                self._fold(disk)
            self._vhds.copy(place(source["place"]), place(home[key]))
        for replica in version.state["replicas"].values():
            for key, vhd in replica.items():
                self._vhds.copy(place(home[key]), place(vhd))
        for vhd in version.state["dropped"]:
            self._vhds.delete(place(vhd))
        return version.with_state(dropped=[])

    # -- GET

    def view(self, version: Resource, expand: str) -> Json:
        if expand and expand.lower() != "replicationstatus":
            raise unsupported(f"The value '{expand}' of query parameter '$expand'", target="$expand")
        if not expand:
            return version.document
        return version.with_properties(replicationStatus=self.replication_status(version)).document

    def replication_status(self, version: Resource) -> Json:
        """How far the replicas are, from the VHDs that are there."""
        failed = version.provisioning_state == "Failed"
        summary = []
        for region, replica in version.state["replicas"].items():
            there = sum(self._vhds.exists(place(vhd)) for vhd in replica.values())
            state = "Completed" if there == len(replica) else "Failed" if failed else "Replicating"
            summary.append(
                {
                    "region": self._locations.display_name(region),
                    "state": state,
                    "details": "",
                    "progress": 100 * there // len(replica),
                }
            )
        states = {region["state"] for region in summary}
        whole = "Completed" if states == {"Completed"} else "Failed" if failed else "InProgress"
        return {"aggregatedState": whole, "summary": summary}

    # -- DELETE

    def check_delete(self, version: Resource) -> None:
        users = [self._catalog.find(user.source) for user in self._catalog.referrers(version.id, "image")]
        busy = sorted(vm.name for vm in users if vm and vm.provisioning_state == "Creating")
        if busy:
            raise not_allowed(
                f"Operation 'Delete' is not allowed since the Virtual Machines '{', '.join(busy)}' are "
                f"being provisioned using the Image '{version.name}'."
            )
        ends = version.properties["publishingProfile"].get("endOfLifeDate")
        blocked = version.properties.get("safetyProfile", {}).get("blockDeletionBeforeEndOfLife", False)
        if blocked and ends and parse_date(ends, "endOfLifeDate") > self._now():
            raise AzureError(
                409,
                "DeleteGalleryImageVersionBlockedBeforeEndOfLife",
                "Deletion of Gallery image version is not allowed because the image is enabled for "
                "blockDeletionBeforeEndOfLife and its endOfLifeDate has not reached yet.",
            )

    def remove(self, version: Resource, work: Work) -> None:
        for replica in version.state["replicas"].values():
            for vhd in replica.values():
                self._vhds.delete(place(vhd))
        for vhd in version.state["dropped"]:
            self._vhds.delete(place(vhd))


def _new_replica(disks: Any) -> Json:
    return {key: list(new_place()) for key in disks}


def _shown_storage(profile: Json, source: Source) -> Json:
    """storageProfile as Azure shows it: every disk with its size, whatever the source."""
    given = {str(disk["lun"]): disk for disk in profile.get("dataDiskImages", [])}
    given["os"] = profile.get("osDiskImage", {})
    images = {
        key: {
            "sizeInGB": -(-disk.size // GIB),
            "hostCaching": disk.caching,
            "source": given.get(key, {}).get("source", {}),
        }
        for key, disk in source.disks.items()
    }
    data = [{"lun": int(key), **image} for key, image in images.items() if key != "os"]
    shown: Json = {"source": profile["source"]} if "source" in profile else {}
    shown["osDiskImage"] = images["os"]
    if data:
        shown["dataDiskImages"] = data
    return shown


def _check_source_unchanged(old: Json, given: Json) -> None:
    root = "galleryImageVersion.properties.storageProfile"
    was, now = old.get("source", {}), given.get("source", {})
    for name in ("id", "virtualMachineId"):
        if name in now and now[name].lower() != was.get(name, "").lower():
            raise change_not_allowed(f"{root}.source.{name}")
    _check_disk_unchanged(old["osDiskImage"], given.get("osDiskImage", {}), f"{root}.osDiskImage")
    disks = {disk["lun"]: disk for disk in old.get("dataDiskImages", [])}
    for disk in given.get("dataDiskImages", []):
        if disk.get("lun") not in disks:
            raise AzureError(
                409,
                "PropertyChangeNotAllowed",
                "Adding new Data Disks or changing the LUN of a Data Disk in an existing Image is not "
                "allowed.",
                target=f"{root}.dataDiskImages",
            )
        _check_disk_unchanged(disks[disk["lun"]], disk, f"{root}.dataDiskImages")


def _check_disk_unchanged(old: Json, given: Json, path: str) -> None:
    for name in ("id", "uri"):
        now = given.get("source", {}).get(name)
        if now is not None and now.lower() != old["source"].get(name, "").lower():
            raise change_not_allowed(f"{path}.source.{name}")
    if given.get("hostCaching", old["hostCaching"]) != old["hostCaching"]:
        raise change_not_allowed(f"{path}.hostCaching")


def references(version: Resource) -> Iterator[Reference]:
    """What it is being made of."""
    if version.provisioning_state != "Creating":
        return
    profile = version.properties["storageProfile"]
    disks = [profile.get("osDiskImage", {}), *profile.get("dataDiskImages", [])]
    for source in (profile.get("source", {}), *(disk.get("source", {}) for disk in disks)):
        if id := source.get("id") or source.get("virtualMachineId"):
            yield Reference("image source", id, str(version.id))
