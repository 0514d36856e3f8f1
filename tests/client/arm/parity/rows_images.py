"""Rules of managed images and of platform images."""

from __future__ import annotations

from typing import Any, Final

import requests

from tests.client.arm.parity.row import COMPUTE, SUBSCRIPTION, Row, ask
from vmstamp.blob.store import BlobRef

TITLE: Final = "Images"

IMAGE: Final = f"{COMPUTE}/images/image1"
LOCATION: Final = f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Compute/locations/westeurope"
CATALOGUE: Final = (
    f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Compute.Admin/locations/local/artifactTypes/"
    "platformImage/publishers/Debian/offers/debian-12/skus/12-gen2/versions"
)
VERSIONS: Final = "publishers/Debian/artifacttypes/vmimage/offers/debian-12/skus/12-gen2/versions"
URN: Final = {"publisher": "Debian", "offer": "debian-12", "sku": "12-gen2", "version": "latest"}


def body(location: str = "westeurope", **properties: Any) -> dict[str, Any]:
    return {"location": location, "properties": properties}


def profile(url: str) -> dict[str, Any]:
    return {"osDisk": {"osType": "Linux", "osState": "Generalized", "blobUri": url}}


def create(arm: Any, reference: Any, location: str = "westeurope") -> requests.Response:
    storage = {"imageReference": reference, "osDisk": {"createOption": "FromImage"}}
    return ask(arm, "PUT", f"{COMPUTE}/virtualMachines/vm1", body(location, storageProfile=storage))


def platform_image(arm: Any, *versions: str) -> None:
    for version in versions:
        disk = {"osType": "Linux", "uri": arm.vhd("account1", f"{version}.vhd")}
        given = {"properties": {"osDisk": disk, "hyperVGeneration": "V2"}}
        assert ask(arm, "PUT", f"{CATALOGUE}/{version}", given).status_code == 201


def _image(arm: Any) -> requests.Response:
    storage = profile(arm.vhd("account1", "os.vhd"))
    return ask(arm, "PUT", IMAGE, body(storageProfile=storage, hyperVGeneration="V2"))


def _delete(arm: Any) -> requests.Response:
    arm.image()
    return ask(arm, "DELETE", IMAGE)


def _not_generalized(arm: Any) -> requests.Response:
    return ask(arm, "PUT", IMAGE, body(sourceVirtualMachine={"id": arm.vm().id}))


def _vm_elsewhere(arm: Any) -> requests.Response:
    return ask(arm, "PUT", IMAGE, body("eastus", sourceVirtualMachine={"id": arm.vm().id}))


def _no_generation(arm: Any) -> requests.Response:
    return ask(arm, "PUT", IMAGE, body(storageProfile=profile(arm.vhd("account1", "os.vhd"))))


def _no_generation_of_old(arm: Any) -> requests.Response:
    given = body(storageProfile=profile(arm.vhd("account1", "os.vhd")))
    return ask(arm, "PUT", IMAGE, given, api="2018-10-01")


def _delete_in_use(arm: Any) -> requests.Response:
    image, nic = arm.image(), arm.nic()
    arm.host.held.clear()
    ask(arm, "PUT", f"{COMPUTE}/virtualMachines/vm1", arm.vm_body(image, nic))
    reply = ask(arm, "DELETE", IMAGE)
    arm.host.held.set()
    arm.plane.engine.operations.wait()
    return reply


def _specialized(arm: Any) -> requests.Response:
    disk = {"osType": "Linux", "osState": "Specialized", "blobUri": arm.vhd("account1", "os.vhd")}
    return ask(arm, "PUT", IMAGE, body(storageProfile={"osDisk": disk}, hyperVGeneration="V2"))


def _unleased(arm: Any) -> requests.Response:
    reply = _image(arm)
    arm.plane.engine.operations.wait()
    assert arm.store.get_blob("account1", "vhds", "os.vhd").lease is None
    return reply


def _stopped_vm(arm: Any) -> requests.Response:
    vm = arm.vm()
    arm.compute.virtual_machines.begin_deallocate("rg", "vm1").result()
    return ask(arm, "PUT", IMAGE, body(sourceVirtualMachine={"id": vm.id}))


