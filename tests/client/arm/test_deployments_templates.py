"""Whole templates as people have them, deployed: in the manner of quickstarts, and as bicep compiles them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
from azure.core.exceptions import HttpResponseError
from azure.mgmt.resource.deployments import DeploymentsMgmtClient

from tests.client.arm.deployments_words import body, deploy, template
from tests.client.arm.parity.row import GROUP, SUBSCRIPTION, ask
from vmstamp.arm.template.reader import read
from vmstamp.blob.store import BlobRef

TEMPLATES: Final = Path(__file__).parents[2] / "data" / "templates"
ALIAS: Final = "/providers/Microsoft.Subscription/aliases"
KEY: Final = "ssh-ed25519 AAAA someone"
PASSWORD: Final = "Abc-123-xyz-789"


def load(name: str) -> Any:
    return read((TEMPLATES / f"{name}.json").read_text())


@pytest.fixture
def client(arm: Any) -> Any:
    return arm.client(DeploymentsMgmtClient)


def made(properties: Any) -> list[str]:
    """What a deployment made: type and name of each, without the provider."""
    words = [one.id.split("/providers/")[-1].split("/") for one in properties.output_resources]
    return sorted(f"{one[-2]}/{one[-1]}" for one in words)


def told(properties: Any) -> dict[str, Any]:
    return {name: output.get("value") for name, output in (properties.outputs or {}).items()}


def image(arm: Any) -> dict[str, Any]:
    return {"imageId": arm.image().id, "adminPasswordOrKey": PASSWORD}


def image_and_network(arm: Any) -> dict[str, Any]:
    """The same machine, with a key, in a network that is there."""
    subnets = [{"name": "default", "properties": {"addressPrefix": "10.9.1.0/24"}}]
    properties = {"addressSpace": {"addressPrefixes": ["10.9.0.0/16"]}, "subnets": subnets}
    given = {"location": "westeurope", "properties": properties}
    arm.network.virtual_networks.begin_create_or_update("rg", "web-vnet", given).result()
    key = {"adminPasswordOrKey": KEY, "authenticationType": "sshPublicKey"}
    return {**image(arm), **key, "newOrExisting": "existing", "dataDisks": []}


def guard(arm: Any) -> dict[str, Any]:
    given = {"location": "westeurope", "tags": {"age": "old"}}
    arm.network.network_security_groups.begin_create_or_update("rg", "old-guard", given).result()
    subnets = [{"name": "a", "guarded": True}, {"name": "b", "bits": 24}]
    return {"subnets": subnets, "suffix": "1"}


@dataclass(frozen=True)
class Case:
    """A template, what is there before and what it is given, what it makes and tells."""

    template: str
    arrange: Callable[[Any], dict[str, Any]]
    makes: Iterable[str]
    tells: dict[str, Any] = field(default_factory=dict)
    modifies: tuple[str, ...] = ()  # what the same again would change, as far as can be told beforehand


CASES: Final = (
    Case(
        "linux-vm",
        image,
        (
            "networkInterfaces/web-nic1",
            "networkInterfaces/web-nic2",
            "networkSecurityGroups/web-nsg",
            "publicIPAddresses/web-ip",
            "virtualMachines/web",
            "virtualNetworks/web-vnet",
        ),
        {
            "luns": [0, 1],
            "addresses": ["10.1.0.4", "10.1.0.5"],
            "ports": "8080,8081",
            "hostname": "web.westeurope.cloudapp.azure.com",
            "secret": None,
        },
        ("web",),  # passwords and customData are never shown, so they seem to be new
    ),
    Case(
        "linux-vm",
        image_and_network,
        (
            "networkInterfaces/web-nic1",
            "networkInterfaces/web-nic2",
            "networkSecurityGroups/web-nsg",
            "publicIPAddresses/web-ip",
            "virtualMachines/web",
        ),
        {"luns": [], "addresses": ["10.9.1.4", "10.9.1.5"]},
        ("web",),
    ),
    Case(
        "bicep-network",
        guard,
        (
            "networkSecurityGroups/rules-a",
            "networkSecurityGroups/rules-b",
            "publicIPAddresses/ip-0",
            "publicIPAddresses/ip-1",
            "publicIPAddresses/ip-2",
            "subnets/extra",
            "virtualNetworks/vnet1",
        ),
        {
            "subnets": ["a", "b"],
            "guarded": ["a"],
            "sum": 30,
            "modules": ["rules-a", "rules-b"],
            "length": 13,
            "guardTags": {"age": "old"},
            "guardId": f"{GROUP}/providers/Microsoft.Network/networkSecurityGroups/old-guard",
            "group": "westeurope",
            "logical": {"a": None, "b": 24},
        },
        ("vnet1",),  # the subnet `extra` is a resource of its own, which the network's array lacks
    ),
    Case(
        "image-gallery",
        lambda arm: {"vhd": arm.vhd("account1", "os.vhd", mark=b"the os"), "key": KEY},
        (
            "disks/data",
            "galleries/pictures",
            "images/debian",
            "images/picture",
            "networkInterfaces/nic",
            "snapshots/data-before",
            "versions/1.0.0",
            "virtualMachines/stamped",
            "virtualNetworks/vnet",
        ),
        {"regions": ["West Europe", "East US"], "vmId": 36, "size": 1},
    ),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.template}-{case.arrange.__name__}")
def test_a_template_as_people_have_it_is_deployed(arm: Any, client: Any, case: Case) -> None:
    given = case.arrange(arm)
    whole = load(case.template)
    checked = client.deployments.begin_validate("rg", "one", body(whole, **given)).result()
    assert checked.properties.provisioning_state == "Succeeded"
    done = deploy(client, whole, **given).properties
    assert made(done) == sorted(case.makes)
    found = told(done)
    assert {name: found[name] for name in case.tells} == case.tells
    foreseen = client.deployments.begin_what_if("rg", "one", body(whole, **given)).result().properties
    changed = [one.resource_id for one in foreseen.changes if one.change_type not in ("NoChange", "Ignore")]
    assert [id.rsplit("/", 1)[1] for id in changed] == list(case.modifies)


def test_what_is_left_out_is_not_told(arm: Any, client: Any) -> None:
    outputs = deploy(client, load("bicep-network"), **guard(arm)).properties.outputs
    assert "never" not in outputs


def test_linked_templates_are_found_by_address_and_by_path(arm: Any, client: Any) -> None:
    arm.vhd("account1", "any.vhd")
    for name in ("main.json", "network.json"):
        text = (TEMPLATES / "linked" / name).read_bytes()
        arm.store.put_block_blob(BlobRef("account1", "vhds", f"templates/{name}"), text)
    link = {"uri": "http://127.0.0.1:10000/account1/vhds/templates/main.json"}
    asked = {"properties": {"mode": "Incremental", "templateLink": link}}
    done = client.deployments.begin_create_or_update("rg", "one", asked).result().properties
    assert made(done) == ["subnets/inside", "subnets/inside", "virtualNetworks/one", "virtualNetworks/two"]
    outputs = told(done)
    assert outputs["peer"] == "one" and outputs["all"]["where"]["value"] == "network.json"
    names = [one.rsplit("/", 1)[1] for one in outputs["all"]["both"]["value"]]
    assert names == ["one", "two"]


def subscribe(arm: Any, name: str, **more: str) -> str:
    given = {"properties": {"displayName": name, "workload": "Production", "additionalProperties": more}}
    reply = ask(arm, "PUT", f"{ALIAS}/{name}", given, api="2021-10-01")
    return str(reply.json()["properties"]["subscriptionId"])


def test_one_deployment_reaches_two_subscriptions(arm: Any, client: Any) -> None:
    other = subscribe(arm, "other")
    asked = {**body(load("subscriptions"), other=other), "location": "northeurope"}
    done = client.deployments.begin_create_or_update_at_subscription_scope("one", asked).result().properties
    far = f"/subscriptions/{other}/resourceGroups/there/providers/Microsoft.Network/virtualNetworks/far"
    assert told(done) == {"id": far, "in": other, "space": ["10.5.0.0/16"]}
    assert ask(arm, "GET", far).json()["location"] == "northeurope"
    assert arm.resources.resource_groups.check_existence("here")
    groups = {one.name for one in arm.resources.resource_groups.list()}
    assert "there" not in groups
    lists = {
        subscription: [one["name"] for one in ask(arm, "GET", path).json()["value"]]
        for subscription in (SUBSCRIPTION, other)
        if (path := f"/subscriptions/{subscription}/providers/Microsoft.Resources/deployments")
    }
    assert lists == {SUBSCRIPTION: ["one"], other: ["groups"]}
    (level,) = ask(
        arm, "GET", f"/subscriptions/{other}/resourceGroups/there/providers/Microsoft.Resources/deployments"
    ).json()["value"]
    assert level["name"] == "network" and level["properties"]["provisioningState"] == "Succeeded"


@pytest.mark.parametrize(
    ("tenant", "status", "code"),
    [("0f0f0f0f-1111-2222-3333-444444444444", 403, "LinkedAuthorizationFailed"), ("", 404, "")],
)
def test_a_subscription_of_another_tenant_or_of_none_is_not_reached(
    arm: Any, client: Any, tenant: str, status: int, code: str
) -> None:
    other = (
        subscribe(arm, "other", subscriptionTenantId=tenant)
        if tenant
        else "5" * 8 + "-1111" * 3 + "-" + "5" * 12
    )
    asked = {**body(load("subscriptions"), other=other), "location": "northeurope"}
    with pytest.raises(HttpResponseError) as caught:
        client.deployments.begin_create_or_update_at_subscription_scope("one", asked).result()
    assert caught.value.status_code == status and other in str(caught.value)
    assert not code or (caught.value.error is not None and caught.value.error.code == code)
    assert not arm.resources.resource_groups.check_existence("here")


FOREIGN: Final = (
    ("Microsoft.Compute/virtualMachineScaleSets", "InvalidResourceType"),
    ("Microsoft.KeyVault/vaults", "InvalidResourceNamespace"),
    ("Microsoft.Authorization/roleAssignments", "InvalidResourceType"),
    ("Microsoft.ContainerService/managedClusters", "InvalidResourceNamespace"),
    ("Microsoft.Network/loadBalancers", "InvalidResourceType"),
    ("Microsoft.Resources/templateSpecs", "InvalidResourceType"),
    ("Microsoft.Resources/deploymentStacks", "InvalidResourceType"),
)


@pytest.mark.parametrize(("kind", "code"), FOREIGN, ids=[kind for kind, _ in FOREIGN])
def test_a_template_with_what_a_stamp_lacks_is_refused_by_name(
    arm: Any, client: Any, kind: str, code: str
) -> None:
    foreign = {
        "type": kind,
        "apiVersion": "2023-07-01",
        "name": "it",
        "location": "westeurope",
        "properties": {},
    }
    with pytest.raises(HttpResponseError) as caught:
        deploy(client, template(foreign))
    assert caught.value.error is not None and caught.value.error.code == code
    assert kind.split("/")[code == "InvalidResourceType"] in str(caught.value)


def test_what_a_stamp_lacks_is_refused_by_name_wherever_it_lies(arm: Any, client: Any) -> None:
    role = {"type": "Microsoft.Authorization/roleAssignments", "apiVersion": "2022-04-01", "name": "it"}
    on = "[resourceId('Microsoft.Network/virtualNetworks', 'net')]"
    with pytest.raises(HttpResponseError) as caught:
        deploy(client, template({**role, "scope": on, "properties": {}}))
    assert caught.value.error is not None and caught.value.error.code == "InvalidResourceType"
    assert "'roleAssignments' could not be found in the namespace 'Microsoft.Authorization'" in str(
        caught.value
    )


def test_a_key_that_is_sent_as_the_password_too_is_no_password(arm: Any, client: Any) -> None:
    """As quickstarts send it: `adminPassword` is the key, and passwords are disabled."""
    deploy(client, load("linux-vm"), **image_and_network(arm))
    vm = arm.compute.virtual_machines.get("rg", "web")
    instance = arm.host.plans[vm.properties.vm_id][-1].instance
    assert (instance.admin_password, instance.disable_password_authentication) == (None, True)
    assert [one.key_data for one in instance.public_keys] == [KEY]
