"""Whole templates by `az deployment group|sub` on a running stamp, and deployments that are canceled.

No guest is booted: the image is an empty disk, so a VM is under way for as long as a test looks at it.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from tests.peers.shell import Shell

TEMPLATES: Final = Path(__file__).parents[1] / "data" / "templates"
PASSWORD: Final = "Abc-987-xyz-654"
SUBSCRIPTION_SCHEMA: Final = (
    "https://schema.management.azure.com/schemas/2018-05-01/subscriptionDeploymentTemplate.json#"
)
DEADLINE: Final = 60.0  # seconds for a VM to be under way, or for a canceled deployment to end


def write(shell: Shell, name: str, **values: Any) -> str:
    """A file of parameters beside the shell: its name as az takes it."""
    given = {
        "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentParameters.json#",
        "contentVersion": "1.0.0.0",
        "parameters": {key: {"value": value} for key, value in values.items()},
    }
    (shell.directory / name).write_text(json.dumps(given))
    return f"@{name}"


def kinds(changes: list[dict[str, Any]]) -> dict[str, str]:
    """What a what-if foresees, by the last words of each id."""
    return {"/".join(one["resourceId"].split("/")[-2:]): one["changeType"] for one in changes}


def states(operations: list[dict[str, Any]]) -> dict[str, str]:
    """How the steps of a deployment stand, by type and name."""
    return {
        "/".join(one["targetResource"]["id"].split("/")[-2:]): one["provisioningState"]
        for one in (operation["properties"] for operation in operations)
        if one["targetResource"]
    }


def until(look: Callable[[], Any]) -> Any:
    end = time.monotonic() + DEADLINE
    while not (found := look()):
        assert time.monotonic() < end, "the time is up"
        time.sleep(0.5)
    return found


@pytest.fixture(scope="module")
def vhd(shell: Shell) -> str:
    """The URL of an empty disk in an account of the group `disks`."""
    shell.az("group create -n disks -l westeurope")
    shell.az("storage account create -n disks1 -g disks -l westeurope --sku Standard_LRS")
    words = shell.az("storage account show-connection-string -n disks1 -g disks")["connectionString"]
    by = f"--connection-string '{words}'"
    shell.run("truncate -s 1M disk.raw; vmstamp disk convert disk.raw disk.vhd; ssh-keygen -q -N '' -f key")
    shell.az(f"storage container create -n vhds {by}")
    shell.az(f"storage blob upload -c vhds -n disk.vhd -f disk.vhd --no-progress {by}")
    return str(json.loads(shell.run("vmstamp status --json").text)["blob"]) + "/disks1/vhds/disk.vhd"


@pytest.fixture(scope="module")
def image(shell: Shell, vhd: str) -> str:
    words = "image create -g disks -n empty -l westeurope --os-type Linux --hyper-v-generation V2"
    return str(shell.az(f"{words} --source {vhd}")["id"])


def test_what_bicep_compiles_lives_its_life(shell: Shell) -> None:
    shell.az("group create -n bicep -l westeurope")
    shell.az("network nsg create -g bicep -n old-guard -l westeurope --tags age=old")
    subnets = [{"name": "a", "guarded": True}, {"name": "b", "bits": 24}]
    given = f"-g bicep -f {TEMPLATES}/bicep-network.json -p {write(shell, 'bicep.json', subnets=subnets)}"
    given += " -p suffix=1 size=small"
    assert shell.az(f"deployment group validate {given}")["properties"]["provisioningState"] == "Succeeded"
    foreseen = shell.az(f"deployment group what-if {given} --no-pretty-print")["changes"]
    assert kinds(foreseen) == {
        "virtualNetworks/vnet1": "Create",
        "subnets/extra": "Create",
        "publicIPAddresses/ip-0": "Create",
        "publicIPAddresses/ip-1": "Create",
        "publicIPAddresses/ip-2": "Create",
        "networkSecurityGroups/rules-a": "Create",
        "networkSecurityGroups/rules-b": "Create",
        "networkSecurityGroups/old-guard": "Ignore",
    }
    properties = shell.az(f"deployment group create {given} -n one")["properties"]
    assert properties["outputs"]["subnets"]["value"] == ["a", "b"]
    assert properties["outputs"]["guardTags"]["value"] == {"age": "old"}
    assert properties["parameters"]["suffix"] == {"type": "String", "value": "1"}
    assert "a hidden word" not in json.dumps(properties)
    listed = {one["name"]: one["properties"] for one in shell.az("deployment group list -g bicep")}
    assert len(listed) == 3 and {one["provisioningState"] for one in listed.values()} == {"Succeeded"}
    steps = states(shell.az("deployment operation group list -g bicep -n one"))
    assert set(steps.values()) == {"Succeeded"} and "networkSecurityGroups/never" not in steps
    exported = shell.az("deployment group export -g bicep -n one")
    assert exported["languageVersion"] == "2.0" and "guard" in exported["resources"]


def test_a_canceled_deployment_ends_and_what_it_began_goes_on(shell: Shell, image: str) -> None:
    shell.az("group create -n vms -l westeurope")
    file = write(shell, "machine.json", imageId=image, dataDisks=[])
    given = f"-g vms -f {TEMPLATES}/linux-vm.json -p {file} adminPasswordOrKey='{PASSWORD}' -p vmName=held"
    text = shell.run(f"vmstamp az -- deployment group what-if {given} --no-pretty-print -o json").text
    assert PASSWORD not in text and "virtualMachines/held" in kinds(json.loads(text)["changes"])
    shell.az(f"deployment group create {given} -n one --no-wait")

    def begun() -> bool:
        steps = states(shell.az("deployment operation group list -g vms -n one"))
        return steps.get("virtualMachines/held") == "Running"

    until(begun)
    assert shell.az("deployment group cancel -g vms -n one") is None

    def ended() -> bool:
        shown = shell.az("deployment group show -g vms -n one")["properties"]
        return bool(shown["provisioningState"] == "Canceled")

    until(ended)
    said = shell.refused("deployment group cancel -g vms -n one")
    assert "DeploymentCannotBeCancelled" in said and "in the state 'Canceled'" in said
    steps = states(shell.az("deployment operation group list -g vms -n one"))
    assert steps.pop("virtualMachines/held") == "Canceled" and set(steps.values()) == {"Succeeded"}
    assert shell.az("vm show -g vms -n held")["provisioningState"] == "Creating"
    shell.az("vm delete -g vms -n held --yes")


def test_an_image_and_its_gallery_are_made_before_the_deployment_is_canceled(shell: Shell, vhd: str) -> None:
    shell.az("group create -n pictures -l westeurope")
    key = (shell.directory / "key.pub").read_text().strip()
    file = write(shell, "gallery.json", vhd=vhd, key=key)
    given = f"""-g pictures -f {TEMPLATES}/image-gallery.json -p {file} -p regions='["westeurope"]'"""
    changes = kinds(shell.az(f"deployment group what-if {given} --no-pretty-print")["changes"])
    assert set(changes.values()) == {"Create"} and "versions/1.0.0" in changes
    shell.az(f"deployment group create {given} -n one --no-wait")

    def begun() -> bool:
        steps = states(shell.az("deployment operation group list -g pictures -n one"))
        return "virtualMachines/stamped" in steps

    until(begun)
    shell.az("deployment group cancel -g pictures -n one")
    until(lambda: shell.az("deployment group list -g pictures --filter \"provisioningState eq 'Canceled'\""))
    steps = states(shell.az("deployment operation group list -g pictures -n one"))
    assert steps.pop("virtualMachines/stamped") == "Canceled" and set(steps.values()) == {"Succeeded"}
    assert {"images/picture", "versions/1.0.0", "snapshots/data-before"} <= steps.keys()
    shell.az("vm delete -g pictures -n stamped --yes")
    exported = shell.az("deployment group export -g pictures -n one")
    assert exported["parameters"]["regions"]["type"] == "array"


def test_a_deployment_goes_to_two_subscriptions(shell: Shell) -> None:
    shell.run("vmstamp subscription create second")
    (other,) = [one["id"] for one in shell.az("account list --all --refresh") if one["name"] == "second"]
    given = f"-l westeurope -f {TEMPLATES}/subscriptions.json -p other={other} -p location=northeurope"
    assert shell.az(f"deployment sub validate {given}")["properties"]["provisioningState"] == "Succeeded"
    changes = shell.az(f"deployment sub what-if {given} --no-pretty-print")["changes"]
    assert kinds(changes) == {
        "resourceGroups/here": "Create",
        "resourceGroups/there": "Create",
        "virtualNetworks/far": "Create",
    }
    outputs = shell.az(f"deployment sub create {given} -n one")["properties"]["outputs"]
    assert outputs["in"]["value"] == other and outputs["space"]["value"] == ["10.5.0.0/16"]
    steps = states(shell.az("deployment operation sub list -n one"))
    assert steps == {
        "resourceGroups/here": "Succeeded",
        "deployments/groups": "Succeeded",
        "deployments/network": "Succeeded",
    }
    assert shell.az("deployment sub export -n one")["parameters"]["other"] == {"type": "string"}
    assert [one["name"] for one in shell.az(f"deployment sub list --subscription {other}")] == ["groups"]
    assert "DeploymentCannotBeCancelled" in shell.refused("deployment sub cancel -n one")
    assert "DeploymentNotFound" in shell.refused("deployment sub cancel -n two", status=3)


def test_a_canceled_deployment_of_the_subscription_cancels_the_ones_in_it(shell: Shell, image: str) -> None:
    shell.az("group create -n inside -l westeurope")
    inner = json.loads((TEMPLATES / "linux-vm.json").read_text())
    parameters = {"vmName": "deep", "imageId": image, "adminPasswordOrKey": PASSWORD, "dataDisks": []}
    nested = {
        "type": "Microsoft.Resources/deployments",
        "apiVersion": "2022-09-01",
        "name": "machine",
        "resourceGroup": "inside",
        "properties": {
            "expressionEvaluationOptions": {"scope": "inner"},
            "mode": "Incremental",
            "template": inner,
            "parameters": {name: {"value": value} for name, value in parameters.items()},
        },
    }
    group = {"type": "Microsoft.Resources/resourceGroups", "apiVersion": "2022-09-01", "name": "after"}
    after = {**group, "location": "westeurope", "dependsOn": ["machine"]}
    whole = {"$schema": SUBSCRIPTION_SCHEMA, "contentVersion": "1.0.0.0", "resources": [nested, after]}
    (shell.directory / "whole.json").write_text(json.dumps(whole))
    shell.az("deployment sub create -l westeurope -f whole.json -n outer --no-wait")

    def begun() -> bool:
        found = shell.az("deployment group list -g inside")
        return bool(found) and "virtualMachines/deep" in states(
            shell.az("deployment operation group list -g inside -n machine")
        )

    until(begun)
    shell.az("deployment sub cancel -n outer")
    until(lambda: shell.az("deployment sub list --filter \"provisioningState eq 'Canceled'\""))
    (inside,) = shell.az("deployment group list -g inside")
    assert inside["properties"]["provisioningState"] == "Canceled"
    assert states(shell.az("deployment operation sub list -n outer")) == {"deployments/machine": "Canceled"}
    shell.az("vm delete -g inside -n deep --yes")
