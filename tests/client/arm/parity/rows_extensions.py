"""Rules of run commands and of virtual machine extensions."""

from __future__ import annotations

from typing import Any, Final

import requests

from tests.client.arm.parity.row import COMPUTE, Row, ask

TITLE: Final = "Run commands and extensions"
VM: Final = f"{COMPUTE}/virtualMachines/vm1"
EXTENSION: Final = f"{VM}/extensions/script"
SCRIPT: Final = {"commandId": "RunShellScript", "script": ["true"]}
NOT_RUNNING: Final = "Cannot modify extensions in the VM when the VM is not running."


def body(**properties: Any) -> dict[str, Any]:
    given = {
        "publisher": "Microsoft.Azure.Extensions",
        "type": "CustomScript",
        "typeHandlerVersion": "2.1",
        "settings": {"commandToExecute": "true"},
        **properties,
    }
    return {"location": "westeurope", "properties": given}


def extension(arm: Any, name: str = "script") -> None:
    extensions = arm.compute.virtual_machine_extensions
    extensions.begin_create_or_update("rg", "vm1", name, body()).result()


def result(arm: Any, reply: requests.Response, header: str) -> requests.Response:
    """What stands at an operation's URL when it has ended."""
    arm.plane.engine.operations.wait()
    return ask(arm, "GET", reply.headers[header])


def _command_accepted(arm: Any) -> requests.Response:
    arm.vm()
    return ask(arm, "POST", f"{VM}/runCommand", SCRIPT)


def _command_result(arm: Any) -> requests.Response:
    arm.vm()
    arm.host.answers = [("success", "Enable succeeded: \n[stdout]\nhi\n\n[stderr]\n")]
    return result(arm, ask(arm, "POST", f"{VM}/runCommand", SCRIPT), "Location")


def _command_of_a_stopped_vm(arm: Any) -> requests.Response:
    arm.vm()
    arm.compute.virtual_machines.begin_power_off("rg", "vm1").result()
    return ask(arm, "POST", f"{VM}/runCommand", SCRIPT)


def _command_when_deallocated(arm: Any) -> requests.Response:
    arm.vm()
    arm.compute.virtual_machines.begin_deallocate("rg", "vm1").result()
    return ask(arm, "POST", f"{VM}/runCommand", SCRIPT)


def _second_command(arm: Any) -> requests.Response:
    arm.vm()
    arm.host.answers = [("transitioning", "Enable in progress")]
    ask(arm, "POST", f"{VM}/runCommand", SCRIPT)
    return ask(arm, "POST", f"{VM}/runCommand", SCRIPT)


def _command_without_agent(arm: Any) -> requests.Response:
    arm.vm()
    arm.host.agent_runs = False
    return result(arm, ask(arm, "POST", f"{VM}/runCommand", SCRIPT), "Location")


def _put(arm: Any) -> requests.Response:
    arm.vm()
    return ask(arm, "PUT", EXTENSION, body())


def _put_to_a_stopped_vm(arm: Any) -> requests.Response:
    arm.vm()
    arm.compute.virtual_machines.begin_power_off("rg", "vm1").result()
    return ask(arm, "PUT", EXTENSION, body())


def _delete_of_a_deallocated_vm(arm: Any) -> requests.Response:
    arm.vm()
    extension(arm)
    arm.compute.virtual_machines.begin_deallocate("rg", "vm1").result()
    return ask(arm, "DELETE", EXTENSION)


def _put_when_deallocated(arm: Any) -> requests.Response:
    arm.vm()
    arm.compute.virtual_machines.begin_deallocate("rg", "vm1").result()
    return ask(arm, "PUT", EXTENSION, body())


def _delete_of_a_stopped_vm(arm: Any) -> requests.Response:
    arm.vm()
    extension(arm)
    arm.compute.virtual_machines.begin_power_off("rg", "vm1").result()
    return ask(arm, "DELETE", EXTENSION)


def _delete(arm: Any) -> requests.Response:
    arm.vm()
    extension(arm)
    return ask(arm, "DELETE", EXTENSION)


def _delete_absent(arm: Any) -> requests.Response:
    arm.vm()
    return ask(arm, "DELETE", EXTENSION)


def _same_handler_twice(arm: Any) -> requests.Response:
    arm.vm()
    extension(arm, "first")
    return ask(arm, "PUT", EXTENSION, body())


def _disallowed(arm: Any) -> requests.Response:
    key = {"path": "/home/azureuser/.ssh/authorized_keys", "keyData": "ssh-ed25519 AAAA azureuser"}
    linux = {"disablePasswordAuthentication": True, "ssh": {"publicKeys": [key]}}
    profile = {"computerName": "vm1", "adminUsername": "azureuser", "linuxConfiguration": linux}
    arm.vm(osProfile={**profile, "allowExtensionOperations": False})
    return ask(arm, "PUT", EXTENSION, body())


def _unknown(arm: Any) -> requests.Response:
    arm.vm()
    return ask(
        arm, "PUT", EXTENSION, body(publisher="Microsoft.Azure.Monitor", type="AzureMonitorLinuxAgent")
    )


def _version(arm: Any) -> requests.Response:
    arm.vm()
    return ask(arm, "PUT", EXTENSION, body(typeHandlerVersion="1.10"))


