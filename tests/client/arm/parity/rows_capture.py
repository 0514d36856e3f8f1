"""Rules of the capture of a virtual machine with blob-based disks."""

from __future__ import annotations

import json
from typing import Any, Final

import requests

from tests.client.arm.parity.machines import (
    VM,
    act,
    blob_vm,
    generalized,
    generalized_blob_vm,
    settle,
    url,
    view,
)
from tests.client.arm.parity.row import COMPUTE, GROUP, Row, ask
from vmstamp.blob.store import BlobRef

TITLE: Final = "Capture"

BODY: Final = {"vhdPrefix": "pre", "destinationContainerName": "captured", "overwriteVhds": False}
SYSTEM: Final = "http://127.0.0.1:10000/account1/system/Microsoft.Compute/Images/captured"


def _guid(arm: Any) -> str:
    return str(ask(arm, "GET", VM).json()["properties"]["vmId"])


def _target(arm: Any) -> BlobRef:
    return BlobRef("account1", "system", f"Microsoft.Compute/Images/captured/pre-osDisk.{_guid(arm)}.vhd")


def _capture(arm: Any, **changes: Any) -> requests.Response:
    answer = act(arm, "capture", {**BODY, **changes})
    settle(arm)
    return answer


def _accepted(arm: Any) -> requests.Response:
    generalized_blob_vm(arm)
    return _capture(arm)


def _bare(arm: Any) -> requests.Response:
    return ask(arm, "GET", _accepted(arm).headers["Location"])


def _status(arm: Any) -> requests.Response:
    return ask(arm, "GET", _accepted(arm).headers["Azure-AsyncOperation"])


def _is_template(template: dict[str, Any]) -> bool:
    (vm,) = template["resources"]
    disk = vm["properties"]["storageProfile"]["osDisk"]
    guid = disk["name"].removeprefix("pre-osDisk.").removesuffix(".vhd")
    second = disk["vhd"]["uri"].rsplit("/", 1)[1].removeprefix("osDisk.").removesuffix(".vhd")
    assert template["$schema"].endswith("/2014-04-01-preview/VM_IP.json")
    assert template["contentVersion"] == "1.0.0.0"
    kinds = {name: one["type"] for name, one in template["parameters"].items()}
    assert kinds == {
        "vmName": "string",
        "vmSize": "string",
        "adminUserName": "string",
        "adminPassword": "securestring",
        "networkInterfaceId": "string",
    }
    assert template["parameters"]["vmSize"]["defaultValue"] == "Standard_B1ms"
    assert disk["image"]["uri"] == f"{SYSTEM}/pre-osDisk.{guid}.vhd"
    assert disk["vhd"]["uri"] == (f"http://127.0.0.1:10000/account1/vmcontainer{second}/osDisk.{second}.vhd")
    assert vm["properties"]["provisioningState"] == 0
    return bool(vm["type"] == "Microsoft.Compute/virtualMachines" and guid != second)


def _named_after_the_vm(arm: Any) -> requests.Response:
    _accepted(arm)
    assert arm.store.find_blob(*_target(arm)) is not None
    return view(arm)


def _template_beside(arm: Any) -> requests.Response:
    """What the operation gives lies beside the copies too."""
    told = _bare(arm)
    name = f"Microsoft.Compute/Images/captured/pre-vmTemplate.{_guid(arm)}.json"
    kept = arm.store.content_path(BlobRef("account1", "system", name)).read_bytes()
    assert json.loads(kept) == told.json()
    return told


def _container_named(arm: Any) -> requests.Response:
    """The destination is no container of its own."""
    _accepted(arm)
    assert arm.store.find_container("account1", "captured") is None
    return view(arm)


def _of_a_vm_that_runs(arm: Any) -> requests.Response:
    blob_vm(arm)
    return _capture(arm)


def _of_managed_disks(arm: Any) -> requests.Response:
    generalized(arm)
    return _capture(arm)


def _again(arm: Any) -> requests.Response:
    _accepted(arm)
    return _capture(arm)


