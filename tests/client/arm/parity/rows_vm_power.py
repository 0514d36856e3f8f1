"""The states of a virtual machine: its provisioning, its power, and what a generalized one is good for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import requests

from tests.client.arm.parity.machines import (
    EMPTY,
    VM,
    act,
    blob_vm,
    codes,
    done,
    generalized,
    generalized_blob_vm,
    held,
    put,
    settle,
    view,
)
from tests.client.arm.parity.row import COMPUTE, TIMEOUT, Row, ask
from vmstamp.arm.compute.host import Outcome

TITLE: Final = "Virtual machines: the state machine"
Send = Callable[[Any], requests.Response]
NOT_ALLOWED: Final = "OperationNotAllowed"
GENERALIZED: Final = {"code": "OSState/generalized", "level": "Info", "displayStatus": "VM generalized"}
NOT_GENERALIZED: Final = "Capture operation cannot be completed because the VM is not generalized."
NOT_RUNNING: Final = "The operation requires the VM to be running (or set to run)."


def _turning(action: str, method: str, *before: str) -> Send:
    def send(arm: Any) -> requests.Response:
        arm.vm()
        done(arm, *before)
        return held(arm, arm.host, method, lambda arm: act(arm, action), lambda accepted: view(arm))

    return send


def _creating(arm: Any) -> requests.Response:
    """The instance view while the VM's disks are being made."""
    body = arm.vm_body(arm.image(), arm.nic())
    return held(arm, arm.store, "share", lambda arm: put(arm, body), lambda accepted: view(arm))


def _starting(arm: Any) -> requests.Response:
    body = arm.vm_body(arm.image(), arm.nic())
    return held(arm, arm.host, "start", lambda arm: put(arm, body), lambda accepted: view(arm))


def _stopped_gracefully(action: str, *, expected: bool) -> Send:
    """An action that stops the VM, which is to shut its guest down first or not."""

    def send(arm: Any) -> requests.Response:
        arm.vm()
        asked, stop = [], arm.host.stop

        def watched(vm_id: str, *, graceful: bool) -> None:
            asked.append(graceful)
            stop(vm_id, graceful=graceful)

        arm.host.stop = watched
        answer = act(arm, action)
        settle(arm)
        assert asked == [expected], asked
        return answer

    return send


def _waiting(arm: Any) -> requests.Response:
    """The instance view of a VM that runs and has not reported yet."""
    body = arm.vm_body(arm.image(), arm.nic())
    arm.host.held.clear()
    arm.host.started.clear()
    put(arm, body)
    assert arm.host.started.wait(TIMEOUT)
    for _ in range(100):
        answer = view(arm)
        if codes(answer)[-1] == "PowerState/running":
            break
    arm.host.held.set()
    settle(arm)
    return answer


def _never_ready(arm: Any) -> requests.Response:
    arm.host.outcome = Outcome(False, "OSProvisioningTimedOut", "too late")
    put(arm, arm.vm_body(arm.image(), arm.nic()))
    settle(arm)
    return ask(arm, "GET", VM)


def _after(*actions: str) -> Send:
    """The instance view after some actions on a running VM."""

    def send(arm: Any) -> requests.Response:
        arm.vm()
        done(arm, *actions)
        return view(arm)

    return send


def _shut_down_inside(arm: Any) -> str:
    """Power `vm1` off as its guest would; the id of its OS disk."""
    vm = arm.vm()
    arm.host.stop(vm.properties.vm_id, graceful=True)
    return str(vm.properties.storage_profile.os_disk.managed_disk.id)


def _disk_of_a_guest_that_went(arm: Any) -> requests.Response:
    return ask(arm, "GET", _shut_down_inside(arm))


def _blob_of_a_guest_that_went(arm: Any) -> requests.Response:
    blob_vm(arm)
    arm.host.stop(ask(arm, "GET", VM).json()["properties"]["vmId"], graceful=True)
    assert arm.store.get_blob("account1", "vhds", "vm1.vhd").lease is not None
    return view(arm)


