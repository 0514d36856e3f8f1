"""Rules of virtual machines and disks that are made of gallery image versions."""

from __future__ import annotations

from typing import Any, Final

import requests

from tests.client.arm.parity.row import COMPUTE, Row, ask
from tests.client.arm.parity.rows_galleries import DEFINITION, VERSION, body, definition, put, version

TITLE: Final = "What is made of gallery image versions"


def create(arm: Any, image: str, location: str = "westeurope", **properties: Any) -> requests.Response:
    """A PUT of a VM of an image, without a network: what is wrong with the image is told first."""
    profile = {"imageReference": {"id": image}, "osDisk": {"createOption": "FromImage"}}
    return ask(
        arm, "PUT", f"{COMPUTE}/virtualMachines/vm1", body(location, storageProfile=profile, **properties)
    )


def _not_replicated(arm: Any) -> requests.Response:
    version(arm)
    return create(arm, VERSION, "eastus")


def _far_without_source(arm: Any) -> requests.Response:
    """A VM of the replica in another region, once the image it was made of is gone."""
    version(arm, "westeurope", "eastus")
    ask(arm, "DELETE", f"{COMPUTE}/images/image1")
    arm.plane.engine.operations.wait()
    assert ask(arm, "GET", f"{COMPUTE}/images/image1").status_code == 404
    creation = {"createOption": "FromImage", "galleryImageReference": {"id": VERSION}}
    ask(arm, "PUT", f"{COMPUTE}/disks/d1", body("eastus", creationData=creation))
    arm.plane.engine.operations.wait()
    return ask(arm, "GET", f"{COMPUTE}/disks/d1")


def _without_vm(arm: Any) -> requests.Response:
    """A disk of a version whose source, a VM, was deleted."""
    definition(arm)
    vm = arm.vm()
    arm.compute.virtual_machines.begin_deallocate("rg", "vm1").result()
    arm.compute.virtual_machines.generalize("rg", "vm1")
    put(arm, VERSION, storageProfile={"source": {"id": vm.id}})
    arm.compute.virtual_machines.begin_delete("rg", "vm1").result()
    arm.compute.disks.begin_delete("rg", vm.properties.storage_profile.os_disk.name).result()
    creation = {"createOption": "FromImage", "galleryImageReference": {"id": VERSION}}
    ask(arm, "PUT", f"{COMPUTE}/disks/d1", body(creationData=creation))
    arm.plane.engine.operations.wait()
    return ask(arm, "GET", f"{COMPUTE}/disks/d1")


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


ROWS: Final = (
    *(
        Row(
            f"a disk of a version whose {what} was deleted",
            "D",
            send,
            200,
            holds=lambda reply: reply.json()["properties"]["provisioningState"] == "Succeeded",
        )
        for what, send in (("source image", _far_without_source), ("source VM", _without_vm))
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
