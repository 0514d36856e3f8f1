"""Microsoft.Network/networkSecurityGroups with their rules, which live inside the group's document.

What a group does here: its inbound rules decide which TCP ports of a guest its public address offers.
Traffic inside a virtual network and outbound traffic is not filtered, so an outbound Deny is refused.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable
from typing import Any, Final

from vmstamp.arm.catalog import Catalog, new_etag
from vmstamp.arm.faults import missing_parameter, unsupported
from vmstamp.arm.links import names
from vmstamp.arm.network.style import API_VERSIONS, STYLE, check_name
from vmstamp.arm.resource import Json, Resource
from vmstamp.arm.shape import KEEP, READ_ONLY, OneOf, clean
from vmstamp.arm.types import Change, Put, ResourceType
from vmstamp.errors import AzureError
from vmstamp.resource_id import ResourceId

NAME: Final = "Microsoft.Network/networkSecurityGroups"
RULE: Final = "Microsoft.Network/networkSecurityGroups/securityRules"
LOWEST_PRIORITY, HIGHEST_PRIORITY = 100, 4096
# A rule that opens a wide range opens no more listeners than this, the lowest ports first.
MOST_PORTS_OF_A_RANGE = 64
# What a rule for any port offers on a public address.
USUAL_PORTS = (22, 80, 443, 8080, 8443)
# Sources that the user of this computer is not among.
OTHER_SOURCES = ("virtualnetwork", "azureloadbalancer")
PORTS = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?")

RULE_SHAPE = {
    "id": READ_ONLY,
    "name": str,
    "type": READ_ONLY,
    "etag": READ_ONLY,
    "properties": {
        "access": OneOf("Allow", "Deny"),
        "description": KEEP,
        "destinationAddressPrefix": str,
        "destinationAddressPrefixes": [str],
        "destinationPortRange": str,
        "destinationPortRanges": [str],
        "direction": OneOf("Inbound", "Outbound"),
        "priority": int,
        "protocol": OneOf("Tcp", "Udp", "Icmp", "Esp", "Ah", "*"),
        "sourceAddressPrefix": str,
        "sourceAddressPrefixes": [str],
        "sourcePortRange": str,
        "sourcePortRanges": [str],
        "provisioningState": READ_ONLY,
    },
}

SHAPE = {
    "location": str,
    "tags": KEEP,
    "properties": {
        "securityRules": [RULE_SHAPE],
        "defaultSecurityRules": READ_ONLY,
        "flushConnection": KEEP,
        "networkInterfaces": READ_ONLY,
        "subnets": READ_ONLY,
        "provisioningState": READ_ONLY,
        "resourceGuid": READ_ONLY,
    },
}


class SecurityGroups:
    """The type. Rules are children inside `properties.securityRules`."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def type(self) -> ResourceType:
        return ResourceType(
            name=NAME,
            api_versions=API_VERSIONS,
            style=STYLE,
            parse=parse,
            view=self.view,
            check_delete=self.check_delete,
            embedded={"securityRules": "securityRules", "defaultSecurityRules": "defaultSecurityRules"},
            etag_in_body=True,
            delete_rank=6,
        )

    def view(self, resource: Resource, expand: str) -> Json:
        shown = resource.with_properties(defaultSecurityRules=_default_rules(resource.id))
        users = names(self._catalog, resource.id, "security group")
        for kind in ("subnets", "networkInterfaces"):
            if found := [{"id": user} for user in users if f"/{kind}/" in user]:
                shown = shown.with_properties(**{kind: found})
        return shown.document

    def check_delete(self, resource: Resource) -> None:
        if users := names(self._catalog, resource.id, "security group"):
            raise AzureError(
                400,
                "InUseNetworkSecurityGroupCannotBeDeleted",
                f"Network security group {resource.id} cannot be deleted because it is in use by the "
                f"following resources: {', '.join(users)}. In order to delete the Network security group, "
                "remove the association with the resource(s). To learn how to do this, see "
                "aka.ms/deletensg.",
            )


def parse(put: Put) -> Change:
    check_name(put.id)
    properties = clean(put.body, SHAPE).get("properties", {})
    rules = [_rule(put.id, rule) for rule in properties.get("securityRules", [])]
    _check_priorities(rules)
    guid = put.existing.properties["resourceGuid"] if put.existing else str(uuid.uuid4())
    return Change({"properties": {**properties, "securityRules": rules, "resourceGuid": guid}})


def _rule(group: ResourceId, rule: Json) -> Json:
    properties = rule.get("properties", {})
    for name in ("access", "direction", "priority", "protocol"):
        if name not in properties:
            raise missing_parameter(f"securityRules.properties.{name}")
    if "name" not in rule:
        raise missing_parameter("securityRules.name")
    check_name(group.child("securityRules", rule["name"]))
    if not LOWEST_PRIORITY <= properties["priority"] <= HIGHEST_PRIORITY:
        raise AzureError(
            400,
            "SecurityRuleInvalidPriority",
            f"Security rule has invalid Priority. Value provided: {properties['priority']} Allowed range "
            f"{LOWEST_PRIORITY}-{HIGHEST_PRIORITY}.",
        )
    if (properties["direction"], properties["access"]) == ("Outbound", "Deny"):
        raise unsupported(f"The outbound Deny of security rule '{rule['name']}'", target="access")
    for text in (*_values(properties, "destinationPortRange"), *_values(properties, "sourcePortRange")):
        _parse_ports(text, rule["name"])
    return {
        "name": rule["name"],
        "id": str(group.child("securityRules", rule["name"])),
        "type": RULE,
        "etag": new_etag(),
        "properties": {**properties, "provisioningState": "Succeeded"},
    }


