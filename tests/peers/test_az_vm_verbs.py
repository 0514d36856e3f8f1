"""az's verbs of virtual machines on a running stamp. The machines run without a system, so nothing boots."""

import json
from collections.abc import Iterator

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
    for words in ("redeploy", "reapply", "simulate-eviction"):
        assert "is not supported by this stamp" in said(shell, f"vm {words} {group} -n web"), words
    shell.az(f"vm stop {group} -n web --skip-shutdown")
    shell.az(f"vm deallocate {group} -n web")
    assert power(shell, "web") == "PowerState/deallocated"
    sizes = [one["name"] for one in shell.az(f"vm list-vm-resize-options {group} -n web")]
    assert "Standard_B2s" in sizes
    assert "Standard_B2s" in [one["name"] for one in shell.az("vm list-sizes -l local")]


def test_a_capture_in_the_classic_manner(shell: Shell) -> None:
    shell.run("vmstamp vm create old --image blank --specialized --size Standard_B1ls")
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
    assert {"special", "general"} <= images
    shell.run("vmstamp vm create again --image special --specialized --size Standard_B1ls")
    shell.az("vm delete -g vmstamp -n again --yes --force-deletion true")


def test_an_availability_set_by_az(shell: Shell) -> None:
    made = shell.az("vm availability-set create -g vmstamp -n pair")
    assert made["sku"]["name"] == "Aligned"
    assert [one["name"] for one in shell.az("vm availability-set list -g vmstamp")] == ["pair"]
    assert shell.az("vm availability-set list-sizes -g vmstamp -n pair")
    shell.az("vm availability-set delete -g vmstamp -n pair")
    assert shell.az("vm availability-set list -g vmstamp") == []
    assert "proximityPlacementGroups" in said(shell, "ppg create -g vmstamp -n near -l local")
