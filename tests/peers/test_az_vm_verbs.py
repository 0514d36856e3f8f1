"""az's verbs of virtual machines on a running stamp. The machines run without a system, so nothing boots."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.peers.programs import find_peer
from tests.peers.shell import Shell

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A stamp with a blank VHD, and a specialized image `blank` of it in its own group."""
    find_peer("az")
    shell = Shell(tmp_path_factory.mktemp("verbs"))
    shell.run("ssh-keygen -q -t ed25519 -N '' -f key; truncate -s 24M blank.raw")
    shell.run("vmstamp up")
    try:
        shell.run("vmstamp disk convert blank.raw blank.vhd")
        url = json.loads(shell.run("vmstamp upload blank.vhd --json").text)["url"]
        (shell.directory / "url").write_text(url)
        shell.run(f"vmstamp image create blank --source {url} --generation 2 --os-state specialized")
        yield shell
    finally:
        shell.run("vmstamp down")


def said(shell: Shell, words: str) -> str:
    """What az says of a command, whatever its exit status."""
    return shell.run(f"vmstamp az -- {words} 2>&1 || true").text


def power(shell: Shell, name: str) -> str:
    shown = shell.az(f"vm get-instance-view -g vmstamp -n {name}")
    return str(shown["instanceView"]["statuses"][-1]["code"])


def test_a_vm_lives_by_az(shell: Shell) -> None:
    shell.run("vmstamp vm create web --image blank --specialized --size Standard_B1ls")
    group = "-g vmstamp"
    assert power(shell, "web") == "PowerState/running"
    shown = shell.az(f"vm show -d {group} -n web")
    assert (shown["powerState"], shown["privateIps"]) == ("VM running", "10.0.0.4")
    listed = shell.az(f"vm list-ip-addresses {group} -n web")
    network = listed[0]["virtualMachine"]["network"]
    assert network["privateIpAddresses"] == ["10.0.0.4"]
    assert network["publicIpAddresses"][0]["ipAddress"].startswith("127.")
    assert [one["id"].split("/")[-1] for one in shell.az(f"vm nic list {group} --vm-name web")] == ["web-nic"]

    shell.az(f"vm stop {group} -n web --skip-shutdown")
    assert power(shell, "web") == "PowerState/stopped"
    assert "requires the VM to be running" in said(shell, f"vm restart {group} -n web")
    shell.az(f'vm update {group} -n web --set tags=\'{{"role":"front"}}\'')
    shell.az(f"vm resize {group} -n web --size Standard_B1ms")
    shell.az(f"vm disk attach {group} --vm-name web --name more --new --size-gb 1")
    shown = shell.az(f"vm show {group} -n web")
    assert shown["tags"] == {"role": "front"}
    assert shown["hardwareProfile"]["vmSize"] == "Standard_B1ms"
    assert [one["name"] for one in shown["storageProfile"]["dataDisks"]] == ["more"]
    shell.az(f"vm disk detach {group} --vm-name web --name more")
    assert shell.az(f"disk show {group} -n more")["diskState"] == "Unattached"
    opened = shell.az(f"vm open-port {group} -n web --port 8080")
    assert "8080" in [rule["destinationPortRange"] for rule in opened["securityRules"]]

    shell.az(f"vm start {group} -n web")
    assert power(shell, "web") == "PowerState/running"
    shell.az(f"vm reapply {group} -n web")
    assert power(shell, "web") == "PowerState/running"
    for words in ("simulate-eviction", "assess-patches"):
        assert "is not supported by this stamp" in said(shell, f"vm {words} {group} -n web"), words
    shell.az(f"vm stop {group} -n web --skip-shutdown")
    shell.az(f"vm deallocate {group} -n web")
    assert power(shell, "web") == "PowerState/deallocated"
    sizes = [one["name"] for one in shell.az(f"vm list-vm-resize-options {group} -n web")]
    assert "Standard_B2s" in sizes
    assert "Standard_B2s" in [one["name"] for one in shell.az("vm list-sizes -l local")]


