"""Deployments through the official azure-mgmt-resource-deployments, and what a kill leaves of them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.mgmt.resource.deployments import DeploymentsMgmtClient

from vmstamp.arm.compute.host import Outcome
from vmstamp.arm.control_plane import ControlPlane, build
from vmstamp.arm.engine import Settings
from vmstamp.arm.types import Request
from vmstamp.blob.store import BlobRef, BlobStore
from vmstamp.db import Database
from vmstamp.errors import AzureError

SCHEMA = "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#"
SUBSCRIPTION = "11111111-2222-3333-4444-555555555555"
GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg"
BASE = "https://127.0.0.1:1"
DEPLOYMENT = "/providers/Microsoft.Resources/deployments/one"
DEADLINE = 20.0  # seconds


def template(*resources: Any, **sections: Any) -> dict[str, Any]:
    return {"$schema": SCHEMA, "contentVersion": "1.0.0.0", "resources": list(resources), **sections}


def body(whole: dict[str, Any], mode: str = "Incremental", **parameters: Any) -> dict[str, Any]:
    given = {name: {"value": value} for name, value in parameters.items()}
    return {"properties": {"mode": mode, "template": whole, "parameters": given}}


def network(name: str, **members: Any) -> dict[str, Any]:
    space = {"addressSpace": {"addressPrefixes": ["10.0.0.0/16"]}}
    kind = {"type": "Microsoft.Network/virtualNetworks", "apiVersion": "2023-09-01", "location": "westeurope"}
    return {**kind, "name": name, "properties": space, **members}


def group_of_rules(name: str, **members: Any) -> dict[str, Any]:
    kind = {"type": "Microsoft.Network/networkSecurityGroups", "apiVersion": "2023-09-01"}
    return {**kind, "name": name, "location": "westeurope", "properties": {}, **members}


def broken(name: str, **members: Any) -> dict[str, Any]:
    """A network interface in a subnet that is not there."""
    subnet = {"subnet": {"id": f"{GROUP}/providers/Microsoft.Network/virtualNetworks/none/subnets/none"}}
    properties = {"ipConfigurations": [{"name": "a", "properties": subnet}]}
    kind = {
        "type": "Microsoft.Network/networkInterfaces",
        "apiVersion": "2023-09-01",
        "location": "westeurope",
    }
    # The reference keeps what is wrong from being found beforehand.
    waits = {"dependsOn": ["first"]}
    return {**kind, "name": name, "properties": properties, **waits, **members}


def nested(name: str, inner: dict[str, Any], scope: str = "inner", **parameters: Any) -> dict[str, Any]:
    properties = {
        "mode": "Incremental",
        "template": inner,
        "parameters": {key: {"value": value} for key, value in parameters.items()},
        "expressionEvaluationOptions": {"scope": scope},
    }
    kind = {"type": "Microsoft.Resources/deployments", "apiVersion": "2022-09-01"}
    return {**kind, "name": name, "properties": properties}


@pytest.fixture
def client(arm: Any) -> Any:
    return arm.client(DeploymentsMgmtClient)


def deploy(client: Any, whole: dict[str, Any], **parameters: Any) -> Any:
    return client.deployments.begin_create_or_update("rg", "one", body(whole, **parameters)).result()


def failure(client: Any, whole: dict[str, Any], **parameters: Any) -> Any:
    """The error of a deployment as it is shown afterwards."""
    with pytest.raises(HttpResponseError):
        deploy(client, whole, **parameters)
    return client.deployments.get("rg", "one").properties.error


def networks(arm: Any) -> list[str]:
    return sorted(one.name for one in arm.network.virtual_networks.list("rg"))


def until(test: Callable[[], Any]) -> Any:
    end = time.monotonic() + DEADLINE
    while not (found := test()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return found


def test_a_deployment_lives_its_life_by_the_sdk(arm: Any, client: Any) -> None:
    whole = template(
        group_of_rules("nsg1"),
        network("[parameters('name')]", dependsOn=["nsg1"]),
        parameters={"name": {"type": "string"}},
        outputs={"space": {"type": "object", "value": "[reference(parameters('name')).addressSpace]"}},
    )
    checked = client.deployments.begin_validate("rg", "one", body(whole, name="v1")).result()
    assert checked.properties.provisioning_state == "Succeeded" and networks(arm) == []
    foreseen = client.deployments.begin_what_if("rg", "one", body(whole, name="v1")).result()
    assert [change.change_type for change in foreseen.properties.changes] == ["Create", "Create"]

    made = deploy(client, whole, name="v1").properties
    assert (made.provisioning_state, made.mode) == ("Succeeded", "Incremental")
    assert made.outputs == {"space": {"type": "Object", "value": {"addressPrefixes": ["10.0.0.0/16"]}}}
    assert [one.id.rsplit("/", 1)[1] for one in made.output_resources] == ["nsg1", "v1"]
    assert [one.resource_name for one in made.dependencies[0].depends_on] == ["nsg1"]
    assert networks(arm) == ["v1"]

    operations = list(client.deployment_operations.list("rg", "one"))
    assert [one.properties.provisioning_state for one in operations] == ["Succeeded"] * 3
    assert operations[0].properties.target_resource.resource_name == "nsg1"
    one = client.deployment_operations.get("rg", "one", operations[0].operation_id)
    assert one.properties.status_code == "Created"
    assert client.deployments.export_template("rg", "one").template == whole
    assert client.deployments.check_existence("rg", "one")
    assert [one.name for one in client.deployments.list_by_resource_group("rg")] == ["one"]
    assert client.deployments.calculate_template_hash(whole).template_hash == made.template_hash
    assert [one.type for one in arm.resources.resources.list()] == [
        "Microsoft.Network/networkSecurityGroups",
        "Microsoft.Network/virtualNetworks",
    ]
    client.deployments.begin_delete("rg", "one").result()
    with pytest.raises(ResourceNotFoundError, match="Deployment 'one' could not be found"):
        client.deployments.get("rg", "one")
    assert networks(arm) == ["v1"]


def test_independent_resources_are_made_side_by_side(arm: Any, client: Any) -> None:
    image = arm.image()
    machines = []
    for name in ("vm1", "vm2"):
        described = arm.vm_body(image, arm.nic(f"{name}-nic"))
        kind = {"type": "Microsoft.Compute/virtualMachines", "apiVersion": "2024-07-01", "name": name}
        machines.append({**kind, **described})
    arm.host.held.clear()
    poller = client.deployments.begin_create_or_update(
        "rg", "one", body(template(*machines)), polling_interval=0.1
    )
    until(lambda: len(arm.host.plans) == 2)
    assert not poller.done()
    states = {one.properties.provisioning_state for one in client.deployment_operations.list("rg", "one")}
    assert states == {"Running"}
    arm.host.held.set()
    assert poller.result().properties.provisioning_state == "Succeeded"
    assert (arm.power("vm1"), arm.power("vm2")) == ("PowerState/running",) * 2


def what_vm_create_deploys(image: str) -> dict[str, Any]:
    """The template of `az vm create -n vm1 --image ID`, az 2.91, with its nulls and its old api-versions."""
    network_id = f"{GROUP}/providers/Microsoft.Network"
    rule = {
        "protocol": "Tcp",
        "sourcePortRange": "*",
        "destinationPortRange": "22",
        "sourceAddressPrefix": "*",
        "destinationAddressPrefix": "*",
        "access": "Allow",
        "priority": 1000,
        "direction": "Inbound",
    }
    configuration = {
        "privateIPAllocationMethod": "Dynamic",
        "subnet": {"id": f"{network_id}/virtualNetworks/vm1VNET/subnets/vm1Subnet"},
        "publicIPAddress": {"id": f"{network_id}/publicIPAddresses/vm1PublicIP"},
    }
    profile = {
        "computerName": "vm1",
        "adminUsername": "someone",
        "adminPassword": "[parameters('adminPassword')]",
    }
    disk = {
        "createOption": "fromImage",
        "name": None,
        "caching": "ReadWrite",
        "managedDisk": {"storageAccountType": None},
    }

    def one(kind: str, name: str, version: str, waits: list[str], **members: Any) -> dict[str, Any]:
        common = {"location": "westeurope", "tags": {}, "dependsOn": waits}
        return {"apiVersion": version, "type": kind, "name": name, **common, **members}

    return {
        "$schema": "https://schema.management.azure.com/schemas/2015-01-01/deploymentTemplate.json#",
        "contentVersion": "1.0.0.0",
        "parameters": {"adminPassword": {"type": "securestring", "metadata": {"description": "Secure"}}},
        "variables": {},
        "resources": [
            one(
                "Microsoft.Network/virtualNetworks",
                "vm1VNET",
                "2015-06-15",
                [],
                properties={
                    "addressSpace": {"addressPrefixes": ["10.0.0.0/16"]},
                    "subnets": [{"name": "vm1Subnet", "properties": {"addressPrefix": "10.0.0.0/24"}}],
                },
            ),
            one(
                "Microsoft.Network/networkSecurityGroups",
                "vm1NSG",
                "2015-06-15",
                [],
                properties={"securityRules": [{"name": "default-allow-ssh", "properties": rule}]},
            ),
            one(
                "Microsoft.Network/publicIPAddresses",
                "vm1PublicIP",
                "2022-01-01",
                [],
                properties={"publicIPAllocationMethod": "Static"},
                sku={"name": "Standard"},
            ),
            one(
                "Microsoft.Network/networkInterfaces",
                "vm1VMNic",
                "2015-06-15",
                [
                    "Microsoft.Network/virtualNetworks/vm1VNET",
                    "Microsoft.Network/networkSecurityGroups/vm1NSG",
                    "Microsoft.Network/publicIpAddresses/vm1PublicIP",
                ],
                properties={
                    "ipConfigurations": [{"name": "ipconfigvm1", "properties": configuration}],
                    "networkSecurityGroup": {"id": f"{network_id}/networkSecurityGroups/vm1NSG"},
                },
            ),
            one(
                "Microsoft.Compute/virtualMachines",
                "vm1",
                "2026-04-01",
                ["Microsoft.Network/networkInterfaces/vm1VMNic"],
                properties={
                    "hardwareProfile": {"vmSize": "Standard_B1s"},
                    "networkProfile": {
                        "networkInterfaces": [
                            {
                                "id": f"{network_id}/networkInterfaces/vm1VMNic",
                                "properties": {"deleteOption": None},
                            }
                        ]
                    },
                    "storageProfile": {"osDisk": disk, "imageReference": {"id": image}},
                    "osProfile": profile,
                },
            ),
        ],
        "outputs": {},
    }


def test_what_vm_create_deploys_makes_a_machine(arm: Any, client: Any) -> None:
    secret = "Abc-123-xyz-789"
    made = deploy(client, what_vm_create_deploys(arm.image().id), adminPassword=secret).properties
    assert made.provisioning_state == "Succeeded" and len(made.output_resources) == 5
    assert arm.power("vm1") == "PowerState/running"
    assert arm.network.network_interfaces.get("rg", "vm1VMNic").virtual_machine.id.endswith("/vm1")
    shown = json.dumps(client.deployments.get("rg", "one").as_dict())
    state = arm.plane.engine.catalog.find(GROUP + DEPLOYMENT).state
    assert secret not in shown and secret not in json.dumps(state)


def test_a_refused_resource_fails_the_deployment_and_what_waits_for_it_alone(arm: Any, client: Any) -> None:
    whole = template(
        group_of_rules("first"),
        broken("nic1"),
        network("after", dependsOn=["nic1"]),
        network("beside"),
    )
    error = failure(client, whole)
    assert (
        error.code == "DeploymentFailed"
        and "At least one resource deployment operation failed" in error.message
    )
    assert [one.code for one in error.details] == ["InvalidResourceReference"]
    assert networks(arm) == ["beside"]
    failed = [one for one in client.deployment_operations.list("rg", "one") if one.properties.status_message]
    (one,) = failed
    assert one.properties.status_code == "BadRequest" and one.properties.provisioning_state == "Failed"
    assert one.properties.status_message.error.code == "InvalidResourceReference"
    assert one.properties.target_resource.resource_name == "nic1"


def test_a_resource_whose_operation_fails_is_told_with_its_own_error(arm: Any, client: Any) -> None:
    machine = arm.vm_body(arm.image(), arm.nic())
    kind = {"type": "Microsoft.Compute/virtualMachines", "apiVersion": "2024-07-01", "name": "vm1"}
    arm.host.outcome = Outcome(False, "OSProvisioningTimedOut", "the guest said nothing")
    error = failure(client, template({**kind, **machine}))
    (detail,) = error.details
    assert detail.code == "ResourceDeploymentFailure" and detail.target.endswith("/virtualMachines/vm1")
    assert [one.code for one in detail.details] == ["OSProvisioningTimedOut"]


def test_a_canceled_deployment_begins_nothing_more(arm: Any, client: Any) -> None:
    machine = arm.vm_body(arm.image(), arm.nic())
    kind = {"type": "Microsoft.Compute/virtualMachines", "apiVersion": "2024-07-01", "name": "vm1"}
    arm.host.held.clear()
    whole = template({**kind, **machine}, network("after", dependsOn=["vm1"]))
    client.deployments.begin_create_or_update("rg", "one", body(whole), polling=False)
    assert arm.host.started.wait(DEADLINE)
    with pytest.raises(HttpResponseError) as caught:
        deploy(client, whole)
    assert caught.value.error is not None and caught.value.error.code == "DeploymentActive"
    client.deployments.cancel("rg", "one")
    until(lambda: client.deployments.get("rg", "one").properties.provisioning_state == "Canceled")
    arm.host.held.set()
    assert networks(arm) == ["vnet1"]
    with pytest.raises(HttpResponseError, match="it is in the state 'Canceled'"):
        client.deployments.cancel("rg", "one")


def test_mode_complete_deletes_what_the_template_does_not_have(arm: Any, client: Any) -> None:
    deploy(client, template(network("kept"), network("gone"), group_of_rules("gone-too")))
    whole = template(network("kept", tags={"a": "b"}), nested("inner", template(network("of-nested"))))
    asked = body(whole, mode="Complete")
    foreseen = client.deployments.begin_what_if("rg", "one", asked).result()
    kinds = {one.resource_id.rsplit("/", 1)[1]: one.change_type for one in foreseen.properties.changes}
    assert kinds == {"kept": "Modify", "of-nested": "Create", "gone": "Delete", "gone-too": "Delete"}
    client.deployments.begin_create_or_update("rg", "two", asked).result()
    assert networks(arm) == ["kept", "of-nested"]
    assert list(arm.network.network_security_groups.list("rg")) == []


def test_what_if_tells_the_properties_that_change(arm: Any, client: Any) -> None:
    deploy(client, template(network("v1", tags={"a": "1", "b": "2"}), network("other")))
    changed = network("v1", tags={"a": "3"})
    changed["properties"] = {"addressSpace": {"addressPrefixes": ["10.1.0.0/16"]}}
    foreseen = client.deployments.begin_what_if("rg", "one", body(template(changed))).result()
    kinds = {one.resource_id.rsplit("/", 1)[1]: one.change_type for one in foreseen.properties.changes}
    assert kinds == {"v1": "Modify", "other": "Ignore"}
    (change,) = [one for one in foreseen.properties.changes if one.change_type == "Modify"]
    found = {one.path: (one.property_change_type, one.before, one.after) for one in change.delta}
    assert found == {
        "tags.a": ("Modify", "1", "3"),
        "tags.b": ("Delete", "2", None),
        "properties.addressSpace.addressPrefixes": ("Array", None, None),
    }
    settings = {"whatIfSettings": {"resultFormat": "ResourceIdOnly"}}
    asked = {"properties": {**body(template(changed))["properties"], **settings}}
    brief = client.deployments.begin_what_if("rg", "one", asked).result().properties.changes
    assert {one.change_type for one in brief} == {"Deploy", "Ignore"} and brief[0].after is None


def test_nested_deployments_see_their_own_or_their_parents_words(arm: Any, client: Any) -> None:
    inner = template(
        network("[parameters('name')]"),
        parameters={"name": {"type": "string", "defaultValue": "of-inner"}},
        outputs={"name": {"type": "string", "value": "[parameters('name')]"}},
    )
    whole = template(
        nested("a", inner, "inner"),
        nested("b", inner, "outer"),
        parameters={"name": {"type": "string", "defaultValue": "of-outer"}},
        outputs={"a": {"type": "string", "value": "[reference('a').outputs.name.value]"}},
    )
    made = deploy(client, whole).properties
    assert made.outputs["a"]["value"] == "of-inner"
    assert networks(arm) == ["of-inner", "of-outer"]
    assert len(made.output_resources) == 2


def test_what_bicep_compiles_is_deployed(arm: Any, client: Any) -> None:
    arm.resources.resource_groups.create_or_update("other", {"location": "northeurope"})
    arm.network.network_security_groups.begin_create_or_update(
        "other", "old", {"location": "northeurope"}
    ).result()
    module: dict[str, Any] = {
        "$schema": SCHEMA,
        "languageVersion": "2.0",
        "contentVersion": "1.0.0.0",
        "parameters": {
            "names": {"$ref": "#/definitions/names"},
            "note": {"type": "string", "nullable": True},
        },
        "definitions": {"names": {"type": "array", "items": {"type": "string"}, "minLength": 1}},
        "resources": {
            "nets": {
                **network("[parameters('names')[copyIndex()]]"),
                "copy": {
                    "name": "nets",
                    "count": "[length(parameters('names'))]",
                    "mode": "serial",
                    "batchSize": 1,
                },
            }
        },
        "outputs": {
            "ids": {
                "type": "array",
                "copy": {
                    "count": "[length(parameters('names'))]",
                    "input": "[resourceInfo(format('nets[{0}]', copyIndex())).id]",
                },
            },
            "first": {"type": "object", "value": "[reference('nets[0]', '2023-09-01', 'full').tags]"},
            "many": {"type": "int", "value": "[length(references('nets'))]"},
        },
    }
    module["resources"]["nets"]["tags"] = {"place": "[resourceGroup().name]"}
    step = nested("module", module, names=["b", "a"])
    whole = {
        "$schema": SCHEMA,
        "languageVersion": "2.0",
        "contentVersion": "1.0.0.0",
        "resources": {
            "old": {
                "existing": True,
                "type": "Microsoft.Network/networkSecurityGroups",
                "apiVersion": "2023-09-01",
                "resourceGroup": "other",
                "name": "old",
            },
            "module": {**step, "resourceGroup": "other", "dependsOn": ["old"]},
            "last": network("last", tags={"seen": "[string(length(reference('module').outputs.ids.value))]"}),
        },
        "outputs": {
            "where": {"type": "string", "value": "[reference('old', '2023-09-01', 'full').location]"},
            "all": {"type": "object", "value": "[reference('module').outputs]"},
        },
    }
    outputs = deploy(client, whole).properties.outputs
    inner = outputs["all"]["value"]
    assert outputs["where"]["value"] == "northeurope" and inner["many"]["value"] == 2
    assert [id.rsplit("/", 1)[1] for id in inner["ids"]["value"]] == ["b", "a"]
    assert inner["first"]["value"] == {"place": "other"}
    assert arm.network.virtual_networks.get("rg", "last").tags == {"seen": "2"}
    assert [one.name for one in client.deployments.list_by_resource_group("other")] == ["module"]


def test_a_subscriptions_deployment_makes_groups_and_fills_them(arm: Any, client: Any) -> None:
    made = {"type": "Microsoft.Resources/resourceGroups", "apiVersion": "2022-09-01", "name": "made"}
    step = nested("fill", template(network("v1", location="[resourceGroup().location]")))
    whole = template(
        {**made, "location": "northeurope"}, {**step, "resourceGroup": "made", "dependsOn": ["made"]}
    )
    asked = {**body(whole), "location": "westeurope"}
    foreseen = client.deployments.begin_what_if_at_subscription_scope("one", asked).result()
    assert [one.change_type for one in foreseen.properties.changes] == ["Create"]
    client.deployments.begin_create_or_update_at_subscription_scope("one", asked).result()
    assert arm.network.virtual_networks.get("made", "v1").location == "northeurope"
    operations = client.deployment_operations.list_at_subscription_scope("one")
    kinds = [
        one.properties.target_resource.resource_type for one in operations if one.properties.target_resource
    ]
    assert kinds == ["Microsoft.Resources/resourceGroups", "Microsoft.Resources/deployments"]


def test_an_exported_group_can_be_deployed(arm: Any, client: Any) -> None:
    arm.vm()
    asked = {"resources": ["*"], "options": "IncludeParameterDefaultValue"}
    exported = arm.resources.resource_groups.begin_export_template("rg", asked).result().template
    kinds = [one["type"].split("/")[1] for one in exported["resources"]]
    assert {"virtualMachines", "networkInterfaces", "virtualNetworks", "images", "storageAccounts"} <= set(
        kinds
    )
    foreseen = client.deployments.begin_what_if("rg", "one", body(exported)).result().properties.changes
    assert {one.change_type for one in foreseen} == {"NoChange"}, [one.delta for one in foreseen]


def test_a_nested_failure_is_told_at_every_level(client: Any) -> None:
    inner = template(group_of_rules("first"), broken("nic1"))
    error = failure(client, template(nested("inner", inner)))
    (level,) = error.details
    assert level.code == "DeploymentFailed" and level.target.endswith("/deployments/inner")
    assert [one.code for one in level.details] == ["InvalidResourceReference"]


def test_a_linked_template_comes_from_the_stamps_own_blobs(arm: Any, client: Any) -> None:
    arm.vhd("account1", "any.vhd")
    leaf = template(
        network("linked", tags={"from": "[parameters('who')]"}), parameters={"who": {"type": "string"}}
    )
    link = {"relativePath": "leaf.json"}
    step = nested("leaf", {}, who="a file")
    step["properties"] = {
        "mode": "Incremental",
        "templateLink": link,
        "parameters": {"who": {"value": "a file"}},
    }
    for name, whole in (("leaf.json", leaf), ("main.json", template(step))):
        text = f"// a comment\n{json.dumps(whole)}".encode()
        arm.store.put_block_blob(BlobRef("account1", "vhds", name), text)
    properties = {
        "mode": "Incremental",
        "templateLink": {"uri": "http://127.0.0.1:10000/account1/vhds/main.json"},
    }
    client.deployments.begin_create_or_update("rg", "one", {"properties": properties}).result()
    assert arm.network.virtual_networks.get("rg", "linked").tags == {"from": "a file"}
    for url in ("https://example.com/main.json", "http://127.0.0.1:10000/account1/vhds/none.json"):
        properties = {"mode": "Incremental", "templateLink": {"uri": url}}
        with pytest.raises(HttpResponseError, match="own Blob service only"):
            client.deployments.begin_create_or_update("rg", "two", {"properties": properties})


def test_a_template_that_links_to_itself_in_a_loop_is_stopped(arm: Any, client: Any) -> None:
    arm.vhd("account1", "any.vhd")
    url = "http://127.0.0.1:10000/account1/vhds/self.json"
    step = nested("[concat('n', copyIndex())]", {})
    step["copy"] = {"name": "l", "count": 20}
    step["properties"] = {"mode": "Incremental", "templateLink": {"uri": url}}
    arm.store.put_block_blob(BlobRef("account1", "vhds", "self.json"), json.dumps(template(step)).encode())
    properties = {"mode": "Incremental", "templateLink": {"uri": url}}
    with pytest.raises(HttpResponseError, match=r"nested more than|exceed the limit") as caught:
        client.deployments.begin_create_or_update("rg", "one", {"properties": properties})
    assert caught.value.error is not None and caught.value.error.code == "InvalidTemplate"


def test_a_secret_that_a_nested_deployment_is_given_is_masked(client: Any) -> None:
    inner = template(network("v1", tags={"a": "[parameters('p')]"}), parameters={"p": {"type": "string"}})
    whole = template(
        nested("inner", inner, p="[parameters('secret')]"), parameters={"secret": {"type": "securestring"}}
    )
    foreseen = client.deployments.begin_what_if("rg", "one", body(whole, secret="hush hush")).result()
    (change,) = foreseen.properties.changes
    assert change.after["tags"] == {"a": "*******"}


def test_keys_are_listed_and_read_by_name(arm: Any, client: Any) -> None:
    account = {
        "type": "Microsoft.Storage/storageAccounts",
        "apiVersion": "2023-01-01",
        "name": "[parameters('name')]",
        "location": "westeurope",
        "sku": {"name": "Standard_LRS"},
        "kind": "StorageV2",
    }
    whole = template(
        account,
        parameters={"name": {"type": "string"}},
        outputs={
            "key": {
                "type": "string",
                "value": "[listKeys(resourceId('Microsoft.Storage/storageAccounts', parameters('name')), "
                "'2023-01-01').keys[0].keyName]",
            },
            "where": {
                "type": "string",
                "value": "[reference(parameters('name'), '2023-01-01', 'Full').location]",
            },
        },
    )
    outputs = deploy(client, whole, name="account1").properties.outputs
    assert (outputs["key"]["value"], outputs["where"]["value"]) == ("key1", "westeurope")


@pytest.mark.parametrize(
    ("resource", "code", "said"),
    [
        ({"type": "Microsoft.Compute/gpuFarms", "name": "x"}, "InvalidResourceType", "gpuFarms"),
        ({"type": "Contoso.Pets/dogs", "name": "x"}, "InvalidResourceNamespace", "Contoso.Pets"),
        (
            {"type": "Microsoft.Resources/deploymentScripts", "name": "x"},
            "InvalidResourceType",
            "deploymentScripts",
        ),
        (network("v", location="nowhere"), "InvalidTemplateDeployment", "nowhere"),
        (
            network("v", properties={"addressSpace": {"addressPrefixes": ["x"]}}),
            "InvalidTemplateDeployment",
            "",
        ),
    ],
)
def test_what_is_known_to_be_wrong_is_told_before_anything_is_made(
    arm: Any, client: Any, resource: dict[str, Any], code: str, said: str
) -> None:
    whole = template(network("fine"), {"apiVersion": "2024-01-01", **resource})
    with pytest.raises(HttpResponseError) as caught:
        deploy(client, whole)
    assert caught.value.error is not None and caught.value.error.code == code
    assert said in str(caught.value)
    assert networks(arm) == []
    with pytest.raises(ResourceNotFoundError):
        client.deployments.get("rg", "one")


def test_an_output_that_cannot_be_told_fails_the_deployment(arm: Any, client: Any) -> None:
    whole = template(network("v1"), outputs={"x": {"type": "string", "value": "[reference('v1').none]"}})
    error = failure(client, whole)
    assert error.code == "DeploymentOutputEvaluationFailed" and "'x'" in error.message
    assert networks(arm) == ["v1"]


def test_the_body_of_a_deployment_may_be_no_json(arm: Any, client: Any) -> None:
    raw = b'{"properties": {"mode": "Incremental", template:{ // as az sends it\n"$schema": 1, }}}'
    with pytest.raises(HttpResponseError, match="contentVersion"):
        client.deployments.begin_create_or_update("rg", "one", raw, content_type="application/json")
    with pytest.raises(HttpResponseError, match=r"Path 'properties', line 1, position 16"):
        client.deployments.begin_create_or_update(
            "rg", "one", b'{"properties": ?}', content_type="application/json"
        )


def test_a_groups_deletion_ends_its_deployments(arm: Any, client: Any) -> None:
    machine = arm.vm_body(arm.image(), arm.nic())
    kind = {"type": "Microsoft.Compute/virtualMachines", "apiVersion": "2024-07-01", "name": "vm1"}
    arm.host.held.clear()
    client.deployments.begin_create_or_update("rg", "one", body(template({**kind, **machine})), polling=False)
    assert arm.host.started.wait(DEADLINE)
    arm.resources.resource_groups.begin_delete("rg").result()
    assert not arm.resources.resource_groups.check_existence("rg")


# -- a killed server


@pytest.fixture
def restart(tmp_path: Path, host: Any) -> Iterator[Callable[[], ControlPlane]]:
    """A control plane over the same home, as if the one before had been killed at this instant."""
    opened: list[Any] = []

    def start() -> ControlPlane:
        host.up.clear()
        db = Database(tmp_path / "stamp.db")
        store = BlobStore(db, tmp_path / "content")
        store.recover()
        plane = build(db, store, host, Settings(SUBSCRIPTION, "t"), "http://127.0.0.1:10000")
        opened.extend((plane, db))
        plane.recover()
        return plane

    yield start
    for one in opened:
        one.close()


def begun(arm: Any, **parameters: Any) -> None:
    """A deployment of a VM whose guest does not report yet, with a network before and one after it."""
    machine = arm.vm_body(arm.image(), arm.nic())
    kind = {"type": "Microsoft.Compute/virtualMachines", "apiVersion": "2024-07-01", "name": "vm1"}
    whole = template(
        network("before", tags={"made": "[parameters('made')]"}),
        {**kind, **machine, "dependsOn": ["before"]},
        network("after", dependsOn=["vm1"]),
        parameters={
            "made": {"type": "string", "defaultValue": "[newGuid()]"},
            "secret": {"type": "securestring", "defaultValue": ""},
            "plain": {"type": "string", "defaultValue": ""},
        },
    )
    if "secret" not in parameters:
        del whole["parameters"]["secret"]
    arm.host.held.clear()
    arm.plane.handle(request("PUT", GROUP + DEPLOYMENT, body(whole, **parameters)))
    assert arm.host.started.wait(DEADLINE)


def request(method: str, path: str, content: Any = None) -> Request:
    return Request(method, path, {"api-version": "2024-07-01"}, {}, content, BASE)


def shown(plane: ControlPlane) -> Any:
    return plane.handle(request("GET", GROUP + DEPLOYMENT)).body["properties"]


def test_a_deployment_goes_on_after_a_kill(arm: Any, restart: Callable[[], ControlPlane]) -> None:
    begun(arm)
    tags = arm.network.virtual_networks.get("rg", "before").tags
    plane = restart()
    arm.host.held.set()
    until(lambda: shown(plane)["provisioningState"] in ("Succeeded", "Failed"))
    assert shown(plane)["provisioningState"] == "Succeeded", shown(plane)
    found = plane.handle(request("GET", f"{GROUP}/providers/Microsoft.Network/virtualNetworks")).body["value"]
    assert [one["name"] for one in found] == ["after", "before", "vnet1"]
    assert tags == found[1]["tags"]


def test_a_deployment_with_secrets_fails_after_a_kill_and_says_why(
    arm: Any, restart: Callable[[], ControlPlane], tmp_path: Path
) -> None:
    begun(arm, secret="a very secret word")
    plane = restart()
    found = shown(plane)
    assert found["provisioningState"] == "Failed" and found["error"]["code"] == "OperationInterrupted"
    assert "secure parameters are not kept" in found["error"]["message"]
    arm.host.held.set()
    kept = b"".join(path.read_bytes() for path in tmp_path.glob("stamp.db*"))
    assert b"a very secret word" not in kept


def test_an_unknown_deployment_is_named(arm: Any) -> None:
    for path in ("deployments/none", "deployments/none/operations"):
        with pytest.raises(AzureError, match="Deployment 'none' could not be found"):
            arm.plane.handle(request("GET", f"{GROUP}/{path}"))
