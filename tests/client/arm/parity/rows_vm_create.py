"""Rules of a virtual machine's PUT: what is refused, and what is filled in."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, Final

import requests

from tests.client.arm.parity.machines import (
    EMPTY,
    VM,
    blob_body,
    done,
    put,
    settle,
    url,
)
from tests.client.arm.parity.row import COMPUTE, NETWORK, Row, ask
from vmstamp.arm.compute.host import Outcome

TITLE: Final = "Virtual machines: creation and update"

INVALID: Final = "InvalidParameter"

NOT_ALLOWED: Final = "OperationNotAllowed"

DETECTED: Final = (
    "OS Provisioning for VM 'vm1' did not finish in the allotted time. However, the VM guest agent was "
    "detected running."
)


def vm_body(arm: Any, **properties: Any) -> dict[str, Any]:
    body: dict[str, Any] = arm.vm_body(arm.image(), arm.nic(), **properties)
    return body


def _with_data(arm: Any, *disks: dict[str, Any]) -> dict[str, Any]:
    body = vm_body(arm)
    body["properties"]["storageProfile"]["dataDisks"] = list(disks)
    return body


def _with_profile(arm: Any, **changes: Any) -> dict[str, Any]:
    body = vm_body(arm)
    body["properties"]["osProfile"] |= changes
    return body


def _made(arm: Any, body: dict[str, Any]) -> None:
    answer = put(arm, body)
    assert answer.ok, answer.text
    settle(arm)


def _image_elsewhere(arm: Any) -> requests.Response:
    return put(arm, {**vm_body(arm), "location": "eastus"})


def _disk(arm: Any, name: str = "d1") -> str:
    """A managed disk with an operating system, of a VHD; its id."""
    source = arm.vhd("account1", f"{name}.vhd", mark=b"special")
    properties = {
        "creationData": {"createOption": "Import", "sourceUri": source},
        "osType": "Linux",
        "hyperVGeneration": "V2",
    }
    ask(arm, "PUT", f"{COMPUTE}/disks/{name}", {"location": "westeurope", "properties": properties})
    settle(arm)
    return f"{COMPUTE}/disks/{name}"


def _attached(arm: Any) -> dict[str, Any]:
    """The body of a VM whose OS disk exists already; it has an osProfile."""
    disk = {"osType": "Linux", "createOption": "Attach", "managedDisk": {"id": _disk(arm)}}
    return vm_body(arm, storageProfile={"osDisk": disk})


def _attach_with_profile(arm: Any) -> requests.Response:
    return put(arm, _attached(arm))


def without_profile(body: dict[str, Any]) -> dict[str, Any]:
    return {**body, "properties": {k: v for k, v in body["properties"].items() if k != "osProfile"}}


def _attach_and_image(arm: Any) -> requests.Response:
    body = without_profile(_attached(arm))
    body["properties"]["storageProfile"]["imageReference"] = {"id": f"{COMPUTE}/images/image1"}
    return put(arm, body)


def _generalized_without_profile(arm: Any) -> requests.Response:
    return put(arm, without_profile(vm_body(arm)))


def _changed_profile(arm: Any) -> requests.Response:
    body = vm_body(arm)
    _made(arm, body)
    body["properties"]["osProfile"]["customData"] = "bmV3"
    return put(arm, body)


def _changed_image(arm: Any) -> requests.Response:
    body = vm_body(arm)
    _made(arm, body)
    body["properties"]["storageProfile"]["imageReference"] = {"id": arm.image("other").id}
    return put(arm, body)


def _detected(arm: Any) -> requests.Response:
    arm.host.outcome = Outcome(False, "OSProvisioningTimedOut", DETECTED)
    answer = put(arm, vm_body(arm))
    settle(arm)
    assert answer.status_code == 201
    return ask(arm, "GET", f"{VM}?$expand=instanceView")


def _wrong_size(arm: Any) -> requests.Response:
    return put(arm, vm_body(arm, hardwareProfile={"vmSize": "Standard_Z9"}))


def _wrong_generation(arm: Any) -> requests.Response:
    return put(arm, vm_body(arm, hardwareProfile={"vmSize": "Standard_A1_v2"}))


def _too_many_disks(arm: Any) -> requests.Response:
    return put(arm, _with_data(arm, *({**EMPTY, "lun": lun} for lun in range(3))))


def _same_lun(arm: Any) -> requests.Response:
    return put(arm, _with_data(arm, {**EMPTY, "lun": 0}, {**EMPTY, "lun": 0}))


def _taken_lun(arm: Any) -> requests.Response:
    body = _with_data(arm, {**EMPTY, "lun": 0, "name": "first"})
    _made(arm, body)
    done(arm, "deallocate")
    body["properties"]["storageProfile"]["dataDisks"] = [{**EMPTY, "lun": 0, "name": "second"}]
    return put(arm, body)


def _id_of_an_empty_disk(arm: Any) -> requests.Response:
    return put(arm, _with_data(arm, {**EMPTY, "lun": 0, "managedDisk": {"id": f"{COMPUTE}/disks/d"}}))


def _blob_beside_managed(arm: Any) -> requests.Response:
    return put(arm, _with_data(arm, {**EMPTY, "lun": 0, "vhd": {"uri": url("d.vhd")}}))


def _managed_beside_blob(arm: Any) -> requests.Response:
    return put(arm, blob_body(arm, dataDisks=[{**EMPTY, "lun": 0}]))


def _blob_of_an_image(arm: Any) -> requests.Response:
    return put(arm, blob_body(arm, imageReference={"id": arm.image("other").id}))


def _name_taken(arm: Any) -> requests.Response:
    _disk(arm, "taken")
    return put(arm, _with_data(arm, {**EMPTY, "lun": 0, "name": "taken"}))


def _owned_by_another(arm: Any) -> requests.Response:
    body = without_profile(_attached(arm))
    _made(arm, body)
    body["properties"]["networkProfile"] = {"networkInterfaces": [{"id": arm.nic("nic2").id}]}
    return put(arm, body, "vm2")


def _access(arm: Any, disk: str) -> None:
    answer = ask(arm, "POST", f"{disk}/beginGetAccess", {"access": "Read", "durationInSeconds": 600})
    assert answer.ok, answer.text
    settle(arm)


def _access_and_attach(arm: Any) -> requests.Response:
    body = without_profile(_attached(arm))
    _access(arm, f"{COMPUTE}/disks/d1")
    return put(arm, body)


def _access_and_start(arm: Any) -> requests.Response:
    vm = arm.vm()
    done(arm, "deallocate")
    _access(arm, vm.properties.storage_profile.os_disk.managed_disk.id)
    return ask(arm, "POST", f"{VM}/start")


def _weak_password(arm: Any) -> requests.Response:
    return put(arm, _with_profile(arm, adminPassword="weak", linuxConfiguration=None))


def _wrong_key_path(arm: Any) -> requests.Response:
    body = vm_body(arm)
    body["properties"]["osProfile"]["linuxConfiguration"]["ssh"]["publicKeys"][0]["path"] = "/root/key"
    return put(arm, body)


def _wrong_user(arm: Any) -> requests.Response:
    return put(arm, _with_profile(arm, adminUsername="root"))


def _wrong_host_name(arm: Any) -> requests.Response:
    return put(arm, _with_profile(arm, computerName="bad_name"))


def _custom_data_of_no_base64(arm: Any) -> requests.Response:
    return put(arm, _with_profile(arm, customData="%%%"))


def _smaller_than_image(arm: Any) -> requests.Response:
    big = arm.vhd("account1", "big.vhd", 2 * 2**30)
    disk = {"osType": "Linux", "osState": "Generalized", "blobUri": big}
    properties = {"storageProfile": {"osDisk": disk}, "hyperVGeneration": "V2"}
    image = {"location": "westeurope", "properties": properties}
    assert ask(arm, "PUT", f"{COMPUTE}/images/big", image).ok
    settle(arm)
    body = vm_body(arm)
    body["properties"]["storageProfile"]["imageReference"] = {"id": f"{COMPUTE}/images/big"}
    body["properties"]["storageProfile"]["osDisk"]["diskSizeGB"] = 1
    return put(arm, body)


def _used_interface(arm: Any) -> requests.Response:
    body = vm_body(arm)
    _made(arm, body)
    return put(arm, body, "vm2")


def _shown(arm: Any) -> requests.Response:
    data = {**EMPTY, "lun": 0}
    body = _with_data(arm, data)
    body["properties"]["osProfile"] |= {"customData": "c2VjcmV0", "adminPassword": "Secret-Password-1"}
    body["properties"]["osProfile"]["linuxConfiguration"]["disablePasswordAuthentication"] = False
    _made(arm, body)
    return ask(arm, "GET", f"{VM}?$expand=instanceView")


def _has_defaults(answer: requests.Response) -> bool:
    shown = answer.json()["properties"]
    profile, storage = shown["osProfile"], shown["storageProfile"]
    disk, data = storage["osDisk"], storage["dataDisks"][0]
    assert re.fullmatch(r"vm1_OsDisk_1_[0-9a-f]{32}", disk["name"])
    assert disk["managedDisk"] == {
        "storageAccountType": "Standard_LRS",
        "id": f"{COMPUTE}/disks/{disk['name']}",
    }
    found = (disk["osType"], disk["createOption"], disk["caching"], disk["diskSizeGB"], disk["deleteOption"])
    assert found == ("Linux", "FromImage", "ReadWrite", 1, "Detach")
    assert data["toBeDetached"] is False and len(shown["vmId"]) == 36
    assert (profile["secrets"], profile["allowExtensionOperations"]) == ([], True)
    assert profile["requireGuestProvisionSignal"] is True
    assert profile["linuxConfiguration"]["provisionVMAgent"] is True
    return "c2VjcmV0" not in answer.text and "Secret-Password-1" not in answer.text


def _has_instance_view(answer: requests.Response) -> bool:
    view = answer.json()["properties"]["instanceView"]
    statuses = view["statuses"]
    assert (view["computerName"], view["hyperVGeneration"]) == ("vm1", "V2")
    assert view["vmAgent"]["statuses"][0]["displayStatus"] == "Ready"
    assert [one["statuses"][0]["code"] for one in view["disks"]] == ["ProvisioningState/succeeded"] * 2
    assert view["bootDiagnostics"] == {}
    assert (statuses[0]["code"], statuses[0]["displayStatus"]) == (
        "ProvisioningState/succeeded",
        "Provisioning succeeded",
    )
    return "time" in statuses[0] and statuses[1]["code"] == "PowerState/running"


def _with_instance_view(arm: Any) -> requests.Response:
    _made(arm, _with_data(arm, {**EMPTY, "lun": 0}))
    return ask(arm, "GET", f"{VM}?$expand=instanceView")


def _with_an_agent_that_tells(arm: Any) -> requests.Response:
    """The agent tells of its guest's system."""
    _made(arm, vm_body(arm))
    told = arm.host.agent

    def agent(vm_id: str) -> Any:
        found = told(vm_id)
        system = {"guestAgentStatus": {"osname": "debian", "osversion": "12.11", "status": "Ready"}}
        aggregate = {**found.status["aggregateStatus"], **system}
        return replace(found, status={"aggregateStatus": aggregate})

    arm.host.agent = agent
    return ask(arm, "GET", f"{VM}/instanceView")


