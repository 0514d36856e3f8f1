"""Rules of a virtual machine's life: what may be done in which state."""

from __future__ import annotations

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
    put,
    settle,
    view,
)
from tests.client.arm.parity.row import COMPUTE, Row, ask

TITLE: Final = "Virtual machines: states and actions"


def _start_generalized(arm: Any) -> requests.Response:
    generalized(arm)
    return act(arm, "start")


def _restart_stopped(arm: Any) -> requests.Response:
    arm.vm()
    done(arm, "powerOff")
    return act(arm, "restart")


def _restart_deallocated(arm: Any) -> requests.Response:
    arm.vm()
    done(arm, "deallocate")
    return act(arm, "restart")


def _hard_stop(arm: Any) -> requests.Response:
    arm.vm()
    answer = act(arm, "powerOff?skipShutdown=true")
    settle(arm)
    assert arm.power("vm1") == "PowerState/stopped"
    return answer


def _generalize_running(arm: Any) -> requests.Response:
    arm.vm()
    return act(arm, "generalize")


def _generalize_shut_down_inside(arm: Any) -> requests.Response:
    vm = arm.vm()
    arm.host.stop(vm.properties.vm_id, graceful=True)
    assert arm.power("vm1") == "PowerState/stopped"
    return act(arm, "generalize")


def _generalize(arm: Any) -> requests.Response:
    arm.vm()
    done(arm, "powerOff")
    return act(arm, "generalize")


def _generalized_view(arm: Any) -> requests.Response:
    generalized(arm)
    return view(arm)


def _running_view(arm: Any) -> requests.Response:
    arm.vm()
    return view(arm)


def _shut_down_inside_view(arm: Any) -> requests.Response:
    vm = arm.vm()
    arm.host.stop(vm.properties.vm_id, graceful=True)
    return view(arm)


def _deallocated_view(arm: Any) -> requests.Response:
    arm.vm()
    done(arm, "deallocate")
    return view(arm)


def _creating(arm: Any) -> requests.Response:
    body = arm.vm_body(arm.image(), arm.nic())
    arm.host.held.clear()
    answer = put(arm, body)
    arm.host.held.set()
    settle(arm)
    return answer


def _concurrent(arm: Any) -> requests.Response:
    body = arm.vm_body(arm.image(), arm.nic())
    arm.host.held.clear()
    put(arm, body)
    answer = act(arm, "powerOff")
    arm.host.held.set()
    settle(arm)
    return answer


def _view_absent(arm: Any) -> requests.Response:
    return view(arm)


def _convert_managed(arm: Any) -> requests.Response:
    arm.vm()
    return act(arm, "convertToManagedDisks")


def _convert_running(arm: Any) -> requests.Response:
    blob_vm(arm)
    return act(arm, "convertToManagedDisks")


def _convert(arm: Any) -> requests.Response:
    blob_vm(arm, data=True)
    done(arm, "deallocate", "convertToManagedDisks", "start")
    assert arm.power("vm1") == "PowerState/running"
    return ask(arm, "GET", VM)


def _all_managed(answer: requests.Response) -> bool:
    storage = answer.json()["properties"]["storageProfile"]
    disks = [storage["osDisk"], *storage["dataDisks"]]
    return len(disks) == 2 and all("vhd" not in disk and disk["managedDisk"]["id"] for disk in disks)


def _reimage(arm: Any) -> requests.Response:
    arm.vm()
    return act(arm, "reimage", {"tempDisk": True})


def _maintenance(arm: Any) -> requests.Response:
    arm.vm()
    return act(arm, "performMaintenance")


def _deleted_with_data_left(arm: Any) -> requests.Response:
    vm = arm.vm()
    answer = ask(arm, "DELETE", VM)
    settle(arm)
    left = ask(arm, "GET", f"{COMPUTE}/disks/{vm.properties.storage_profile.os_disk.name}").json()
    assert left["properties"]["diskState"] == "Unattached"
    return answer


def _forced_delete(arm: Any) -> requests.Response:
    arm.vm()
    answer = ask(arm, "DELETE", f"{VM}?forceDeletion=true")
    settle(arm)
    assert ask(arm, "GET", VM).status_code == 404
    return answer


def _attach_while_detached(arm: Any) -> requests.Response:
    body = arm.vm_body(arm.image(), arm.nic())
    body["properties"]["storageProfile"]["dataDisks"] = [{**EMPTY, "lun": 0, "name": "d0"}]
    assert put(arm, body).ok
    settle(arm)
    done(arm, "deallocate")
    body["properties"]["storageProfile"]["dataDisks"] = []
    with arm.host.folding():
        put(arm, body)
        second = arm.vm_body(arm.image("image2"), arm.nic("nic2"))
        attach = {"lun": 0, "createOption": "Attach", "managedDisk": {"id": f"{COMPUTE}/disks/d0"}}
        second["properties"]["storageProfile"]["dataDisks"] = [attach]
        answer = put(arm, second, "vm2")
    settle(arm)
    assert put(arm, second, "vm2").ok
    settle(arm)
    return answer


