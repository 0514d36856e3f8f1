"""Whether a guest's saved packet filter lets the agents reach Azure: rules are walked, as the kernel would.

Rules are read in three-valued logic. Only a drop that is certain counts: a rule with an unknown match, a
named set or a variable may apply or not, so a drop by it is not claimed, and an accept by it ends the walk.

Spec: iptables-save(8), iptables-extensions(8), nft(8), ufw-framework(8), firewalld.direct(5).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network

from vmstamp.guest.files.fs import Files
from vmstamp.guest.files.globs import expand, matches
from vmstamp.guest.network.interface import PRIMARY
from vmstamp.guest.services import starts_at_boot

WIRE_SERVER, METADATA = "168.63.129.16", "169.254.169.254"
# What root's agents connect to, by TCP. Source: WALinuxAgent README, cloud-init DataSourceAzure.
TARGETS = ((WIRE_SERVER, 80), (WIRE_SERVER, 32526), (METADATA, 80))

IPTABLES_FILES = (
    ("netfilter-persistent", "/etc/iptables/rules.v4"),
    ("iptables-persistent", "/etc/iptables/rules.v4"),
    ("iptables", "/etc/sysconfig/iptables"),
    ("iptables", "/etc/iptables/iptables.rules"),
)
NFTABLES_FILES = ("/etc/nftables.conf", "/etc/sysconfig/nftables.conf")
UFW_RULES = ("/etc/ufw/before.rules", "/etc/ufw/user.rules", "/lib/ufw/user.rules", "/etc/ufw/after.rules")
UFW_CHAINS = ("ufw-before-output", "ufw-user-output", "ufw-after-output")
FIREWALLD_DIRECT = "/etc/firewalld/direct.xml"
RC_LOCAL = ("/etc/rc.local", "/etc/rc.d/rc.local")

TEXT_LIMIT = 512 * 1024  # bytes of one file
RULE_LIMIT = 20_000  # rules walked for one target
DEPTH_LIMIT = 16  # jumps from chain to chain
INCLUDE_COUNT = 50

ACCEPT, DROP, RETURN = "accept", "drop", "return"


@dataclass(frozen=True)
class Rule:
    """A rule: what it does (ACCEPT, DROP, RETURN, '' for no verdict, or a chain's name), and where it stands.

    `applies` says for an address and a port whether it is for them: None when it cannot be known.
    """

    action: str
    where: str
    applies: Callable[[str, int], bool | None]


@dataclass
class Chain:
    rules: list[Rule] = field(default_factory=list)
    policy: str = ACCEPT
    where: str = ""


Chains = Mapping[str, Chain]


@dataclass(frozen=True)
class Blocked:
    """A target that is certainly dropped: `where` the rule or the chain with the policy that does."""

    address: str
    port: int
    where: str


def find_blocked(files: Files) -> Blocked | None:
    """The first target that the rules of an enabled packet filter drop; None when they let all pass."""
    for chains, entries in _rule_sets(files):
        for address, port in TARGETS:
            where = _dropped(chains, entries, address, port)
            if where:
                return Blocked(address, port, where)
    return None


def _rule_sets(files: Files) -> Iterator[tuple[Chains, Sequence[str]]]:
    """The chains of each packet filter that starts at boot, and those that outgoing packets enter."""
    for service, path in IPTABLES_FILES:
        if files.is_file(path) and starts_at_boot(files, service):
            chains = parse_iptables(files.find_text(path, TEXT_LIMIT) or "", path)
            yield chains, [name for name in chains if name.endswith("/OUTPUT")]
    for path in NFTABLES_FILES:
        if files.is_file(path) and starts_at_boot(files, "nftables"):
            chains, entries = parse_nftables(_nft_lines(files, path))
            yield chains, entries
    if starts_at_boot(files, "ufw") and _is_yes(files, "/etc/ufw/ufw.conf", "ENABLED"):
        yield _ufw(files)
    if files.is_file(FIREWALLD_DIRECT) and starts_at_boot(files, "firewalld"):
        text = files.find_text(FIREWALLD_DIRECT, TEXT_LIMIT) or ""
        yield {"OUTPUT": Chain(list(_direct_rules(text)))}, ["OUTPUT"]
    for path in RC_LOCAL:
        yield (
            {"OUTPUT": Chain(list(_script_rules(files.find_text(path, TEXT_LIMIT) or "", path)))},
            ["OUTPUT"],
        )


def _dropped(chains: Chains, entries: Sequence[str], address: str, port: int) -> str:
    for name in entries:
        walk = _Walk(chains, address, port)
        verdict, where = walk.through(name, 0)
        if verdict == DROP or (verdict == RETURN and chains[name].policy == DROP):
            return where or chains[name].where
    return ""


@dataclass
class _Walk:
    """One target's way through the chains; RETURN at the end of a chain, ACCEPT when it cannot be known."""

    chains: Chains
    address: str
    port: int
    left: int = RULE_LIMIT

    def through(self, name: str, depth: int) -> tuple[str, str]:
        for rule in self.chains[name].rules:
            self.left -= 1
            if self.left < 0 or depth > DEPTH_LIMIT:
                return ACCEPT, ""
            applies = rule.applies(self.address, self.port)
            if applies is False or not rule.action:
                continue
            verdict, where = rule.action, rule.where
            if rule.action in self.chains:
                verdict, where = self.through(rule.action, depth + 1)
                if verdict == RETURN:
                    continue
            elif rule.action not in (ACCEPT, DROP, RETURN):
                continue
            if applies or verdict == ACCEPT:
                return verdict, where
        return RETURN, ""


# iptables


def parse_iptables(text: str, path: str, prefix: str = "") -> dict[str, Chain]:
    """The chains of iptables-save's format, named table/CHAIN; `prefix` a table to add for all."""
    chains: dict[str, Chain] = {}
    table = prefix or "filter"
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if line.startswith("*"):
            table = prefix or line[1:]
        elif line.startswith(":"):
            words = line[1:].split()
            policy = DROP if words[1:2] == ["DROP"] else ACCEPT
            chains[f"{table}/{words[0]}"] = Chain([], policy, f"{path}:{number}")
        elif line.startswith(("-A ", "-I ")):
            words = _split(line)
            chain = chains.setdefault(f"{table}/{words[1]}", Chain(where=path))
            rule = iptables_rule(words[2:], f"{path}:{number}", table)
            chain.rules.insert(0, rule) if words[0] == "-I" else chain.rules.append(rule)
    return chains


def _split(line: str) -> list[str]:
    try:
        words = shlex.split(line)
    except ValueError:
        words = line.split()
    return words if len(words) > 2 else [*words, "", ""]


def iptables_rule(words: Sequence[str], where: str, table: str = "") -> Rule:
    """A rule of its words after the chain's name."""
    tests: list[Callable[[str, int], bool | None]] = []
    action, negated, position = "", False, 0
    while position < len(words):
        word = words[position]
        value = words[position + 1] if position + 1 < len(words) else ""
        position += 1
        if word == "!":
            negated = True
            continue
        if word in ("-j", "--jump", "-g", "--goto"):
            action = _action(value, table)
            break  # what follows are the target's own options
        if word in ("-m", "--match", "--comment"):
            position += 1
            continue
        tests.append(_negate(_iptables_test(word, value), negated))
        position += 1 if word.startswith("-") else 0
        negated = False
    return Rule(action, where, _all(tests))


def _action(target: str, table: str) -> str:
    verdicts = {"ACCEPT": ACCEPT, "DROP": DROP, "REJECT": DROP, "RETURN": RETURN}
    return verdicts.get(target) or (f"{table}/{target}" if table else target)


def _iptables_test(option: str, value: str) -> Callable[[str, int], bool | None]:
    match option:
        case "-d" | "--destination" | "--dst":
            return lambda address, port: _in_networks(address, value)
        case "-p" | "--protocol":
            return lambda address, port: value.lower() in ("tcp", "6", "all", "0")
        case "--dport" | "--dports" | "--destination-port" | "--destination-ports":
            return lambda address, port: _in_ports(port, value.replace(":", "-"))
        case "-o" | "--out-interface":
            return lambda address, port: matches(PRIMARY, value.replace("+", "*"))
        case "--uid-owner":
            return lambda address, port: value in ("0", "root")
        case "--ctstate" | "--state":
            return lambda address, port: "NEW" in value.upper().split(",")
    return lambda address, port: None


def _negate(test: Callable[[str, int], bool | None], negated: bool) -> Callable[[str, int], bool | None]:
    def opposite(address: str, port: int) -> bool | None:
        result = test(address, port)
        return None if result is None else not result

    return opposite if negated else test


def _all(tests: Sequence[Callable[[str, int], bool | None]]) -> Callable[[str, int], bool | None]:
    """False when one is, else None when one is unknown."""

    def joined(address: str, port: int) -> bool | None:
        results = [test(address, port) for test in tests]
        return False if False in results else None if None in results else True

    return joined


def _in_networks(address: str, text: str) -> bool | None:
    """Whether the address is in a list of addresses and networks; None when one is no such thing."""
    unknown = False
    for one in text.replace(" ", "").split(","):
        try:
            if IPv4Address(address) in IPv4Network(one, strict=False):
                return True
        except ValueError:
            unknown = ":" not in one
    return None if unknown else False


def _in_ports(port: int, text: str) -> bool | None:
    """Whether the port is in a list of ports and ranges (`a-b`); names of services count for http."""
    unknown = False
    for one in text.replace(" ", "").split(","):
        found = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?", one)
        if found and int(found[1]) <= port <= int(found[2] or found[1]):
            return True
        if one == "http" and port == 80:
            return True
        unknown = unknown or not (found or re.fullmatch(r"[a-z][a-z0-9-]*", one))
    return None if unknown else False


def _script_rules(text: str, path: str) -> Iterator[Rule]:
    """The rules that a script of iptables commands adds to OUTPUT."""
    for number, line in enumerate(text.splitlines(), 1):
        words = _split(line.strip())
        if (
            words[0].rsplit("/", 1)[-1] != "iptables"
            or not {"-A", "-I"} & set(words)
            or "OUTPUT" not in words
        ):
            continue
        rest = words[words.index("OUTPUT") + 1 :]
        yield iptables_rule(rest[1:] if rest[:1] and rest[0].isdigit() else rest, f"{path}:{number}")


# ufw and firewalld


def _is_yes(files: Files, path: str, key: str) -> bool:
    text = files.find_text(path, TEXT_LIMIT) or ""
    return re.search(rf"^{key}=[\"']?yes", text, re.MULTILINE | re.IGNORECASE) is not None


def _ufw(files: Files) -> tuple[Chains, Sequence[str]]:
    """ufw's three chains one after the other, then its policy for outgoing packets."""
    chains: dict[str, Chain] = {}
    for path in UFW_RULES:
        for name, chain in parse_iptables(files.find_text(path, TEXT_LIMIT) or "", path, "ufw").items():
            chains.setdefault(name, Chain()).rules.extend(chain.rules)
    defaults = files.find_text("/etc/default/ufw", TEXT_LIMIT) or ""
    found = re.search(r"^DEFAULT_OUTPUT_POLICY=[\"']?(DROP|REJECT)", defaults, re.MULTILINE)
    always = _all([])
    entry = [Rule(f"ufw/{name}", "", always) for name in UFW_CHAINS if f"ufw/{name}" in chains]
    chains["OUTPUT"] = Chain(entry, DROP if found else ACCEPT, "/etc/default/ufw")
    return chains, ["OUTPUT"]


def _direct_rules(text: str) -> Iterator[Rule]:
    """The rules for OUTPUT of firewalld's direct interface."""
    for found in re.finditer(r"<rule\b([^<>]{0,500})>([^<]{0,2000})</rule>", text):
        attributes = dict(re.findall(r"(\w+)=[\"']([^\"']*)[\"']", found[1]))
        if attributes.get("chain") == "OUTPUT" and attributes.get("ipv") == "ipv4":
            line = text.count("\n", 0, found.start()) + 1
            yield iptables_rule(_split(found[2]), f"{FIREWALLD_DIRECT}:{line}")


# nftables

Line = tuple[str, str]  # where, text

_INLINE_SET = re.compile(r"\b(daddr|saddr|dport|sport|state|skuid|l4proto|protocol)\s*(!=\s*)?\{([^{}]*)\}")


def _nft_lines(files: Files, path: str) -> list[Line]:
    """The lines of a file with those of included files in their place, each file once."""
    seen: set[str] = set()

    def lines(path: str) -> Iterator[Line]:
        if path in seen or len(seen) >= INCLUDE_COUNT:
            return
        seen.add(path)
        for number, line in enumerate((files.find_text(path, TEXT_LIMIT) or "").splitlines(), 1):
            include = re.match(r"\s*include\s+\"([^\"]+)\"", line)
            if include:
                pattern = (
                    include[1] if include[1].startswith("/") else f"{path.rsplit('/', 1)[0]}/{include[1]}"
                )
                for found in expand(files, pattern):
                    yield from lines(found)
            else:
                yield f"{path}:{number}", re.sub(r"(^|\s)#.*", "", line)

    return list(lines(path))


def parse_nftables(lines: Sequence[Line]) -> tuple[dict[str, Chain], list[str]]:
    """The chains of all tables, named table/chain, and those with `hook output`."""
    chains: dict[str, Chain] = {}
    entries: list[str] = []
    table = chain = ""
    depth = 0
    for where, text in lines:
        text = _INLINE_SET.sub(lambda m: f"{m[1]} {m[2] or ''}{m[3].replace(' ', '')}", text)
        for statement in re.findall(r"[{}]|[^{};]+", text):
            statement = statement.strip()
            if statement == "{":
                depth += 1
            elif statement == "}":
                depth = max(0, depth - 1)
                chain = chain if depth > 1 else ""
            elif found := re.match(r"table\s+(?:(\w+)\s+)?(\S+)$", statement):
                table = found[2]
            elif found := re.match(r"(chain|set|map|flowtable)\s+(\S+)$", statement):
                chain = f"{table}/{found[2]}" if found[1] == "chain" else ""
                if chain:
                    chains.setdefault(chain, Chain(where=where))
            elif chain and statement:
                _nft_statement(statement, where, chain, table, chains, entries)
    return chains, entries


def _nft_statement(
    text: str, where: str, name: str, table: str, chains: dict[str, Chain], entries: list[str]
) -> None:
    if re.match(r"type\s+\w+\s+hook\b", text):
        if re.search(r"\bhook\s+output\b", text):
            entries.append(name)
            chains[name].where = where
    elif text.startswith("policy "):
        chains[name].policy = DROP if text.split()[1:2] == ["drop"] else ACCEPT
    else:
        chains[name].rules.append(nft_rule(text, where, table))


def nft_rule(text: str, where: str, table: str) -> Rule:
    """A rule of nft's language: known matches are tested, anything else makes it unknown."""
    words = re.sub(r"\"[^\"]*\"", lambda m: m[0].strip('"').replace(" ", "_") or "_", text).split()
    tests: list[Callable[[str, int], bool | None]] = []
    action, position = "", 0
    while position < len(words):
        word = words[position]
        if word in ("accept", "drop", "reject", "return"):
            action = {"reject": DROP}.get(word, word)
            break
        if word in ("jump", "goto"):
            action = f"{table}/{words[position + 1]}" if position + 1 < len(words) else ""
            break
        length, test = _nft_test(words[position : position + 4])
        tests += [test] if test else []
        position += length
    return Rule(action, where, _all(tests))


def _nft_test(words: Sequence[str]) -> tuple[int, Callable[[str, int], bool | None] | None]:
    """How many words the first match takes, and its test; None for a statement that tests nothing."""
    padded = [*words, "", "", "", ""]
    first, second = padded[:2]
    if first == "counter":
        return (5 if second == "packets" else 1), None
    if first in ("log", "comment"):
        return (3 if second in ("prefix", "level") else 1 if first == "log" else 2), None
    if first in ("ip6", "icmp", "icmpv6", "udp", "arp", "ether", "vlan"):
        return len(words), lambda address, port: False if first != "ether" else None
    key = first if first in ("oif", "oifname", "skuid") else f"{first} {second}"
    start = 1 if key == first else 2
    negated = padded[start] == "!="
    value = padded[start + 1] if negated else padded[start]
    test = _NFT_TESTS.get(key)
    if test is None or value.startswith(("@", "$", "vmap")):
        return 1, lambda address, port: None
    return start + 1 + negated, _negate(lambda address, port: test(value, address, port), negated)


_NFT_TESTS: Mapping[str, Callable[[str, str, int], bool | None]] = {
    "ip daddr": lambda value, address, port: _in_networks(address, value),
    "tcp dport": lambda value, address, port: _in_ports(port, value),
    "th dport": lambda value, address, port: _in_ports(port, value),
    "ct state": lambda value, address, port: "new" in value.split(","),
    "oif": lambda value, address, port: matches(PRIMARY, value),
    "oifname": lambda value, address, port: matches(PRIMARY, value),
    "meta oifname": lambda value, address, port: matches(PRIMARY, value),
    "skuid": lambda value, address, port: bool({"0", "root"} & set(value.split(","))),
    "meta skuid": lambda value, address, port: bool({"0", "root"} & set(value.split(","))),
    "meta l4proto": lambda value, address, port: bool({"tcp", "6"} & set(value.split(","))),
    "ip protocol": lambda value, address, port: bool({"tcp", "6"} & set(value.split(","))),
    "meta nfproto": lambda value, address, port: value == "ipv4",
}
