"""Platform images: what can be had by publisher, offer, SKU and version, and the reads of that catalogue.

Azure's catalogue is the Marketplace; a stamp's holds what was built here and put into it. It is filled by
the operator's API of Azure Stack Hub, `Microsoft.Compute.Admin/locations/L/artifactTypes/platformImage/...`,
with one member more: `hyperVGeneration`. An image is there in every region, whatever the region of the
request that put it. Reads give JSON lists without paging. A name is matched without case.

REST: Virtual Machine Images, 2024-07-01; Platform Images (Azure Stack Hub), 2015-12-01-preview.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from vmstamp.arm.catalog import Catalog
from vmstamp.arm.compute.extension_images import PUBLISHERS
from vmstamp.arm.compute.galleries import version_number
from vmstamp.arm.compute.vhds import GIB, Vhds, new_place, place
from vmstamp.arm.engine import Engine, read_body
from vmstamp.arm.faults import invalid_parameter, missing_parameter, not_allowed, unsupported
from vmstamp.arm.resource import Json, Resource
from vmstamp.arm.shape import READ_ONLY, OneOf, Only, Url, clean
from vmstamp.arm.types import Call, Reply, Request
from vmstamp.errors import AzureError
from vmstamp.resource_id import ResourceId

PROVIDER: Final = "Microsoft.Compute.Admin"
TYPES: Final = ("locations", "artifactTypes", "publishers", "offers", "skus", "versions")
TYPE: Final = "/".join((PROVIDER, *TYPES))
EVERYWHERE: Final = "global"  # the location of what is there in all regions

DISK: Final = {"uri": Url()}
SHAPE: Final = {
    "location": READ_ONLY,
    "properties": {
        "osDisk": {**DISK, "osType": Only("Linux")},
        "dataDisks": [{**DISK, "lun": int}],
        "hyperVGeneration": OneOf("V1", "V2"),
        "provisioningState": READ_ONLY,
    },
}
PART: Final = re.compile(r"[A-Za-z0-9_.-]{1,128}", re.ASCII)
ADMIN_WORDS: Final = ("locations", "{}", "artifactTypes", "platformImage")
IMAGE_WORDS: Final = ("publishers", "{}", "offers", "{}", "skus", "{}", "versions", "{}")
READ_WORDS: Final = ("publishers", "{}", "artifacttypes", "vmimage", "offers", "{}", "skus", "{}", "versions")


class PlatformImages:
    """The catalogue. `buildable` tells which command builds `publisher:offer:sku` (in lower case).

    state of an image (never shown): disks, `os` or LUN -> {place, size in bytes}.
    """

    def __init__(self, catalog: Catalog, vhds: Vhds, buildable: Mapping[str, str] | None = None) -> None:
        self._catalog = catalog
        self._vhds = vhds
        self._buildable = buildable or {}

    # -- looking up

    def find(self, publisher: str, offer: str, sku: str, version: str) -> Resource | None:
        """The image of four words; the version may be `latest`, the one with the highest number."""
        found = self.select(publisher, offer, sku)
        if version.lower() == "latest":
            return found[-1] if found else None
        return next((image for image in found if image.name == version), None)

    def select(self, *words: str) -> list[Resource]:
        """The images of a publisher, offer and SKU (as many words as are given), by version."""
        wanted = [word.lower() for word in words]
        found = [
            image
            for image in self._catalog.select(type=TYPE)
            if [word.lower() for word in image.id.names[2:-1]][: len(wanted)] == wanted
        ]
        return sorted(found, key=lambda image: version_number(image.name))

    def get(self, publisher: str, offer: str, sku: str, version: str) -> Resource:
        """As `find`. Raises PlatformImageNotFound that says how to come by it."""
        found = self.find(publisher, offer, sku, version)
        if found is None:
            advice = self._advice(publisher, offer, sku)
            raise AzureError(
                404,
                "PlatformImageNotFound",
                f"The platform image '{publisher}:{offer}:{sku}:{version}' is not available. Verify that all "
                "fields in the storage profile are correct. For more details about storage profile "
                f"information, please refer to https://aka.ms/storageprofile {advice}",
                target="imageReference",
            )
        return found

    def _advice(self, publisher: str, offer: str, sku: str) -> str:
        recipe = self._buildable.get(f"{publisher}:{offer}:{sku}".lower())
        if recipe:
            return f"The command 'vmstamp image build {recipe}' builds it and puts it into this stamp."
        return "This stamp has the images that 'vmstamp image build' built, and no others."

    # -- requests

    def calls(self, engine: Engine) -> list[Call]:
        def put(request: Request, words: tuple[str, ...]) -> Reply:
            return self.put(engine, request, words)

        def delete(request: Request, words: tuple[str, ...]) -> Reply:
            return self.delete(engine, words)

        def get(request: Request, words: tuple[str, ...]) -> Reply:
            found = self._catalog.find(self._id(engine, words))
            if found is None:
                raise _not_found("This stamp has no such image.")
            return Reply(200, _admin_view(found))

        def everything(request: Request, words: tuple[str, ...]) -> Reply:
            return Reply(200, [_admin_view(image) for image in self.select()])

        def level(depth: int) -> Call:
            """The list of what lies below `depth` words that were chosen: publishers, offers, SKUs."""
            words = _read_words(depth)
            return Call("GET", "Microsoft.Compute", words, lambda q, w: self.list_level(engine, q, w))

        reads = ("locations", "{}", *READ_WORDS)
        return [
            *(level(depth) for depth in range(3)),
            Call("GET", "Microsoft.Compute", reads, lambda q, w: self.list_versions(engine, q, w)),
            Call("GET", "Microsoft.Compute", (*reads, "{}"), lambda q, w: self.show(engine, w)),
            Call("GET", PROVIDER, ADMIN_WORDS, everything),
            Call("GET", PROVIDER, (*ADMIN_WORDS, *IMAGE_WORDS), get),
            Call("PUT", PROVIDER, (*ADMIN_WORDS, *IMAGE_WORDS), put),
            Call("DELETE", PROVIDER, (*ADMIN_WORDS, *IMAGE_WORDS), delete),
        ]

    def _id(self, engine: Engine, words: tuple[str, ...]) -> ResourceId:
        names = (EVERYWHERE, "platformImage", *words[1:])
        _location(engine, words[0])
        return ResourceId(engine.settings.subscription, "", PROVIDER, TYPES, names)

    def put(self, engine: Engine, request: Request, words: tuple[str, ...]) -> Reply:
        """Put an image into the catalogue, its VHDs out of page blobs of this stamp. It is there at once."""
        id = self._id(engine, words)
        for word in words[1:4]:
            if not PART.fullmatch(word):
                raise invalid_parameter(f"'{word}' is no name of a publisher, offer or SKU.", "name")
        version_number(id.name)
        given = clean(read_body(request), SHAPE).get("properties", {})
        if "osDisk" not in given:
            raise missing_parameter("properties.osDisk")
        plan = {
            key: self._planned(disk)
            for key, disk in [
                ("os", given["osDisk"]),
                *((str(d["lun"]), d) for d in given.get("dataDisks", [])),
            ]
        }
        if self._catalog.find(id):
            raise not_allowed(f"The platform image '{_urn(id)}' exists already; a version never changes.")
        for disk in plan.values():
            self._vhds.copy(place(disk.pop("source")), place(disk["place"]))
        properties = {"hyperVGeneration": "V1", **given, "provisioningState": "Succeeded"}
        with engine.db.write():
            image = self._catalog.save(
                self._catalog.new(id, EVERYWHERE, {"properties": properties}, {"disks": plan})
            )
        return Reply(201, _admin_view(image))

    def _planned(self, disk: Json) -> Json:
        ref = self._vhds.find_url(disk.get("uri", ""))
        if ref is None or not self._vhds.exists(ref) or not self._vhds.is_page_blob(ref):
            raise AzureError(
                404,
                "ImageBlobNotFound",
                f"Unable to find VHD blob with URI {disk.get('uri', '')}.",
                target="uri",
            )
        size = self._vhds.check(ref, "platform image")
        return {"source": list(ref), "place": list(new_place()), "size": size}

    def delete(self, engine: Engine, words: tuple[str, ...]) -> Reply:
        """Take an image out of the catalogue; VMs and disks that were made of it stay."""
        with engine.db.write():
            image = self._catalog.find(self._id(engine, words))
            if image is None:
                return Reply(204)
            users = [self._catalog.find(user.source) for user in self._catalog.referrers(image.id, "image")]
            if any(vm and vm.provisioning_state == "Creating" for vm in users):
                raise not_allowed(f"A virtual machine is being created of '{_urn(image.id)}'.")
            self._catalog.delete(image.id)
            for disk in image.state["disks"].values():
                self._vhds.delete(place(disk["place"]))
        return Reply(200)

    # -- Azure's reads

    def list_level(self, engine: Engine, request: Request, words: tuple[str, ...]) -> Reply:
        """Publishers (of images and of extensions), a publisher's offers, an offer's SKUs."""
        location, *chosen = words
        _location(engine, location)
        found = self.select(*chosen)
        if chosen and not found:
            raise _not_found(self._advice(*[*chosen, "", ""][:3]))
        known = {image.id.names[2 + len(chosen)] for image in found}
        names = sorted(known if chosen else known | PUBLISHERS, key=str.lower)
        return Reply(200, [_entry(engine, location, [*chosen, name]) for name in names])

    def list_versions(self, engine: Engine, request: Request, words: tuple[str, ...]) -> Reply:
        location, publisher, offer, sku = words
        _location(engine, location)
        found = self.select(publisher, offer, sku)
        if not found:
            raise _not_found(self._advice(publisher, offer, sku))
        found = _ordered(found, request.query.get("$orderby", ""))[: _top(request)]
        expand = request.query.get("$expand", "").lower()
        if expand and expand.split("/")[0] != "properties":
            raise unsupported(f"The value '{expand}' of query parameter '$expand'", target="$expand")
        shown = [
            {
                **_entry(engine, location, list(image.id.names[2:])),
                **({"properties": _properties(image)} if expand else {}),
            }
            for image in found
        ]
        return Reply(200, shown)

    def show(self, engine: Engine, words: tuple[str, ...]) -> Reply:
        location, publisher, offer, sku, version = words
        _location(engine, location)
        image = self.find(publisher, offer, sku, version)
        if image is None or version.lower() == "latest":
            raise _not_found(self._advice(publisher, offer, sku))
        entry = _entry(engine, location, list(image.id.names[2:]))
        return Reply(200, {"properties": _properties(image), **entry})


def aliases(catalog: Catalog, buildable: Mapping[str, str]) -> Json:
    """What az reads for `--image ALIAS` and `az vm image list`: an alias per recipe that is in the catalogue.

    `debian-12` has the alias `Debian12`.
    """
    there = {":".join(image.id.names[2:5]).lower(): image.id for image in catalog.select(type=TYPE)}
    found = {}
    for urn, recipe in buildable.items():
        if urn in there:
            publisher, offer, sku = there[urn].names[2:5]
            words = {"publisher": publisher, "offer": offer, "sku": sku}
            alias = "".join(part.capitalize() for part in recipe.split("-"))
            found[alias] = {**words, "version": "latest", "architecture": "x64"}
    return {"outputs": {"aliases": {"type": "object", "value": {"Linux": found}}}}


def _read_words(depth: int) -> tuple[str, ...]:
    """The path of a list: of publishers (0), of a publisher's offers (1), of an offer's SKUs (2)."""
    whole = ("locations", "{}", *READ_WORDS)
    return whole[: (3, 7, 9)[depth]]


def _location(engine: Engine, given: str) -> None:
    if not engine.locations.known(engine.locations.normalize(given)):
        raise AzureError(400, "InvalidLocation", f"The location '{given}' is not one of this stamp's.")


def _not_found(advice: str) -> AzureError:
    return AzureError(404, "NotFound", f"Artifact: VMImage was not found. {advice}")


def _ordered(found: list[Resource], order: str) -> list[Resource]:
    match order.lower().split():
        case [] | ["name"] | ["name", "asc"]:
            return found
        case ["name", "desc"]:
            return found[::-1]
    raise unsupported(f"The value '{order}' of query parameter '$orderby'", target="$orderby")


def _top(request: Request) -> int | None:
    text = request.query.get("$top", "")
    if text and not text.isdecimal():
        raise AzureError(
            400, "InvalidQueryParameter", f"The query parameter '$top' with value '{text}' is invalid."
        )
    return int(text) if text else None


def azure_id(subscription: str, location: str, names: list[str]) -> str:
    """The id of a publisher, offer, SKU or version as Azure writes it, by as many names as are given."""
    labels = ["Publishers", "ArtifactTypes/VMImage/Offers", "Skus", "Versions"]
    below = "".join(f"/{label}/{name}" for label, name in zip(labels, names, strict=False))
    return f"/Subscriptions/{subscription}/Providers/Microsoft.Compute/Locations/{location}{below}"


def _entry(engine: Engine, location: str, names: list[str]) -> Json:
    name = engine.locations.normalize(location)
    return {
        "location": name,
        "name": names[-1],
        "id": azure_id(engine.settings.subscription, name, names),
    }


def _properties(image: Resource) -> Json:
    disks = dict(image.state["disks"])
    system = disks.pop("os")
    return {
        "hyperVGeneration": image.properties["hyperVGeneration"],
        "architecture": "x64",
        "replicaType": "Managed",
        "disallowed": {"vmDiskType": "Unmanaged"},
        "automaticOSUpgradeProperties": {"automaticOSUpgradeSupported": False},
        "imageDeprecationStatus": {"imageState": "Active"},
        "features": [],
        "osDiskImage": {"operatingSystem": "Linux", **_sizes(system)},
        "dataDiskImages": [{"lun": int(lun), **_sizes(disk)} for lun, disk in disks.items()],
    }


def _sizes(disk: Json) -> Json:
    return {"sizeInGb": -(-disk["size"] // GIB), "sizeInBytes": disk["size"] + 512}


def _urn(id: ResourceId) -> str:
    return ":".join(id.names[2:])


def _admin_view(image: Resource) -> Json:
    return {
        "id": str(image.id),
        "name": image.name,
        "type": TYPE,
        "location": image.location,
        **image.document,
    }