def test_a_capture_in_the_classic_manner(shell: Shell) -> None:
    shell.run("vmstamp vm create old --image blank --specialized --size Standard_B1ls")
    shell.run("vmstamp vm capture old live --classic --os-state Specialized")
    assert power(shell, "old") == "PowerState/running"
    shell.az("vm stop -g vmstamp -n old --skip-shutdown")
    shell.az("vm deallocate -g vmstamp -n old")
    special = "vmstamp vm capture old special --classic --os-state Specialized --json"
    made = json.loads(shell.run(special).text)
    assert made["image"]["properties"]["storageProfile"]["osDisk"]["osState"] == "Specialized"
    assert "/vhds/special-os-20" in made["disks"][0]["url"]
    refused = shell.run("vmstamp vm capture old general --classic", status=1)
    assert b"requires the Virtual Machine 'old' to be Generalized" in refused.stderr
    shell.az("vm generalize -g vmstamp -n old")
    shell.run("vmstamp vm capture old general --classic")
    names = [one["name"] for one in shell.az("vm list -g vmstamp")]
    assert "old" not in names
    images = {one["name"] for one in shell.az("image list -g vmstamp")}
    assert {"live", "special", "general"} <= images
    shell.run("vmstamp vm create again --image special --specialized --size Standard_B1ls")
    shell.az("vm delete -g vmstamp -n again --yes --force-deletion true")


def test_a_specialized_definition_and_an_image_of_a_vm_by_az(shell: Shell) -> None:
    shell.run("vmstamp vm create model --image blank --specialized --size Standard_B1ms")
    vm = shell.az("vm show -g vmstamp -n model")["id"]
    shell.az("vm stop -g vmstamp -n model --skip-shutdown")
    shell.az("vm deallocate -g vmstamp -n model")
    named = "-g vmstamp --gallery-name models --gallery-image-definition whole"
    shell.az("sig create -g vmstamp --gallery-name models")
    words = "--publisher me --offer whole --sku one --os-type Linux --hyper-v-generation V2"
    definition = shell.az(f"sig image-definition create {named} {words} --os-state Specialized")
    shell.az(f"sig image-version create {named} --gallery-image-version 1.0.0 --virtual-machine {vm}")
    made = f"vm create -g vmstamp -n twin --image {definition['id']} --specialized --size Standard_B1ms"
    made += " --admin-username someone --ssh-key-values key.pub --nsg-rule NONE --public-ip-address ''"
    shell.az(made)
    shown = shell.az("vm show -g vmstamp -n twin")
    assert shown["storageProfile"]["imageReference"]["id"] == definition["id"]
    assert "osProfile" not in shown or shown["osProfile"] is None
    assert power(shell, "twin") == "PowerState/running"
    shell.az("vm delete -g vmstamp -n twin --yes")

    shell.az("vm generalize -g vmstamp -n model")
    shell.az("image create -g vmstamp -n of-model --source model --hyper-v-generation V2")
    image = shell.az("image show -g vmstamp -n of-model")
    assert image["sourceVirtualMachine"]["id"] == vm and image["hyperVGeneration"] == "V2"
    shell.az("vm delete -g vmstamp -n model --yes")


def test_a_vm_of_a_blob_is_valid_by_az(shell: Shell) -> None:
    url = vhd(shell, "source")
    made = f"vm create -g vmstamp -n of-blob --use-unmanaged-disk --image {url} --os-type linux"
    made += " --size Standard_B1ms --admin-username someone --ssh-key-values key.pub --nsg-rule NONE"
    made += f" --storage-account {url.split('/')[3]} --storage-container-name vhds"
    checked = shell.az(f"{made} --public-ip-address '' --validate")
    assert checked["properties"]["provisioningState"] == "Succeeded"


def vhd(shell: Shell, name: str) -> str:
    """The URL of a copy of the blank VHD."""
    url = (shell.directory / "url").read_text()
    target = f"{url.rsplit('/', 1)[0]}/{name}.vhd"
    shell.run(f"vmstamp copy {url} {target}")
    return target


def template_of(captured: Any) -> dict[str, Any]:
    """The template of a captured VM, of which az prints the resource alone."""
    names = ("vmName", "vmSize", "adminUsername", "networkInterfaceId")
    parameters: dict[str, Any] = {name: {"type": "string"} for name in names}
    parameters["vmSize"]["defaultValue"] = "Standard_B1ms"
    parameters["adminPassword"] = {"type": "securestring"}
    schema = "https://schema.management.azure.com/schemas/2015-01-01/deploymentTemplate.json#"
    whole = {"$schema": schema, "contentVersion": "1.0.0.0", "parameters": parameters}
    return {**whole, "resources": [captured]}


