"""Extensions and run commands through the official azure-mgmt-compute; the agent answers at once."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

from tests.client.arm.parity.row import COMPUTE, ask
from vmstamp.arm.types import Work
from vmstamp.errors import AzureError
from vmstamp.fabric.extensions import CUSTOM_SCRIPT

VM = f"{COMPUTE}/virtualMachines/vm1"

SCRIPT = {"commandId": "RunShellScript", "script": ["echo one", "echo two"]}


def error_of(call: Any) -> Any:
    with pytest.raises(HttpResponseError) as caught:
        call()
    return caught.value.error


def body(**properties: Any) -> dict[str, Any]:
    script = {"publisher": "Microsoft.Azure.Extensions", "type": "CustomScript", "typeHandlerVersion": "2.0"}
    given = {
        **script,
        "autoUpgradeMinorVersion": True,
        "settings": {"commandToExecute": "true"},
        **properties,
    }
    return {"location": "westeurope", "properties": given}


def put(arm: Any, name: str = "script", vm: str = "vm1", **properties: Any) -> Any:
    extensions = arm.compute.virtual_machine_extensions
    return extensions.begin_create_or_update("rg", vm, name, body(**properties)).result()


def run(arm: Any, request: dict[str, Any]) -> Any:
    return arm.compute.virtual_machines.begin_run_command("rg", "vm1", request).result()


def script_of(arm: Any) -> str:
    return base64.b64decode(arm.host.handled[-1][2]["script"]).decode()


# Run commands


def test_a_command_gives_what_the_agent_tells(arm: Any) -> None:
    arm.vm()
    arm.host.answers = [("success", "Enable succeeded: \n[stdout]\none\n\n[stderr]\n")]
    [status] = run(arm, SCRIPT).value
    assert (status.code, status.display_status) == ("ProvisioningState/succeeded", "Provisioning succeeded")
    assert status.message == "Enable succeeded: \n[stdout]\none\n\n[stderr]\n"
    assert script_of(arm) == "echo one\necho two"
    handler, sequence, _, protected = arm.host.handled[0]
    assert (handler.name, sequence, protected) == ("Microsoft.CPlat.Core.RunCommandLinux", 0, None)
    run(arm, SCRIPT)
    assert arm.host.handled[1][1] == 1, "each run has a number of its own"


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (["echo $1"], "export one='a b' two=c\nset -- 'a b' c\necho $1"),
        (["#!/bin/bash", "echo $1"], "#!/bin/bash\nexport one='a b' two=c\nset -- 'a b' c\necho $1"),
        (["#!/bin/true"], "#!/bin/true\nexport one='a b' two=c\nset -- 'a b' c\n"),
    ],
)
def test_parameters_are_exported_and_positional(arm: Any, script: list[str], expected: str) -> None:
    arm.vm()
    parameters = [{"name": "one", "value": "a b"}, {"name": "two", "value": "c"}]
    run(arm, {**SCRIPT, "script": script, "parameters": parameters})
    assert script_of(arm) == expected


def test_a_parameter_that_is_no_variable_is_refused(arm: Any) -> None:
    arm.vm()
    parameters = [{"name": "a;reboot", "value": "1"}]
    error = error_of(lambda: run(arm, {**SCRIPT, "parameters": parameters}))
    assert (error.code, error.target) == ("InvalidParameter", "parameters.name")


def test_a_guest_without_an_agent_is_told_of(arm: Any) -> None:
    arm.vm()
    arm.host.agent_runs = False
    error = error_of(lambda: run(arm, SCRIPT))
    assert error.code == "VMAgentStatusCommunicationError"
    assert error.message.startswith("VM 'vm1' has not reported status for VM agent or extensions.")


def test_a_command_that_never_ends_times_out(arm: Any) -> None:
    arm.vm()
    arm.host.answers = [("transitioning", "Enable in progress")]
    error = error_of(lambda: run(arm, SCRIPT))
    assert error.code == "VMExtensionProvisioningTimeout"
    assert 'The extension last reported "Enable in progress".' in error.message


def test_a_script_is_not_kept(arm: Any, db: Any) -> None:
    arm.vm()
    run(arm, {**SCRIPT, "script": ["echo a-secret-word"]})
    with db.read() as connection:
        kept = [list(row) for row in connection.execute("SELECT document FROM operation")]
        kept += [list(row) for row in connection.execute("SELECT document, state FROM resource")]
    assert "a-secret-word" not in json.dumps(kept)


def test_other_commands_are_refused_by_name(arm: Any) -> None:
    arm.vm()
    error = error_of(lambda: run(arm, {"commandId": "ifconfig"}))
    assert error.code == "NotFound" and "'ifconfig'" in error.message


# Extensions


def test_an_extension_is_run_shown_listed_and_deleted(arm: Any) -> None:
    arm.vm()
    arm.host.answers = [("success", "Enable succeeded: \n[stdout]\nhello\n\n[stderr]\n")]
    made = put(arm, settings={"commandToExecute": "echo hello"}, protectedSettings={"script": "c2VjcmV0"})
    assert made.properties.provisioning_state == "Succeeded"
    assert made.properties.settings == {"commandToExecute": "echo hello"}
    assert made.properties.protected_settings is None
    handler, sequence, public, protected = arm.host.handled[-1]
    assert (handler.name, sequence) == ("Microsoft.Azure.Extensions.CustomScript", 0)
    assert (public, protected) == ({"commandToExecute": "echo hello"}, {"script": "c2VjcmV0"})
    extensions = arm.compute.virtual_machine_extensions
    view = extensions.get("rg", "vm1", "script", expand="instanceView").properties.instance_view
    assert view.type == "Microsoft.Azure.Extensions.CustomScript"
    assert view.statuses[0].code == "ProvisioningState/succeeded"
    assert view.statuses[0].message == "Enable succeeded: \n[stdout]\nhello\n\n[stderr]\n"
    assert [one.name for one in extensions.list("rg", "vm1").value] == ["script"]
    whole = arm.compute.virtual_machines.instance_view("rg", "vm1")
    assert whole.vm_agent.extension_handlers[0].type == "Microsoft.Azure.Extensions.CustomScript"
    assert [one.name for one in whole.extensions] == ["script", "vmstamp.timeline"]
    extensions.begin_delete("rg", "vm1", "script").result()
    with pytest.raises(ResourceNotFoundError):
        extensions.get("rg", "vm1", "script")
    put(arm)
    assert arm.host.handled[-1][1] == 2, "the numbers of a handler outlive its extension"


def test_protected_settings_are_gone_when_the_agent_has_them(arm: Any, db: Any) -> None:
    arm.vm()
    for answer in ("success", "error"):
        arm.host.answers = [(answer, "told")]
        try:
            put(arm, settings=None, protectedSettings={"commandToExecute": "a-secret-word"})
        except HttpResponseError:
            assert answer == "error"
        with db.read() as connection:
            kept = [list(row) for row in connection.execute("SELECT document FROM operation")]
            kept += [list(row) for row in connection.execute("SELECT document, state FROM resource")]
        assert "a-secret-word" not in json.dumps(kept), answer


def test_an_extension_is_not_begun_again_without_its_secrets(arm: Any) -> None:
    arm.vm()
    arm.host.answers = [("transitioning", "told")]
    error = error_of(lambda: put(arm, settings=None, protectedSettings={"commandToExecute": "a-secret-word"}))
    assert error.code == "VMExtensionProvisioningTimeout"
    kind = arm.plane.engine.types["microsoft.compute/virtualmachines/extensions"]
    [extension] = arm.plane.engine.catalog.select(type=kind.key)
    with pytest.raises(AzureError, match="protected settings are not kept") as caught:
        kind.apply(extension, Work(resumed=True))
    assert caught.value.code == "OperationInterrupted" and len(arm.host.handled) == 1


def test_the_same_settings_are_not_run_again(arm: Any) -> None:
    arm.vm()
    put(arm)
    put(arm)
    assert len(arm.host.handled) == 1
    put(arm, forceUpdateTag="again")
    put(arm, settings={"commandToExecute": "false"})
    assert [one[1] for one in arm.host.handled] == [0, 1, 2]
    patch = {"properties": {"settings": {"commandToExecute": "echo patched"}}}
    arm.compute.virtual_machine_extensions.begin_update("rg", "vm1", "script", patch).result()
    assert arm.host.handled[-1][2] == {"commandToExecute": "echo patched"}


def test_a_failure_is_reported_and_can_be_tried_again(arm: Any) -> None:
    arm.vm()
    failed = "Enable failed: failed to execute command: command terminated with exit status=3"
    arm.host.answers = [("error", failed)]
    error = error_of(lambda: put(arm))
    assert error.code == "VMExtensionProvisioningError" and failed in error.message
    extensions = arm.compute.virtual_machine_extensions
    shown = extensions.get("rg", "vm1", "script", expand="instanceView").properties
    assert shown.provisioning_state == "Failed"
    assert shown.instance_view.statuses[0].code == "ProvisioningState/failed/0"
    assert put(arm).properties.provisioning_state == "Succeeded"
    arm.host.answers = [("error", failed)]
    quiet = put(arm, settings={"commandToExecute": "exit 3"}, suppressFailures=True)
    assert quiet.properties.provisioning_state == "Succeeded"


def test_a_handler_that_cannot_be_installed_is_told_of(arm: Any) -> None:
    arm.vm()
    arm.host.answers = [("not ready", "Failed to download")]
    error = error_of(lambda: put(arm))
    assert error.code == "VMExtensionHandlerNonTransientError"
    assert "error code '1002' and error message: 'Failed to download'" in error.message


def test_extensions_go_with_their_vm(arm: Any) -> None:
    arm.vm()
    put(arm)
    arm.compute.virtual_machines.begin_delete("rg", "vm1").result()
    assert arm.plane.engine.catalog.select(type="microsoft.compute/virtualmachines/extensions") == []
    arm.vm("vm2")
    put(arm, vm="vm2")
    arm.resources.resource_groups.begin_delete("rg").result()
    assert not arm.resources.resource_groups.check_existence("rg")


def test_whole_vm_can_be_put_back_with_its_extensions(arm: Any) -> None:
    arm.vm()
    put(arm)
    vm = arm.compute.virtual_machines.get("rg", "vm1")
    assert [one.name for one in vm.resources] == ["script"]
    arm.compute.virtual_machines.begin_create_or_update("rg", "vm1", vm).result()
    assert len(arm.host.handled) == 1


def test_what_a_location_has_of_extensions_is_listed(arm: Any) -> None:
    images = arm.compute.virtual_machine_extension_images
    [found] = images.list_types("westeurope", "Microsoft.Azure.Extensions")
    assert found.name == "CustomScript"
    [version] = images.list_versions("westeurope", "Microsoft.Azure.Extensions", "CustomScript")
    one = images.get("westeurope", "microsoft.azure.extensions", "customscript", version.name)
    assert (one.name, one.properties.operating_system) == ("2.1.10", "Linux")
    publishers = arm.compute.virtual_machine_images.list_publishers("westeurope")
    assert [p.name for p in publishers] == ["Microsoft.Azure.Extensions", "Microsoft.OSTCExtensions"]
    with pytest.raises(ResourceNotFoundError):
        images.list_versions("westeurope", "Microsoft.Azure.Extensions", "Nothing")


def access(**properties: Any) -> dict[str, Any]:
    kind = {"publisher": "Microsoft.OSTCExtensions", "type": "VMAccessForLinux", "typeHandlerVersion": "1.5"}
    return body(**kind, settings={}, **properties)


def test_accounts_are_set_by_a_handler_of_their_own(arm: Any, db: Any) -> None:
    arm.vm()
    put(arm)
    secret = {"username": "ann", "password": "a-secret-word"}
    extensions = arm.compute.virtual_machine_extensions
    made = extensions.begin_create_or_update("rg", "vm1", "enablevmaccess", access(protectedSettings=secret))
    assert made.result().properties.protected_settings is None
    handler, _, public, protected = arm.host.handled[-1]
    assert (handler.name, public, protected) == ("Microsoft.OSTCExtensions.VMAccessForLinux", {}, secret)
    assert [one.name for one in extensions.list("rg", "vm1").value] == ["enablevmaccess", "script"]
    with db.read() as connection:
        kept = [list(row) for row in connection.execute("SELECT document, state FROM resource")]
    assert "a-secret-word" not in json.dumps(kept)


@pytest.mark.parametrize("ends", ["success", "error"])
def test_an_extension_waits_for_those_that_come_first(arm: Any, ends: str) -> None:
    arm.vm()
    arm.host.answers = [("transitioning", "Plugin enabled")]
    assert ask(arm, "PUT", f"{VM}/extensions/script", body()).status_code == 201
    second = access(provisionAfterExtensions=["script"])
    reply = ask(arm, "PUT", f"{VM}/extensions/accounts", second)
    assert reply.status_code == 201
    assert len(arm.host.handled) == 1, "it is not begun while the first is under way"
    arm.host.tell(CUSTOM_SCRIPT, "", ends, "told")
    arm.plane.engine.operations.wait()
    done = ask(arm, "GET", reply.headers["Azure-AsyncOperation"]).json()
    assert len(arm.host.handled) == (2 if ends == "success" else 1)
    assert done["status"] == ("Succeeded" if ends == "success" else "Failed")
    if ends == "error":
        assert "Dependent Extension script did not succeed." in done["error"]["message"]


def test_what_comes_first_must_be_there(arm: Any) -> None:
    arm.vm()
    error = error_of(lambda: put(arm, provisionAfterExtensions=["accounts"]))
    assert (error.code, error.target) == ("InvalidParameter", "provisionAfterExtensions")
    put(arm)
    extensions = arm.compute.virtual_machine_extensions
    after = access(provisionAfterExtensions=["script"])
    extensions.begin_create_or_update("rg", "vm1", "accounts", after).result()
    error = error_of(lambda: put(arm, provisionAfterExtensions=["accounts"]))
    assert error.target == "provisionAfterExtensions", "two that wait for each other"


# Beside other operations


def test_the_agent_is_asked_for_one_thing_at_a_time(arm: Any) -> None:
    """While one handler works, another operation that needs the agent gets Azure's 409."""
    arm.vm()
    arm.host.answers = [("transitioning", "Plugin enabled")]
    assert ask(arm, "PUT", f"{VM}/extensions/script", body()).status_code == 201
    others = [
        ask(arm, "POST", f"{VM}/runCommand", SCRIPT),
        ask(arm, "PUT", f"{VM}/extensions/script", body()),
        ask(arm, "DELETE", f"{VM}/extensions/script"),
    ]
    told = [(reply.status_code, reply.json()["error"]["code"]) for reply in others]
    assert told == [(409, "Conflict")] * len(others)


