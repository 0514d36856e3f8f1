"""Networks, security groups, public addresses and interfaces through the official azure-mgmt-network."""

from __future__ import annotations

from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

from vmstamp.machine.network import internal_domain

WHERE = {"location": "westeurope"}


def vnet(prefix: str = "10.0.0.0/16", **subnets: str) -> dict[str, Any]:
    children = [{"name": name, "properties": {"addressPrefix": p}} for name, p in subnets.items()]
    return {**WHERE, "properties": {"addressSpace": {"addressPrefixes": [prefix]}, "subnets": children}}


def code_of(call: Any) -> str:
    with pytest.raises(HttpResponseError) as caught:
        call()
    assert caught.value.error is not None
    return str(caught.value.error.code)


def test_network_and_its_subnets_inline_and_by_their_own_put(arm: Any) -> None:
    client = arm.network
    made = client.virtual_networks.begin_create_or_update("rg", "v1", vnet(a="10.0.0.0/24")).result()
    assert made.properties.provisioning_state == "Succeeded"
    assert made.etag.startswith('W/"')
    body = {"properties": {"addressPrefix": "10.0.1.0/24"}}
    subnet = client.subnets.begin_create_or_update("rg", "v1", "b", body).result()
    assert subnet.id.endswith("/virtualNetworks/v1/subnets/b")
    assert [s.name for s in client.subnets.list("rg", "v1")] == ["a", "b"]
    client.subnets.begin_delete("rg", "v1", "a").result()
    assert [s.name for s in client.subnets.list("rg", "v1")] == ["b"]
    with pytest.raises(ResourceNotFoundError):
        client.subnets.get("rg", "v1", "a")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (vnet("10.0.0.0/16", a="10.1.0.0/24"), "NetcfgInvalidSubnet"),
        (vnet("10.0.0.0/16", a="10.0.0.0/24", b="10.0.0.128/25"), "NetcfgSubnetRangesOverlap"),
        (vnet("10.0.0.300/16"), "InvalidAddressPrefixFormat"),
        (vnet("10.0.0.5/16"), "InvalidCIDRNotation"),
        (vnet("fd00::/64"), "NotSupportedByStamp"),
        ({**WHERE, "properties": {}}, "InvalidParameter"),
        ({**vnet(), "location": "atlantis"}, "LocationNotAvailableForResourceType"),
    ],
)
def test_wrong_network_is_refused(arm: Any, body: dict[str, Any], code: str) -> None:
    network = arm.network.virtual_networks
    assert code_of(lambda: network.begin_create_or_update("rg", "v1", body)) == code


def test_interface_gets_the_fourth_address_then_the_next(arm: Any) -> None:
    first, second = arm.nic("nic1"), arm.nic("nic2")
    addresses = [n.properties.ip_configurations[0].properties.private_ip_address for n in (first, second)]
    assert addresses == ["10.0.0.4", "10.0.0.5"]
    subnet = arm.network.subnets.get("rg", "vnet1", "default")
    assert [c.id.split("/")[-3] for c in subnet.properties.ip_configurations] == ["nic1", "nic2"]


@pytest.mark.parametrize(
    ("address", "code"),
    [
        ("10.0.0.3", "PrivateIPAddressInReservedRange"),
        ("10.0.0.255", "PrivateIPAddressInReservedRange"),
        ("10.0.1.4", "PrivateIPAddressNotInSubnet"),
        ("10.0.0.4", "PrivateIPAddressIsAllocated"),
        ("ten", "InvalidParameter"),
    ],
)
def test_static_address_must_be_free_and_the_subnets(arm: Any, address: str, code: str) -> None:
    arm.nic("nic1")
    wanted = {"privateIPAllocationMethod": "Static", "privateIPAddress": address}
    assert code_of(lambda: arm.nic("nic2", **wanted)) == code


def test_subnet_and_network_in_use_are_kept(arm: Any) -> None:
    arm.nic("nic1")
    assert code_of(lambda: arm.network.subnets.begin_delete("rg", "vnet1", "default")) == (
        "InUseSubnetCannotBeDeleted"
    )
    assert code_of(lambda: arm.network.virtual_networks.begin_delete("rg", "vnet1")) == (
        "InUseSubnetCannotBeDeleted"
    )
    arm.network.network_interfaces.begin_delete("rg", "nic1").result()
    arm.network.virtual_networks.begin_delete("rg", "vnet1").result()


def test_public_address_belongs_to_one_interface(arm: Any) -> None:
    body = {**WHERE, "sku": {"name": "Standard"}, "properties": {"publicIPAllocationMethod": "Static"}}
    address = arm.network.public_ip_addresses.begin_create_or_update("rg", "ip1", body).result()
    assert address.properties.ip_address == "127.101.67.4"
    arm.nic("nic1", publicIPAddress={"id": address.id})
    assert code_of(lambda: arm.nic("nic2", publicIPAddress={"id": address.id})) == "PublicIPAddressInUse"
    assert code_of(lambda: arm.network.public_ip_addresses.begin_delete("rg", "ip1")) == (
        "PublicIPAddressCannotBeDeleted"
    )
    shown = arm.network.public_ip_addresses.get("rg", "ip1")
    assert shown.properties.ip_configuration.id.endswith("/networkInterfaces/nic1/ipConfigurations/ipconfig1")


