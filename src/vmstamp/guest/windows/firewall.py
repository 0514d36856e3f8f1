r"""Windows Firewall's rules, as the registry stores them.

`v2.31|Action=Allow|Active=TRUE|Dir=In|Protocol=6|LPort=3389|RA4=10.0.0.0/8|Name=@FirewallAPI.dll,-28775|`: a
schema version, then fields, of which those of ports, addresses and profiles may stand several times.
Spec: [MS-GPFAS] 2.2.2, the firewall rule and its grammar.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, ip_network

from vmstamp.guest.windows.system import Windows

POLICY = r"CurrentControlSet\Services\SharedAccess\Parameters\FirewallPolicy"
RULES = rf"{POLICY}\FirewallRules"
POLICY_RULES = r"Policies\Microsoft\WindowsFirewall\FirewallRules"
PROFILES = {"DomainProfile": "domain", "StandardProfile": "private", "PublicProfile": "public"}
TCP = "6"
NARROWING = ("APP", "SVC", "APPPKGID", "LUOWN", "LUAUTH", "RUAUTH", "RMAUTH")


@dataclass(frozen=True)
class Rule:
    """A rule; `id` is the value's name. Fields as stored, by their upper-case name."""

    id: str
    text: str
    fields: dict[str, tuple[str, ...]]

    def first(self, name: str) -> str:
        return self.fields.get(name, ("",))[0]

    @property
    def active(self) -> bool:
        return self.first("ACTIVE").upper() == "TRUE"

    @property
    def blocks(self) -> bool:
        return self.first("ACTION").upper() == "BLOCK"

    @property
    def inbound(self) -> bool:
        return self.first("DIR").upper() == "IN"

    @property
    def in_public(self) -> bool:
        """Whether it counts in the public profile, in which Windows sees a network that it does not know."""
        profiles = [profile.upper() for profile in self.fields.get("PROFILE", ())]
        return not profiles or "PUBLIC" in profiles

    def concerns_port(self, port: int) -> bool:
        """Whether it is of TCP (or any protocol) and of this local port (or any)."""
        if self.first("PROTOCOL") not in ("", TCP):
            return False
        ports = self.fields.get("LPORT", ()) + self.fields.get("LPORT2_10", ())
        return not ports or any(_in_range(text, port) for text in ports)

    def concerns_address(self, address: str) -> bool:
        """Whether it names this remote IPv4 address, or a network or range with it; not: any address."""
        return any(_holds(text, address) for text in self.fields.get("RA4", ()))

    @property
    def any_address(self) -> bool:
        return not self.fields.get("RA4") and not self.fields.get("RA6")

    @property
    def narrow(self) -> bool:
        """Whether it is for one program, service, store app, user or authenticated machine only."""
        return any(self.first(name) for name in NARROWING)


def parse_rule(identifier: str, text: str) -> Rule:
    fields: dict[str, list[str]] = {}
    for part in text.split("|")[1:]:
        name, equals, value = part.partition("=")
        if equals:
            fields.setdefault(name.upper(), []).append(value)
    return Rule(identifier, text, {name: tuple(values) for name, values in fields.items()})


def read_rules(windows: Windows) -> list[Rule]:
    """The rules of the machine and those of Group Policy. GuestError when a hive is damaged."""
    return [*_rules(windows, "SYSTEM", RULES), *_rules(windows, "SOFTWARE", POLICY_RULES)]


def _rules(windows: Windows, hive: str, path: str) -> Iterator[Rule]:
    key = windows.hive(hive).find(windows.key_path(hive, path))
    for value in key.values() if key is not None else ():
        if isinstance(value.data, str):
            yield parse_rule(value.name, value.data)


def activated(rule: Rule) -> str:
    """The rule's text, active and allowing in every profile."""
    parts = []
    for part in rule.text.split("|"):
        name = part.partition("=")[0].upper()
        if name != "PROFILE":
            parts.append({"ACTIVE": "Active=TRUE", "ACTION": "Action=Allow"}.get(name, part))
    return "|".join(parts)


def deactivated(rule: Rule) -> str:
    """The rule's text, without effect."""
    parts = (
        "Active=FALSE" if part.partition("=")[0].upper() == "ACTIVE" else part
        for part in rule.text.split("|")
    )
    return "|".join(parts)


def _in_range(text: str, port: int) -> bool:
    first, _, last = text.partition("-")
    if not first.isdecimal() or not (last or first).isdecimal():
        return False  # RPC and the like
    return int(first[:6]) <= port <= int((last or first)[:6])


def _holds(text: str, address: str) -> bool:
    try:
        wanted = IPv4Address(address)
        if "-" in text:
            low, high = text.split("-", 1)
            return IPv4Address(low) <= wanted <= IPv4Address(high)
        return wanted in ip_network(text, strict=False)
    except (AddressValueError, ValueError):
        return False  # LocalSubnet and other names