def _over_a_lease(arm: Any) -> requests.Response:
    _accepted(arm)
    arm.store.acquire_infinite_lease(_target(arm), "someone's")
    return _capture(arm, overwriteVhds=True)


def _again_overwriting(arm: Any) -> requests.Response:
    _accepted(arm)
    return _capture(arm, overwriteVhds=True)


def _bad_prefix(arm: Any) -> requests.Response:
    generalized_blob_vm(arm)
    return _capture(arm, vhdPrefix="no/slash")


def _bad_container(arm: Any) -> requests.Response:
    generalized_blob_vm(arm)
    return _capture(arm, destinationContainerName="UPPER")


def _without_prefix(arm: Any) -> requests.Response:
    generalized_blob_vm(arm)
    return _capture(arm, vhdPrefix=None)


def _template_deployed(arm: Any, *names: str) -> requests.Response:
    """The status of the last of the deployments of one captured template."""
    template = _bare(arm).json()
    for name in names:
        interface = arm.nic(f"{name}-nic").id
        given = {
            "vmName": name,
            "adminUserName": "azureuser",
            "adminPassword": "Secret-Password-1",
            "networkInterfaceId": interface,
        }
        parameters = {key: {"value": value} for key, value in given.items()}
        properties = {"mode": "Incremental", "template": template, "parameters": parameters}
        path = f"{GROUP}/providers/Microsoft.Resources/deployments/{name}"
        answer = ask(arm, "PUT", path, {"properties": properties}, api="2021-04-01")
        if not answer.ok:
            return answer
        arm.plane.engine.operations.wait(timeout=30)
        _until_ended(arm, path)
    return ask(arm, "GET", path, api="2021-04-01")


def _until_ended(arm: Any, path: str) -> None:
    for _ in range(200):
        state = ask(arm, "GET", path, api="2021-04-01").json()["properties"]["provisioningState"]
        if state in ("Succeeded", "Failed", "Canceled"):
            return
        arm.host.held.wait(0.05)


def _deployed_once(arm: Any) -> requests.Response:
    answer = _template_deployed(arm, "copy1")
    assert answer.json()["properties"]["provisioningState"] == "Succeeded", answer.text
    return ask(arm, "GET", f"{COMPUTE}/virtualMachines/copy1")


def _deployed_twice(arm: Any) -> requests.Response:
    return _template_deployed(arm, "copy1", "copy2")


def _target_is_taken(answer: requests.Response) -> bool:
    return "TargetDiskBlobAlreadyExists" in answer.text and "osDisk." in answer.text


def _image_of_vm_not_generalized(arm: Any) -> requests.Response:
    vm = arm.vm()
    body = {"location": "westeurope", "properties": {"sourceVirtualMachine": {"id": vm.id}}}
    return ask(arm, "PUT", f"{COMPUTE}/images/captured", body)


def _vm_stays(arm: Any) -> requests.Response:
    _accepted(arm)
    return view(arm)


def _start_after_capture(arm: Any) -> requests.Response:
    _accepted(arm)
    return act(arm, "start")


def _data_disk_too(arm: Any) -> requests.Response:
    generalized_blob_vm(arm, data=True)
    return ask(arm, "GET", _capture(arm).headers["Location"])


def _has_data_disk(answer: requests.Response) -> bool:
    (disk,) = answer.json()["resources"][0]["properties"]["storageProfile"]["dataDisks"]
    return bool(disk["lun"] == 0 and disk["image"]["uri"].startswith(f"{SYSTEM}/pre-dataDisk-0."))


def _source_is_free(arm: Any) -> requests.Response:
    """The VM's own disk stays leased: it still is the VM's."""
    _accepted(arm)
    assert arm.store.get_blob("account1", "vhds", "vm1.vhd").lease is not None
    answer = ask(arm, "DELETE", VM)
    settle(arm)
    assert arm.store.get_blob("account1", "vhds", "vm1.vhd").lease is None, url("vm1.vhd")
    return answer


