"""`vmstamp env` and `vmstamp az`: an unmodified az signed in to a running stamp, and `az storage account`."""

import json
import os

from tests.peers.shell import Shell


def test_an_account_lives_its_life_by_az(shell: Shell) -> None:
    shell.az("group create -n rg -l local")
    made = shell.az("storage account create -n acct1 -g rg --sku Standard_LRS --tags a=b")
    assert (made["name"], made["provisioningState"], made["tags"]) == ("acct1", "Succeeded", {"a": "b"})
    assert [one["name"] for one in shell.az("storage account list")] == ["acct1"]
    assert shell.az("storage account show -n acct1")["sku"]["name"] == "Standard_LRS"
    assert shell.az("storage account check-name -n acct1")["reason"] == "AlreadyExists"
    assert shell.az("storage account update -n acct1 -g rg --tags c=d")["tags"] == {"c": "d"}

    before = {one["keyName"]: one["value"] for one in shell.az("storage account keys list -n acct1 -g rg")}
    shell.az("storage account keys renew -n acct1 -g rg --key key1")
    after = {one["keyName"]: one["value"] for one in shell.az("storage account keys list -n acct1 -g rg")}
    assert after["key2"] == before["key2"] and after["key1"] != before["key1"]

    words = shell.az("storage account show-connection-string -n acct1 -g rg")["connectionString"]
    disk = shell.directory / "disk.vhd"
    disk.write_bytes(os.urandom(512))
    created = shell.az(f"storage container create -n disks --connection-string '{words}'")
    assert created == {"created": True}
    shell.az(
        f"storage blob upload -c disks -n disk.vhd -f {disk} --no-progress --connection-string '{words}'"
    )
    shown = shell.az(f"storage blob show -c disks -n disk.vhd --connection-string '{words}'")
    assert shown["properties"]["blobType"] == "PageBlob"
    old = words.replace(after["key1"], before["key1"])
    refused = shell.run(f"vmstamp az -- storage container list --connection-string '{old}'", status=1)
    assert "Authentication failure" in refused.stderr.decode()

    shell.az("storage account delete -n acct1 -g rg --yes")
    assert shell.az("storage account list") == []


def test_containers_live_their_life_by_arm(shell: Shell) -> None:
    shell.az("group create -n rg -l local")
    shell.az("storage account create -n acct2 -g rg --sku Standard_LRS")
    one = "--storage-account acct2 -g rg"
    made = shell.az(f"storage container-rm create -n box {one} --metadata a=b --public-access blob")
    assert (made["publicAccess"], made["metadata"], made["leaseState"]) == ("Blob", {"a": "b"}, "Available")
    assert shell.az(f"storage container-rm exists -n box {one}") == {"exists": True}
    changed = shell.az(f"storage container-rm update -n box {one} --public-access container --metadata c=d")
    assert (changed["publicAccess"], changed["metadata"]) == ("Container", {"c": "d"})
    words = shell.az("storage account show-connection-string -n acct2 -g rg")["connectionString"]
    shown = shell.az(f"storage container metadata show -n box --connection-string '{words}'")
    assert shown == {"c": "d"}
    shell.az(f"storage container create -n other --connection-string '{words}'")
    assert [found["name"] for found in shell.az(f"storage container-rm list {one}")] == ["box", "other"]
    assert shell.az(f"storage container-rm show -n other {one}")["name"] == "other"
    shell.az(f"storage container-rm delete -n box {one} --yes")
    assert shell.az(f"storage container-rm exists -n box {one}") == {"exists": False}
    refused = shell.refused(f"storage container-rm create -n worm {one} --enable-vlw true")
    assert "immutableStorageWithVersioning" in refused


