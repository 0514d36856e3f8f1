"""Rules of a virtual machine's PUT: what is refused, and what is filled in."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, Final

import requests

from tests.client.arm.parity.machines import EMPTY, VM, put, settle
from tests.client.arm.parity.row import COMPUTE, NETWORK, Row, ask
from vmstamp.arm.compute.host import Outcome
from vmstamp.host import timed_out

TITLE: Final = "Virtual machines: creation and update"

INVALID: Final = "InvalidParameter"


DETECTED: Final = (
    "OS Provisioning for VM 'vm1' did not finish in the allotted time. However, the VM guest agent was "
    "detected running. This suggests the guest OS has not been properly prepared to be used as a VM image "
    "(with CreateOption=FromImage). To resolve this issue, either use the VHD as is with CreateOption=Attach "
    "or prepare it properly for use as an image. No agent reported Ready within 5 s."
)

FAILED: Final = "OS Provisioning failed for VM 'vm1' due to an internal error."


def vm_body(arm: Any, **properties: Any) -> dict[str, Any]:
    body: dict[str, Any] = arm.vm_body(arm.image(), arm.nic(), **properties)
    return body


def with_data(arm: Any, *disks: dict[str, Any]) -> dict[str, Any]:
    body = vm_body(arm)
    body["properties"]["storageProfile"]["dataDisks"] = list(disks)
    return body


def made(arm: Any, body: dict[str, Any]) -> None:
    answer = put(arm, body)
    assert answer.ok, answer.text
    settle(arm)


def _image_elsewhere(arm: Any) -> requests.Response:
    return put(arm, {**vm_body(arm), "location": "eastus"})


def special_disk(arm: Any, name: str = "d1") -> str:
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


def attached_body(arm: Any) -> dict[str, Any]:
    """The body of a VM whose OS disk exists already; it has an osProfile."""
    disk = {"osType": "Linux", "createOption": "Attach", "managedDisk": {"id": special_disk(arm)}}
    return vm_body(arm, storageProfile={"osDisk": disk})


def _attach_with_profile(arm: Any) -> requests.Response:
    return put(arm, attached_body(arm))


def without_profile(body: dict[str, Any]) -> dict[str, Any]:
    return {**body, "properties": {k: v for k, v in body["properties"].items() if k != "osProfile"}}


def _attach_and_image(arm: Any) -> requests.Response:
    body = without_profile(attached_body(arm))
    body["properties"]["storageProfile"]["imageReference"] = {"id": f"{COMPUTE}/images/image1"}
    return put(arm, body)


def _generalized_without_profile(arm: Any) -> requests.Response:
    return put(arm, without_profile(vm_body(arm)))


def _failed_guest(arm: Any) -> requests.Response:
    arm.host.outcome = Outcome(False, "OSProvisioningClientError", FAILED)
    answer = put(arm, vm_body(arm))
    settle(arm)
    assert answer.status_code == 201
    return ask(arm, "GET", answer.headers["Azure-AsyncOperation"])


def _changed_image(arm: Any) -> requests.Response:
    body = vm_body(arm)
    made(arm, body)
    body["properties"]["storageProfile"]["imageReference"] = {"id": arm.image("other").id}
    return put(arm, body)


def _detected(arm: Any) -> requests.Response:
    arm.host.outcome = Outcome(False, "OSProvisioningTimedOut", timed_out("vm1", 5, agent_runs=True))
    answer = put(arm, vm_body(arm))
    settle(arm)
    assert answer.status_code == 201
    return ask(arm, "GET", f"{VM}?$expand=instanceView")


def _wrong_size(arm: Any) -> requests.Response:
    return put(arm, vm_body(arm, hardwareProfile={"vmSize": "Standard_Z9"}))


def _wrong_generation(arm: Any) -> requests.Response:
    return put(arm, vm_body(arm, hardwareProfile={"vmSize": "Standard_A1_v2"}))


def _used_interface(arm: Any) -> requests.Response:
    body = vm_body(arm)
    made(arm, body)
    return put(arm, body, "vm2")


def _shown(arm: Any) -> requests.Response:
    data = {**EMPTY, "lun": 0}
    body = with_data(arm, data)
    body["properties"]["osProfile"] |= {"customData": "c2VjcmV0", "adminPassword": "Secret-Password-1"}
    body["properties"]["osProfile"]["linuxConfiguration"]["disablePasswordAuthentication"] = False
    made(arm, body)
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
    made(arm, with_data(arm, {**EMPTY, "lun": 0}))
    return ask(arm, "GET", f"{VM}?$expand=instanceView")


def _with_an_agent_that_tells(arm: Any) -> requests.Response:
    """The agent tells of its guest's system."""
    made(arm, vm_body(arm))
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
        "a guest whose provisioning fails is told by the operation",
        "DI",
        _failed_guest,
        200,
        holds=lambda answer: (
            (answer.json()["error"]["code"], answer.json()["error"]["message"])
            == ("OSProvisioningClientError", FAILED)
        ),
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
