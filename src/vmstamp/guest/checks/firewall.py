"""Checks of what keeps agents from the two addresses of Azure: packet filters, routes, proxies."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network

from vmstamp.guest.checks import sources
from vmstamp.guest.edits import Edit, Write
from vmstamp.guest.facts import Facts, has_guest
from vmstamp.guest.files.globs import expand
from vmstamp.guest.finding import Check, Severity, Verdict, failed, passed, warned
from vmstamp.guest.lines import as_bytes, comment_out, find_exact
from vmstamp.guest.network.firewall import METADATA, TEXT_LIMIT, WIRE_SERVER, find_blocked
from vmstamp.guest.provisioning.agents import WAAGENT_CONFIGURATION, read_waagent_options

ROUTE_FILES = (
    "/etc/network/interfaces", "/etc/network/interfaces.d/*", "/etc/sysconfig/network-scripts/route-*",
    "/etc/sysconfig/static-routes", "/etc/sysconfig/network/routes", "/etc/sysconfig/network/ifroute-*",
    "/etc/network/if-up.d/*", "/etc/rc.local", "/etc/rc.d/rc.local",
)  # fmt: skip
NETWORKD_FILES = ("/etc/systemd/network/*.network", "/etc/systemd/network/*.network.d/*.conf")
_REFUSING = re.compile(r"\b(blackhole|unreachable|prohibit|reject)\b")
_NETWORK = re.compile(r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?:/\d{1,2})?(?![\d.])")

IPTABLES_ACCEPT = (
    "-A {chain} -d 168.63.129.16/32 -p tcp -m multiport --dports 80,32526 -j ACCEPT\n"
    "-A {chain} -d 169.254.169.254/32 -p tcp -m tcp --dport 80 -j ACCEPT\n"
)
NFT_ACCEPT = (
    "\t\tip daddr 168.63.129.16 tcp dport { 80, 32526 } accept\n"
    "\t\tip daddr 169.254.169.254 tcp dport 80 accept\n"
)

ENVIRONMENT = "/etc/environment"
SYSTEMD_CONFIGURATIONS = ("/etc/systemd/system.conf", "/etc/systemd/system.conf.d/*.conf")
UNIT_DROP_INS = (
    "/etc/systemd/system/walinuxagent.service.d/*.conf", "/etc/systemd/system/waagent.service.d/*.conf",
    "/etc/systemd/system/cloud-*.service.d/*.conf",
)  # fmt: skip
_PROXY = re.compile(r"\b(https?_proxy|all_proxy)=(?=[^\s\"'])", re.IGNORECASE)
_NO_PROXY = re.compile(r"\b(no_proxy)=([^\s\"']*)", re.IGNORECASE)


def _refusing_route(facts: Facts) -> str:
    """The path and line of a route that refuses one of the addresses; ''."""
    for pattern in (*ROUTE_FILES, *NETWORKD_FILES):
        for path in expand(facts.guest, pattern):
            lines = [line if len(line) < 1000 else "" for line in _text(facts, path).splitlines()]
            find = _in_networkd if pattern in NETWORKD_FILES else _in_lines
            if number := find(lines):
                return f"{path}:{number}"
    return ""


def _is_azures(text: str) -> bool:
    """A network in the text holds one of the addresses; not when it is every network."""
    for word in _NETWORK.findall(text):
        try:
            network = IPv4Network(word, strict=False)
        except ValueError:
            continue
        if network.prefixlen and any(IPv4Address(one) in network for one in (WIRE_SERVER, METADATA)):
            return True
    return False


def _in_lines(lines: list[str]) -> int:
    """The number of the first line that is such a route; 0 when there is none."""
    for number, line in enumerate(lines, 1):
        if not line.lstrip().startswith("#") and _REFUSING.search(line) and _is_azures(line):
            return number
    return 0


def _in_networkd(lines: list[str]) -> int:
    """The number of the Destination= of the first such [Route]; without it networkd ignores the section."""
    destination, refuses = 0, False
    for number, line in enumerate([*lines, "[]"], 1):
        key, _, value = line.partition("=")
        if line.startswith("["):
            if destination and refuses:
                return destination
            destination, refuses = 0, False
        elif key.strip() == "Destination":
            destination = number if _is_azures(value) else 0
        elif key.strip() == "Type":
            refuses = _REFUSING.search(value) is not None
    return 0


def _text(facts: Facts, path: str) -> str:
    return find_exact(facts.guest, path, TEXT_LIMIT)


def _reachable(facts: Facts) -> Verdict:
    blocked = find_blocked(facts.guest)
    if blocked:
        return failed(f"{blocked.address} port {blocked.port} is dropped", blocked.where)
    route = _refusing_route(facts)
    if route:
        return failed("a route refuses an address of Azure", route)
    return passed(f"no saved rule and no route keeps {WIRE_SERVER} and {METADATA} away")


def _fix_reachable(facts: Facts) -> Iterator[Edit]:
    """Accepting rules go before the others; a route, or a rule of a script, becomes a comment."""
    route = _refusing_route(facts)
    blocked = find_blocked(facts.guest)
    texts: dict[str, str] = {}
    for where in (route, blocked.where if blocked else ""):
        path, _, number = where.partition(":")
        if not path:
            continue
        text = texts.get(path, _text(facts, path))
        if path == "/etc/default/ufw" or path.startswith("/etc/ufw/"):
            path, chain = "/etc/ufw/before.rules", "ufw-before-output"
            texts[path] = _accepting(texts.get(path, _text(facts, path)), chain)
        elif "nft" in path:
            texts[path] = _nft_accepting(text)
        elif re.search(r"^\*filter", text, re.MULTILINE):
            texts[path] = _accepting(text, "OUTPUT")
        elif number and not path.endswith(".xml"):
            texts[path] = comment_out(text, {int(number)})
    for path, text in texts.items():
        if text != _text(facts, path):
            yield Write(path, as_bytes(text))


def _accepting(text: str, chain: str) -> str:
    """iptables-save's text with accepting rules before the chain's first, in the table filter."""
    start = max(0, text.find("*filter"))
    first = re.compile(rf"^(-A {re.escape(chain)} |COMMIT)", re.MULTILINE).search(text, start)
    position = first.start() if first else len(text)
    return text[:position] + IPTABLES_ACCEPT.format(chain=chain) + text[position:]


def _nft_accepting(text: str) -> str:
    """nft's text with accepting rules after the line of `hook output`; unchanged if that ends the chain."""
    return re.sub(
        r"^([^\n}]*\bhook\s+output\b[^\n}]*;)[ \t]*$", lambda m: f"{m[1]}\n{NFT_ACCEPT}".rstrip("\n"), text,
        flags=re.MULTILINE,
    )  # fmt: skip