def test_no_extension_is_begun_while_the_vm_is_busy(arm: Any) -> None:
    arm.vm()
    put(arm)
    arm.host.answers = [("transitioning", "Enable in progress")]
    assert ask(arm, "POST", f"{VM}/runCommand", SCRIPT).status_code == 202
    others = [
        ask(arm, "PUT", f"{VM}/extensions/script", body(forceUpdateTag="2")),
        ask(arm, "DELETE", f"{VM}/extensions/script"),
        ask(arm, "POST", f"{VM}/restart"),
    ]
    told = [(reply.status_code, reply.json()["error"]["code"]) for reply in others]
    assert told == [(409, "Conflict")] * len(others)


def test_a_vm_whose_extension_does_not_end_is_deallocated(arm: Any) -> None:
    arm.vm()
    arm.host.answers = [("transitioning", "Plugin enabled")]
    reply = ask(arm, "PUT", f"{VM}/extensions/script", body())
    arm.compute.virtual_machines.begin_deallocate("rg", "vm1").result()
    arm.plane.engine.operations.wait()
    error = ask(arm, "GET", reply.headers["Azure-AsyncOperation"]).json()["error"]
    assert (error["code"], error["message"]) == (
        "OperationNotAllowed",
        "The operation requires the VM to be running (or set to run).",
    )
