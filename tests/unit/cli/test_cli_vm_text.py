"""What `vm show` says of a VM that failed."""

from typing import Any

import pytest

from vmstamp.cli.arm_client import ArmClient, Document
from vmstamp.cli.vm_text import failures_of, is_stuck, vm_lines

ID = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/web"
TIMED_OUT = {
    "code": "ProvisioningState/failed/OSProvisioningTimedOut",
    "level": "Error",
    "displayStatus": "Provisioning failed",
    "message": "OS Provisioning for VM 'web' did not finish in the allotted time.",
}
RUNNING = {"code": "PowerState/running", "level": "Info", "displayStatus": "VM running"}


class SilentArm(ArmClient):
    """A control plane that knows no interface, no address and no serial log."""

    def __init__(self) -> None:
        pass

    def resource_id(self, group: str, kind: str, name: str) -> str:
        return ID

    def find(self, resource: str, **query: str) -> Document | None:
        return None

    def post(self, resource: str, action: str, body: Document | None = None) -> Document:
        return {}


def machine(state: str, *stages: str, statuses: tuple[Document, ...] = (RUNNING,)) -> Document:
    """A VM in a provisioningState, which passed `stages` a second apart."""
    told = [
        {"displayStatus": stage, "time": f"2026-01-01T00:00:{number:02}+00:00", "message": ""}
        for number, stage in enumerate(stages)
    ]
    properties: dict[str, Any] = {
        "provisioningState": state,
        "hardwareProfile": {"vmSize": "Standard_B1s"},
        "networkProfile": {"networkInterfaces": []},
        "instanceView": {
            "statuses": list(statuses),
            "extensions": [{"name": "vmstamp.timeline", "substatuses": told}],
        },
    }
    return {"id": ID, "name": "web", "properties": properties}


def test_a_vm_that_timed_out_is_told_with_azures_code_and_the_probable_cause() -> None:
    vm = machine("Failed", "started", "firmware", "kernel", statuses=(TIMED_OUT, RUNNING))
    text = "\n".join(vm_lines(SilentArm(), vm))
    assert f"failed        OSProvisioningTimedOut: {TIMED_OUT['message']}" in text
    assert "stage reached   kernel" in text
    assert "probable cause  the guest never asked for an address" in text
    assert "evidence        none: the serial console is silent" in text
    assert "read on         vmstamp vm log web -g g" in text


def test_a_vm_that_is_ready_has_no_probable_cause() -> None:
    vm = machine("Succeeded", "started", "kernel", "ready")
    assert failures_of(vm) == []
    assert "probable cause" not in "\n".join(vm_lines(SilentArm(), vm))


def test_a_vm_that_waits_for_its_turn_says_so() -> None:
    waits = "Waits for its turn: 2 virtual machines are provisioned before it, 2 at a time on this computer."
    creating = {"code": "ProvisioningState/creating", "level": "Info", "displayStatus": "Creating"}
    vm = machine("Creating", statuses=({**creating, "message": waits}, RUNNING))
    assert f"waits         {waits}" in "\n".join(vm_lines(SilentArm(), vm))
    vm = machine("Creating", "started", statuses=(creating, RUNNING))
    assert "waits" not in "\n".join(vm_lines(SilentArm(), vm))


@pytest.mark.parametrize(
    ("state", "stages", "stuck"),
    [
        ("Creating", ("started",), False),
        ("Failed", ("started",), True),
        ("Failed", ("started", "ready"), False),  # an update failed later: the guest came up
        ("Succeeded", ("started", "ready"), False),
        ("Creating", ("started", "failed"), True),
    ],
)
def test_a_vm_is_stuck_when_it_failed_before_ready(state: str, stages: tuple[str, ...], stuck: bool) -> None:
    assert is_stuck(machine(state, *stages)) == stuck
