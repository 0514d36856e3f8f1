"""What a running VM offers follows its interfaces and security groups at once."""

from __future__ import annotations

from typing import Any

import pytest

from vmstamp.errors import MachineError

WHERE = {"location": "westeurope"}


def rule(port: str, priority: int, access: str = "Allow") -> dict[str, Any]:
    everything = {"sourceAddressPrefix": "*", "sourcePortRange": "*", "destinationAddressPrefix": "*"}
    what = {"protocol": "Tcp", "direction": "Inbound", "destinationPortRange": port}
    return {**everything, **what, "access": access, "priority": priority}


def group(arm: Any, **rules: dict[str, Any]) -> str:
    body = {
        **WHERE,
        "properties": {"securityRules": [{"name": name, "properties": one} for name, one in rules.items()]},
    }
    return str(arm.network.network_security_groups.begin_create_or_update("rg", "nsg1", body).result().id)


def offered(arm: Any, vm: Any) -> dict[str, tuple[int, ...]]:
    """The ports of a VM by its public addresses, as the host was told last."""
    nics = arm.host.offered[vm.vm_id]
    return {str(nic.public_address): nic.open_ports for nic in nics if nic.public_address}


@pytest.fixture
def address(arm: Any) -> str:
    body = {**WHERE, "sku": {"name": "Standard"}, "properties": {"publicIPAllocationMethod": "Static"}}
    return str(arm.network.public_ip_addresses.begin_create_or_update("rg", "ip1", body).result().id)


@pytest.fixture
def vm(arm: Any, address: str) -> Any:
    """`vm1`, which runs, with the public address 127.101.67.4 and no security group."""
    body = arm.vm_body(arm.image(), arm.nic(publicIPAddress={"id": address}))
    return arm.compute.virtual_machines.begin_create_or_update("rg", "vm1", body).result()


def put_interface(arm: Any, address: str = "", security_group: str = "") -> None:
    nic = arm.network.network_interfaces.get("rg", "nic1").as_dict()
    properties = nic["properties"]["ipConfigurations"][0]["properties"]
    kept = {"subnet": properties["subnet"]}
    if address:
        kept["publicIPAddress"] = {"id": address}
    whole: dict[str, Any] = {"ipConfigurations": [{"name": "ipconfig1", "properties": kept}]}
    if security_group:
        whole["networkSecurityGroup"] = {"id": security_group}
    body = {**WHERE, "properties": whole}
    arm.network.network_interfaces.begin_create_or_update("rg", "nic1", body).result()


def test_a_group_that_an_interface_is_given_holds_at_once(arm: Any, vm: Any, address: str) -> None:
    assert offered(arm, vm) == {"127.101.67.4": (22,)}
    put_interface(arm, address, group(arm, web=rule("8080", 300)))
    assert offered(arm, vm) == {"127.101.67.4": (8080,)}
    put_interface(arm, address)
    assert offered(arm, vm) == {"127.101.67.4": (22,)}


def test_a_rule_that_comes_or_goes_holds_at_once(arm: Any, vm: Any, address: str) -> None:
    put_interface(arm, address, group(arm, ssh=rule("22", 300)))
    rules = arm.network.security_rules
    rules.begin_create_or_update("rg", "nsg1", "web", {"properties": rule("8080", 301)}).result()
    assert offered(arm, vm) == {"127.101.67.4": (22, 8080)}
    rules.begin_create_or_update("rg", "nsg1", "no", {"properties": rule("22", 200, "Deny")}).result()
    assert offered(arm, vm) == {"127.101.67.4": (8080,)}
    rules.begin_delete("rg", "nsg1", "no").result()
    group(arm, web=rule("8090", 300))
    assert offered(arm, vm) == {"127.101.67.4": (8090,)}


def test_a_group_of_a_subnet_holds_at_once(arm: Any, vm: Any) -> None:
    found = group(arm, web=rule("8080", 300))
    subnet = {"properties": {"addressPrefix": "10.0.0.0/24", "networkSecurityGroup": {"id": found}}}
    arm.network.subnets.begin_create_or_update("rg", "vnet1", "default", subnet).result()
    assert offered(arm, vm) == {"127.101.67.4": (8080,)}
    group(arm, web=rule("8081", 300))
    assert offered(arm, vm) == {"127.101.67.4": (8081,)}


def test_a_public_address_comes_and_goes_while_a_vm_runs(arm: Any, vm: Any, address: str) -> None:
    put_interface(arm)
    assert offered(arm, vm) == {}
    put_interface(arm, address)
    assert offered(arm, vm) == {"127.101.67.4": (22,)}


def test_a_vm_that_does_not_run_is_told_at_its_start(arm: Any, vm: Any, address: str) -> None:
    machines = arm.compute.virtual_machines
    machines.begin_power_off("rg", "vm1", skip_shutdown=True).result()
    put_interface(arm, address, group(arm, web=rule("8080", 300)))
    assert offered(arm, vm) == {"127.101.67.4": (22,)}
    machines.begin_start("rg", "vm1").result()
    assert offered(arm, vm) == {"127.101.67.4": (8080,)}


def test_a_change_during_a_start_is_not_lost(arm: Any, vm: Any, address: str) -> None:
    machines, start = arm.compute.virtual_machines, arm.host.start
    machines.begin_power_off("rg", "vm1", skip_shutdown=True).result()
    put_interface(arm, address, group(arm, web=rule("8080", 300)))

    def changed_meanwhile(plan: Any) -> None:
        group(arm, web=rule("8090", 300))
        start(plan)

    arm.host.start = changed_meanwhile
    machines.begin_start("rg", "vm1").result()
    assert offered(arm, vm) == {"127.101.67.4": (8090,)}


def test_a_port_that_is_not_to_be_had_does_not_fail_the_change(
    arm: Any, vm: Any, address: str, caplog: pytest.LogCaptureFixture
) -> None:
    def taken(vm_id: str, nics: Any) -> None:
        raise MachineError("cannot listen on 127.101.67.4:8080: Address already in use")

    arm.host.offer = taken
    put_interface(arm, address, group(arm, web=rule("8080", 300)))
    assert "the ports of VM 'vm1' were not all opened: cannot listen on 127.101.67.4:8080" in caplog.text
