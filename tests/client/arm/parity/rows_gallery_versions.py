"""Rules of the versions of gallery images: sources, replication, and what is made of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import requests

from tests.client.arm.parity.row import COMPUTE, Row, ask
from tests.client.arm.parity.rows_galleries import (
    DEFINITION,
    VERSION,
    accepted,
    body,
    definition,
    gallery,
    polls_caps,
    publish,
    put,
    version,
)

TITLE: Final = "Gallery image versions"


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


def _state_mismatch(arm: Any) -> requests.Response:
    definition(arm, osState="Specialized")
    return publish(arm)


def _specialized_vm(arm: Any) -> requests.Response:
    definition(arm)
    vm = arm.vm()
    arm.compute.virtual_machines.begin_deallocate("rg", "vm1").result()
    return put(arm, VERSION, storageProfile={"source": {"id": vm.id}})


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


def _profile(reply: requests.Response) -> dict[str, Any]:
    found: dict[str, Any] = reply.json()["properties"]["publishingProfile"]
    return found


ROWS: Final = (
    Row(
        "PUT of a version: its region alone, one replica, published now",
        "R",
        _version,
        201,
        holds=lambda reply: (
            polls_caps(reply)
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
        "a VM that is not generalized for a generalized definition",
        "DI",
        _specialized_vm,
        400,
        "BadRequest",
        f"The resource with id '{COMPUTE}/virtualMachines/vm1' has a different OS state ['Specialized'] than "
        "the parent gallery image OS state ['Generalized'].",
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
    Row("DELETE of a version", "R", _delete_version, 202, holds=accepted),
    Row(
        "DELETE of a version before its end of life, when that is blocked",
        "D",
        _blocked_deletion,
        409,
        "DeleteGalleryImageVersionBlockedBeforeEndOfLife",
        "Deletion of Gallery image version is not allowed because the image is enabled for "
        "blockDeletionBeforeEndOfLife and its endOfLifeDate has not reached yet.",
    ),
)
