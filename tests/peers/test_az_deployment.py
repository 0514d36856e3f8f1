"""`az deployment` on a running stamp: templates with comments, parameters, validate, what-if, operations."""

import json
from pathlib import Path
from typing import Final

import pytest

from tests.peers.shell import Shell

TEMPLATES: Final = Path(__file__).parents[1] / "data" / "templates"
TEMPLATE = """\
{
  // A network and what protects it. Comments reach the server as they are.
  "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
  "contentVersion": "1.0.0.0",
  "parameters": {
    "prefix": { "type": "string", "minLength": 2, "defaultValue": "net" },
    "count": { "type": "int", "maxValue": 4 },
    "secret": { "type": "securestring", "defaultValue": "hidden words" }
  },
  "variables": {
    "name": "[concat(parameters('prefix'),
                     '-', uniqueString(resourceGroup().id))]" /* over two lines */
  },
  "resources": [
    {
      "type": "Microsoft.Network/networkSecurityGroups",
      "apiVersion": "2023-09-01",
      "name": "[parameters('prefix')]",
      "location": "[resourceGroup().location]",
      "properties": {}
    },
    {
      "type": "Microsoft.Network/virtualNetworks",
      "apiVersion": "2023-09-01",
      "name": "[format('{0}-{1}', variables('name'), copyIndex())]",
      "location": "[resourceGroup().location]",
      "copy": { "name": "networks", "count": "[parameters('count')]" },
      "dependsOn": [ "[resourceId('Microsoft.Network/networkSecurityGroups', parameters('prefix'))]" ],
      "properties": {
        "addressSpace": { "addressPrefixes": [ "[cidrSubnet('10.0.0.0/8', 16, copyIndex())]" ] }
      }
    }
  ],
  "outputs": {
    "name": { "type": "string", "value": "[variables('name')]" },
    "space": {
      "type": "array",
      "value": "[reference(concat(variables('name'), '-0')).addressSpace.addressPrefixes]"
    }
  }
}
"""


@pytest.fixture(scope="module", autouse=True)
def files(shell: Shell) -> None:
    """The template and its parameters, beside the shell."""
    (shell.directory / "main.json").write_text(TEMPLATE)
    parameters = {
        "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentParameters.json#",
        "contentVersion": "1.0.0.0",
        "parameters": {"count": {"value": 2}},
    }
    (shell.directory / "parameters.json").write_text(json.dumps(parameters))


def test_a_deployment_lives_its_life_by_az(shell: Shell) -> None:
    shell.az("group create -n rg -l westeurope")
    given = "-g rg -f main.json -p @parameters.json -p secret='other words'"
    checked = shell.az(f"deployment group validate {given}")
    assert checked["properties"]["provisioningState"] == "Succeeded"
    foreseen = shell.az(f"deployment group what-if {given} --no-pretty-print")
    assert [change["changeType"] for change in foreseen["changes"]] == ["Create"] * 3

    made = shell.az(f"deployment group create {given} -n one")
    properties = made["properties"]
    assert properties["provisioningState"] == "Succeeded"
    assert properties["outputs"]["space"]["value"] == ["10.0.0.0/16"]
    assert properties["parameters"]["secret"] == {"type": "SecureString"}
    assert len(properties["outputResources"]) == 3
    shown = shell.run("vmstamp az -- deployment group show -g rg -n one -o json").text
    assert "other words" not in shown and "hidden words" not in shown
    assert json.loads(shown)["properties"]["correlationId"] == properties["correlationId"]

    networks = shell.az("network vnet list -g rg")
    name = properties["outputs"]["name"]["value"]
    assert [one["name"] for one in networks] == [f"{name}-0", f"{name}-1"]
    operations = shell.az("deployment operation group list -g rg -n one")
    kinds = [one["properties"]["provisioningOperation"] for one in operations]
    assert kinds == ["Create"] * 3 + ["EvaluateDeploymentOutput"]
    exported = shell.az("deployment group export -g rg -n one")
    assert exported["parameters"]["count"] == {"maxValue": 4, "type": "int"}
    assert [one["name"] for one in shell.az("deployment group list -g rg")] == ["one"]

    again = shell.az(f"deployment group what-if {given} --no-pretty-print")
    assert {change["changeType"] for change in again["changes"]} == {"NoChange"}
    whole = shell.az("group export -n rg")
    assert len(whole["resources"]) == 3
    shell.az("deployment group delete -g rg -n one")
    assert shell.az("deployment group list -g rg") == []