def _disk_of_a_stopped_vm(arm: Any) -> requests.Response:
    vm = arm.vm()
    done(arm, "powerOff")
    return ask(arm, "GET", vm.properties.storage_profile.os_disk.managed_disk.id)


def _started_inside_again(arm: Any) -> requests.Response:
    _shut_down_inside(arm)
    done(arm, "start")
    return view(arm)


def _generalize(*before: str) -> Send:
    def send(arm: Any) -> requests.Response:
        arm.vm()
        done(arm, *before)
        return act(arm, "generalize")

    return send


def _of_generalized(action: str, body: Any = None) -> Send:
    def send(arm: Any) -> requests.Response:
        generalized(arm)
        return act(arm, action, body)

    return send


def _image_of_generalized(arm: Any) -> requests.Response:
    generalized(arm)
    properties = {"sourceVirtualMachine": {"id": VM}}
    ask(arm, "PUT", f"{COMPUTE}/images/taken", {"location": "westeurope", "properties": properties})
    settle(arm)
    return ask(arm, "GET", f"{COMPUTE}/images/taken")


def _of_the_machine(answer: requests.Response) -> bool:
    properties = answer.json()["properties"]
    disk = properties["storageProfile"]["osDisk"]
    return bool(
        properties["provisioningState"] == "Succeeded"
        and properties["sourceVirtualMachine"] == {"id": VM}
        and disk["osState"] == "Generalized"
    )


def _export_of_generalized(arm: Any) -> requests.Response:
    generalized(arm)
    disk = ask(arm, "GET", VM).json()["properties"]["storageProfile"]["osDisk"]["managedDisk"]["id"]
    return ask(arm, "POST", f"{disk}/beginGetAccess", {"access": "Read", "durationInSeconds": 60})


def _delete_of_generalized(arm: Any) -> requests.Response:
    generalized(arm)
    answer = ask(arm, "DELETE", VM)
    settle(arm)
    assert ask(arm, "GET", VM).status_code == 404
    return answer


def _capture_of_generalized(arm: Any) -> requests.Response:
    generalized_blob_vm(arm)
    body = {"vhdPrefix": "pre", "destinationContainerName": "captured", "overwriteVhds": False}
    return act(arm, "capture", body)


def _disk_for_generalized(arm: Any) -> requests.Response:
    generalized(arm)
    disks = [{**EMPTY, "lun": 0}]
    return ask(arm, "PATCH", VM, {"properties": {"storageProfile": {"dataDisks": disks}}})


def _tagged_generalized(arm: Any) -> requests.Response:
    generalized(arm)
    assert ask(arm, "PATCH", VM, {"tags": {"a": "b"}}).ok
    settle(arm)
    return view(arm)


def _capture_of(*before: str) -> Send:
    def send(arm: Any) -> requests.Response:
        blob_vm(arm)
        done(arm, *before)
        body = {"vhdPrefix": "pre", "destinationContainerName": "captured", "overwriteVhds": False}
        return act(arm, "capture", body)

    return send


def _convert_stopped(arm: Any) -> requests.Response:
    blob_vm(arm)
    done(arm, "powerOff")
    return act(arm, "convertToManagedDisks")


def _power(state: str, display: str) -> Callable[[requests.Response], bool]:
    """The power state is this one alone."""

    def holds(answer: requests.Response) -> bool:
        told = [one for one in answer.json()["statuses"] if one["code"].startswith("PowerState/")]
        return told == [{"code": f"PowerState/{state}", "level": "Info", "displayStatus": display}]

    return holds


def _provisioning(state: str) -> Callable[[requests.Response], bool]:
    return lambda answer: answer.json()["properties"]["provisioningState"] == state


def _is(state: str) -> Callable[[requests.Response], bool]:
    return lambda answer: answer.json()["properties"]["diskState"] == state


