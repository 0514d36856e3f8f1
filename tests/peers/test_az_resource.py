"""`az resource`, `lock`, `tag`, `provider` and several subscriptions on a running stamp."""

import json
from collections.abc import Iterator

import pytest

from tests.peers.programs import find_peer
from tests.peers.shell import Shell


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    find_peer("az")
    shell = Shell(tmp_path_factory.mktemp("shell"))
    shell.run("vmstamp up")
    try:
        shell.az("group create -n rg -l westeurope")
        shell.az("group create -n rg2 -l westeurope")
        yield shell
    finally:
        shell.run("vmstamp down")


def test_az_lock_create_show_update_list_and_delete(shell: Shell) -> None:
    shell.az("network public-ip create -g rg -n ip1 --sku Standard -l westeurope")
    target = "-g rg --resource-type Microsoft.Network/publicIPAddresses --resource ip1"
    made = shell.az(f"lock create -n keep -t CanNotDelete --notes mine {target}")
    assert (made["level"], made["notes"]) == ("CanNotDelete", "mine")
    assert "ScopeLocked" in shell.refused("network public-ip delete -g rg -n ip1")
    assert [one["name"] for one in shell.az("lock list -g rg")] == ["keep"]
    assert shell.az(f"lock show --ids {made['id']}")["name"] == "keep"
    assert shell.az(f"lock update -t ReadOnly --ids {made['id']}")["level"] == "ReadOnly"
    assert "ScopeLocked" in shell.refused("network public-ip update -g rg -n ip1 --tags a=b")
    shell.az(f"lock delete --ids {made['id']}")
    shell.az("lock create -n whole -t CanNotDelete -g rg")
    assert "ScopeLocked" in shell.refused("group delete -n rg --yes")
    shell.az("lock delete -n whole -g rg")
    assert shell.az("lock list") == []
    shell.az("network public-ip delete -g rg -n ip1")


def test_az_resource_create_show_list_tag_update_move_and_delete(shell: Shell) -> None:
    properties = json.dumps({"addressSpace": {"addressPrefixes": ["10.0.0.0/16"]}})
    kind = "--resource-type Microsoft.Network/virtualNetworks"
    made = shell.az(f"resource create -g rg -n net1 {kind} --properties '{properties}' -l westeurope")
    assert made["properties"]["provisioningState"] == "Succeeded"
    assert shell.az(f"resource show -g rg -n net1 {kind}")["id"] == made["id"]
    shell.az(f"resource wait --exists --ids {made['id']}")
    tagged = shell.az(f"resource tag --tags env=dev --ids {made['id']}")
    assert tagged["tags"] == {"env": "dev"}
    updated = shell.az(f"resource update --ids {made['id']} --set tags.more=x")
    assert updated["tags"] == {"env": "dev", "more": "x"}
    assert [one["name"] for one in shell.az("resource list --tag env=dev -l ''")] == ["net1"]
    assert [one["name"] for one in shell.az("resource list -g rg -l ''")] == ["net1"]
    shell.az(f"resource move --ids {made['id']} --destination-group rg2")
    assert shell.az("resource list -g rg -l ''") == []
    moved = shell.az(f"resource show -g rg2 -n net1 {kind}")
    assert moved["tags"] == {"env": "dev", "more": "x"}
    shell.az(f"resource delete --ids {moved['id']}")
    assert shell.az("resource list -l ''") == []


def test_az_tag_at_a_scope_and_names(shell: Shell) -> None:
    group = shell.az("group show -n rg")["id"]
    shell.az(f"tag create --resource-id {group} --tags a=1 b=2")
    found = shell.az(f"tag update --resource-id {group} --operation merge --tags c=3")
    assert found["properties"]["tags"] == {"a": "1", "b": "2", "c": "3"}
    shell.az(f"tag update --resource-id {group} --operation delete --tags a=1")
    assert shell.az(f"tag list --resource-id {group}")["properties"]["tags"] == {"b": "2", "c": "3"}
    shell.az(f"tag delete --resource-id {group} --yes")
    shell.az("tag create -n cost")
    shell.az("tag add-value -n cost --value low")
    listed = {one["tagName"]: [v["tagValue"] for v in one["values"]] for one in shell.az("tag list")}
    assert listed == {"cost": ["low"]}
    shell.az("tag remove-value -n cost --value low")
    shell.az("tag delete -n cost --yes")