def test_what_is_wrong_is_told_before_anything_is_made(shell: Shell) -> None:
    shell.az("group create -n wrong -l westeurope")
    said = shell.refused("deployment group create -g wrong -f main.json -p count=5")
    assert "InvalidTemplate" in said and "less than or equal to '4'" in said and "line '7'" in said
    said = shell.refused("deployment group validate -g wrong -f main.json -p count=1 -p prefix=x")
    assert "greater than or equal to '2'" in said
    said = shell.refused("deployment group create -g wrong -f main.json -p count=1 -p color=red")
    assert "color" in said
    assert shell.az("resource list -g wrong") == []


def test_a_deployment_to_the_subscription_makes_groups(shell: Shell) -> None:
    template = {
        "$schema": "https://schema.management.azure.com/schemas/2018-05-01/subscriptionDeploymentTemplate.json#",
        "contentVersion": "1.0.0.0",
        "resources": [
            {
                "type": "Microsoft.Resources/resourceGroups",
                "apiVersion": "2022-09-01",
                "name": "made",
                "location": "[deployment().location]",
            }
        ],
        "outputs": {
            "id": {
                "type": "string",
                "value": "[subscriptionResourceId('Microsoft.Resources/resourceGroups', 'made')]",
            }
        },
    }
    (shell.directory / "subscription.json").write_text(json.dumps(template))
    made = shell.az("deployment sub create -l northeurope -n two -f subscription.json")
    assert made["properties"]["outputs"]["id"]["value"].endswith("/resourceGroups/made")
    assert shell.az("group show -n made")["location"] == "northeurope"
    assert [one["name"] for one in shell.az("deployment sub list")] == ["two"]
    assert shell.az("deployment sub show -n two")["properties"]["provisioningState"] == "Succeeded"
    what_if = "deployment sub what-if -l northeurope -f subscription.json --no-pretty-print"
    assert [one["changeType"] for one in shell.az(what_if)["changes"]] == ["NoChange"]
    shell.az("deployment sub delete -n two")
    assert shell.az("deployment sub list") == []


def test_what_vm_create_would_deploy_is_valid(shell: Shell) -> None:
    shell.az("group create -n machines -l local")
    shell.az("storage account create -n acct1 -g machines -l local --sku Standard_LRS")
    words = shell.az("storage account show-connection-string -n acct1 -g machines")["connectionString"]
    shell.run("truncate -s 1M disk.raw; vmstamp disk convert disk.raw disk.vhd")
    shell.az(f"storage container create -n disks --connection-string '{words}'")
    shell.az(
        f"storage blob upload -c disks -n disk.vhd -f disk.vhd --no-progress --connection-string '{words}'"
    )
    url = json.loads(shell.run("vmstamp status --json").text)["blob"] + "/acct1/disks/disk.vhd"
    image = f"image create -g machines -n image1 --os-type Linux --hyper-v-generation V2 --source {url}"
    shell.az(image)
    create = "vm create -g machines -n vm1 --image image1 --size Standard_B1s --nsg-rule SSH"
    shell.run("ssh-keygen -q -t ed25519 -N '' -f key")
    checked = shell.az(f"{create} --admin-username someone --ssh-key-values key.pub --validate")
    assert checked["properties"]["provisioningState"] == "Succeeded"
    made = {one["id"].split("/")[7] for one in checked["properties"]["validatedResources"]}
    assert made == {
        "virtualNetworks",
        "networkSecurityGroups",
        "publicIPAddresses",
        "networkInterfaces",
        "virtualMachines",
    }
    (shell.directory / "image.json").write_text(
        json.dumps({"id": shell.az("image show -g machines -n image1")["id"]})
    )
    looped = f"-g machines -f {TEMPLATES}/vm-extension.json -p image=@image.json adminUsername=someone"
    looped += " adminPasswordOrKey=Abc-987-xyz-654"
    foreseen = shell.run(f"vmstamp az -- deployment group what-if {looped} --no-pretty-print -o json").text
    changes = [one["changeType"] for one in json.loads(foreseen)["changes"]]
    assert changes.count("Create") == 9 and "Abc-987" not in foreseen and "open it" not in foreseen
    said = shell.refused(f"deployment group validate {looped} securityType=TrustedLaunch")
    assert "InvalidTemplateDeployment" in said and "'properties.securityProfile.uefiSettings'" in said
    secret = "Abc-123-xyz-789"
    signed_in = f"--admin-username someone --admin-password {secret} --authentication-type password"
    assert secret not in shell.run(f"vmstamp az -- {create} {signed_in} --validate -o json").text