def test_a_vm_of_blobs_by_az(shell: Shell) -> None:
    url = vhd(shell, "raw")
    made = "vm create -g vmstamp -n raw --use-unmanaged-disk --os-type linux --size Standard_B1ms"
    shell.az(f"{made} --attach-os-disk {url} --nsg-rule NONE --public-ip-address ''")
    which = "-g vmstamp --vm-name raw"
    shell.az(f"vm unmanaged-disk attach {which} --new --size-gb 1 -n extra")
    (disk,) = shell.az(f"vm unmanaged-disk list {which}")
    assert (disk["lun"], disk["name"], disk["diskSizeGB"]) == (0, "extra", 1)
    shell.az(f"vm unmanaged-disk detach {which} -n extra")
    assert shell.az(f"vm unmanaged-disk list {which}") == []
    shell.az(f"vm unmanaged-disk attach {which} -n extra --vhd-uri {disk['vhd']['uri']}")
    refused = said(shell, f"vm disk attach {which} -n other --new --size-gb 1")
    assert "Addition of a managed disk to a VM with blob based disks is not supported." in refused

    which = "-g vmstamp -n raw"
    shell.az(f"vm boot-diagnostics enable {which}")
    assert shell.az(f"vm boot-diagnostics get-boot-log-uris {which}")["serialConsoleLogBlobUri"]
    shell.run(f"vmstamp az -- vm boot-diagnostics get-boot-log {which}")
    shell.az(f"vm boot-diagnostics disable {which}")
    shown = shell.az(f"vm show {which}")["diagnosticsProfile"]["bootDiagnostics"]
    assert shown["enabled"] is False

    shell.az(f"vm stop {which} --skip-shutdown")
    shell.az(f"vm deallocate {which}")
    shell.az(f"vm generalize {which}")
    captured = shell.az(f"vm capture {which} --vhd-name-prefix pre")
    (shell.directory / "template.json").write_text(json.dumps(template_of(captured)))
    subnet = shell.az("network vnet list -g vmstamp")[0]["subnets"][0]["id"]
    deploy = "deployment group create -g vmstamp -f template.json -p adminUsername=someone"
    deploy += " adminPassword=Correct-horse-1"
    for name in ("first", "second"):
        shell.az(f"network nic create -g vmstamp -n {name}-nic --subnet {subnet}")
    nics = {one["name"]: one["id"] for one in shell.az("network nic list -g vmstamp")}
    shell.az(f"{deploy} vmName=first networkInterfaceId={nics['first-nic']} -n first --no-wait")
    shell.az("vm wait -g vmstamp -n first --exists --interval 1 --timeout 60")
    disk = shell.az("vm show -g vmstamp -n first")["storageProfile"]["osDisk"]
    assert disk["image"]["uri"].endswith(".vhd") and "/pre-osDisk." in disk["image"]["uri"]
    second = said(shell, f"{deploy} vmName=second networkInterfaceId={nics['second-nic']} -n second")
    assert "TargetDiskBlobAlreadyExists" in second
    for name in ("first", "raw"):
        shell.az(f"vm delete -g vmstamp -n {name} --yes")


def test_a_vm_of_blobs_gets_managed_disks_by_az(shell: Shell) -> None:
    url = vhd(shell, "classic")
    made = "vm create -g vmstamp -n classic --use-unmanaged-disk --os-type linux --size Standard_B1ms"
    shell.az(f"{made} --attach-os-disk {url} --nsg-rule NONE --public-ip-address ''")
    assert "deallocated" in said(shell, "vm convert -g vmstamp -n classic")
    shell.az("vm stop -g vmstamp -n classic --skip-shutdown")
    shell.az("vm deallocate -g vmstamp -n classic")
    shell.az("vm convert -g vmstamp -n classic")
    disk = shell.az("vm show -g vmstamp -n classic")["storageProfile"]["osDisk"]
    assert disk["managedDisk"]["id"] and not disk.get("vhd")
    assert "already using managed disks" in said(shell, "vm convert -g vmstamp -n classic")
    shell.az("vm delete -g vmstamp -n classic --yes")
    again = "vm create -g vmstamp -n managed --os-type linux --size Standard_B1ms --nsg-rule NONE"
    shell.az(f"{again} --attach-os-disk {disk['name']} --public-ip-address ''")
    assert power(shell, "managed") == "PowerState/running"
    shell.az("vm delete -g vmstamp -n managed --yes")