def _failing(arm: Any) -> requests.Response:
    arm.vm()
    failed = "Enable failed: failed to execute command: command terminated with exit status=1"
    arm.host.answers = [("error", failed)]
    return result(arm, ask(arm, "PUT", EXTENSION, body()), "Azure-AsyncOperation")


def _taking_too_long(arm: Any) -> requests.Response:
    arm.vm()
    arm.host.answers = [("transitioning", "Plugin enabled")]
    return result(arm, ask(arm, "PUT", EXTENSION, body()), "Azure-AsyncOperation")


def _error(code: str, *parts: str) -> Any:
    def holds(reply: requests.Response) -> bool:
        error = reply.json().get("error", {})
        return error.get("code") == code and all(part in error.get("message", "") for part in parts)

    return holds


def _told(reply: requests.Response) -> bool:
    expected = {
        "code": "ProvisioningState/succeeded",
        "level": "Info",
        "displayStatus": "Provisioning succeeded",
        "message": "Enable succeeded: \n[stdout]\nhi\n\n[stderr]\n",
    }
    return bool(reply.json() == {"value": [expected]})


def _headers(reply: requests.Response) -> bool:
    return not reply.content and all(one in reply.headers for one in ("Azure-AsyncOperation", "Location"))


RUNNING: Final = "The operation requires the VM to be running (or set to run)."

ROWS: Final = (
    Row("runCommand", "R", _command_accepted, 202, holds=_headers),
    Row("the result of runCommand, at its Location", "RI", _command_result, 200, holds=_told),
    Row("runCommand of a stopped VM", "I", _command_of_a_stopped_vm, 409, "OperationNotAllowed", RUNNING),
    Row(
        "runCommand of a deallocated VM",
        "I",
        _command_when_deallocated,
        409,
        "OperationNotAllowed",
        RUNNING,
    ),
    Row(
        "runCommand while another one runs",
        "I",
        _second_command,
        409,
        "Conflict",
        "Run command extension execution is in progress. Please wait for completion before invoking a run "
        "command.",
    ),
    Row(
        "runCommand of a guest whose agent is silent",
        "DI",
        _command_without_agent,
        409,
        "VMAgentStatusCommunicationError",
        "VM 'vm1' has not reported status for VM agent or extensions. Verify that the OS is up and healthy, "
        "the VM has a running VM agent, and that it can establish outbound connections to Azure storage. "
        "Please refer to https://aka.ms/vmextensionlinuxtroubleshoot for additional VM agent troubleshooting "
        "information.",
    ),
    Row("PUT of an extension", "R", _put, 201, holds=lambda reply: "Azure-AsyncOperation" in reply.headers),
    Row(
        "PUT of an extension of a stopped VM",
        "DI",
        _put_to_a_stopped_vm,
        409,
        "OperationNotAllowed",
        NOT_RUNNING,
    ),
    Row(
        "DELETE of an extension of a deallocated VM",
        "DI",
        _delete_of_a_deallocated_vm,
        409,
        "OperationNotAllowed",
        NOT_RUNNING,
    ),
    *(
        Row(what, "I", send, 409, "OperationNotAllowed", NOT_RUNNING)
        for what, send in (
            ("PUT of an extension of a deallocated VM", _put_when_deallocated),
            ("DELETE of an extension of a stopped VM", _delete_of_a_stopped_vm),
        )
    ),
    Row("DELETE of an extension", "R", _delete, 202, holds=_headers),
    Row("DELETE of an extension that is not there", "R", _delete_absent, 204),
    Row(
        "a second extension of the same handler",
        "DI",
        _same_handler_twice,
        400,
        "BadRequest",
        "Multiple VMExtensions per handler not supported for OS type 'Linux'. VMExtension 'script' with "
        "handler 'Microsoft.Azure.Extensions.CustomScript' already added or specified in input.",
    ),
    Row(
        "an extension of a VM that allows none",
        "I",
        _disallowed,
        409,
        "OperationNotAllowed",
        "This operation cannot be performed when extension operations are disallowed. To allow, please "
        "ensure VM Agent is installed on the VM and the osProfile.allowExtensionOperations property is true.",
    ),
    Row(
        "an extension of another publisher or type",
        "D",
        _unknown,
        404,
        "ArtifactNotFound",
        "The VM extension with publisher 'Microsoft.Azure.Monitor' and type 'AzureMonitorLinuxAgent' could "
        "not be found in location 'westeurope'....",
    ),
    Row(
        "an extension of a version that there is not",
        "DI",
        _version,
        404,
        "ArtifactVersionNotFound",
        "No version found in the artifact repository that satisfies the requested version '1.10' for VM "
        "extension with publisher 'Microsoft.Azure.Extensions' and type 'CustomScript'.",
    ),
    Row(
        "an extension whose script fails",
        "DI",
        _failing,
        200,
        holds=_error(
            "VMExtensionProvisioningError",
            "VM has reported a failure when processing extension 'script' (publisher "
            "'Microsoft.Azure.Extensions' and type 'CustomScript'). Error message: 'Enable failed: failed to "
            "execute command: command terminated with exit status=1'.",
        ),
    ),
    Row(
        "an extension that does not end",
        "DI",
        _taking_too_long,
        200,
        holds=_error(
            "VMExtensionProvisioningTimeout",
            "Provisioning of VM extension script has timed out. Extension provisioning has taken too long to "
            'complete. The extension last reported "Plugin enabled".',
        ),
    ),
)