def _no_generation_of(kind: str) -> Any:
    """An image of a managed disk or a snapshot without a generation."""

    def send(arm: Any) -> requests.Response:
        empty = body(creationData={"createOption": "Empty"}, diskSizeGB=1)
        disk = arm.compute.disks.begin_create_or_update("rg", "d1", empty).result()
        source = {"managedDisk": {"id": disk.id}}
        if kind == "snapshot":
            copy = body(creationData={"createOption": "Copy", "sourceResourceId": disk.id})
            made = arm.compute.snapshots.begin_create_or_update("rg", "s1", copy).result()
            source = {"snapshot": {"id": made.id}}
        given = {"osType": "Linux", "osState": "Generalized", **source}
        return ask(arm, "PUT", IMAGE, body(storageProfile={"osDisk": given}))

    return send


def _generation_of_vm(arm: Any) -> requests.Response:
    vm = arm.vm()
    arm.compute.virtual_machines.begin_deallocate("rg", "vm1").result()
    arm.compute.virtual_machines.generalize("rg", "vm1")
    return ask(arm, "PUT", IMAGE, body(sourceVirtualMachine={"id": vm.id}))


def _image_elsewhere(arm: Any) -> requests.Response:
    return create(arm, {"id": arm.image().id}, "eastus")


def _block_blob(arm: Any) -> requests.Response:
    arm.vhd("account1", "os.vhd")
    arm.store.put_block_blob(BlobRef("account1", "vhds", "block.vhd"), b"x" * 512, "text/plain")
    url = "http://127.0.0.1:10000/account1/vhds/block.vhd"
    return ask(arm, "PUT", IMAGE, body(storageProfile=profile(url), hyperVGeneration="V2"))


def _no_blob(arm: Any) -> requests.Response:
    url = "http://127.0.0.1:10000/account1/vhds/none.vhd"
    return ask(arm, "PUT", IMAGE, body(storageProfile=profile(url), hyperVGeneration="V2"))


def _absent_platform_image(arm: Any) -> requests.Response:
    return create(arm, URN)


def _versions_of_nothing(arm: Any) -> requests.Response:
    return ask(arm, "GET", f"{LOCATION}/{VERSIONS}")


def _versions(arm: Any) -> requests.Response:
    platform_image(arm, "0.1.0", "0.2.0")
    return ask(arm, "GET", f"{LOCATION}/{VERSIONS}")


def _newest(arm: Any) -> requests.Response:
    platform_image(arm, "0.9.0", "0.10.0")
    return ask(arm, "GET", f"{LOCATION}/{VERSIONS}?$expand=properties&$orderby=name desc&$top=1")


def _one_version(arm: Any) -> requests.Response:
    platform_image(arm, "0.1.0")
    return ask(arm, "GET", f"{LOCATION}/{VERSIONS}/0.1.0")


def _exact_version(arm: Any) -> requests.Response:
    platform_image(arm, "0.1.0")
    given = arm.vm_body(arm.image(), arm.nic())
    given["properties"]["storageProfile"]["imageReference"] = URN
    return ask(arm, "PUT", f"{COMPUTE}/virtualMachines/vm1", given)


def _properties(reply: requests.Response) -> bool:
    found = reply.json()
    system = found["properties"]["osDiskImage"]
    return (
        found["name"] == "0.1.0"
        and found["location"] == "westeurope"
        and found["properties"]["hyperVGeneration"] == "V2"
        and found["properties"]["architecture"] == "x64"
        and (system["operatingSystem"], system["sizeInGb"]) == ("Linux", 1)
    )


