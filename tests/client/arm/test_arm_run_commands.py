"""Managed run commands through the official azure-mgmt-compute; the agent answers at once."""

from __future__ import annotations

import json
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

from tests.client.arm.parity.row import COMPUTE, ask
from vmstamp.arm.types import Work
from vmstamp.errors import AzureError
from vmstamp.fabric.extensions import MANAGED_COMMAND

VM = f"{COMPUTE}/virtualMachines/vm1"
SCRIPT = {"source": {"script": "echo hello"}}


def view(state: str, **news: Any) -> str:
    whole = {"executionState": state, "executionMessage": "", "output": "", "error": "", "exitCode": 0}
    return json.dumps({**whole, "startTime": "2024-01-01T00:00:00Z", "endTime": "", **news})


def put(arm: Any, name: str = "hello", **properties: Any) -> Any:
    body = {"location": "westeurope", "properties": {**SCRIPT, **properties}}
    commands = arm.compute.virtual_machine_run_commands
    return commands.begin_create_or_update("rg", "vm1", name, body).result()


def instance_view(arm: Any, name: str = "hello") -> Any:
    commands = arm.compute.virtual_machine_run_commands
    found = commands.get_by_virtual_machine("rg", "vm1", name, expand="instanceView")
    return found.properties.instance_view


def error_of(call: Any) -> Any:
    with pytest.raises(HttpResponseError) as caught:
        call()
    return caught.value.error


def test_a_command_is_run_shown_listed_and_deleted(arm: Any) -> None:
    arm.vm()
    made = put(arm, parameters=[{"name": "who", "value": "you"}], timeoutInSeconds=60)
    assert made.properties.provisioning_state == "Succeeded"
    assert made.properties.source.script == "echo hello"
    assert made.properties.instance_view is None, "shown when it is asked for"
    handler, sequence, public, protected = arm.host.handled[-1]
    assert (handler.name, sequence, protected) == ("Microsoft.CPlat.Core.RunCommandHandlerLinux", 0, None)
    assert public == {
        "source": {"script": "echo hello"},
        "parameters": [{"name": "who", "value": "you"}],
        "asyncExecution": False,
        "timeoutInSeconds": 60,
    }
    shown = instance_view(arm)
    assert (shown.execution_state, shown.output, shown.exit_code) == ("Succeeded", "hello", 0)
    put(arm, "other")
    commands = arm.compute.virtual_machine_run_commands
    listed = commands.list_by_virtual_machine("rg", "vm1")
    assert [one.name for one in listed] == ["hello", "other"]
    commands.begin_delete("rg", "vm1", "hello").result()
    with pytest.raises(ResourceNotFoundError):
        commands.get_by_virtual_machine("rg", "vm1", "hello")
    assert [one.name for one in commands.list_by_virtual_machine("rg", "vm1")] == ["other"]


def test_a_script_that_fails_is_a_run_command_that_was_made(arm: Any) -> None:
    arm.vm()
    message = "Execution failed: failed to execute command: command terminated with exit status=3"
    arm.host.answers = [("success", view("Failed", executionMessage=message, exitCode=3))]
    assert put(arm).properties.provisioning_state == "Succeeded"
    shown = instance_view(arm)
    assert (shown.execution_state, shown.exit_code, shown.execution_message) == ("Failed", 3, message)


def test_a_failure_fails_the_deployment_where_that_is_asked_for(arm: Any) -> None:
    arm.vm()
    message = "Execution failed: failed to execute command: command terminated with exit status=3"
    arm.host.answers = [("error", view("Failed", executionMessage=message, exitCode=3))]
    error = error_of(lambda: put(arm, treatFailureAsDeploymentFailure=True))
    assert error.code == "VMExtensionProvisioningError"
    assert f"Error message: '{message}'" in error.message
    commands = arm.compute.virtual_machine_run_commands
    assert commands.get_by_virtual_machine("rg", "vm1", "hello").properties.provisioning_state == "Failed"
    assert instance_view(arm).exit_code == 3


def test_a_script_that_is_not_waited_for_is_asked_after(arm: Any) -> None:
    arm.vm()
    arm.host.answers = [("success", view("Running", executionMessage="Execution in progress"))]
    assert put(arm, asyncExecution=True).properties.provisioning_state == "Succeeded"
    assert instance_view(arm).execution_state == "Running"
    arm.host.tell(MANAGED_COMMAND, "hello", "success", view("Succeeded", output="at last"))
    assert (instance_view(arm).execution_state, instance_view(arm).output) == ("Succeeded", "at last")