def test_security_group_with_rules_inline_and_by_their_own_put(arm: Any) -> None:
    client = arm.network
    rule = {
        "protocol": "Tcp",
        "access": "Allow",
        "direction": "Inbound",
        "priority": 1000,
        "sourceAddressPrefix": "*",
        "sourcePortRange": "*",
        "destinationAddressPrefix": "*",
        "destinationPortRange": "22",
    }
    body = {**WHERE, "properties": {"securityRules": [{"name": "ssh", "properties": rule}]}}
    made = client.network_security_groups.begin_create_or_update("rg", "nsg1", body).result()
    assert len(made.properties.default_security_rules) == 6
    client.security_rules.begin_create_or_update(
        "rg", "nsg1", "web", {"properties": {**rule, "priority": 1001, "destinationPortRange": "80-81"}}
    ).result()
    assert [r.name for r in client.security_rules.list("rg", "nsg1")] == ["ssh", "web"]
    same = {"properties": {**rule, "destinationPortRange": "443"}}
    rules = client.security_rules
    assert code_of(lambda: rules.begin_create_or_update("rg", "nsg1", "x", same)) == "SecurityRuleConflict"
    deny = {"properties": {**rule, "direction": "Outbound", "access": "Deny"}}
    assert code_of(lambda: rules.begin_create_or_update("rg", "nsg1", "x", deny)) == "NotSupportedByStamp"


def test_what_is_absent_or_elsewhere_cannot_be_referred_to(arm: Any) -> None:
    client = arm.network
    client.virtual_networks.begin_create_or_update("rg", "v1", vnet(a="10.0.0.0/24")).result()
    subnet = client.subnets.get("rg", "v1", "a").id
    for location, id in (("westeurope", subnet + "x"), ("eastus", subnet)):
        configuration = {"name": "c", "properties": {"subnet": {"id": id}}}
        body = {"location": location, "properties": {"ipConfigurations": [configuration]}}
        assert (
            code_of(lambda body=body: client.network_interfaces.begin_create_or_update("rg", "n", body))
            == "InvalidResourceReference"
        )


def test_what_a_group_holds_is_listed_in_pages_and_deleted_with_it(arm: Any) -> None:
    for number in range(5):
        arm.nic(f"nic{number}")
    assert len(list(arm.network.network_interfaces.list("rg"))) == 5
    assert len(list(arm.resources.resources.list_by_resource_group("rg"))) == 6
    arm.resources.resource_groups.begin_delete("rg").result(30)
    assert list(arm.network.network_interfaces.list_all()) == []


def test_unmet_if_match_is_refused(arm: Any) -> None:
    client = arm.network
    client.virtual_networks.begin_create_or_update("rg", "v1", vnet()).result()
    headers = {"If-Match": 'W/"another"'}
    network = client.virtual_networks
    assert (
        code_of(lambda: network.begin_create_or_update("rg", "v1", vnet(), headers=headers))
        == "PreconditionFailed"
    )


def test_a_group_and_a_network_show_all_that_use_them(arm: Any) -> None:
    group = arm.network.network_security_groups.begin_create_or_update("rg", "nsg1", WHERE).result()
    for name in ("nic2", "nic1"):
        nic = arm.nic(name).as_dict()
        nic["properties"]["networkSecurityGroup"] = {"id": group.id}
        arm.network.network_interfaces.begin_create_or_update("rg", name, nic).result()
    subnet = {"properties": {"addressPrefix": "10.0.0.0/24", "networkSecurityGroup": {"id": group.id}}}
    arm.network.subnets.begin_create_or_update("rg", "vnet1", "default", subnet).result()
    shown = arm.network.network_security_groups.get("rg", "nsg1").properties
    assert [nic.id.split("/")[-1] for nic in shown.network_interfaces] == ["nic1", "nic2"]
    assert [found.id.split("/")[-1] for found in shown.subnets] == ["default"]


def test_an_interface_shows_the_domain_of_its_network(arm: Any) -> None:
    suffixes = []
    for network in ("v1", "v2"):
        made = arm.network.virtual_networks.begin_create_or_update(
            "rg", network, vnet(a="10.0.0.0/24")
        ).result()
        configuration = {"name": "c", "properties": {"subnet": {"id": made.properties.subnets[0].id}}}
        body = {**WHERE, "properties": {"ipConfigurations": [configuration]}}
        nics = [
            arm.network.network_interfaces.begin_create_or_update("rg", f"{network}-{n}", body).result()
            for n in (1, 2)
        ]
        first, second = (nic.properties.dns_settings.internal_domain_name_suffix for nic in nics)
        assert first == second == internal_domain(made.properties.resource_guid)
        suffixes.append(first)
    assert suffixes[0] != suffixes[1]