ROWS: Final = (
    *(
        Row(what, "D", send, 200, holds=_power(state, f"VM {state}"))
        for what, state, send in (
            ("the power of a VM whose disks are being made", "creating", _creating),
            ("the power of a VM whose first boot begins", "starting", _starting),
        )
    ),
    *(
        Row(what, "D", _stopped_gracefully(action, expected=graceful), 202)
        for what, action, graceful in (
            ("powerOff shuts the guest down", "powerOff", True),
            ("powerOff with skipShutdown does not", "powerOff?skipShutdown=true", False),
        )
    ),
    Row(
        "the instance view of a VM that runs and is not ready yet",
        "D",
        _waiting,
        200,
        holds=lambda answer: codes(answer) == ["ProvisioningState/creating", "PowerState/running"],
    ),
    Row("a VM that never got ready", "DI", _never_ready, 200, holds=_provisioning("Failed")),
    *(
        Row(f"the power of a VM {what}", "D", send, 200, holds=_power(state, f"VM {state}"))
        for what, state, send in (
            ("that is being powered off", "stopping", _turning("powerOff", "stop")),
            ("that is being deallocated", "deallocating", _turning("deallocate", "stop")),
            ("that is being started", "starting", _turning("start", "start", "deallocate")),
            ("after powerOff", "stopped", _after("powerOff")),
            ("after powerOff and start", "running", _after("powerOff", "start")),
            ("after deallocate", "deallocated", _after("deallocate")),
            ("after powerOff and deallocate", "deallocated", _after("powerOff", "deallocate")),
            ("after deallocate and start", "running", _after("deallocate", "start")),
            ("after restart", "running", _after("restart")),
            ("whose guest shut down, started again", "running", _started_inside_again),
        )
    ),
    Row(
        "the disk of a VM whose guest shut down", "DI", _disk_of_a_guest_that_went, 200, holds=_is("Attached")
    ),
    Row("the disk of a stopped VM", "DI", _disk_of_a_stopped_vm, 200, holds=_is("Attached")),
    Row(
        "the blob of a VM whose guest shut down stays leased",
        "DI",
        _blob_of_a_guest_that_went,
        200,
        holds=_power("stopped", "VM stopped"),
    ),
    *(
        Row(f"generalize of a {what} VM", "DI", send, 200, holds=lambda answer: answer.content == b"")
        for what, send in (("stopped", _generalize("powerOff")), ("deallocated", _generalize("deallocate")))
    ),
    Row(
        "a change of a generalized VM leaves it generalized",
        "DI",
        _tagged_generalized,
        200,
        holds=lambda answer: GENERALIZED in answer.json()["statuses"],
    ),
    Row(
        "the instance view of a VM that is not generalized",
        "D",
        _after("deallocate"),
        200,
        holds=lambda answer: codes(answer) == ["ProvisioningState/succeeded", "PowerState/deallocated"],
    ),
    Row("restart of a generalized VM", "DI", _of_generalized("restart"), 409, NOT_ALLOWED, NOT_RUNNING),
    Row(
        "runCommand of a generalized VM",
        "DI",
        _of_generalized("runCommand", {"commandId": "RunShellScript", "script": ["true"]}),
        409,
        NOT_ALLOWED,
        NOT_RUNNING,
    ),
    Row("a data disk for a generalized VM", "DI", _disk_for_generalized, 409, NOT_ALLOWED),
    Row("an image of a generalized VM", "DI", _image_of_generalized, 200, holds=_of_the_machine),
    Row("capture of a generalized VM", "DI", _capture_of_generalized, 202),
    Row("beginGetAccess on a generalized VM's disk", "DI", _export_of_generalized, 202),
    Row("DELETE of a generalized VM", "DI", _delete_of_generalized, 202),
    *(
        Row(f"capture of a {what} VM that is not generalized", "D", send, 409, NOT_ALLOWED, NOT_GENERALIZED)
        for what, send in (("stopped", _capture_of("powerOff")), ("deallocated", _capture_of("deallocate")))
    ),
    Row(
        "convertToManagedDisks of a stopped VM",
        "D",
        _convert_stopped,
        409,
        NOT_ALLOWED,
        "Operation 'convertToManagedDisks' is not allowed on VM 'vm1' since the VM is not deallocated.",
    ),
)
