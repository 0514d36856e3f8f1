"""Rules of what comes to a virtual machine and leaves it while it runs: data disks, network interfaces."""

from __future__ import annotations

from typing import Any, Final

import requests

from tests.client.arm.parity.machines import VM
from tests.client.arm.parity.row import COMPUTE, Row, ask

TITLE: Final = "Virtual machines: data disks and interfaces of a running one"
NEW: Final = {"lun": 0, "createOption": "Empty", "diskSizeGB": 1, "name": "d0"}


def _disks(arm: Any, *disks: Any) -> requests.Response:
    return ask(arm, "PATCH", VM, {"properties": {"storageProfile": {"dataDisks": list(disks)}}})


def _attached(arm: Any) -> requests.Response:
    arm.vm()
    assert _disks(arm, NEW).status_code == 200
    arm.plane.engine.operations.wait()
    assert arm.power("vm1") == "PowerState/running"
    return ask(arm, "GET", f"{COMPUTE}/disks/d0")


def _detached(arm: Any) -> requests.Response:
    _attached(arm)
    assert _disks(arm).status_code == 200
    arm.plane.engine.operations.wait()
    return ask(arm, "GET", f"{COMPUTE}/disks/d0")


def _detached_by_force(arm: Any) -> requests.Response:
    _attached(arm)
    (shown,) = ask(arm, "GET", VM).json()["properties"]["storageProfile"]["dataDisks"]
    going = {**shown, "toBeDetached": True, "detachOption": "ForceDetach"}
    assert _disks(arm, going).status_code == 200
    arm.plane.engine.operations.wait()
    return ask(arm, "GET", f"{COMPUTE}/disks/d0")


def _by_the_api(arm: Any) -> requests.Response:
    _attached(arm)
    going = {"dataDisksToDetach": [{"diskId": f"{COMPUTE}/disks/d0"}]}
    return ask(arm, "POST", f"{VM}/attachDetachDataDisks", going)


def _result_of_the_api(arm: Any) -> requests.Response:
    reply = _by_the_api(arm)
    arm.plane.engine.operations.wait()
    return ask(arm, "GET", reply.headers["Location"])


def _second_interface(arm: Any) -> requests.Response:
    vm = arm.vm()
    first = vm.properties.network_profile.network_interfaces[0].id
    links = [{"id": first, "properties": {"primary": True}}]
    links.append({"id": arm.nic("nic2").id, "properties": {"primary": False}})
    return ask(arm, "PATCH", VM, {"properties": {"networkProfile": {"networkInterfaces": links}}})


def _is(state: str) -> Any:
    return lambda reply: reply.json()["properties"]["diskState"] == state


ROWS: Final = (
    Row("a data disk attached to a running VM", "D", _attached, 200, holds=_is("Attached")),
    Row("a data disk detached from a running VM", "D", _detached, 200, holds=_is("Unattached")),
    Row("a data disk detached by force", "D", _detached_by_force, 200, holds=_is("Unattached")),
    Row(
        "attachDetachDataDisks",
        "D",
        _by_the_api,
        202,
        holds=lambda reply: "Location" in reply.headers and "Azure-AsyncOperation" in reply.headers,
    ),
    Row(
        "the result of attachDetachDataDisks is the VM's storage profile",
        "D",
        _result_of_the_api,
        200,
        holds=lambda reply: reply.json()["dataDisks"] == [] and "osDisk" in reply.json(),
    ),
    Row(
        "a second network interface for a running VM",
        "I",
        _second_interface,
        400,
        "AddingOrDeletingNetworkInterfacesOnARunningVirtualMachineNotSupported",
        "Virtual machine /subscriptions/.../virtualMachines/vm1 with a single network interface must be "
        "stop-deallocated before it can be updated to have multiple network interfaces and vice-versa.",
    ),
)
