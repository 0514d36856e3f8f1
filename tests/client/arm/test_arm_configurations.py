"""More than one IP configuration of a network interface."""

from __future__ import annotations

from typing import Any

import pytest

from tests.client.arm.parity.row import NETWORK, ask

NIC = f"{NETWORK}/networkInterfaces/nic1"
SUBNET = f"{NETWORK}/virtualNetworks/vnet1/subnets/default"
WHERE = {"location": "westeurope"}


def configuration(name: str, subnet: str = SUBNET, /, **properties: Any) -> dict[str, Any]:
    return {"name": name, "properties": {"subnet": {"id": subnet}, **properties}}


def put(arm: Any, *configurations: dict[str, Any], id: str = NIC) -> Any:
    return ask(arm, "PUT", id, {**WHERE, "properties": {"ipConfigurations": list(configurations)}})


def addresses(answer: Any) -> list[str]:
    assert answer.ok, answer.text
    shown = answer.json()["properties"]["ipConfigurations"]
    return [one["properties"]["privateIPAddress"] for one in shown]


def code(answer: Any) -> str:
    return str(answer.json()["error"]["code"])


@pytest.fixture
def net(arm: Any) -> Any:
    """The network of the interface `first`, which has 10.0.0.4."""
    arm.nic("first")
    return arm


FIRST = configuration("ipconfig1", primary=True)
STATIC = {"privateIPAllocationMethod": "Static"}


def public_address(arm: Any, name: str) -> str:
    body = {**WHERE, "sku": {"name": "Standard"}, "properties": {"publicIPAllocationMethod": "Static"}}
    return str(arm.network.public_ip_addresses.begin_create_or_update("rg", name, body).result().id)


def test_each_configuration_has_an_address_of_its_own(net: Any) -> None:
    assert addresses(put(net, FIRST, configuration("two"), configuration("three"))) == [
        "10.0.0.5",
        "10.0.0.6",
        "10.0.0.7",
    ]
    assert addresses(put(net, configuration("a"), id=f"{NETWORK}/networkInterfaces/nic2")) == ["10.0.0.8"]
    shown = ask(net, "GET", SUBNET).json()["properties"]["ipConfigurations"]
    assert len(shown) == 5


def test_addresses_are_kept_by_name_and_given_back(net: Any) -> None:
    put(net, FIRST, configuration("two"), configuration("three"))
    assert addresses(put(net, configuration("three"), FIRST)) == ["10.0.0.7", "10.0.0.5"]
    assert addresses(put(net, FIRST, configuration("four"))) == ["10.0.0.5", "10.0.0.6"]


def test_what_a_later_one_asks_for_is_not_given_to_an_earlier(net: Any) -> None:
    asked = configuration("two", privateIPAddress="10.0.0.5", **STATIC)
    assert addresses(put(net, FIRST, asked)) == ["10.0.0.6", "10.0.0.5"]


def test_one_is_the_primary_wherever_it_stands(net: Any) -> None:
    answer = put(net, configuration("two"), FIRST)
    configurations = answer.json()["properties"]["ipConfigurations"]
    shown = {one["name"]: one["properties"]["primary"] for one in configurations}
    assert shown == {"two": False, "ipconfig1": True}


def test_what_the_configurations_of_an_interface_must_keep_to(net: Any) -> None:
    none = put(net, configuration("one"), configuration("two"))
    assert code(none) == "NetworkInterfaceMustHaveOneOneIPConfigAsPrimary"
    assert code(put(net, FIRST, configuration("two", primary=True))) == code(none)
    assert code(put(net, FIRST, configuration("IPCONFIG1"))) == "DuplicateResourceName"
    taken = configuration("two", privateIPAddress="10.0.0.77", **STATIC)
    assert code(put(net, FIRST, taken, {**taken, "name": "three"})) == "PrivateIPAddressIsAllocated"
    subnet = {"properties": {"addressPrefix": "10.0.1.0/24"}}
    other = SUBNET.replace("default", "other")
    assert ask(net, "PUT", other, subnet).ok
    apart = put(net, FIRST, configuration("two", other))
    assert code(apart) == "IpConfigurationsOnSameNicCannotUseDifferentSubnets"
    link: dict[str, Any] = {"publicIPAddress": {"id": public_address(net, "ip1")}}
    first = configuration("ipconfig1", primary=True, **link)
    assert code(put(net, first, configuration("two", **link))) == "PublicIPAddressInUse"
    assert put(net, FIRST).ok
    assert code(put(net, configuration("renamed"))) == "IpConfigDeleteNotSupported"


def test_a_guest_is_told_of_all_its_addresses_and_each_public_one_leads_to_its_own(net: Any) -> None:
    links: list[dict[str, Any]] = [
        {"publicIPAddress": {"id": public_address(net, name)}} for name in ("ip1", "ip2")
    ]
    first = configuration("ipconfig1", primary=True, **links[0])
    put(net, configuration("two", **links[1]), first)
    interface = net.network.network_interfaces.get("rg", "nic1")
    vm = net.compute.virtual_machines.begin_create_or_update(
        "rg", "vm1", net.vm_body(net.image(), interface)
    ).result()
    plan = net.host.plans[vm.vm_id][-1]
    (nic,) = plan.nics
    assert (str(nic.address), str(nic.public_address)) == ("10.0.0.6", "127.101.67.4")
    (other,) = nic.secondary
    assert (str(other.address), str(other.public_address)) == ("10.0.0.5", "127.101.67.5")
    (told,) = plan.instance.nics
    assert [str(private) for private, _ in told.secondary] == ["10.0.0.5"]
    assert nic.open_ports == (22,)
