"""Rules of galleries: names, replication, what may not change, and VMs of gallery images."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import requests

from tests.client.arm.parity.row import COMPUTE, SUBSCRIPTION, Row, ask

TITLE: Final = "Galleries"

GALLERY: Final = f"{COMPUTE}/galleries/gallery1"
DEFINITION: Final = f"{GALLERY}/images/linux"
VERSION: Final = f"{DEFINITION}/versions/1.0.0"
IDENTIFIER: Final = {"publisher": "me", "offer": "linux", "sku": "gen2"}
KIND: Final[dict[str, Any]] = {
    "osType": "Linux",
    "osState": "Generalized",
    "hyperVGeneration": "V2",
    "identifier": IDENTIFIER,
}


def body(location: str = "westeurope", **properties: Any) -> dict[str, Any]:
    return {"location": location, "properties": properties}


def put(arm: Any, path: str, location: str = "westeurope", **properties: Any) -> requests.Response:
    """A PUT whose operation has ended when this returns."""
    reply = ask(arm, "PUT", path, body(location, **properties))
    arm.plane.engine.operations.wait()
    return reply


def gallery(arm: Any) -> None:
    put(arm, GALLERY)


def definition(arm: Any, **changes: Any) -> None:
    gallery(arm)
    put(arm, DEFINITION, **{**KIND, **changes})


def publish(arm: Any, path: str = VERSION, *regions: str, **profile: Any) -> requests.Response:
    """Put a version of the image `image1`, which is made when it is not there."""
    if ask(arm, "GET", f"{COMPUTE}/images/image1").status_code == 404:
        arm.image()
    if regions:
        profile["targetRegions"] = [{"name": region} for region in regions]
    source = {"source": {"id": f"{COMPUTE}/images/image1"}}
    return put(arm, path, storageProfile=source, publishingProfile=profile)


def version(arm: Any, *regions: str, **profile: Any) -> None:
    definition(arm)
    publish(arm, VERSION, *regions, **profile)


def create(arm: Any, image: str, location: str = "westeurope", **properties: Any) -> requests.Response:
    """A PUT of a VM of an image, without a network: what is wrong with the image is told first."""
    profile = {"imageReference": {"id": image}, "osDisk": {"createOption": "FromImage"}}
    return ask(
        arm, "PUT", f"{COMPUTE}/virtualMachines/vm1", body(location, storageProfile=profile, **properties)
    )


# -- galleries


def _gallery(arm: Any) -> requests.Response:
    return put(arm, GALLERY)


def _gallery_got(arm: Any) -> requests.Response:
    gallery(arm)
    return ask(arm, "GET", GALLERY)


def _gallery_with_dash(arm: Any) -> requests.Response:
    return put(arm, f"{COMPUTE}/galleries/gallery-1")


def _gallery_twice(arm: Any) -> requests.Response:
    gallery(arm)
    arm.resources.resource_groups.create_or_update("rg2", {"location": "westeurope"})
    return put(arm, GALLERY.replace("/rg/", "/rg2/"))


def _gallery_elsewhere(arm: Any) -> requests.Response:
    gallery(arm)
    return put(arm, GALLERY, "eastus")


def _delete_gallery(arm: Any) -> requests.Response:
    gallery(arm)
    return ask(arm, "DELETE", GALLERY)


def _delete_full_gallery(arm: Any) -> requests.Response:
    definition(arm)
    return ask(arm, "DELETE", GALLERY)


# -- definitions


def _definition_without_gallery(arm: Any) -> requests.Response:
    return put(arm, DEFINITION, **KIND)


def _definition(arm: Any) -> requests.Response:
    gallery(arm)
    return put(arm, DEFINITION, **{k: v for k, v in KIND.items() if k != "hyperVGeneration"})


def _same_identifier(arm: Any) -> requests.Response:
    definition(arm)
    return put(arm, f"{GALLERY}/images/other", **KIND)


def _bad_identifier(arm: Any) -> requests.Response:
    gallery(arm)
    return put(arm, DEFINITION, **{**KIND, "identifier": {**IDENTIFIER, "offer": "ends with."}})


def _other_os_state(arm: Any) -> requests.Response:
    definition(arm)
    return put(arm, DEFINITION, **{**KIND, "osState": "Specialized"})


def _other_identifier(arm: Any) -> requests.Response:
    definition(arm)
    return put(arm, DEFINITION, **{**KIND, "identifier": {**IDENTIFIER, "sku": "other"}})


def _other_os_type(arm: Any) -> requests.Response:
    definition(arm)
    return put(arm, DEFINITION, **{**KIND, "osType": "Windows"})


def _ended(arm: Any) -> requests.Response:
    gallery(arm)
    return put(arm, DEFINITION, **KIND, endOfLifeDate="2020-01-01T00:00:00Z")


def _no_date(arm: Any) -> requests.Response:
    gallery(arm)
    return put(arm, DEFINITION, **KIND, endOfLifeDate="some day")


def _delete_full_definition(arm: Any) -> requests.Response:
    version(arm)
    return ask(arm, "DELETE", DEFINITION)


# -- versions


def _version(arm: Any) -> requests.Response:
    definition(arm)
    return publish(arm)


def _version_without_definition(arm: Any) -> requests.Response:
    gallery(arm)
    return publish(arm)


def _bad_version(arm: Any) -> requests.Response:
    definition(arm)
    return publish(arm, f"{DEFINITION}/versions/1.0")


def _replicated(arm: Any) -> requests.Response:
    version(arm, "westeurope", "eastus")
    return ask(arm, "GET", f"{VERSION}?$expand=ReplicationStatus")


def _without_home(arm: Any) -> requests.Response:
    definition(arm)
    return publish(arm, VERSION, "eastus")


def _home_removed(arm: Any) -> requests.Response:
    version(arm, "westeurope", "eastus")
    return publish(arm, VERSION, "eastus")


def _region_twice(arm: Any) -> requests.Response:
    definition(arm)
    return publish(arm, VERSION, "westeurope", "West Europe")


def _too_many_replicas(arm: Any) -> requests.Response:
    definition(arm)
    return publish(arm, replicaCount=101)


def _state_mismatch(arm: Any) -> requests.Response:
    definition(arm, osState="Specialized")
    return publish(arm)


def _generation_mismatch(arm: Any) -> requests.Response:
    definition(arm, hyperVGeneration="V1")
    return publish(arm)


def _other_source(arm: Any) -> requests.Response:
    version(arm)
    other = {"source": {"id": f"{COMPUTE}/images/image2"}}
    return put(arm, VERSION, storageProfile=other)


def _no_source(arm: Any) -> requests.Response:
    definition(arm)
    return put(arm, VERSION, storageProfile={})


def _absent_source(arm: Any) -> requests.Response:
    definition(arm)
    return put(arm, VERSION, storageProfile={"source": {"id": f"{COMPUTE}/images/none"}})


def _source_of_a_wrong_type(arm: Any) -> requests.Response:
    definition(arm)
    return put(arm, VERSION, storageProfile={"source": {"id": f"{COMPUTE}/disks/d1"}})


def _disk_of_a_wrong_type(arm: Any) -> requests.Response:
    definition(arm)
    image = {"source": {"id": f"{COMPUTE}/images/image1"}}
    return put(arm, VERSION, storageProfile={"osDiskImage": image})


def _source_is_no_id(arm: Any) -> requests.Response:
    definition(arm)
    return put(arm, VERSION, storageProfile={"source": {"id": "image1"}})


def _lun_twice(arm: Any) -> requests.Response:
    definition(arm)
    disks = [{"lun": 1, "source": {"id": f"{COMPUTE}/disks/d{number}"}} for number in (1, 2)]
    system = {"source": {"id": f"{COMPUTE}/disks/os"}}
    return put(arm, VERSION, storageProfile={"osDiskImage": system, "dataDiskImages": disks})


def _disk_twice(arm: Any) -> requests.Response:
    definition(arm)
    empty = body(creationData={"createOption": "Empty"}, diskSizeGB=1)
    arm.compute.disks.begin_create_or_update("rg", "d1", empty).result()
    source = {"source": {"id": f"{COMPUTE}/disks/d1"}}
    profile = {"osDiskImage": source, "dataDiskImages": [{"lun": 1, **source}]}
    return put(arm, VERSION, storageProfile=profile)


def _new_data_disk(arm: Any) -> requests.Response:
    version(arm)
    more = {"dataDiskImages": [{"lun": 7, "source": {"id": f"{COMPUTE}/disks/d1"}}]}
    return put(arm, VERSION, storageProfile=more)


def _source_deleted(arm: Any) -> requests.Response:
    version(arm)
    ask(arm, "DELETE", f"{COMPUTE}/images/image1")
    arm.plane.engine.operations.wait()
    return publish(arm, VERSION, "westeurope", "eastus")


def _delete_version(arm: Any) -> requests.Response:
    version(arm)
    return ask(arm, "DELETE", VERSION)


def _blocked_deletion(arm: Any) -> requests.Response:
    definition(arm)
    arm.image()
    source = {"source": {"id": f"{COMPUTE}/images/image1"}}
    ends = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    safety = {"blockDeletionBeforeEndOfLife": True}
    put(arm, VERSION, storageProfile=source, publishingProfile={"endOfLifeDate": ends}, safetyProfile=safety)
    return ask(arm, "DELETE", VERSION)


# -- virtual machines and disks


def _not_replicated(arm: Any) -> requests.Response:
    version(arm)
    return create(arm, VERSION, "eastus")


def _absent_version(arm: Any) -> requests.Response:
    definition(arm)
    return create(arm, VERSION)


def _excluded(arm: Any) -> requests.Response:
    version(arm, excludeFromLatest=True)
    return create(arm, DEFINITION)


def _specialized_with_profile(arm: Any) -> requests.Response:
    definition(arm, osState="Specialized")
    empty = body(creationData={"createOption": "Empty"}, diskSizeGB=1)
    arm.compute.disks.begin_create_or_update("rg", "d1", empty).result()
    put(arm, VERSION, storageProfile={"osDiskImage": {"source": {"id": f"{COMPUTE}/disks/d1"}}})
    return create(arm, VERSION, osProfile={"computerName": "vm1", "adminUsername": "someone"})


def _generalized_without_profile(arm: Any) -> requests.Response:
    version(arm)
    return create(arm, VERSION)


def _disk_of_an_absent_lun(arm: Any) -> requests.Response:
    version(arm)
    creation = {"createOption": "FromImage", "galleryImageReference": {"id": VERSION, "lun": 5}}
    return ask(arm, "PUT", f"{COMPUTE}/disks/d1", body(creationData=creation))


def _polls_caps(reply: requests.Response) -> bool:
    url = reply.headers["Azure-AsyncOperation"]
    return "/Microsoft.Compute/locations/westeurope/capsOperations/" in url


def _accepted(reply: requests.Response) -> bool:
    return "Azure-AsyncOperation" in reply.headers and "monitor=true" in reply.headers["Location"]


def _profile(reply: requests.Response) -> dict[str, Any]:
    found: dict[str, Any] = reply.json()["properties"]["publishingProfile"]
    return found


def _status(reply: requests.Response) -> bool:
    status = reply.json()["properties"]["replicationStatus"]
    regions = [(one["region"], one["state"], one["progress"]) for one in status["summary"]]
    return status["aggregatedState"] == "Completed" and regions == [
        ("West Europe", "Completed", 100),
        ("East US", "Completed", 100),
    ]


NESTED: Final = "Can not delete resource before nested resources are deleted."

ROWS: Final = (
    Row("PUT of a gallery is asynchronous, polled at capsOperations", "R", _gallery, 201, holds=_polls_caps),
    Row(
        "a gallery's unique name: subscription and name in upper case",
        "R",
        _gallery_got,
        200,
        holds=lambda reply: (
            reply.json()["properties"]["identifier"]["uniqueName"] == f"{SUBSCRIPTION}-GALLERY1"
        ),
    ),
    Row(
        "a gallery's name with a dash",
        "D",
        _gallery_with_dash,
        400,
        "InvalidParameter",
        "Gallery name is invalid. Allowed characters are English alphanumeric characters, with underscores, "
        "and periods allowed in the middle, up to 80 characters total. All other special characters, "
        "including dashes, are disallowed.",
    ),
    Row(
        "a second gallery of a name in the subscription",
        "D",
        _gallery_twice,
        409,
        "Conflict",
        f"The gallery name gallery1 is not unique within the subscription {SUBSCRIPTION}. Please pick "
        "another gallery name.",
    ),
    Row(
        "a gallery that exists, in another region",
        "D",
        _gallery_elsewhere,
        409,
        "InvalidResourceLocation",
        "The resource 'gallery1' already exists in location 'westeurope' in resource group 'rg'. A resource "
        "with the same name cannot be created in location 'eastus'. Please select a new resource name.",
    ),
    Row("DELETE of a gallery", "R", _delete_gallery, 202, holds=_accepted),
    Row(
        "DELETE of a gallery with definitions",
        "DI",
        _delete_full_gallery,
        409,
        "CannotDeleteResource",
        NESTED,
    ),
    Row(
        "a definition in a gallery that is not there",
        "D",
        _definition_without_gallery,
        404,
        "ParentResourceNotFound",
        "Can not perform requested operation on nested resource. Parent resource 'gallery1' not found.",
    ),
    Row(
        "a definition is of generation V1 and x64 unless it says otherwise",
        "R",
        _definition,
        201,
        holds=lambda reply: (
            reply.json()["properties"]["hyperVGeneration"] == "V1"
            and reply.json()["properties"]["architecture"] == "x64"
        ),
    ),
    Row(
        "a second definition with the same publisher, offer and SKU",
        "D",
        _same_identifier,
        409,
        "Conflict",
        "Gallery image: linux identified by (publisher:me, offer:linux, sku:gen2) already exists. Choose a "
        "different publisher, offer, sku combination.",
    ),
    Row(
        "an identifier with characters that are not allowed",
        "D",
        _bad_identifier,
        400,
        "InvalidParameter",
        "Asset name galleryImage.properties.identifier.offer is not valid. It cannot be empty. Allowed "
        "characters are uppercase or lowercase letters, digits, hyphen(-), period (.), underscore (_). Names "
        "are not allowed to end with period(.). The length of the name cannot exceed 64 characters.",
    ),
    *(
        Row(
            f"another {name} of a definition",
            "D",
            send,
            409,
            "PropertyChangeNotAllowed",
            f"Changing property 'galleryImage.properties.{name}' is not allowed.",
        )
        for name, send in (
            ("osState", _other_os_state),
            ("osType", _other_os_type),
            ("identifier", _other_identifier),
        )
    ),
    Row(
        "an end of life that is past",
        "D",
        _ended,
        400,
        "InvalidParameter",
        "EndOfLifeDate must be set to a future date.",
    ),
    Row(
        "an end of life that is no date",
        "D",
        _no_date,
        400,
        "InvalidRequestContent",
        "...Could not convert string to DateTimeOffset: some day. Path '...endOfLifeDate'...",
    ),
    Row(
        "DELETE of a definition with versions",
        "DI",
        _delete_full_definition,
        409,
        "CannotDeleteResource",
        NESTED,
    ),
    Row(
        "PUT of a version: its region alone, one replica, published now",
        "R",
        _version,
        201,
        holds=lambda reply: (
            _polls_caps(reply)
            and reply.json()["properties"]["provisioningState"] == "Creating"
            and _profile(reply)["replicaCount"] == 1
            and _profile(reply)["excludeFromLatest"] is False
            and _profile(reply)["storageAccountType"] == "Standard_LRS"
            and "publishedDate" in _profile(reply)
        ),
    ),
    Row(
        "a version of a definition that is not there",
        "D",
        _version_without_definition,
        404,
        "ParentResourceNotFound",
        "Can not perform requested operation on nested resource. Parent resource 'gallery1/linux' not found.",
    ),
    Row(
        "a version that is not three numbers",
        "D",
        _bad_version,
        400,
        "InvalidParameter",
        "The image version name is invalid. The image version name should follow "
        "Major(int).Minor(int).Patch(int) format, for e.g: 1.0.0, 2018.12.1 etc.",
    ),
    Row("replication status on request, region by region", "R", _replicated, 200, holds=_status),
    Row(
        "target regions without the version's own",
        "D",
        _without_home,
        400,
        "InvalidParameter",
        "Gallery image version publishing profile regions 'East US' must contain the location of image "
        "version 'West Europe'.",
    ),
    Row(
        "taking the version's own region away",
        "D",
        _home_removed,
        400,
        "InvalidParameter",
        "Gallery image version publishing profile regions ... must contain the location of image version ...",
    ),
    Row(
        "a target region twice",
        "DI",
        _region_twice,
        400,
        "InvalidParameter",
        "Duplicate regions are not allowed in target publishing regions.",
    ),
    Row(
        "too many replicas",
        "D",
        _too_many_replicas,
        400,
        "InvalidParameter",
        "The value '101' of parameter 'replicaCount' is out of range. The value must be between '1' and "
        "'100', inclusive.",
    ),
    Row(
        "a source of another OS state than the definition's",
        "DI",
        _state_mismatch,
        400,
        "BadRequest",
        f"The resource with id '{COMPUTE}/images/image1' has a different OS state ['Generalized'] than the "
        "parent gallery image OS state ['Specialized'].",
    ),
    Row(
        "a source of another generation than the definition's",
        "D",
        _generation_mismatch,
        400,
        "BadRequest",
        f"The resource with id '{COMPUTE}/images/image1' has a different Hypervisor generation ['V2'] than "
        "the parent gallery image Hypervisor generation ['V1'].",
    ),
    Row(
        "another source of a version that exists",
        "D",
        _other_source,
        409,
        "PropertyChangeNotAllowed",
        "Changing property 'galleryImageVersion.properties.storageProfile.source.id' is not allowed.",
    ),
    Row(
        "a version without a source",
        "D",
        _no_source,
        400,
        "InvalidParameter",
        "The gallery artifact version source can only be specified either directly under storageProfile or "
        "within individual OS or data disks. One and only one source type (user image, snapshot, disk, "
        "virtual machine) can be provided.",
    ),
    Row(
        "a source that is not there",
        "D",
        _absent_source,
        404,
        "NotFound",
        f"Source {COMPUTE}/images/none is not found. Please check source exists, and is in the same region "
        "as gallery image version being created.",
    ),
    Row(
        "a disk where a VM, image or version is wanted",
        "D",
        _source_of_a_wrong_type,
        400,
        "InvalidParameter",
        f"The source id: {COMPUTE}/disks/d1 must either be a managed image, virtual machine or another "
        "gallery image version",
    ),
    Row(
        "an image where a disk or snapshot is wanted",
        "D",
        _disk_of_a_wrong_type,
        400,
        "InvalidParameter",
        f"The source id: {COMPUTE}/images/image1 must be a managed disk or snapshot.",
    ),
    Row(
        "a source that is no resource id",
        "D",
        _source_is_no_id,
        400,
        "LinkedInvalidPropertyId",
        "Property id 'image1' at path 'properties.storageProfile.source.id' is invalid. Expect fully "
        "qualified resource Id that start with '/subscriptions/{subscriptionId}' or "
        "'/providers/{resourceProviderNamespace}/'.",
    ),
    Row(
        "two data disks of a version at one LUN",
        "D",
        _lun_twice,
        400,
        "InvalidParameter",
        "Duplicated lun numbers have been detected in the input data disks. Lun number must be unique for "
        "each data disk.",
    ),
    Row(
        "one disk twice in a version",
        "D",
        _disk_twice,
        400,
        "InvalidParameter",
        "Duplicated source ids are found in the input disks. Source id should be unique for each disk.",
    ),
    Row(
        "a new data disk of a version that exists",
        "D",
        _new_data_disk,
        409,
        "PropertyChangeNotAllowed",
        "Adding new Data Disks or changing the LUN of a Data Disk in an existing Image is not allowed.",
    ),
    Row(
        "a replica in another region, when the source is gone",
        "D",
        _source_deleted,
        200,
        holds=lambda reply: reply.json()["properties"]["provisioningState"] == "Updating",
    ),
    Row("DELETE of a version", "R", _delete_version, 202, holds=_accepted),
    Row(
        "DELETE of a version before its end of life, when that is blocked",
        "D",
        _blocked_deletion,
        409,
        "DeleteGalleryImageVersionBlockedBeforeEndOfLife",
        "Deletion of Gallery image version is not allowed because the image is enabled for "
        "blockDeletionBeforeEndOfLife and its endOfLifeDate has not reached yet.",
    ),
    Row(
        "a VM in a region without a replica",
        "DI",
        _not_replicated,
        404,
        "GalleryImageNotFound",
        f"The gallery image {VERSION} is not available in eastus region. Please contact image owner to "
        "replicate to this region, or change your requested region.",
        "imageReference",
    ),
    Row(
        "a VM of a version that is not there",
        "D",
        _absent_version,
        404,
        "GalleryImageNotFound",
        f"The gallery image {VERSION} is not available in westeurope region. Please contact image owner to "
        "replicate to this region, or change your requested region.",
    ),
    Row(
        "a VM of a definition whose versions are all excluded from latest",
        "D",
        _excluded,
        404,
        "GalleryImageNotFound",
        f"The gallery image {DEFINITION} is not available in westeurope region. Please contact image owner "
        "to replicate to this region, or change your requested region.",
    ),
    Row(
        "a VM of a specialized version with osProfile",
        "DI",
        _specialized_with_profile,
        400,
        "InvalidParameter",
        "Parameter 'osProfile' is not allowed.",
        "osProfile",
    ),
    Row(
        "a VM of a generalized version without osProfile",
        "DI",
        _generalized_without_profile,
        400,
        "InvalidParameter",
        "Required parameter 'osProfile' is missing (null).",
        "osProfile",
    ),
    Row(
        "a disk of a LUN that a version does not have",
        "D",
        _disk_of_an_absent_lun,
        400,
        "InvalidParameter",
        "The value of parameter imageReference is invalid.",
    ),
)