def _check_priorities(rules: list[Json]) -> None:
    seen: dict[tuple[str, int], str] = {}
    for rule in rules:
        key = (rule["properties"]["direction"], rule["properties"]["priority"])
        if key in seen:
            raise AzureError(
                400,
                "SecurityRuleConflict",
                f"Security rule {rule['name']} conflicts with rule {seen[key]}. Rules cannot have the same "
                "Priority and Direction.",
            )
        seen[key] = rule["name"]


def _values(properties: Json, name: str) -> list[str]:
    """A rule's values: `sourcePortRange` or all of `sourcePortRanges`."""
    plural = f"{name}es" if name.endswith("Prefix") else f"{name}s"
    single = [properties[name]] if properties.get(name) else []
    found: list[str] = single + properties.get(plural, [])
    return found


def _parse_ports(text: str, rule: str) -> range:
    """A port, a range of ports, or `*`. Raises AzureError (400)."""
    if text == "*":
        return range(65536)
    match = PORTS.fullmatch(text)
    low = int(match[1]) if match else -1
    high = int(match[2]) if match and match[2] else low
    if not 0 <= low <= high <= 65535:
        raise AzureError(
            400,
            "SecurityRuleInvalidPortRange",
            f"Security rule has invalid Port range. Value provided: {text}. Value should be an integer OR "
            f"integer range with '-' delimiter. Valid range 0-65535. (Security rule {rule})",
        )
    return range(low, high + 1)


def open_ports(groups: Iterable[Resource]) -> tuple[int, ...]:
    """The TCP ports of a guest that a public address offers to the user of this computer, ascending.

    Every one of the groups (the interface's, the subnet's) must let a port in; with no group at all it
    is SSH's alone.
    """
    found = list(groups)
    if not found:
        return (22,)
    candidates = {port for group in found for rule in _inbound(group) for port in _mentioned(rule)}
    return tuple(sorted(p for p in candidates if all(_lets_in(group, p) for group in found)))


def _inbound(group: Resource) -> list[Json]:
    rules: list[Json] = [rule["properties"] for rule in group.properties["securityRules"]]
    inbound = [rule for rule in rules if rule["direction"] == "Inbound" and rule["protocol"] in ("Tcp", "*")]
    return sorted((rule for rule in inbound if _is_for_us(rule)), key=lambda rule: int(rule["priority"]))


def _is_for_us(rule: Json) -> bool:
    sources = _values(rule, "sourceAddressPrefix") or ["*"]
    return any(source.lower() not in OTHER_SOURCES for source in sources)


def _mentioned(rule: Json) -> Iterable[int]:
    if rule["access"] == "Deny":
        return
    for text in _values(rule, "destinationPortRange"):
        yield from USUAL_PORTS if text == "*" else _parse_ports(text, "")[:MOST_PORTS_OF_A_RANGE]


def _lets_in(group: Resource, port: int) -> bool:
    for rule in _inbound(group):
        if any(port in _parse_ports(text, "") for text in _values(rule, "destinationPortRange")):
            return bool(rule["access"] == "Allow")
    return False


_DEFAULTS: tuple[tuple[str, str, int, str, str, str], ...] = (
    ("AllowVnetInBound", "Allow", 65000, "Inbound", "VirtualNetwork", "VirtualNetwork"),
    ("AllowAzureLoadBalancerInBound", "Allow", 65001, "Inbound", "AzureLoadBalancer", "*"),
    ("DenyAllInBound", "Deny", 65500, "Inbound", "*", "*"),
    ("AllowVnetOutBound", "Allow", 65000, "Outbound", "VirtualNetwork", "VirtualNetwork"),
    ("AllowInternetOutBound", "Allow", 65001, "Outbound", "*", "Internet"),
    ("DenyAllOutBound", "Deny", 65500, "Outbound", "*", "*"),
)


def _default_rules(group: ResourceId) -> list[Json]:
    def rule(name: str, access: str, priority: int, direction: str, source: str, target: str) -> Json:
        properties: dict[str, Any] = {
            "provisioningState": "Succeeded",
            "protocol": "*",
            "sourcePortRange": "*",
            "destinationPortRange": "*",
            "sourceAddressPrefix": source,
            "destinationAddressPrefix": target,
            "access": access,
            "priority": priority,
            "direction": direction,
        }
        id = group.child("defaultSecurityRules", name)
        kind = "Microsoft.Network/networkSecurityGroups/defaultSecurityRules"
        return {"name": name, "id": str(id), "type": kind, "properties": properties}

    return [rule(*row) for row in _DEFAULTS]
