"""Which TCP ports of a guest a public address offers, by the security groups in its way."""

from __future__ import annotations

from typing import Any

import pytest

from vmstamp.arm.network.security_groups import MOST_PORTS_OF_A_RANGE, USUAL_PORTS, open_ports
from vmstamp.arm.resource import Resource
from vmstamp.resource_id import ResourceId


def group(*rules: dict[str, Any]) -> Resource:
    listed = [{"name": f"r{n}", "properties": rule} for n, rule in enumerate(rules)]
    document = {"properties": {"securityRules": listed}}
    return Resource(ResourceId("s", "g", "p", ("t",), ("n",)), "local", "", "", document, {})


def rule(ports: str, priority: int = 100, **more: Any) -> dict[str, Any]:
    return {
        "access": "Allow",
        "direction": "Inbound",
        "protocol": "Tcp",
        "priority": priority,
        "sourceAddressPrefix": "*",
        "destinationPortRange": ports,
        **more,
    }


def test_without_a_group_ssh_is_open() -> None:
    assert open_ports([]) == (22,)


@pytest.mark.parametrize(
    ("groups", "ports"),
    [
        ([group()], ()),
        ([group(rule("22"))], (22,)),
        ([group(rule("80-82"), rule("22", 101))], (22, 80, 81, 82)),
        ([group(rule("22", 100, access="Deny"), rule("22", 200))], ()),
        ([group(rule("22", 100), rule("*", 200, access="Deny"))], (22,)),
        ([group(rule("22", protocol="Udp"))], ()),
        ([group(rule("22", protocol="*"))], (22,)),
        ([group(rule("22", direction="Outbound"))], ()),
        ([group(rule("22", sourceAddressPrefix="VirtualNetwork"))], ()),
        ([group(rule("22", sourceAddressPrefix="203.0.113.7/32"))], (22,)),
        ([group(rule("22"), rule("80", 101)), group(rule("80"))], (80,)),
        ([group(rule("*"))], USUAL_PORTS),
        ([group(rule("", destinationPortRanges=["22", "443"]))], (22, 443)),
        ([group(rule("0-65535"))], tuple(range(MOST_PORTS_OF_A_RANGE))),
    ],
)
def test_rules_are_taken_by_priority_in_every_group(groups: list[Resource], ports: tuple[int, ...]) -> None:
    assert open_ports(groups) == ports