def test_secrets_are_gone_when_the_agent_has_them(arm: Any, db: Any) -> None:
    arm.vm()
    secret = [{"name": "password", "value": "a-secret-word"}]
    uri = "https://account.blob.core.windows.net/scripts/one.sh?sv=1&sig=a-secret-sign"
    made = put(arm, source={"scriptUri": uri}, protectedParameters=secret)
    assert made.properties.source.script_uri == uri.partition("?")[0]
    assert made.properties.protected_parameters is None
    _, _, public, protected = arm.host.handled[-1]
    assert "secret" not in json.dumps(public)
    assert protected == {"protectedParameters": secret, "sourceSASToken": "sv=1&sig=a-secret-sign"}
    with db.read() as connection:
        kept = [list(row) for row in connection.execute("SELECT document FROM operation")]
        kept += [list(row) for row in connection.execute("SELECT document, state FROM resource")]
    assert "a-secret" not in json.dumps(kept)


def test_every_put_runs_the_script_and_a_change_of_tags_does_not(arm: Any) -> None:
    arm.vm()
    put(arm)
    put(arm)
    assert [one[1] for one in arm.host.handled] == [0, 1]
    commands = arm.compute.virtual_machine_run_commands
    commands.begin_update("rg", "vm1", "hello", {"tags": {"a": "b"}}).result()
    assert len(arm.host.handled) == 2
    changed = {"properties": {"source": {"script": "echo changed"}}}
    commands.begin_update("rg", "vm1", "hello", changed).result()
    assert arm.host.handled[-1][2]["source"] == {"script": "echo changed"}


@pytest.mark.parametrize(
    ("properties", "code", "target"),
    [
        ({"source": {}}, "InvalidParameter", "source"),
        ({"source": {"script": "true", "scriptUri": "https://x/y"}}, "InvalidParameter", "source"),
        ({"source": {"scriptUri": "file:///etc/passwd"}}, "InvalidParameter", "source.scriptUri"),
        (
            {"source": {"commandId": "ifconfig"}},
            "NotSupportedByStamp",
            "properties.source.commandId",
        ),
        (
            {"outputBlobUri": "https://a/b/c"},
            "NotSupportedByStamp",
            "properties.outputBlobUri",
        ),
        ({"parameters": [{"name": "a=b", "value": "1"}]}, "InvalidParameter", "parameters.name"),
        ({"timeoutInSeconds": -1}, "InvalidParameter", "timeoutInSeconds"),
    ],
)
def test_what_cannot_be_run_is_refused_by_name(
    arm: Any, properties: dict[str, Any], code: str, target: str
) -> None:
    arm.vm()
    error = error_of(lambda: put(arm, **properties))
    assert (error.code, error.target) == (code, target)
    assert arm.host.handled == []


def test_a_handler_that_the_agent_cannot_run_is_told_of(arm: Any) -> None:
    arm.vm()
    arm.host.answers = [("error", "[ExtensionError] Failed to download")]
    error = error_of(lambda: put(arm))
    assert "Error message: '[ExtensionError] Failed to download'" in error.message
    assert instance_view(arm).execution_message == "[ExtensionError] Failed to download"


def test_a_command_is_not_begun_again_without_its_secrets(arm: Any) -> None:
    arm.vm()
    arm.host.answers = [("transitioning", view("Running"))]
    error = error_of(lambda: put(arm, protectedParameters=[{"name": "a", "value": "b"}]))
    assert error.code == "VMExtensionProvisioningTimeout"
    kind = arm.plane.engine.types["microsoft.compute/virtualmachines/runcommands"]
    [command] = arm.plane.engine.catalog.select(type=kind.key)
    with pytest.raises(AzureError) as caught:
        kind.apply(command, Work(resumed=True))
    assert caught.value.code == "OperationInterrupted" and len(arm.host.handled) == 1


def test_run_commands_go_with_their_vm(arm: Any) -> None:
    arm.vm()
    put(arm)
    arm.compute.virtual_machines.begin_delete("rg", "vm1").result()
    assert arm.plane.engine.catalog.select(type="microsoft.compute/virtualmachines/runcommands") == []


def test_a_command_runs_beside_an_extension_and_beside_others(arm: Any) -> None:
    arm.vm()
    arm.host.answers = [("transitioning", view("Running")), ("transitioning", view("Running"))]
    body = {"location": "westeurope", "properties": SCRIPT}
    statuses = [ask(arm, "PUT", f"{VM}/runCommands/{name}", body).status_code for name in ("one", "two")]
    again = ask(arm, "PUT", f"{VM}/runCommands/one", body)
    assert (statuses, again.status_code) == ([201, 201], 409)


def test_what_a_location_has_of_commands_is_told(arm: Any) -> None:
    commands = arm.compute.virtual_machine_run_commands
    [brief] = commands.list("westeurope")
    assert (brief.id, brief.os_type) == ("RunShellScript", "Linux")
    whole = commands.get("westeurope", "runshellscript")
    assert [one.name for one in whole.parameters] == ["arg1", "arg2"]
    with pytest.raises(ResourceNotFoundError):
        commands.get("westeurope", "ifconfig")