def test_the_blob_service_is_set_by_arm(shell: Shell) -> None:
    shell.az("group create -n rg -l local")
    shell.az("storage account create -n acct3 -g rg --sku Standard_LRS")
    service, one = "storage account blob-service-properties", "--account-name acct3 -g rg"
    assert shell.az(f"{service} show {one}")["deleteRetentionPolicy"]["enabled"] is False
    kept = shell.az(f"{service} update {one} --enable-delete-retention true --delete-retention-days 3")
    assert (kept["deleteRetentionPolicy"]["days"], kept["sku"]["name"]) == (3, "Standard_LRS")
    rule = "--allowed-origins http://x --allowed-methods GET --max-age-in-seconds 5"
    shell.az(f"{service} cors-rule add {one} {rule} --allowed-headers '*' --exposed-headers '*'")
    assert shell.az(f"{service} cors-rule list {one}")[0]["allowedOrigins"] == ["http://x"]
    assert "isVersioningEnabled" in shell.refused(f"{service} update {one} --enable-versioning true")
    assert shell.az(f"{service} show {one}")["deleteRetentionPolicy"]["days"] == 3


def test_an_accounts_small_verbs(shell: Shell) -> None:
    shell.az("group create -n rg -l local")
    shell.az("storage account create -n acct4 -g rg --sku Standard_LRS")
    assert shell.az("storage account show-usage -l local")["currentValue"] >= 1
    update = "storage account update -n acct4 -g rg"
    found = shell.az(f"{update} --tags a=b --allow-blob-public-access false --min-tls-version TLS1_2")
    assert (found["tags"], found["allowBlobPublicAccess"], found["minimumTlsVersion"]) == (
        {"a": "b"},
        False,
        "TLS1_2",
    )
    one = "--storage-account acct4 -g rg"
    refused = shell.refused(f"storage container-rm create -n open {one} --public-access blob")
    assert "PublicAccessNotPermitted" in refused
    words = shell.az("storage account show-connection-string -n acct4 -g rg")["connectionString"]
    by_words = f"--connection-string '{words}'"
    shell.az(f"storage container create -n shut {by_words}")
    asked = "--services b --resource-types sco --permissions rl --expiry 2126-01-01T00:00Z"
    sas = shell.az(f"storage account generate-sas {asked} {by_words}")
    endpoint = next(word for word in words.split(";") if word.startswith("BlobEndpoint="))
    listed = shell.az(f"storage container list --connection-string '{endpoint};SharedAccessSignature={sas}'")
    assert [found["name"] for found in listed] == ["shut"]
    shell.az("storage account keys renew -n acct4 -g rg --key primary")
    late = shell.run(
        f"vmstamp az -- storage container list --connection-string '{endpoint};SharedAccessSignature={sas}'",
        status=1,
    )
    assert b"AuthenticationFailed" in late.stderr or b"Authentication failure" in late.stderr


def test_the_shell_is_turned_to_the_stamp_and_back(shell: Shell) -> None:
    script = (
        'eval "$(vmstamp env)"; az account show --query name -o tsv; eval "$(vmstamp env)";'
        ' eval "$(vmstamp env --undo)"; echo "$AZURE_CONFIG_DIR ${AZURE_CLIENT_SECRET-none}"; env'
    )
    lines = shell.run(script).text.splitlines()
    assert lines[:2] == ["vmstamp", f"{shell.directory}/mine none"]
    assert not [line for line in lines if line.startswith(("VMSTAMP_SAVED", "VMSTAMP_ENV"))]
    assert not (shell.directory / "mine").exists() and not (shell.directory / ".azure").exists()


def test_a_wrong_secret_is_refused(shell: Shell) -> None:
    tenant = json.loads(shell.run("vmstamp status --json").text)["tenant"]
    script = (
        'eval "$(vmstamp env)"; export AZURE_CONFIG_DIR="$HOME/other"; '
        "az cloud register -n here --endpoint-resource-manager $AZURE_AUTHORITY_HOST; az cloud set -n here; "
        "az login --service-principal -u $AZURE_CLIENT_ID -p {secret} --tenant " + tenant
    )
    found = json.loads(shell.run(script.format(secret="$AZURE_CLIENT_SECRET") + " -o json").text)
    assert found[0]["user"]["type"] == "servicePrincipal"
    refused = shell.run(script.format(secret="wrong").replace("/other", "/another"), status=1)
    assert "AADSTS7000215" in refused.stderr.decode()
