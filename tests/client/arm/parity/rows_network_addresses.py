"""Rules of private addresses: which are given, which are refused, which are free."""

from __future__ import annotations

from typing import Any, Final

import requests

from tests.client.arm.parity.row import NETWORK, Row, ask

TITLE: Final = "Private addresses"

NIC: Final = f"{NETWORK}/networkInterfaces/nic1"
OTHER: Final = f"{NETWORK}/networkInterfaces/nic2"
SUBNET: Final = f"{NETWORK}/virtualNetworks/vnet1/subnets/default"
CONFIGURATION: Final = f"{NIC}/ipConfigurations/ipconfig1"


def _put(arm: Any, id: str = NIC, **properties: Any) -> requests.Response:
    """PUT an interface in the subnet 10.0.0.0/24, which has .4 in use."""
    if ask(arm, "GET", SUBNET).status_code == 404:
        arm.nic("first")
    configuration = {"name": "ipconfig1", "properties": {"subnet": {"id": SUBNET}, **properties}}
    body = {"location": "westeurope", "properties": {"ipConfigurations": [configuration]}}
    return ask(arm, "PUT", id, body)


def _static(arm: Any, address: str, id: str = NIC) -> requests.Response:
    return _put(arm, id, privateIPAllocationMethod="Static", privateIPAddress=address)


def _shown(answer: requests.Response) -> str:
    (configuration,) = answer.json()["properties"]["ipConfigurations"]
    return str(configuration["properties"]["privateIPAddress"])


def _after_a_static_one(arm: Any) -> requests.Response:
    assert _static(arm, "10.0.0.5", OTHER).ok
    return _put(arm)


def _after_a_deletion(arm: Any) -> requests.Response:
    assert _put(arm, OTHER).ok
    arm.network.network_interfaces.begin_delete("rg", "first").result()
    return _put(arm)


def _kept(arm: Any) -> requests.Response:
    assert _put(arm).ok
    arm.network.network_interfaces.begin_delete("rg", "first").result()
    return _put(arm)


def _check(arm: Any, address: str) -> requests.Response:
    arm.nic("first")
    path = f"{NETWORK}/virtualNetworks/vnet1/CheckIPAddressAvailability"
    return ask(arm, "GET", f"{path}?ipAddress={address}")


def _check_reserved(arm: Any) -> requests.Response:
    """In a network without interfaces."""
    arm.nic("first")
    arm.network.network_interfaces.begin_delete("rg", "first").result()
    return ask(arm, "GET", f"{NETWORK}/virtualNetworks/vnet1/CheckIPAddressAvailability?ipAddress=10.0.0.0")


def _configurations(arm: Any, *given: tuple[str, dict[str, Any]]) -> requests.Response:
    """PUT an interface with these IP configurations, in a network that is there."""
    if ask(arm, "GET", SUBNET).status_code == 404:
        arm.nic("first")
    whole = [{"name": name, "properties": {"subnet": {"id": SUBNET}, **more}} for name, more in given]
    return ask(arm, "PUT", NIC, {"location": "westeurope", "properties": {"ipConfigurations": whole}})


def _without_the_primary(arm: Any) -> requests.Response:
    assert _configurations(arm, ("ipconfig1", {"primary": True}), ("two", {})).ok
    return _configurations(arm, ("two", {"primary": True}))


def _in_two_subnets(arm: Any) -> requests.Response:
    arm.nic("first")
    other = SUBNET.replace("default", "other")
    assert ask(arm, "PUT", other, {"properties": {"addressPrefix": "10.0.1.0/24"}}).ok
    return _configurations(arm, ("ipconfig1", {"primary": True}), ("two", {"subnet": {"id": other}}))


def _two_addresses(arm: Any) -> requests.Response:
    return _configurations(arm, ("ipconfig1", {"primary": True}), ("two", {}))


def _full(arm: Any) -> requests.Response:
    space = {"addressSpace": {"addressPrefixes": ["10.0.0.0/16"]}}
    subnets = [{"name": "default", "properties": {"addressPrefix": "10.0.0.0/29"}}]
    body = {"location": "westeurope", "properties": {**space, "subnets": subnets}}
    assert ask(arm, "PUT", f"{NETWORK}/virtualNetworks/vnet1", body).ok
    for number in range(3):
        assert _put(arm, f"{NETWORK}/networkInterfaces/other{number}").ok
    return _put(arm)