def test_data_disks_of_a_running_vm_by_az(shell: Shell) -> None:
    (shell.directory / "user-data").write_text("told by IMDS")
    made = "vm create -g vmstamp -n data --image blank --specialized --size Standard_B2s --nsg-rule NONE"
    made += " --admin-username someone --ssh-key-values key.pub --public-ip-address ''"
    assert "properties" in said(shell, f"{made} --validate -o json")
    assert "data" not in [one["name"] for one in shell.az("vm list -g vmstamp")]
    shell.az(f"{made} --data-disk-sizes-gb 1 --user-data user-data")
    assert base64.b64decode(shell.az("vm show -g vmstamp -n data -u")["userData"]) == b"told by IMDS"
    which = "-g vmstamp --vm-name data"
    shell.az(f"vm disk attach {which} --new --size-gb 1 --name new")
    shell.az("disk create -g vmstamp -n old --size-gb 1")
    shell.az(f"vm disk attach {which} --disks old")
    assert luns(shell) == {"new": 1, "old": 2}
    assert power(shell, "data") == "PowerState/running"
    shell.az(f"vm disk detach {which} --name new --force-detach")
    old = shell.az("disk show -g vmstamp -n old")
    assert old["diskState"] == "Attached"
    shell.az(f"vm disk detach {which} --disk-ids {old['id']}")
    assert luns(shell) == {}
    assert shell.az("disk show -g vmstamp -n old")["diskState"] == "Unattached"
    shell.az("vm delete -g vmstamp -n data --yes")


def luns(shell: Shell) -> dict[str, int]:
    """The LUNs of the data disks of the VM `data` by their names, without the one that it was made with."""
    disks = shell.az("vm show -g vmstamp -n data")["storageProfile"]["dataDisks"]
    return {one["name"]: one["lun"] for one in disks if not one["name"].startswith("data_")}


def test_a_handler_that_is_not_there_is_refused_by_name(shell: Shell) -> None:
    shell.run("vmstamp vm create plain --image blank --specialized --size Standard_B1ls")
    wanted = "--publisher Microsoft.Azure.Monitor --name AzureMonitorLinuxAgent --version 1.0"
    refused = said(shell, f"vm extension set -g vmstamp --vm-name plain {wanted}")
    assert "ArtifactNotFound" in refused and "AzureMonitorLinuxAgent" in refused
    shell.run("vmstamp vm delete plain")


def test_no_wait_ends_while_the_vm_is_being_created(shell: Shell) -> None:
    url = vhd(shell, "unbooted")
    shell.run(f"vmstamp image create unbooted --source {url} --generation 2")
    made = "vm create -g vmstamp -n later --image unbooted --size Standard_B1ms --nsg-rule NONE"
    made += " --admin-username someone --ssh-key-name mine --public-ip-address ''"
    shell.az("sshkey create -g vmstamp -n mine --public-key @key.pub")
    assert "The property 'identity' is not supported" in said(shell, f"{made} --assign-identity")
    shell.az(f"{made} --no-wait")
    shell.az("vm wait -g vmstamp -n later --exists --interval 1 --timeout 60")
    shown = shell.az("vm show -g vmstamp -n later")
    assert shown["provisioningState"] == "Creating"
    (key,) = shown["osProfile"]["linuxConfiguration"]["ssh"]["publicKeys"]
    assert key["keyData"].strip() == (shell.directory / "key.pub").read_text().strip()
    shell.az("vm delete -g vmstamp -n later --yes")


def test_a_key_pair_by_az(shell: Shell) -> None:
    made = shell.az("sshkey create -g vmstamp -n pair")
    (private,) = [path for path in (shell.directory / ".ssh").iterdir() if path.suffix != ".pub"]
    private.chmod(0o600)
    assert shell.run(f"ssh-keygen -y -f {private}").text.strip() == made["publicKey"]
    assert "pair" in [one["name"] for one in shell.az("sshkey list")]
    assert shell.az("sshkey update -g vmstamp -n pair --tags a=b")["tags"] == {"a": "b"}
    assert shell.az("sshkey show -g vmstamp -n pair")["publicKey"] == made["publicKey"]
    shell.az("sshkey delete -g vmstamp -n pair --yes")
    assert "ResourceNotFound" in said(shell, "sshkey show -g vmstamp -n pair")


def test_an_availability_set_by_az(shell: Shell) -> None:
    made = shell.az("vm availability-set create -g vmstamp -n pair")
    assert made["sku"]["name"] == "Aligned"
    assert [one["name"] for one in shell.az("vm availability-set list -g vmstamp")] == ["pair"]
    assert shell.az("vm availability-set list-sizes -g vmstamp -n pair")
    shell.az("vm availability-set delete -g vmstamp -n pair")
    assert shell.az("vm availability-set list -g vmstamp") == []
    assert "proximityPlacementGroups" in said(shell, "ppg create -g vmstamp -n near -l local")