def _failed(answer: requests.Response) -> bool:
    properties = answer.json()["properties"]
    status = properties["instanceView"]["statuses"][0]
    assert status["code"] == "ProvisioningState/failed/OSProvisioningTimedOut"
    return bool(properties["provisioningState"] == "Failed" and status["message"] == DETECTED)


ROWS: Final = (
    Row(
        "a managed image of another region",
        "I",
        _image_elsewhere,
        404,
        "NotFound",
        f"The Image '{COMPUTE}/images/image1' cannot be found...",
    ),
    Row(
        "an attached OS disk together with osProfile",
        "DI",
        _attach_with_profile,
        400,
        INVALID,
        "Parameter 'osProfile' is not allowed.",
        "osProfile",
    ),
    Row(
        "an attached OS disk together with an image",
        "D",
        _attach_and_image,
        400,
        INVALID,
        "Cannot attach an existing OS disk if the VM is created from a platform or user image.",
    ),
    Row(
        "a generalized image without osProfile",
        "DI",
        _generalized_without_profile,
        400,
        INVALID,
        "Required parameter 'osProfile' is missing (null).",
        "osProfile",
    ),
    Row(
        "a later change of customData",
        "DI",
        _changed_profile,
        409,
        "PropertyChangeNotAllowed",
        "Changing property 'osProfile.customData' is not allowed.",
        "osProfile.customData",
    ),
    Row(
        "a later change of the image",
        "DI",
        _changed_image,
        409,
        "PropertyChangeNotAllowed",
        "Changing property 'imageReference' is not allowed.",
        "imageReference",
    ),
    Row(
        "a guest that was never generalized is taken, and its VM ends as Failed",
        "DI",
        _detected,
        200,
        holds=_failed,
    ),
    Row(
        "a size that there is not",
        "I",
        _wrong_size,
        400,
        INVALID,
        "The value Standard_Z9 provided for the VM size is not valid. The valid sizes in the current region "
        "are: Standard_B1ls,...",
        "vmSize",
    ),
    Row(
        "a size that cannot boot the image's generation",
        "I",
        _wrong_generation,
        400,
        "BadRequest",
        "The selected VM size 'Standard_A1_v2' cannot boot Hypervisor Generation '2'. If this was a Create "
        "operation please check that the Hypervisor Generation of the Image matches ...",
    ),
    Row(
        "more data disks than the size takes",
        "I",
        _too_many_disks,
        409,
        NOT_ALLOWED,
        "The maximum number of data disks allowed to be attached to a VM of this size is 2.",
        "dataDisks",
    ),
    Row("one LUN twice", "I", _same_lun, 400, INVALID, "A disk at LUN 0 already exists."),
    Row(
        "a LUN that another disk has already",
        "I",
        _taken_lun,
        400,
        INVALID,
        "A disk at LUN 0 already exists.",
    ),
    Row(
        "an empty disk with the id of one",
        "I",
        _id_of_an_empty_disk,
        400,
        "InvalidParameterConflictingProperties",
        "The property 'dataDisk.createOption' cannot have the value 'Empty' when property "
        "'dataDisk.managedDisk.id' is set.",
    ),
    Row(
        "a blob-based disk beside managed ones",
        "DI",
        _blob_beside_managed,
        409,
        NOT_ALLOWED,
        "Addition of a blob based disk to VM with managed disks is not supported.",
    ),
    Row(
        "a managed disk beside blob-based ones",
        "DI",
        _managed_beside_blob,
        409,
        NOT_ALLOWED,
        "Addition of a managed disk to a VM with blob based disks is not supported.",
    ),
    Row(
        "a blob-based OS disk from a managed image",
        "D",
        _blob_of_an_image,
        409,
        NOT_ALLOWED,
        "VM created from Image cannot have blob based disks. All disks have to be managed disks.",
    ),
    Row(
        "a new disk whose name is taken",
        "I",
        _name_taken,
        409,
        "ConflictingUserInput",
        "Disk taken already exists in resource group rg. Only CreateOption.Attach is supported.",
    ),
    Row(
        "a disk that another VM owns",
        "D",
        _owned_by_another,
        409,
        "ConflictingUserInput",
        f"Disk 'd1' cannot be attached as the disk is already owned by VM '{VM}'.",
    ),
    Row(
        "attaching a disk with an open access",
        "DI",
        _access_and_attach,
        409,
        NOT_ALLOWED,
        "There is an active shared access signature outstanding for disk d1. Call EndGetAccess before "
        "attaching the disk....",
    ),
    Row(
        "start with a disk with an open access",
        "DI",
        _access_and_start,
        409,
        NOT_ALLOWED,
        "There is an active shared access signature outstanding for disk vm1_OsDisk_1_.... Call EndGetAccess "
        "before ...",
    ),
    Row(
        "a weak password",
        "I",
        _weak_password,
        400,
        INVALID,
        "The supplied password must be between 6-72 characters long and must satisfy at least 3 of password "
        "complexity requirements from the following: 1) Contains an uppercase character 2) ... 5) Control "
        "characters are not allowed",
        "adminPassword",
    ),
    Row(
        "an SSH key at another path",
        "I",
        _wrong_key_path,
        400,
        INVALID,
        "Destination path for SSH public keys is currently limited to its default value "
        "/home/azureuser/.ssh/authorized_keys ... due to a known issue in Linux provisioning agent.",
        "linuxConfiguration.ssh.publicKeys.path",
    ),
    Row(
        "a user name of Azure's list",
        "D",
        _wrong_user,
        400,
        INVALID,
        "The Admin Username specified is not allowed.",
        "adminUsername",
    ),
    Row(
        "a computer name with an underscore",
        "D",
        _wrong_host_name,
        400,
        INVALID,
        "Linux host name cannot exceed 64 characters in length or contain the following characters: ...",
        "computerName",
    ),
    Row(
        "custom data that is not Base64",
        "D",
        _custom_data_of_no_base64,
        400,
        INVALID,
        "Custom data in OSProfile must be in Base64 encoding...",
        "customData",
    ),
    Row(
        "an OS disk smaller than its image",
        "D",
        _smaller_than_image,
        409,
        NOT_ALLOWED,
        "The specified disk size 1 GB is smaller than the size of the corresponding disk in the VM image: 2 "
        "GB. This is not allowed. ...",
    ),
    Row(
        "an interface that another VM uses",
        "I",
        _used_interface,
        400,
        "NicInUse",
        f"Network Interface {NETWORK}/networkInterfaces/nic1 is used by existing VM {VM}.",
    ),
    Row("what a new VM is filled in with; secrets are not", "R", _shown, 200, holds=_has_defaults),
    Row(
        "what the instance view says",
        "R",
        _with_instance_view,
        200,
        holds=_has_instance_view,
    ),
    Row(
        "the guest's system in the instance view, as its agent tells it",
        "R",
        _with_an_agent_that_tells,
        200,
        holds=lambda answer: (answer.json()["osName"], answer.json()["osVersion"]) == ("debian", "12.11"),
    ),
)
