"""Rules of managed run commands and of VMAccess."""

from __future__ import annotations

import json
from typing import Any, Final

import requests

from tests.client.arm.parity.row import COMPUTE, SUBSCRIPTION, Row, ask
from tests.client.arm.parity.rows_extensions import result

TITLE: Final = "Managed run commands"
VM: Final = f"{COMPUTE}/virtualMachines/vm1"
COMMAND: Final = f"{VM}/runCommands/hello"
RUNNING: Final = "The operation requires the VM to be running (or set to run)."
FAILED: Final = "Execution failed: failed to execute command: command terminated with exit status=3"


def body(**properties: Any) -> dict[str, Any]:
    return {"location": "westeurope", "properties": {"source": {"script": "true"}, **properties}}


def view(state: str, message: str, status: int) -> str:
    told = {"executionState": state, "executionMessage": message, "output": "out", "error": ""}
    return json.dumps({**told, "exitCode": status})


def _put(arm: Any) -> requests.Response:
    arm.vm()
    return ask(arm, "PUT", COMMAND, body())


def _put_below_nothing(arm: Any) -> requests.Response:
    return ask(arm, "PUT", COMMAND, body())


def _put_to_a_stopped_vm(arm: Any) -> requests.Response:
    arm.vm()
    arm.compute.virtual_machines.begin_power_off("rg", "vm1").result()
    return ask(arm, "PUT", COMMAND, body())


def _without_agent(arm: Any) -> requests.Response:
    arm.vm()
    arm.host.agent_runs = False
    return result(arm, ask(arm, "PUT", COMMAND, body()), "Azure-AsyncOperation")


def _failing(arm: Any) -> requests.Response:
    arm.vm()
    arm.host.answers = [("success", view("Failed", FAILED, 3))]
    result(arm, ask(arm, "PUT", COMMAND, body()), "Azure-AsyncOperation")
    return ask(arm, "GET", f"{COMMAND}?$expand=instanceView")


def _failing_deployment(arm: Any) -> requests.Response:
    arm.vm()
    arm.host.answers = [("error", view("Failed", FAILED, 3))]
    given = body(treatFailureAsDeploymentFailure=True)
    return result(arm, ask(arm, "PUT", COMMAND, given), "Azure-AsyncOperation")


def _secrets(arm: Any) -> requests.Response:
    arm.vm()
    given = body(protectedParameters=[{"name": "secret", "value": "a-secret-word"}])
    result(arm, ask(arm, "PUT", COMMAND, given), "Azure-AsyncOperation")
    return ask(arm, "GET", COMMAND)


def _one_too_many(arm: Any) -> requests.Response:
    arm.vm()
    for number in range(25):
        ask(arm, "PUT", f"{VM}/runCommands/c{number}", body())
    arm.plane.engine.operations.wait()
    return ask(arm, "PUT", COMMAND, body())


def _delete(arm: Any) -> requests.Response:
    arm.vm()
    result(arm, ask(arm, "PUT", COMMAND, body()), "Azure-AsyncOperation")
    return ask(arm, "DELETE", COMMAND)


def _delete_absent(arm: Any) -> requests.Response:
    arm.vm()
    return ask(arm, "DELETE", COMMAND)


def _of_a_location(arm: Any) -> requests.Response:
    path = f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Compute/locations/westeurope/runCommands"
    return ask(arm, "GET", path)


def _failed_view(reply: requests.Response) -> bool:
    properties = reply.json()["properties"]
    found = properties["instanceView"]
    told = (found["executionState"], found["exitCode"], found["output"], found["executionMessage"])
    return properties["provisioningState"] == "Succeeded" and told == ("Failed", 3, "out", FAILED)


def _error(code: str, part: str) -> Any:
    def holds(reply: requests.Response) -> bool:
        error = reply.json().get("error", {})
        return error.get("code") == code and part in error.get("message", "")

    return holds


ROWS: Final = (
    Row("PUT of a run command", "D", _put, 201, holds=lambda reply: "Azure-AsyncOperation" in reply.headers),
    Row("PUT of a run command of no VM", "R", _put_below_nothing, 404, "ParentResourceNotFound"),
    Row(
        "PUT of a run command of a stopped VM", "I", _put_to_a_stopped_vm, 409, "OperationNotAllowed", RUNNING
    ),
    Row(
        "a run command of a guest whose agent is silent",
        "DI",
        _without_agent,
        200,
        holds=_error("VMAgentStatusCommunicationError", "VM 'vm1' has not reported status for VM agent"),
    ),
    Row("a run command whose script fails", "D", _failing, 200, holds=_failed_view),
    Row(
        "the same with treatFailureAsDeploymentFailure",
        "D",
        _failing_deployment,
        200,
        holds=_error("VMExtensionProvisioningError", f"Error message: '{FAILED}'"),
    ),
    Row(
        "protectedParameters of a run command",
        "D",
        _secrets,
        200,
        holds=lambda reply: "secret" not in reply.text,
    ),
    Row(
        "a 26th run command",
        "I",
        _one_too_many,
        409,
        "OperationNotAllowed",
        "The maximum number of managed Run commands (max=25, current=25) has been exceeded. Use fewer Run "
        "commands and retry the request. To list Run commands, refer: "
        "https://aka.ms/RunCommandManaged#list-all-deployed-runcommand-resources-on-a-vm-1 and then delete a "
        "Run command: https://aka.ms/RunCommandManaged#delete-runcommand-resource-from-the-vm-1",
    ),
    Row("DELETE of a run command", "D", _delete, 202, holds=lambda reply: "Location" in reply.headers),
    Row("DELETE of a run command that is not there", "D", _delete_absent, 204),
    Row(
        "the commands of a location",
        "D",
        _of_a_location,
        200,
        holds=lambda reply: [one["id"] for one in reply.json()["value"]] == ["RunShellScript"],
    ),
)