def test_az_provider_knows_every_type_with_its_versions(shell: Shell) -> None:
    assert {"Microsoft.Compute", "Microsoft.Authorization"} <= {
        one["namespace"] for one in shell.az("provider list")
    }
    found = shell.az("provider show -n Microsoft.Network")
    types = {one["resourceType"]: one["apiVersions"] for one in found["resourceTypes"]}
    assert types["virtualNetworks"]
    shell.az("provider register -n Microsoft.Network")


def test_another_subscription_is_made_chosen_used_and_deleted(shell: Shell) -> None:
    shell.run("vmstamp subscription create dev")
    assert [one["name"] for one in shell.az("account list")] == ["vmstamp", "dev"]
    shell.az("account set -s dev")
    assert shell.az("account show")["name"] == "dev"
    assert shell.az("group list") == []
    shell.az("group create -n only -l westeurope")
    assert [one["name"] for one in shell.az("group list")] == ["only"]
    shell.az("group delete -n only --yes")
    shell.az("account set -s vmstamp")
    assert {one["name"] for one in shell.az("group list")} == {"rg", "rg2"}
    shell.run("vmstamp subscription delete dev")
    listed = json.loads(shell.run("vmstamp subscription list --json").text)
    assert [one["displayName"] for one in listed] == ["vmstamp"]


def test_az_provider_unregister_register_and_operations(shell: Shell) -> None:
    shell.az("provider unregister -n Microsoft.Storage")
    assert shell.az("provider show -n Microsoft.Storage")["registrationState"] == "Unregistered"
    shell.az("provider register -n Microsoft.Storage")
    assert shell.az("provider show -n Microsoft.Storage")["registrationState"] == "Registered"
    found = shell.az("provider operation show --namespace Microsoft.Storage")
    (accounts,) = (one for one in found["resourceTypes"] if one["name"] == "storageAccounts")
    assert "Microsoft.Storage/storageAccounts/write" in {one["name"] for one in accounts["operations"]}
    assert {"Microsoft.Compute"} <= {one["name"] for one in shell.az("provider operation list")}


def test_az_registers_the_provider_that_a_command_needs(shell: Shell) -> None:
    shell.az("provider unregister -n Microsoft.Compute")
    shell.az("disk create -g rg -n d1 --size-gb 1 -l westeurope")
    assert shell.az("provider show -n Microsoft.Compute")["registrationState"] == "Registered"
    assert "has resources of it" in shell.refused("provider unregister -n Microsoft.Compute")
    shell.az("disk delete -g rg -n d1 --yes")


def test_az_resource_invoke_action_lists_by_tag_and_group_wait_and_export(shell: Shell) -> None:
    shell.az("group create -n acts -l westeurope --tags team=a")
    shell.az("group wait -n acts --created")
    made = shell.az("disk create -g acts -n d1 --size-gb 1 -l westeurope --tags env=prod")
    opened = json.dumps({"access": "Read", "durationInSeconds": 600})
    shell.az(f"resource invoke-action --action beginGetAccess --ids {made['id']} --request-body '{opened}'")
    assert shell.az(f"disk show --ids {made['id']}")["diskState"] == "ActiveSAS"
    shell.az(f"resource invoke-action --action endGetAccess --ids {made['id']}")
    for form in ("--tag env=prod", "--tag env"):
        assert [one["name"] for one in shell.az(f"resource list {form} -l ''")] == ["d1"], form
    assert shell.az("resource list --tag env=dev -l ''") == []
    assert [one["name"] for one in shell.az("group list --tag team=a")] == ["acts"]
    exported = shell.az("group export -n acts")
    assert [one["type"] for one in exported["resources"]] == ["Microsoft.Compute/disks"]
    shell.az("group delete -n acts --yes --no-wait")
    shell.az("group wait -n acts --deleted")
    assert shell.az("group exists -n acts") is False