ROWS: Final = (
    Row(
        "a dynamic address passes by one that is static",
        "D",
        _after_a_static_one,
        201,
        holds=lambda answer: _shown(answer) == "10.0.0.6",
    ),
    Row(
        "the address of a deleted interface is given again",
        "D",
        _after_a_deletion,
        201,
        holds=lambda answer: _shown(answer) == "10.0.0.4",
    ),
    Row(
        "an interface keeps its dynamic address when it is written again",
        "D",
        _kept,
        200,
        holds=lambda answer: _shown(answer) == "10.0.0.5",
    ),
    Row(
        "a static address is honoured",
        "D",
        lambda arm: _static(arm, "10.0.0.77"),
        201,
        holds=lambda answer: _shown(answer) == "10.0.0.77",
    ),
    Row(
        "a static address that another interface has",
        "I",
        lambda arm: _static(arm, "10.0.0.4"),
        400,
        "PrivateIPAddressIsAllocated",
        f"IP configuration {CONFIGURATION} is using the private IP address 10.0.0.4 which is already "
        f"allocated to resource {NETWORK}/networkInterfaces/first/ipConfigurations/ipconfig1.",
    ),
    Row(
        "a static address among the first four of its subnet",
        "DI",
        lambda arm: _static(arm, "10.0.0.3"),
        400,
        "PrivateIPAddressInReservedRange",
        "Private static IP address 10.0.0.3 falls within reserved IP range of subnet prefix 10.0.0.0/24.",
    ),
    Row(
        "a static address that is the last of its subnet",
        "DI",
        lambda arm: _static(arm, "10.0.0.255"),
        400,
        "PrivateIPAddressInReservedRange",
        "Private static IP address 10.0.0.255 falls within reserved IP range of subnet prefix 10.0.0.0/24.",
    ),
    Row(
        "a static address outside of its subnet",
        "I",
        lambda arm: _static(arm, "10.0.1.4"),
        400,
        "PrivateIPAddressNotInSubnet",
        "Private static IP address 10.0.1.4 does not belong to the range of subnet prefix 10.0.0.0/24.",
    ),
    Row(
        "an interface in a subnet that has no address left",
        "I",
        _full,
        400,
        "SubnetIsFull",
        "Subnet default with address prefix 10.0.0.0/29 does not have enough capacity for 1 IP addresses.",
    ),
    Row(
        "a second IP configuration of an interface",
        "D",
        _two_addresses,
        201,
        holds=lambda answer: (
            [
                (one["properties"]["privateIPAddress"], one["properties"]["primary"])
                for one in answer.json()["properties"]["ipConfigurations"]
            ]
            == [("10.0.0.5", True), ("10.0.0.6", False)]
        ),
    ),
    Row(
        "several IP configurations, none of which is the primary",
        "I",
        lambda arm: _configurations(arm, ("one", {}), ("two", {})),
        400,
        "NetworkInterfaceMustHaveOneOneIPConfigAsPrimary",
        "Network Interface nic1 specifies multiple IPConfigurations but none of the IPConfigurations is "
        "specified as Primary.",
    ),
    Row(
        "an interface without its primary IP configuration",
        "I",
        _without_the_primary,
        400,
        "IpConfigDeleteNotSupported",
        "IP Configuration ipconfig1 cannot be deleted. Deletion and renaming of primary IP Configuration is "
        "not supported",
    ),
    Row(
        "IP configurations of one interface in two subnets",
        "I",
        _in_two_subnets,
        400,
        "IpConfigurationsOnSameNicCannotUseDifferentSubnets",
    ),
    Row(
        "asking whether a free address is free",
        "RD",
        lambda arm: _check(arm, "10.0.0.77"),
        200,
        holds=lambda answer: answer.json() == {"available": True, "isPlatformReserved": False},
    ),
    Row(
        "asking whether an address in use is free",
        "D",
        lambda arm: _check(arm, "10.0.0.4"),
        200,
        holds=lambda answer: (
            answer.json()
            == {
                "available": False,
                "availableIPAddresses": ["10.0.0.5", "10.0.0.6", "10.0.0.7", "10.0.0.8", "10.0.0.9"],
                "isPlatformReserved": False,
            }
        ),
    ),
    Row(
        "asking whether an address that Azure keeps is free",
        "R",
        _check_reserved,
        200,
        holds=lambda answer: (
            answer.json()
            == {
                "available": False,
                "availableIPAddresses": ["10.0.0.4", "10.0.0.5", "10.0.0.6", "10.0.0.7", "10.0.0.8"],
                "isPlatformReserved": True,
            }
        ),
    ),
    Row(
        "asking whether an address of no subnet is free",
        "I",
        lambda arm: _check(arm, "10.9.0.4"),
        400,
        "PrivateIPAddressNotInAnySubnet",
    ),
)
