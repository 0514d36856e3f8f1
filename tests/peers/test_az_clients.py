"""What az can be told of a stamp, and what it asks of one, beside `vmstamp env`."""

import json
import os

import pytest

from tests.peers.shell import Shell

LOGIN = "az login --service-principal -u $AZURE_CLIENT_ID -p $AZURE_CLIENT_SECRET --tenant"


def test_a_cloud_is_known_by_the_address_of_its_metadata(shell: Shell) -> None:
    """Neither registered nor written down: the variable stays exported."""
    tenant = json.loads(shell.run("vmstamp status --json").text)["tenant"]
    script = (
        'eval "$(vmstamp env)"; export AZURE_CONFIG_DIR="$HOME/by-metadata";'
        ' export ARM_CLOUD_METADATA_URL="$AZURE_AUTHORITY_HOST/metadata/endpoints?api-version=2019-05-01";'
        f" {LOGIN} {tenant} -o none; az cloud show --query name -o tsv; az group list -o json"
    )
    name, rest = shell.run(script).text.split("\n", 1)
    assert name == "vmstamp" and isinstance(json.loads(rest), list)


def test_az_signs_in_at_an_authority_with_tenants(shell: Shell) -> None:
    """An authority without /adfs, as long as nobody asks the public cloud for it."""
    tenant = json.loads(shell.run("vmstamp status --json").text)["tenant"]
    script = (
        'eval "$(vmstamp env)"; export AZURE_CONFIG_DIR="$HOME/by-tenant";'
        " export AZURE_CORE_INSTANCE_DISCOVERY=false;"
        " az cloud register -n here --endpoint-resource-manager $AZURE_AUTHORITY_HOST"
        " --endpoint-active-directory $AZURE_AUTHORITY_HOST; az cloud set -n here;"
        f" {LOGIN} {tenant} -o none; az account show --query tenantId -o tsv; az group list -o json"
    )
    found, rest = shell.run(script).text.split("\n", 1)
    assert found == tenant and isinstance(json.loads(rest), list)


def test_a_failed_command_is_told_with_the_code_and_the_message(shell: Shell) -> None:
    said = shell.refused("group show -n none", status=3)
    assert "(ResourceGroupNotFound) Resource group 'none' could not be found." in said


def test_locations_and_sizes_are_listed(shell: Shell) -> None:
    assert "westeurope" in {one["name"] for one in shell.az("account list-locations")}
    sizes = shell.az("vm list-skus -l westeurope --resource-type virtualMachines")
    assert "Standard_B1ms" in {one["name"] for one in sizes}


@pytest.fixture(scope="module")
def account(shell: Shell) -> str:
    """An account `acct1` with a container `files` and a blob; its endpoint."""
    shell.az("group create -n rg -l local")
    made = shell.az("storage account create -n acct1 -g rg --sku Standard_LRS")
    endpoint = str(made["primaryEndpoints"]["blob"])
    (shell.directory / "a.bin").write_bytes(os.urandom(512))
    named = f"--account-name acct1 --blob-endpoint {endpoint}"
    shell.az(f"storage container create -n files {named}")
    shell.az(f"storage blob upload -c files -n a.bin -f a.bin --no-progress {named}")
    return endpoint


def test_an_account_is_reached_by_its_name_without_a_key(shell: Shell, account: str) -> None:
    """az looks for the account and asks for its keys."""
    named = f"--account-name acct1 --blob-endpoint {account}"
    assert [one["name"] for one in shell.az(f"storage blob list -c files {named}")] == ["a.bin"]


def test_an_account_is_reached_by_the_variables_of_its_url_and_key(shell: Shell, account: str) -> None:
    script = (
        'eval "$(vmstamp env)"; unset AZURE_STORAGE_CONNECTION_STRING;'
        " key=$(az storage account keys list -n acct1 -g rg --query '[0].value' -o tsv);"
        f' export AZURE_STORAGE_ACCOUNT_URL="{account}" AZURE_STORAGE_KEY="$key";'
        " az storage blob list -c files --query '[].name' -o tsv"
    )
    assert shell.run(script).text.strip() == "a.bin"


def test_an_account_is_reached_by_the_connection_string_of_azs_settings(shell: Shell, account: str) -> None:
    script = (
        'eval "$(vmstamp env)"; words=$(az storage account show-connection-string -n acct1 -g rg -o tsv);'
        ' export AZURE_CONFIG_DIR="$HOME/by-settings"; az config set storage.connection_string="$words" 2>&1;'
        " az storage blob list -c files --query '[].name' -o tsv"
    )
    assert shell.run(script).text.strip().endswith("a.bin")