def _bypasses(text: str) -> bool:
    """no_proxy names both addresses, or everything."""
    listed = {one for _, value in _NO_PROXY.findall(text) for one in value.split(",")}
    return "*" in listed or {WIRE_SERVER, METADATA} <= listed


def _proxied(facts: Facts) -> Iterator[tuple[str, bool]]:
    """(path, whether services see it) of files that set a proxy without an exception for Azure."""
    for patterns, services in (((*SYSTEMD_CONFIGURATIONS, *UNIT_DROP_INS), True), ((ENVIRONMENT,), False)):
        for path in (path for pattern in patterns for path in expand(facts.guest, pattern)):
            lines = [line for line in _text(facts, path).splitlines() if not line.lstrip().startswith("#")]
            text = "\n".join(lines)
            if _PROXY.search(text) and not _bypasses(text):
                yield path, services


def _proxy(facts: Facts) -> Verdict:
    found = next(_proxied(facts), None)
    if (
        found is None
        and facts.waagent is not None
        and read_waagent_options(facts.guest).get("HttpProxy.Host")
    ):
        return warned("waagent gets extensions through a proxy: do VMs reach it?", WAAGENT_CONFIGURATION)
    if found is None:
        return passed("no proxy stands before Azure's addresses")
    path, services = found
    if services:
        return failed("services go to Azure's own addresses through a proxy", path)
    return warned("programs of users go to Azure's own addresses through a proxy", path)


def _fix_proxy(facts: Facts) -> Iterator[Edit]:
    """no_proxy gets both addresses, on a line of its own."""
    for path, services in _proxied(facts):
        text = _text(facts, path)
        values = [value for _, value in _NO_PROXY.findall(text)][:1]
        hosts = ",".join([*(value for value in values if value), WIRE_SERVER, METADATA])
        key = "DefaultEnvironment=" if "system.conf" in path else "Environment="
        line = (
            f'{key}"no_proxy={hosts}" "NO_PROXY={hosts}"'
            if services
            else f"no_proxy={hosts}\nNO_PROXY={hosts}"
        )
        yield Write(path, as_bytes(f"{text.rstrip()}\n{line}\n"))


CHECKS = (
    Check(
        "net-fabric-reachable",
        "agents can reach Azure's own addresses",
        Severity.PROVISION,
        "no agent gets the goal state or the metadata, and nobody reports Ready",
        sources.NO_AGENT,
        has_guest,
        _reachable,
        f"let root reach {WIRE_SERVER} (TCP 80, 32526) and {METADATA} (TCP 80)",
        fix=_fix_reachable,
    ),
    Check(
        "net-proxy",
        "no proxy stands before Azure's own addresses",
        Severity.PROVISION,
        "a proxy cannot reach them: they answer only the VM itself",
        "azure-docs virtual-network what-is-ip-address-168-63-129-16.md",
        has_guest,
        _proxy,
        f"no_proxy={WIRE_SERVER},{METADATA}",
        fix=_fix_proxy,
    ),
)