def test_a_template_lays_locks_and_tags_on_what_it_makes(shell: Shell) -> None:
    given = f"-l westeurope -f {TEMPLATES}/locked-group.json -p groupName=locked"
    made = shell.az(f"deployment sub create -n locked {given}")
    assert made["properties"]["outputs"]["level"]["value"] == "CanNotDelete"
    assert [one["name"] for one in shell.az("lock list -g locked")] == ["guarded", "old-way"]
    assert shell.az("network nsg show -g locked -n guard")["tags"] == {"team": "images"}
    assert "ScopeLocked" in shell.refused("network nsg delete -g locked -n guard")
    changes = shell.az(f"deployment sub what-if {given} level=ReadOnly --no-pretty-print")["changes"]
    (modified,) = [one for one in changes if one["changeType"] == "Modify"]
    assert modified["resourceId"].endswith("/guard/providers/Microsoft.Authorization/locks/guarded")
    (delta,) = modified["delta"]
    assert (delta["path"], delta["before"], delta["after"]) == (
        "properties.level",
        "CanNotDelete",
        "ReadOnly",
    )
    assert {one["changeType"] for one in changes if one is not modified} == {"NoChange"}


def test_linked_templates_and_what_they_made_deployed_again(shell: Shell) -> None:
    shell.az("group create -n linked -l westeurope")
    shell.az("storage account create -n links1 -g linked -l westeurope --sku Standard_LRS")
    words = shell.az("storage account show-connection-string -n links1 -g linked")["connectionString"]
    by = f"--connection-string '{words}'"
    shell.az(f"storage container create -n files {by}")
    shell.az(f"storage blob upload-batch -d files -s {TEMPLATES}/linked --no-progress {by}")
    signed = shell.az(f"storage container generate-sas -n files --permissions r --expiry 2099-01-01 {by}")
    url = json.loads(shell.run("vmstamp status --json").text)["blob"] + "/links1/files"
    created = (
        f"deployment group create -g linked -n main --template-uri {url}/main.json --query-string '{signed}'"
    )
    properties = shell.az(created)["properties"]
    assert properties["outputs"]["peer"]["value"] == "one"
    steps = [one["properties"] for one in shell.az("deployment operation group list -g linked -n main")]
    names = [one["targetResource"]["resourceName"] for one in steps if one["targetResource"]]
    assert names == ["by-address", "by-path", "in-place"]
    assert signed not in json.dumps(properties)
    assert "DeploymentCannotBeCancelled" in shell.refused("deployment group cancel -g linked -n main")

    whole = (
        f"-g linked --mode Complete --template-uri {url}/network.json --query-string '{signed}' -p name=one"
    )
    changes = shell.az(f"deployment group what-if {whole} --no-pretty-print")["changes"]
    kinds = {one["resourceId"].split("/providers/")[1]: one["changeType"] for one in changes}
    assert kinds == {
        "Microsoft.Network/virtualNetworks/one": "NoChange",
        "Microsoft.Network/virtualNetworks/one/subnets/inside": "NoChange",
        "Microsoft.Network/virtualNetworks/two": "Delete",
        "Microsoft.Storage/storageAccounts/links1": "Delete",
    }
    networks = " ".join(properties["outputs"]["all"]["value"]["both"]["value"])
    exported = shell.az(f"group export -n linked --resource-ids {networks}")
    (shell.directory / "exported.json").write_text(json.dumps(exported))
    shell.az("group create -n again -l westeurope")
    again = shell.az("deployment group create -g again -f exported.json")["properties"]["outputResources"]
    assert [one["id"].rsplit("/", 1)[1] for one in again] == ["one", "two"]
