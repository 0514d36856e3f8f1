"""az's verbs of networks on a running stamp. The one machine runs without a system, so nothing boots."""

import json
import socket
from collections.abc import Iterator

import pytest

from tests.peers.programs import find_peer
from tests.peers.shell import Shell

pytestmark = pytest.mark.timeout(900)

G = "-g vmstamp"


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A stamp with a specialized image `blank` and a network `v` with the subnet `front`."""
    find_peer("az")
    shell = Shell(tmp_path_factory.mktemp("network"))
    shell.run("truncate -s 24M blank.raw; vmstamp up")
    try:
        shell.run("vmstamp disk convert blank.raw blank.vhd")
        url = json.loads(shell.run("vmstamp upload blank.vhd --json").text)["url"]
        shell.run(f"vmstamp image create blank --source {url} --generation 2 --os-state specialized")
        prefixes = "--address-prefixes 10.1.0.0/16 --subnet-name front --subnet-prefixes 10.1.0.0/24"
        shell.az(f"network vnet create {G} -n v {prefixes}")
        yield shell
    finally:
        shell.run("vmstamp down")


def said(shell: Shell, words: str) -> str:
    """What az says of a command, whatever its exit status."""
    return shell.run(f"vmstamp az -- {words} 2>&1 || true").text


def test_the_configurations_of_an_interface_can_be_changed(shell: Shell) -> None:
    made = shell.az(f"network nic create {G} -n nic --vnet-name v --subnet front")["NewNIC"]
    assert made["ipConfigurations"][0]["privateIPAddress"] == "10.1.0.4"
    assert made["dnsSettings"]["internalDomainNameSuffix"].endswith(".internal.cloudapp.net")
    one = f"network nic ip-config update {G} --nic-name nic -n ipconfig1"
    shown = shell.az(f"{one} --private-ip-address 10.1.0.77")
    assert (shown["privateIPAddress"], shown["privateIPAllocationMethod"]) == ("10.1.0.77", "Static")
    assert "PrivateIPAddressInReservedRange" in said(shell, f"{one} --private-ip-address 10.1.0.2")
    more = f"network nic ip-config create {G} --nic-name nic -n more --vnet-name v --subnet front"
    assert shell.az(more)["privateIPAddress"] == "10.1.0.4"
    gone = said(shell, f"network nic ip-config delete {G} --nic-name nic -n ipconfig1")
    assert "Deletion and renaming of primary IP Configuration is not supported" in gone
    shell.az(f"network nic ip-config delete {G} --nic-name nic -n more")
    gone = said(shell, f"network nic ip-config delete {G} --nic-name nic -n ipconfig1")
    assert "NetworkInterfaceMustHaveOneIpConfiguration" in gone
    assert [c["name"] for c in shell.az(f"network nic ip-config list {G} --nic-name nic")] == ["ipconfig1"]


def test_addresses_are_said_to_be_free_or_not(shell: Shell) -> None:
    shell.az(f"network nic create {G} -n other --vnet-name v --subnet front --private-ip-address 10.1.0.6")
    check = f"network vnet check-ip-address {G} -n v --ip-address"
    assert shell.az(f"{check} 10.1.0.99")["available"] is True
    assert shell.az(f"{check} 10.1.0.6")["availableIPAddresses"][0] == "10.1.0.7"
    assert "PrivateIPAddressNotInAnySubnet" in said(shell, f"{check} 10.2.0.4")
    free = ["10.1.0.4", "10.1.0.5", "10.1.0.7", "10.1.0.8", "10.1.0.9"]
    assert shell.az(f"network vnet subnet list-available-ips {G} --vnet-name v -n front") == free
    assert shell.az(f"network vnet list-available-ips {G} -n v") == free


def test_what_is_in_force_on_a_wire_is_not_told(shell: Shell) -> None:
    shell.az(f"network nic create {G} -n plain --vnet-name v --subnet front")
    for words in ("list-effective-nsg", "show-effective-route-table"):
        assert "is not supported by this stamp" in said(shell, f"network nic {words} {G} -n plain"), words


def answers(address: str, port: int) -> bool:
    """Whether this computer offers a port of a guest there."""
    try:
        socket.create_connection((address, port), timeout=20).close()
    except ConnectionRefusedError:
        return False
    return True


def test_a_port_of_a_running_vm_is_opened_and_closed_at_once(shell: Shell) -> None:
    shell.run("vmstamp vm create web --image blank --specialized --size Standard_B1ls")
    try:
        [listed] = shell.az(f"vm list-ip-addresses {G} -n web")
        network = listed["virtualMachine"]["network"]
        assert network["privateIpAddresses"] == ["10.0.0.4"]
        address = network["publicIpAddresses"][0]["ipAddress"]
        assert not answers(address, 8090)
        opened = shell.az(f"vm open-port {G} -n web --port 8090 --priority 300")
        assert "/networkInterfaces/web-nic" in opened["networkInterfaces"][0]["id"]
        [rule] = [rule for rule in opened["securityRules"] if rule["destinationPortRange"] == "8090"]
        assert (rule["access"], rule["priority"]) == ("Allow", 300)
        assert answers(address, 8090)
        assert not answers(address, 8091)
        group = f"{G} --nsg-name {opened['name']}"
        shell.az(f"network nsg rule update {group} -n {rule['name']} --access Deny")
        assert not answers(address, 8090)
    finally:
        shell.az(f"vm stop {G} -n web --skip-shutdown")
