"""Deployments through the official azure-mgmt-resource-deployments."""

from __future__ import annotations

import json
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.mgmt.resource.deployments import DeploymentsMgmtClient

from tests.client.arm.deployments_words import (
    DEADLINE,
    DEPLOYMENT,
    GROUP,
    SUBSCRIPTION,
    body,
    broken,
    deploy,
    failure,
    group_of_rules,
    nested,
    network,
    networks,
    template,
    until,
)
from vmstamp.arm.compute.host import Outcome


@pytest.fixture
def client(arm: Any) -> Any:
    return arm.client(DeploymentsMgmtClient)


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


def test_what_the_stamp_does_not_offer_is_told_by_the_deployments_end(arm: Any, client: Any) -> None:
    guard = {"properties": {"enableDdosProtection": True}}
    whole = template(group_of_rules("nsg1"), network("net", dependsOn=["nsg1"], **guard))
    with pytest.raises(HttpResponseError) as refused:
        client.deployments.begin_validate("rg", "one", body(whole)).result()
    assert refused.value.status_code == 400
    told: Any
    for told in (refused.value.error, failure(client, whole)):
        assert told.code == "InvalidTemplateDeployment"
        assert [one.code for one in told.details] == ["NotSupportedByStamp"]
        assert "enableDdosProtection" in told.details[0].message
    assert client.deployments.get("rg", "one").properties.provisioning_state == "Failed"
    assert not list(client.deployment_operations.list("rg", "one"))
    assert not list(arm.network.network_security_groups.list("rg"))

    wrong = template(network("net", **guard), group_of_rules("nsg1", location="atlantis"))
    with pytest.raises(HttpResponseError) as refused:
        client.deployments.begin_create_or_update("rg", "two", body(wrong))
    told = refused.value.error
    assert (refused.value.status_code, len(told.details)) == (400, 2)


def test_a_deployment_registers_the_providers_that_it_needs(arm: Any, client: Any) -> None:
    arm.resources.providers.unregister("Microsoft.Network")
    with pytest.raises(HttpResponseError, match="MissingSubscriptionRegistration"):
        arm.network.virtual_networks.begin_create_or_update("rg", "v0", {"location": "westeurope"})
    deploy(client, template(network("v1")))
    assert networks(arm) == ["v1"]
    assert arm.resources.providers.get("Microsoft.Network").registration_state == "Registered"


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


def test_what_a_template_takes_to_exist_is_ignored(arm: Any, client: Any) -> None:
    deploy(client, template(network("old")))
    old = {"type": "Microsoft.Network/virtualNetworks", "apiVersion": "2023-09-01", "name": "old"}
    symbols = {"a": {**old, "existing": True}, "b": network("new")}
    whole = {**template(), "languageVersion": "2.0", "resources": symbols}
    for mode in ("Incremental", "Complete"):
        foreseen = client.deployments.begin_what_if("rg", "one", body(whole, mode=mode)).result()
        kinds = {one.resource_id.rsplit("/", 1)[1]: one.change_type for one in foreseen.properties.changes}
        assert kinds == {"old": "Ignore", "new": "Create"}


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
            "sas": {
                "type": "string",
                "value": "[listAccountSas(resourceId('Microsoft.Storage/storageAccounts', "
                "parameters('name')), '2023-01-01', createObject('signedServices', 'b', "
                "'signedResourceTypes', 'o', 'signedPermission', 'r', 'signedExpiry', "
                "'2099-01-01T00:00:00Z')).accountSasToken]",
            },
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
    assert outputs["sas"]["value"].startswith("sv=") and "&sig=" in outputs["sas"]["value"]


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


def test_a_full_reference_gives_the_id_in_parts(arm: Any, client: Any) -> None:
    outputs = {"v1": {"type": "object", "value": "[reference('v1', '2023-09-01', 'Full')]"}}
    old = f"{GROUP}/providers/Microsoft.Network/virtualNetworks/v1"
    made = deploy(client, template(network("v1", tags={"a": "b"}), outputs=outputs)).properties
    full = made.outputs["v1"]["value"]
    assert full["resourceId"] == "Microsoft.Network/virtualNetworks/v1"
    assert (full["resourceGroupName"], full["subscriptionId"]) == ("rg", SUBSCRIPTION)
    assert (full["apiVersion"], full["location"], full["tags"]) == ("2023-09-01", "westeurope", {"a": "b"})
    assert (full["isTemplateResource"], full["provisioningOperation"]) == (True, "Create")
    assert full["properties"]["addressSpace"]["addressPrefixes"] == ["10.0.0.0/16"]
    group = {"type": "object", "value": f"[reference('{GROUP}', '2022-09-01', 'Full')]"}
    read = {"type": "object", "value": f"[reference('{old}', '2023-09-01', 'Full')]"}
    outputs = deploy(client, template(outputs={"group": group, "read": read})).properties.outputs
    assert outputs["group"]["value"]["resourceId"] == "Microsoft.Resources/resourceGroups/rg"
    assert outputs["read"]["value"]["isTemplateResource"] is False
    lost = {"type": "string", "value": f"[reference('{old}', '2023-09-01', 'Full').id]"}
    (detail,) = failure(client, template(outputs={"id": lost})).details
    assert "property 'id' doesn't exist, available properties are 'apiVersion, " in detail.message


def test_an_output_that_cannot_be_told_fails_the_deployment(arm: Any, client: Any) -> None:
    whole = template(network("v1"), outputs={"x": {"type": "string", "value": "[reference('v1').none]"}})
    error = failure(client, whole)
    assert error.code == "DeploymentOutputEvaluationFailed" and "'x'" in error.message
    assert networks(arm) == ["v1"]


def test_the_body_of_a_deployment_may_be_no_json(arm: Any, client: Any) -> None:
    raw = b'{"properties": {"mode": "Incremental", template:{ // as az sends it\n"$schema": 1, }}}'
    with pytest.raises(HttpResponseError, match="contentVersion"):
        client.deployments.begin_create_or_update("rg", "one", raw, content_type="application/json")
    with pytest.raises(HttpResponseError, match=r"Path 'properties', line 1, position 15"):
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
