"""Saved packet filters: what is certainly dropped is told, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.unit.guest import trees
from tests.unit.guest.apply import apply
from tests.unit.guest.conftest import memory_facts, memory_files
from vmstamp.guest.checks.firewall import CHECKS
from vmstamp.guest.finding import Status, judge
from vmstamp.guest.network.firewall import find_blocked

RULES = "/etc/iptables/rules.v4"
NFT = "/etc/nftables.conf"


def iptables(*rules: str, policy: str = "ACCEPT", table: str = "filter") -> dict[str, str]:
    text = "\n".join((f"*{table}", ":INPUT DROP [0:0]", f":OUTPUT {policy} [0:0]", *rules, "COMMIT", ""))
    return {RULES: text}


def nft(body: str) -> dict[str, str]:
    return {NFT: f"#!/usr/sbin/nft -f\nflush ruleset\n{body}\n"}


def output(*rules: str, policy: str = "accept") -> dict[str, str]:
    lines = "\n".join(f"\t\t{rule}" for rule in rules)
    return nft(
        "table inet filter {\n\tset quiet { type ipv4_addr; elements = { 10.0.0.1 } }\n\tchain output {\n"
        f"\t\ttype filter hook output priority 0; policy {policy};\n{lines}\n\t}}\n}}"
    )


def blocked(changes: Mapping[str, str]) -> str:
    tree: trees.Tree = {
        **trees.enabled("netfilter-persistent.service"),
        **trees.enabled("nftables.service"),
        **changes,
    }
    found = find_blocked(memory_files(tree))
    return found.where if found else ""


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        (iptables(), ""),
        (iptables("-A OUTPUT -d 169.254.169.254/32 -j DROP"), f"{RULES}:4"),
        (iptables("-A OUTPUT -d 169.254.0.0/16 -j REJECT --reject-with icmp-port-unreachable"), f"{RULES}:4"),
        (iptables("-A OUTPUT -d 10.0.0.0/8 -j DROP", "-A OUTPUT -o lo -j DROP"), ""),
        (iptables("-A OUTPUT -m owner --uid-owner 0 -j ACCEPT", "-A OUTPUT -j DROP"), ""),
        (iptables("-A OUTPUT -m owner ! --uid-owner 0 -j DROP"), ""),
        (iptables("-A OUTPUT -d 168.63.129.16 -p tcp --dport 80 -j ACCEPT", policy="DROP"), f"{RULES}:3"),
        (
            iptables(
                "-A OUTPUT -d 168.63.129.16 -p tcp -m multiport --dports 80,32526 -j ACCEPT",
                "-A OUTPUT -p tcp --dport 1:1024 -j ACCEPT",
                policy="DROP",
            ),
            "",
        ),
        (iptables("-A OUTPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT", policy="DROP"), f"{RULES}:3"),
        (iptables("-A OUTPUT -m string --string x -j DROP"), ""),
        (iptables("-A OUTPUT -m string --string x -j ACCEPT", policy="DROP"), ""),
        (iptables("-N OUT", "-A OUTPUT -j OUT", "-A OUT -d 168.63.129.16 -j DROP"), f"{RULES}:6"),
        (iptables("-A OUTPUT -j LOOP", "-A LOOP -j LOOP"), ""),
        (iptables("-A OUTPUT -j LOG --log-prefix x", "-A OUTPUT -d not/an.address -j DROP"), ""),
        (iptables("-A OUTPUT -d 168.63.129.16 -j DROP", table="security"), f"{RULES}:4"),
        (output(), ""),
        (output("ip daddr 169.254.169.254 drop"), f"{NFT}:7"),
        (output("ip daddr { 10.0.0.1, 169.254.169.254 } counter reject with icmp type x"), f"{NFT}:7"),
        (output("oifname lo accept", "ct state established,related accept", policy="drop"), f"{NFT}:6"),
        (output("meta skuid 0 accept", policy="drop"), ""),
        (output("ip daddr @quiet drop", "ip6 daddr fd00::/8 drop", "udp dport 80 drop"), ""),
        (output("tcp dport { 80, 443, 32526 } accept", policy="drop"), ""),
        (nft("table ip t {\n chain out {\n  type filter hook output priority 0;\n  jump x\n }\n"
             " chain x {\n  ip daddr 168.63.129.16 drop\n }\n}"), f"{NFT}:9"),
        ({"/etc/rc.local": "#!/bin/sh\niptables -A OUTPUT -d 168.63.129.16 -j DROP"}, "/etc/rc.local:2"),
    ],
)  # fmt: skip
def test_what_is_certainly_dropped_is_told(changes: Mapping[str, str], where: str) -> None:
    assert blocked(changes) == where


def test_a_filter_that_does_not_start_drops_nothing() -> None:
    tree: trees.Tree = dict(iptables("-A OUTPUT -j DROP"))
    assert find_blocked(memory_files(tree)) is None


UFW = {
    **trees.enabled("ufw.service"),
    "/etc/ufw/ufw.conf": "ENABLED=yes\n",
    "/etc/default/ufw": 'DEFAULT_OUTPUT_POLICY="DROP"\n',
    "/etc/ufw/before.rules": "*filter\n:ufw-before-output - [0:0]\n"
    "-A ufw-before-output -o lo -j ACCEPT\n"
    "-A ufw-before-output -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\nCOMMIT\n",
    "/etc/ufw/user.rules": "*filter\n:ufw-user-output - [0:0]\nCOMMIT\n",
}
DIRECT = '<direct>\n <rule ipv="ipv4" chain="OUTPUT">-d 169.254.169.254 -j DROP</rule>\n</direct>'


@pytest.mark.parametrize(
    "changes",
    [
        {**trees.enabled("netfilter-persistent.service"), **iptables("-A OUTPUT -d 169.254.0.0/16 -j DROP")},
        {**trees.enabled("netfilter-persistent.service"), **iptables(policy="DROP")},
        {**trees.enabled("nftables.service"), **output(policy="drop")},
        {**trees.enabled("nftables.service"), **output("ip daddr 168.63.129.16 drop")},
        UFW,
        {"/etc/rc.local": "iptables -I OUTPUT 1 -d 168.63.129.16 -j DROP\n"},
        {"/etc/network/interfaces.d/x": "up ip route add blackhole 169.254.169.254\n"},
    ],
)
def test_a_dropped_address_is_found_and_let_through_by_the_fix(changes: trees.Tree) -> None:
    tree = {**trees.DEBIAN, **changes}
    check = CHECKS[0]
    facts = memory_facts(tree)
    assert judge(check, facts).status is Status.FAIL
    assert check.fix
    assert judge(check, memory_facts(apply(check.fix(facts), tree))).status is Status.PASS


def test_firewalld_is_read_and_left_to_people() -> None:
    tree: trees.Tree = {
        **trees.RED_HAT,
        **trees.enabled("firewalld.service"),
        "/etc/firewalld/direct.xml": DIRECT,
    }
    facts = memory_facts(tree)
    found = judge(CHECKS[0], facts)
    assert (found.status, found.where) == (Status.FAIL, "/etc/firewalld/direct.xml:2")
    assert CHECKS[0].fix and list(CHECKS[0].fix(facts)) == []


@pytest.mark.parametrize(
    ("path", "text", "status"),
    [
        ("/etc/environment", "http_proxy=http://p:3128\n", Status.WARNING),
        ("/etc/environment", "http_proxy=http://p\nno_proxy=localhost\n", Status.WARNING),
        ("/etc/environment", "http_proxy=http://p\nno_proxy=168.63.129.16,169.254.169.254\n", Status.PASS),
        ("/etc/environment", "# http_proxy=http://p\n", Status.PASS),
        ("/etc/systemd/system.conf", '[Manager]\nDefaultEnvironment="https_proxy=http://p"\n', Status.FAIL),
        (
            "/etc/systemd/system/walinuxagent.service.d/proxy.conf",
            "[Service]\nEnvironment=HTTP_PROXY=http://p\n",
            Status.FAIL,
        ),
    ],
)
def test_a_proxy_before_azures_addresses_is_found_and_mended(path: str, text: str, status: Status) -> None:
    tree: trees.Tree = {**trees.DEBIAN, path: text}
    check = CHECKS[1]
    facts = memory_facts(tree)
    assert judge(check, facts).status is status
    assert check.fix
    assert judge(check, memory_facts(apply(check.fix(facts), tree))).status is Status.PASS


@pytest.mark.parametrize(("value", "status"), [("proxy.corp", Status.WARNING), ("None", Status.PASS)])
def test_a_proxy_of_waagents_own_is_told_and_left(value: str, status: Status) -> None:
    tree = {**trees.FAMILIES["debian"], "/etc/waagent.conf": f"HttpProxy.Host={value}\nHttpProxy.Port=80\n"}
    facts = memory_facts(tree)
    check = next(one for one in CHECKS if one.id == "net-proxy")
    assert judge(check, facts).status is status
    assert check.fix is not None
    assert list(check.fix(facts)) == []


ROUTE = "[Match]\nName=*\n\n[Route]\n{}\n\n[Route]\nGateway=10.0.0.1\nDestination=168.63.129.16\n"


@pytest.mark.parametrize(
    ("path", "text", "line"),
    [
        ("/etc/rc.local", "# x\nip route add blackhole 169.254.0.0/16\n", 2),
        ("/etc/rc.local", "ip route add unreachable 168.63.129.16/32\n", 1),
        ("/etc/rc.local", "ip route add blackhole 10.0.0.0/8\n# blackhole 168.63.129.16\n", 0),
        ("/etc/rc.local", "ip route add blackhole 0.0.0.0/0 metric 9999\n", 0),
        ("/etc/rc.local", "ip route add blackhole 999.63.129.16\n", 0),
        ("/etc/systemd/network/a.network", ROUTE.format("Type=blackhole\nDestination=169.254.169.254/32"), 6),
        ("/etc/systemd/network/a.network", ROUTE.format("Destination=168.63.0.0/16\nType = prohibit"), 5),
        ("/etc/systemd/network/a.network", ROUTE.format("Destination=10.0.0.0/8\nType=blackhole"), 0),
        ("/etc/systemd/network/a.network", ROUTE.format("Destination=168.63.129.16\nType=unicast"), 0),
    ],
)
def test_routes_that_refuse_an_address_of_azure(path: str, text: str, line: int) -> None:
    tree = {**trees.FAMILIES["debian"], path: text}
    check = next(one for one in CHECKS if one.id == "net-fabric-reachable")
    finding = judge(check, memory_facts(tree))
    assert (finding.status, finding.where) == (("fail", f"{path}:{line}") if line else ("pass", ""))
    assert check.fix is not None
    if line:
        assert judge(check, memory_facts(apply(check.fix(memory_facts(tree)), tree))).status == "pass"