EXISTS: Final = (
    f"Capture operation cannot continue because target image blob {SYSTEM}/pre-osDisk...vhd already exists "
    "and the flag to overwrite VHD blobs is not set. Either delete the blob or set the flag to overwrite VHD "
    "blobs and retry."
)

ROWS: Final = (
    Row(
        "capture is accepted, with both headers",
        "R",
        _accepted,
        202,
        holds=lambda answer: "Location" in answer.headers and "Azure-AsyncOperation" in answer.headers,
    ),
    Row("the Location gives the template bare", "R", _bare, 200, holds=lambda a: _is_template(a.json())),
    Row(
        "the operation's output is the template",
        "R",
        _status,
        200,
        holds=lambda a: a.json()["status"] == "Succeeded" and _is_template(a.json()["properties"]["output"]),
    ),
    Row("the copy lies in the container system, by the VM's id", "R", _named_after_the_vm, 200),
    Row("the template lies beside the copy, as vmTemplate", "I", _template_beside, 200),
    Row("destinationContainerName is a part of the path only", "I", _container_named, 200),
    Row(
        "the VM stays, and stays generalized",
        "R",
        _vm_stays,
        200,
        holds=lambda answer: "OSState/generalized" in answer.text,
    ),
    Row(
        "a captured VM cannot be started",
        "DI",
        _start_after_capture,
        409,
        "OperationNotAllowed",
        "Operation 'start' is not allowed on VM 'vm1' since the VM is generalized.",
    ),
    Row("data disks are captured with it", "D", _data_disk_too, 200, holds=_has_data_disk),
    Row("the VM's own blobs stay leased until it is deleted", "D", _source_is_free, 202),
    Row(
        "capture of a VM that is not generalized",
        "D",
        _of_a_vm_that_runs,
        409,
        "OperationNotAllowed",
        "Capture operation cannot be completed because the VM is not generalized.",
    ),
    Row(
        "capture of a VM with managed disks",
        "D",
        _of_managed_disks,
        409,
        "OperationNotAllowed",
        "The Capture action is only supported on a Virtual Machine with blob based disks. Please use the "
        "'Image' resource APIs to create an Image from a managed Virtual Machine.",
    ),
    Row(
        "a second capture with the same prefix",
        "D",
        _again,
        409,
        "TargetDiskBlobAlreadyExists",
        EXISTS,
    ),
    Row("a second capture that may overwrite", "D", _again_overwriting, 202),
    Row(
        "a capture over a blob that is leased",
        "D",
        _over_a_lease,
        409,
        "TargetDiskBlobAlreadyExists",
        f"Capture operation cannot continue because target image blob {SYSTEM}/pre-osDisk...vhd has an "
        "active lease on it.",
    ),
    Row(
        "a prefix that is none",
        "D",
        _bad_prefix,
        400,
        "InvalidParameter",
        "'no/slash' is not a valid captured VHD blob name prefix. A valid prefix matches regex '...'.",
        "vhdPrefix",
    ),
    Row(
        "a container's name that is none",
        "D",
        _bad_container,
        400,
        "InvalidParameter",
        "Container name UPPER is invalid. Container names must be 3-63 characters in length and may contain "
        "only lower-case alphanumeric characters and hyphen. Hyphen must be preceded and followed by an "
        "alphanumeric character.",
    ),
    Row(
        "capture without a prefix",
        "D",
        _without_prefix,
        400,
        "InvalidParameter",
        "Required parameter 'vhdPrefix' is missing (null).",
        "vhdPrefix",
    ),
    Row(
        "the template deploys a VM",
        "R",
        _deployed_once,
        200,
        holds=lambda answer: answer.json()["properties"]["provisioningState"] == "Succeeded",
    ),
    Row("the template deploys once only", "I", _deployed_twice, 400, holds=_target_is_taken),
    Row(
        "an image of a VM that is not generalized",
        "I",
        _image_of_vm_not_generalized,
        409,
        "OperationNotAllowed",
        "The operation 'Create Image' requires the Virtual Machine 'vm1' to be Generalized.",
    ),
)
