"""What is given in confidence is in no reply, no log and, once it has served, in no byte of the database."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from tests.client.arm.parity.row import COMPUTE, GROUP, ask
from vmstamp.arm.compute.host import Outcome
from vmstamp.errors import MachineError

PASSWORD = "Planted-Pass-4711"
CUSTOM = base64.b64encode(b"planted custom data " * 900).decode()  # more than a page of the database
DEPLOYMENT = f"{GROUP}/providers/Microsoft.Resources/deployments/one"
MACHINE = f"{COMPUTE}/virtualMachines/vm1"
SCHEMA = "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#"
PRIVATE_KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nplanted-private-key\n-----END OPENSSH PRIVATE KEY-----"

Said = Callable[..., str]


@pytest.fixture
def said(arm: Any, caplog: pytest.LogCaptureFixture) -> Iterator[Said]:
    """Send a request; afterwards, called without one, all that was answered or logged so far."""
    caplog.set_level(logging.DEBUG)
    heard: list[str] = []

    def send(method: str = "", path: str = "", body: Any = None) -> str:
        if method:
            reply = ask(arm, method, path, body)
            heard.append(f"{reply.status_code} {reply.text} {dict(reply.headers)}")
            if url := reply.headers.get("Azure-AsyncOperation"):
                arm.plane.engine.operations.wait()
                arm.plane._deployments.operations.wait()
                heard.append(ask(arm, "GET", url).text)
            return heard[-1]
        return "\n".join([*heard, *(record.getMessage() for record in caplog.records), caplog.text])

    yield send


def stored(directory: Path) -> bytes:
    """The database with its log, as they lie on the disk."""
    return b"".join(path.read_bytes() for path in directory.glob("stamp.db*"))


def machine(arm: Any) -> dict[str, Any]:
    body = arm.vm_body(arm.image(), arm.nic())
    profile = {"computerName": "vm1", "adminUsername": "someone"}
    body["properties"]["osProfile"] = profile | {"adminPassword": PASSWORD, "customData": CUSTOM}
    return body  # type: ignore[no-any-return]


def test_a_machines_secrets_are_gone_once_its_guest_has_them(arm: Any, said: Said, tmp_path: Path) -> None:
    arm.host.held.clear()
    body = machine(arm)
    ask(arm, "PUT", MACHINE, body)
    assert arm.host.started.wait(20)
    assert PASSWORD.encode() in stored(tmp_path), "a machine that is taken up again needs it"
    arm.host.held.set()
    arm.plane.engine.operations.wait()
    for path in (MACHINE, f"{MACHINE}?$expand=instanceView", f"{MACHINE}/instanceView", f"{GROUP}/resources"):
        said("GET", path)
    said("POST", f"{GROUP}/exportTemplate", {"resources": ["*"]})
    assert PASSWORD not in said() and CUSTOM[:40] not in said()
    assert PASSWORD.encode() not in stored(tmp_path) and CUSTOM[200:240].encode() not in stored(tmp_path)


def test_the_secrets_of_a_machine_that_failed_go_with_it(arm: Any, said: Said, tmp_path: Path) -> None:
    arm.host.outcome = Outcome(False, "OSProvisioningTimedOut", "the guest said nothing")
    assert "OSProvisioningTimedOut" in said("PUT", MACHINE, machine(arm))
    said("GET", f"{MACHINE}?$expand=instanceView")
    said("DELETE", MACHINE)
    assert PASSWORD not in said() and CUSTOM[:40] not in said()
    assert PASSWORD.encode() not in stored(tmp_path) and CUSTOM[200:240].encode() not in stored(tmp_path)


@pytest.mark.parametrize("member", ["keyData", "path"])
def test_a_private_key_in_place_of_a_public_one_is_refused_unsaid(arm: Any, said: Said, member: str) -> None:
    body = machine(arm)
    key = {"path": "/home/someone/.ssh/authorized_keys", "keyData": "ssh-ed25519 AAAA", member: PRIVATE_KEY}
    body["properties"]["osProfile"]["linuxConfiguration"] = {"ssh": {"publicKeys": [key]}}
    assert said("PUT", MACHINE, body).startswith("400")
    assert "planted-private-key" not in said()


def deployment(*resources: Any, outputs: Any = None, kind: str = "securestring") -> dict[str, Any]:
    value: Any = PASSWORD if kind == "securestring" else {"inner": PASSWORD, "list": [PASSWORD]}
    template = {
        "$schema": SCHEMA,
        "contentVersion": "1.0.0.0",
        "parameters": {"secret": {"type": kind}},
        "resources": list(resources),
        "outputs": outputs or {},
    }
    given = {"secret": {"value": value}}
    return {"properties": {"mode": "Incremental", "template": template, "parameters": given}}


def resource(**members: Any) -> dict[str, Any]:
    kind = {"type": "Microsoft.Network/publicIPAddresses", "apiVersion": "2023-09-01", "name": "ip1"}
    return {**kind, "location": "westeurope", "properties": {}, **members}


def vm(arm: Any, password: str) -> dict[str, Any]:
    body = machine(arm)
    body["properties"]["osProfile"] |= {"adminPassword": password}
    return {"type": "Microsoft.Compute/virtualMachines", "apiVersion": "2024-07-01", "name": "vm1", **body}


def look_everywhere(said: Said) -> None:
    for path in (DEPLOYMENT, f"{GROUP}/deployments/one/operations", f"{GROUP}/deployments"):
        said("GET", path)
    said("POST", f"{DEPLOYMENT}/exportTemplate")


@pytest.mark.parametrize("kind", ["securestring", "secureobject"])
def test_a_secure_parameter_is_used_and_forgotten(arm: Any, said: Said, tmp_path: Path, kind: str) -> None:
    whole = "[parameters('secret')]" if kind == "securestring" else "[parameters('secret').inner]"
    body = deployment(vm(arm, whole), kind=kind)
    said("POST", f"{DEPLOYMENT}/validate", body)
    said("POST", f"{DEPLOYMENT}/whatIf", body)
    assert '"Succeeded"' in said("PUT", DEPLOYMENT, body)
    look_everywhere(said)
    assert arm.power("vm1") == "PowerState/running"
    assert PASSWORD not in said() and PASSWORD.encode() not in stored(tmp_path)


WRONG: dict[str, Any] = {
    "a number": resource(name="[string(int(parameters('secret')))]"),
    "a name": resource(name="[concat(parameters('secret'), '/!')]"),
    "a value": resource(properties={"publicIPAllocationMethod": "[parameters('secret')]"}),
    "a property": resource(properties={"[parameters('secret')]": 1}),
    "a region": resource(location="[parameters('secret')]"),
    "a type": resource(type="[concat('Microsoft.Network/', parameters('secret'))]"),
    "what waits": resource(
        properties={"publicIPAllocationMethod": "[concat(parameters('secret'), reference('first').id)]"}
    ),
}


@pytest.mark.parametrize("place", WRONG)
def test_a_secure_parameter_in_the_wrong_place_is_not_repeated(
    arm: Any, said: Said, tmp_path: Path, place: str
) -> None:
    body = deployment(resource(name="first"), WRONG[place])
    said("POST", f"{DEPLOYMENT}/validate", body)
    said("PUT", DEPLOYMENT, body)
    look_everywhere(said)
    assert '"error"' in said()
    assert PASSWORD not in said()
    assert PASSWORD.encode() not in stored(tmp_path)


def test_a_secure_parameter_of_a_nested_deployment_is_not_repeated(
    arm: Any, said: Said, tmp_path: Path
) -> None:
    inner = deployment(WRONG["a value"])["properties"]
    inner["parameters"] = {"secret": {"value": "[parameters('secret')]"}}
    inner["expressionEvaluationOptions"] = {"scope": "inner"}
    nested = {"type": "Microsoft.Resources/deployments", "apiVersion": "2022-09-01", "name": "inner"}
    said("PUT", DEPLOYMENT, deployment({**nested, "properties": inner}))
    look_everywhere(said)
    said("GET", DEPLOYMENT.replace("/one", "/inner"))
    assert PASSWORD not in said() and PASSWORD.encode() not in stored(tmp_path)


def test_an_output_of_a_secure_type_has_no_value(arm: Any, said: Said, tmp_path: Path) -> None:
    outputs = {"it": {"type": "securestring", "value": "[parameters('secret')]"}}
    said("PUT", DEPLOYMENT, deployment(outputs=outputs))
    look_everywhere(said)
    assert '"SecureString"' in said()
    assert PASSWORD not in said() and PASSWORD.encode() not in stored(tmp_path)


def test_a_signature_in_a_source_is_neither_shown_nor_kept(arm: Any, said: Said, tmp_path: Path) -> None:
    url = f"{arm.vhd('account1', 'disk.vhd')}?sv=2021-08-06&sig=planted-signature"
    where = {"location": "westeurope"}
    creation = {"createOption": "Import", "sourceUri": url}
    said("PUT", f"{COMPUTE}/disks/disk1", {**where, "properties": {"creationData": creation}})
    disk = {"osType": "Linux", "osState": "Generalized", "blobUri": url}
    image = {"storageProfile": {"osDisk": disk}, "hyperVGeneration": "V2"}
    said("PUT", f"{COMPUTE}/images/image1", {**where, "properties": image})
    said("PUT", f"{COMPUTE}/snapshots/snap1", {**where, "properties": {"creationData": creation}})
    gallery = f"{COMPUTE}/galleries/gallery1"
    kind = {"osType": "Linux", "osState": "Generalized", "hyperVGeneration": "V2"}
    identifier = {"publisher": "a", "offer": "b", "sku": "c"}
    said("PUT", gallery, {**where, "properties": {}})
    said("PUT", f"{gallery}/images/linux", {**where, "properties": {**kind, "identifier": identifier}})
    version = {"storageProfile": {"osDiskImage": {"source": {"uri": url}}}}
    said("PUT", f"{gallery}/images/linux/versions/1.0.0", {**where, "properties": version})
    made = (
        "disks/disk1",
        "images/image1",
        "snapshots/snap1",
        "galleries/gallery1/images/linux/versions/1.0.0",
    )
    for path in (f"{COMPUTE}/{one}" for one in (*made, "disks")):
        assert said("GET", path).startswith("200")
    creation["sourceUri"] = url.replace("disk.vhd", "none.vhd")
    said("PUT", f"{COMPUTE}/disks/disk2", {**where, "properties": {"creationData": creation}})
    assert "planted-signature" not in said()
    assert b"planted-signature" not in stored(tmp_path)


def test_an_accounts_keys_are_told_by_list_keys_alone(arm: Any, said: Said) -> None:
    arm.vhd("account1", "disk.vhd")
    account = arm.store.get_account("account1")
    path = f"{GROUP}/providers/Microsoft.Storage/storageAccounts/account1"
    for one in (path, f"{GROUP}/resources", f"{path}/listKeys"):
        said("GET", one)
    said("POST", f"{path}/regenerateKey", {"keyName": account.key2})
    said("POST", f"{GROUP}/exportTemplate", {"resources": ["*"]})
    assert account.key1 not in said()
    assert account.key2 not in json.dumps(said())


def extension(**properties: Any) -> dict[str, Any]:
    kind = {"publisher": "Microsoft.Azure.Extensions", "type": "CustomScript", "typeHandlerVersion": "2.1"}
    return {"location": "westeurope", "properties": {**kind, **properties}}


ACCESS = {"publisher": "Microsoft.OSTCExtensions", "type": "VMAccessForLinux", "typeHandlerVersion": "1.5"}
PROTECTED = {"commandToExecute": f"login {PASSWORD}"}
COMMAND = {
    "source": {"scriptUri": f"https://account.blob.core.windows.net/scripts/one.sh?sv=1&sig={PASSWORD}"},
    "protectedParameters": [{"name": "password", "value": PASSWORD}],
}
CHILDREN: dict[str, tuple[str, Any]] = {
    "a script": ("extensions/one", extension(protectedSettings=PROTECTED)),
    "a user": (
        "extensions/one",
        extension(**ACCESS, protectedSettings={"username": "ann", "password": PASSWORD}),
    ),
    "a run command": ("runCommands/one", {"location": "westeurope", "properties": COMMAND}),
}
ENDS = {
    "success": [],
    "a failure": [("error", "the script ended with 1")],
    "no handler": [("not ready", "it could not be installed")],
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("child", CHILDREN)
def test_protected_settings_are_gone_however_it_ends(
    arm: Any, said: Said, tmp_path: Path, child: str, end: str
) -> None:
    arm.vm()
    path, body = CHILDREN[child]
    arm.host.answers = list(ENDS[end])
    said("PUT", f"{MACHINE}/{path}", body)
    assert PASSWORD in json.dumps(arm.host.handled[-1][3]), "the agent has it"
    for one in (f"{MACHINE}/{path}", MACHINE, f"{MACHINE}/instanceView", f"{GROUP}/resources"):
        said("GET", one)
    said("POST", f"{GROUP}/exportTemplate", {"resources": ["*"]})
    assert PASSWORD not in said() and PASSWORD.encode() not in stored(tmp_path)


@pytest.mark.parametrize("child", CHILDREN)
def test_protected_settings_that_the_agent_never_had_are_gone(
    arm: Any, said: Said, tmp_path: Path, child: str
) -> None:
    arm.vm()
    first = extension(**ACCESS, settings={}) if "user" not in child else extension(settings={})
    arm.host.answers = [("error", "no")]
    said("PUT", f"{MACHINE}/extensions/first", first)
    path, body = CHILDREN[child]
    if path.startswith("extensions"):
        body = {**body, "properties": {**body["properties"], "provisionAfterExtensions": ["first"]}}
    real, arm.host.extend = arm.host.extend, refuse
    assert '"Failed"' in said("PUT", f"{MACHINE}/{path}", body)
    arm.host.extend = real
    assert PASSWORD not in said() and PASSWORD.encode() not in stored(tmp_path)


def refuse(*given: Any, **named: Any) -> int:
    raise MachineError("the guest is gone")


def test_a_run_commands_script_is_kept_nowhere(arm: Any, said: Said, tmp_path: Path) -> None:
    arm.vm()
    parameters = [{"name": "password", "value": PASSWORD}]
    body = {"commandId": "RunShellScript", "script": [f"login {PASSWORD}"], "parameters": parameters}
    said("POST", f"{MACHINE}/runCommand", body)
    arm.plane.engine.operations.wait()
    assert PASSWORD in base64.b64decode(arm.host.handled[-1][2]["script"]).decode()
    for path in (MACHINE, f"{MACHINE}/instanceView", f"{GROUP}/resources"):
        said("GET", path)
    assert PASSWORD not in said() and PASSWORD.encode() not in stored(tmp_path)


@pytest.mark.parametrize("end", ENDS)
def test_a_secure_parameter_in_protected_settings_is_used_and_forgotten(
    arm: Any, said: Said, tmp_path: Path, end: str
) -> None:
    arm.vm()
    arm.host.answers = list(ENDS[end])
    kind = {"type": "Microsoft.Compute/virtualMachines/extensions", "apiVersion": "2024-07-01"}
    protected = {"commandToExecute": "[concat('login ', parameters('secret'))]"}
    body = deployment({**kind, "name": "vm1/one", **extension(protectedSettings=protected)})
    said("POST", f"{DEPLOYMENT}/validate", body)
    said("POST", f"{DEPLOYMENT}/whatIf", body)
    said("PUT", DEPLOYMENT, body)
    look_everywhere(said)
    assert PASSWORD in json.dumps(arm.host.handled[-1][3]), "the agent has it"
    assert PASSWORD not in said() and PASSWORD.encode() not in stored(tmp_path)


def test_a_key_that_a_deployment_outputs_is_not_kept(arm: Any, said: Said, tmp_path: Path) -> None:
    arm.vhd("account1", "disk.vhd")
    account = arm.store.get_account("account1")
    keys = "listKeys(resourceId('Microsoft.Storage/storageAccounts', 'account1'), '2023-05-01')"
    outputs = {"key": {"type": "securestring", "value": f"[{keys}.keys[0].value]"}}
    said("PUT", DEPLOYMENT, deployment(outputs=outputs))
    look_everywhere(said)
    assert '"Succeeded"' in said() and account.key1 not in said()


def test_an_access_sas_is_told_by_its_operation_alone(arm: Any, said: Said) -> None:
    disk = f"{COMPUTE}/disks/disk1"
    empty = {"creationData": {"createOption": "Empty"}, "diskSizeGB": 1}
    said("PUT", disk, {"location": "westeurope", "properties": empty})
    grant = {"access": "Read", "durationInSeconds": 3600}
    given = arm.compute.disks.begin_grant_access("rg", "disk1", grant).result().access_sas
    signature = parse_qs(urlsplit(given).query)["sig"][0]
    for path in (disk, f"{COMPUTE}/disks", f"{GROUP}/resources", GROUP):
        said("GET", path)
    said("PUT", disk, {"location": "westeurope", "properties": {**empty, "diskSizeGB": 2}})
    said("DELETE", disk)
    said("POST", f"{GROUP}/exportTemplate", {"resources": ["*"]})
    assert "409" in said() and signature not in said() and quote(signature, safe="") not in said()