ROWS: Final = (
    Row(
        "PUT of an image is asynchronous, polled at operations",
        "R",
        _image,
        201,
        holds=lambda reply: "/locations/westeurope/operations/" in reply.headers["Azure-AsyncOperation"],
    ),
    Row(
        "DELETE of an image",
        "R",
        _delete,
        202,
        holds=lambda reply: "Azure-AsyncOperation" in reply.headers and "Location" in reply.headers,
    ),
    Row(
        "an image of a VM that is not generalized",
        "I",
        _not_generalized,
        409,
        "OperationNotAllowed",
        "The operation 'Create Image' requires the Virtual Machine 'vm1' to be Generalized.",
    ),
    Row(
        "an image of a VM in another region",
        "I",
        _vm_elsewhere,
        404,
        "NotFound",
        "Source Virtual Machine 'vm1' specified in the request does not exist in this Azure location.",
    ),
    Row(
        "an image of a blob without a generation, from 2019-03-01 on",
        "R",
        _no_generation,
        400,
        "InvalidParameter",
        "Required parameter 'hyperVGeneration' is missing (null).",
        "hyperVGeneration",
    ),
    *(
        Row(
            f"an image of a {what} without a generation",
            "R",
            _no_generation_of(what),
            400,
            "InvalidParameter",
            "Required parameter 'hyperVGeneration' is missing (null).",
            "hyperVGeneration",
        )
        for what in ("managed disk", "snapshot")
    ),
    Row(
        "an image of a VM without a generation takes the VM's",
        "R",
        _generation_of_vm,
        201,
        holds=lambda reply: reply.json()["properties"]["hyperVGeneration"] == "V2",
    ),
    Row(
        "an image of a deallocated VM that is not generalized",
        "I",
        _stopped_vm,
        409,
        "OperationNotAllowed",
        "The operation 'Create Image' requires the Virtual Machine 'vm1' to be Generalized.",
    ),
    Row(
        "an image of a specialized disk",
        "D",
        _specialized,
        201,
        holds=lambda reply: (
            reply.json()["properties"]["storageProfile"]["osDisk"]["osState"] == "Specialized"
        ),
    ),
    Row("an image takes no lease on its blob", "I", _unleased, 201),
    Row("an image of a blob without a generation, before 2019-03-01", "R", _no_generation_of_old, 201),
    Row(
        "an image of a blob that is not there",
        "D",
        _no_blob,
        404,
        "ImageBlobNotFound",
    ),
    Row("an image of a block blob", "D", _block_blob, 400, "IncorrectImageBlobType"),
    Row(
        "DELETE of an image while a VM is provisioned from it",
        "D",
        _delete_in_use,
        409,
        "OperationNotAllowed",
        "Operation 'Delete' is not allowed since the Virtual Machines 'vm1' are being provisioned using the "
        "Image 'image1'.",
    ),
    Row(
        "a VM of an image in another region",
        "I",
        _image_elsewhere,
        404,
        "NotFound",
        "The Image '...' cannot be found...",
    ),
    Row(
        "a VM of a platform image that is not there",
        "I",
        _absent_platform_image,
        404,
        "PlatformImageNotFound",
        "The platform image 'Debian:debian-12:12-gen2:latest' is not available. Verify that all fields in "
        "the storage profile are correct. For more details about storage profile information, please refer "
        "to https://aka.ms/storageprofile...",
        "imageReference",
    ),
    Row(
        "the versions of a SKU that is not there",
        "I",
        _versions_of_nothing,
        404,
        "NotFound",
        "Artifact: VMImage was not found....",
    ),
    Row(
        "the versions of a SKU: a JSON list, without properties",
        "R",
        _versions,
        200,
        holds=lambda reply: (
            [one["name"] for one in reply.json()] == ["0.1.0", "0.2.0"]
            and set(reply.json()[0]) == {"name", "location", "id"}
        ),
    ),
    Row(
        "the newest version of a SKU, as az asks for it",
        "R",
        _newest,
        200,
        holds=lambda reply: [one["name"] for one in reply.json()] == ["0.10.0"],
    ),
    Row("a version of a platform image", "R", _one_version, 200, holds=_properties),
    Row(
        "a VM of the latest version says which that was",
        "R",
        _exact_version,
        201,
        holds=lambda reply: (
            reply.json()["properties"]["storageProfile"]["imageReference"] == {**URN, "exactVersion": "0.1.0"}
        ),
    ),
)