def _serial_log(arm: Any) -> requests.Response:
    arm.vm()
    return act(arm, "retrieveBootDiagnosticsData")


ROWS: Final = (
    Row(
        "start of a generalized VM",
        "DI",
        _start_generalized,
        409,
        "OperationNotAllowed",
        "Operation 'start' is not allowed on VM 'vm1' since the VM is generalized.",
    ),
    Row(
        "restart of a stopped VM",
        "I",
        _restart_stopped,
        409,
        "OperationNotAllowed",
        "The operation requires the VM to be running (or set to run).",
    ),
    Row(
        "restart of a deallocated VM",
        "I",
        _restart_deallocated,
        409,
        "OperationNotAllowed",
        "The operation requires the VM to be running (or set to run).",
    ),
    Row("powerOff with skipShutdown stops at once", "D", _hard_stop, 202),
    Row(
        "generalize of a running VM",
        "D",
        _generalize_running,
        409,
        "OperationNotAllowed",
        "Operation 'generalize' is not allowed on VM 'vm1' since the VM is running. Please power off "
        "explicitly in case you shut down the VM from inside the guest operating system.",
    ),
    Row(
        "generalize of a VM that was shut down from inside",
        "D",
        _generalize_shut_down_inside,
        409,
        "OperationNotAllowed",
        "Operation 'generalize' is not allowed on VM 'vm1' since the VM is running. Please power off "
        "explicitly in case you shut down the VM from inside the guest operating system.",
    ),
    Row(
        "generalize answers at once and without a body",
        "R",
        _generalize,
        200,
        holds=lambda answer: answer.content == b"",
    ),
    Row(
        "the instance view of a VM that runs",
        "R",
        _running_view,
        200,
        holds=lambda answer: codes(answer) == ["ProvisioningState/succeeded", "PowerState/running"],
    ),
    Row(
        "the instance view of a VM that was shut down from inside",
        "D",
        _shut_down_inside_view,
        200,
        holds=lambda answer: codes(answer)[-1] == "PowerState/stopped",
    ),
    Row(
        "the instance view of a deallocated VM",
        "D",
        _deallocated_view,
        200,
        holds=lambda answer: codes(answer)[-1] == "PowerState/deallocated",
    ),
    Row(
        "the instance view of a generalized VM",
        "D",
        _generalized_view,
        200,
        holds=lambda answer: (
            {"code": "OSState/generalized", "level": "Info", "displayStatus": "VM generalized"}
            in answer.json()["statuses"]
        ),
    ),
    Row(
        "the instance view of a VM that is not there",
        "R",
        _view_absent,
        404,
        "NotFound",
        "The entity was not found in this Azure location.",
    ),
    Row(
        "PUT of a new VM",
        "R",
        _creating,
        201,
        holds=lambda answer: (
            answer.json()["properties"]["provisioningState"] == "Creating"
            and answer.headers["Azure-AsyncNotification"] == "Enabled"
            and "/providers/Microsoft.Compute/locations/westeurope/operations/"
            in answer.headers["Azure-AsyncOperation"]
        ),
    ),
    Row(
        "a second operation while one is open",
        "I",
        _concurrent,
        409,
        "Conflict",
        "The request failed due to conflict with a concurrent request.",
    ),
    Row(
        "convertToManagedDisks of a VM with managed disks",
        "R",
        _convert_managed,
        409,
        "OperationNotAllowed",
        "VM 'vm1' is already using managed disks.",
    ),
    Row(
        "convertToManagedDisks of a VM that runs",
        "D",
        _convert_running,
        409,
        "OperationNotAllowed",
        "Operation 'convertToManagedDisks' is not allowed on VM 'vm1' since the VM is not deallocated.",
    ),
    Row("convertToManagedDisks of a deallocated VM", "D", _convert, 200, holds=_all_managed),
    Row(
        "reimage of a VM whose OS disk is not renewed by Azure",
        "R",
        _reimage,
        409,
        "OperationNotAllowed",
        "The Reimage and OSUpgrade Virtual Machine actions require that the virtual machine has Automatic OS "
        "Upgrades enabled.",
    ),
    Row(
        "performMaintenance where none is due",
        "R",
        _maintenance,
        409,
        "OperationNotAllowed",
        "Operation 'performMaintenance' is not allowed on VM 'vm1' since the Subscription of this VM is not "
        "eligible.",
    ),
    Row("DELETE of a VM leaves its disk, unless told otherwise", "D", _deleted_with_data_left, 202),
    Row("DELETE of a VM with forceDeletion", "D", _forced_delete, 202),
    Row(
        "attaching a disk that is just being detached",
        "D",
        _attach_while_detached,
        409,
        "AttachDiskWhileBeingDetached",
        "Cannot attach data disk 'd0' to VM 'vm2' because the disk is currently being detached. Please wait "
        "until the disk is completely detached and then try again.",
    ),
    Row(
        "retrieveBootDiagnosticsData answers at once, with URIs",
        "R",
        _serial_log,
        200,
        holds=lambda answer: answer.json()["serialConsoleLogBlobUri"].startswith("http"),
    ),
)
