"""Deployments within deployments: nested, linked, at the scope of the subscription."""

from __future__ import annotations

import json
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError
from azure.mgmt.resource.deployments import DeploymentsMgmtClient

from tests.client.arm.deployments_words import (
    SCHEMA,
    body,
    broken,
    deploy,
    failure,
    group_of_rules,
    nested,
    network,
    template,
)
from vmstamp.blob.store import BlobRef


@pytest.fixture
def client(arm: Any) -> Any:
    return arm.client(DeploymentsMgmtClient)


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


def test_a_deployment_into_a_group_that_it_makes_is_looked_into(arm: Any, client: Any) -> None:
    group = {"type": "Microsoft.Resources/resourceGroups", "apiVersion": "2022-09-01", "name": "new"}
    inner = template(network("v1", location="[resourceGroup().location]"))
    into = {**nested("fill", inner), "resourceGroup": "new", "dependsOn": ["new"]}
    whole = template(into, {**group, "location": "[deployment().location]"})
    asked = {**body(whole), "location": "northeurope"}
    foreseen = client.deployments.begin_what_if_at_subscription_scope("one", asked).result()
    changes = {one.resource_id.rsplit("/", 1)[1]: one for one in foreseen.properties.changes}
    assert {name: one.change_type for name, one in changes.items()} == {"new": "Create", "v1": "Create"}
    assert changes["v1"].after["location"] == "northeurope"
    broken_inner = template(network("v1", location="nowhere"))
    wrong = {**body(template({**into, **nested("fill", broken_inner)}, whole["resources"][1]))}
    with pytest.raises(HttpResponseError) as caught:
        client.deployments.begin_validate_at_subscription_scope(
            "one", {**wrong, "location": "northeurope"}
        ).result()
    assert caught.value.error is not None and caught.value.error.code == "InvalidTemplateDeployment"
    assert not arm.resources.resource_groups.check_existence("new")


def test_a_secure_output_of_a_module_is_told_to_its_parent_alone(arm: Any, client: Any) -> None:
    word = {"type": "securestring"}
    inner = template(
        parameters={"word": word, "other": {"type": "string"}},
        outputs={
            "secret": {"type": "securestring", "value": "[concat('made-of-', parameters('word'))]"},
            "plain": {"type": "string", "value": "[parameters('other')]"},
        },
    )
    step = nested("mod", inner, word="[parameters('word')]", other="seen")
    asked = "listOutputsWithSecureValues(resourceId('Microsoft.Resources/deployments', 'mod'), '2022-09-01')"
    tags = {"plain": f"[{asked}.plain]", "length": f"[string(length({asked}.secret))]"}
    outputs = {"again": {"type": "securestring", "value": f"[{asked}.secret]"}}
    whole = template(step, network("v1", tags=tags), parameters={"word": word}, outputs=outputs)
    done = deploy(client, whole, word="hushhush").properties
    assert arm.network.virtual_networks.get("rg", "v1").tags == {"plain": "seen", "length": "16"}
    assert done.outputs == {"again": {"type": "SecureString"}}
    shown = client.deployments.get("rg", "mod").properties.outputs
    assert shown == {"secret": {"type": "SecureString"}, "plain": {"type": "String", "value": "seen"}}
    misused = template(step, network("v2", location=f"[{asked}.secret]"), parameters={"word": word})
    error = failure(client, misused, word="hushhush")
    operations = [one.as_dict() for one in client.deployment_operations.list("rg", "one")]
    said = json.dumps([error.as_dict(), operations])
    assert "*******" in said and "hushhush" not in said
    alone = template(outputs={"x": {"type": "securestring", "value": f"[{asked}.secret]"}})
    (detail,) = failure(client, alone).details
    assert "are told to the deployment alone that it is nested in" in detail.message


def test_a_subscriptions_deployment_makes_groups_and_fills_them(arm: Any, client: Any) -> None:
    made = {"type": "Microsoft.Resources/resourceGroups", "apiVersion": "2022-09-01", "name": "made"}
    step = nested("fill", template(network("v1", location="[resourceGroup().location]")))
    whole = template(
        {**made, "location": "northeurope"}, {**step, "resourceGroup": "made", "dependsOn": ["made"]}
    )
    asked = {**body(whole), "location": "westeurope"}
    foreseen = client.deployments.begin_what_if_at_subscription_scope("one", asked).result()
    assert [one.change_type for one in foreseen.properties.changes] == ["Create", "Create"]
    client.deployments.begin_create_or_update_at_subscription_scope("one", asked).result()
    assert arm.network.virtual_networks.get("made", "v1").location == "northeurope"
    operations = client.deployment_operations.list_at_subscription_scope("one")
    kinds = [
        one.properties.target_resource.resource_type for one in operations if one.properties.target_resource
    ]
    assert kinds == ["Microsoft.Resources/resourceGroups", "Microsoft.Resources/deployments"]


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
