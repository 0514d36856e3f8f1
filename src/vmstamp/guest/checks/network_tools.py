"""Checks of the tools that configure the network: NetworkManager, sysconfig, dhclient, resolv.conf."""

from __future__ import annotations

from collections.abc import Iterator

from vmstamp.guest.checks import sources
from vmstamp.guest.checks.network import UDEV_DIRECTORIES, renders
from vmstamp.guest.edits import Edit, Remove, Symlink, Truncate, Write
from vmstamp.guest.facts import Facts, has_guest
from vmstamp.guest.finding import Check, Severity, Verdict, failed, passed, warned
from vmstamp.guest.lines import as_bytes, find_exact, set_assignments
from vmstamp.guest.network.ifcfg import read_shell
from vmstamp.guest.network.networkmanager import read_configuration
from vmstamp.guest.packages import find_program
from vmstamp.guest.services import is_enabled
from vmstamp.guest.system import family

SRIOV_RULE = "/etc/udev/rules.d/68-azure-sriov-nm-unmanaged.rules"
SRIOV_RULE_TEXT = (
    "# A virtual function of accelerated networking belongs to the synthetic interface that the kernel\n"
    "# pairs it with; NetworkManager leaves it alone.\n"
    'SUBSYSTEM=="net", DRIVERS=="hv_pci", ACTION!="remove", ENV{NM_UNMANAGED}="1"\n'
)
SYSCONFIG = "/etc/sysconfig/network"
SUSE_DHCP = "/etc/sysconfig/network/dhcp"
DHCLIENT_CONFIGURATIONS = ("/etc/dhcp/dhclient.conf", "/etc/dhclient.conf", "/etc/dhcp3/dhclient.conf")
RESOLV_CONF = "/etc/resolv.conf"
RESOLVED_STUB = "../run/systemd/resolve/stub-resolv.conf"
AZURE_DNS = "168.63.129.16"
TEXT_LIMIT = 256 * 1024


def _uses_networkmanager(facts: Facts) -> bool:
    return has_guest(facts) and "NetworkManager" in facts.network.tools


def _sriov(facts: Facts) -> Verdict:
    for directory in UDEV_DIRECTORIES:
        for name in facts.guest.list(directory):
            path = f"{directory}/{name}"
            if name.endswith(".rules") and ("azure" in name or "sriov" in name):
                text = facts.guest.find_text(path, TEXT_LIMIT) or ""
                if "NM_UNMANAGED" in text or "AZURE_UNMANAGED_SRIOV" in text:
                    return passed("NetworkManager leaves virtual functions alone", path)
    value, path = read_configuration(facts.guest).get(("keyfile", "unmanaged-devices"), ("", ""))
    if "driver:mlx" in value or "driver:mana" in value:
        return passed("NetworkManager leaves virtual functions alone", path)
    return warned("NetworkManager would configure the virtual function of accelerated networking")


def _fix_sriov(facts: Facts) -> Iterator[Edit]:
    yield Write(SRIOV_RULE, SRIOV_RULE_TEXT.encode())


def _red_hat_major(facts: Facts) -> int | None:
    """The major version of a Red Hat or rebuild of it; None for all else, Fedora and Amazon too."""
    if facts.os is None or family(facts.os) != "rhel" or facts.os.id in ("fedora", "amzn"):
        return None
    major = facts.os.version_id.split(".", 1)[0]
    return int(major) if major.isdigit() and len(major) < 4 else None


def _sysconfig(facts: Facts) -> dict[str, str]:
    return read_shell(facts.guest.find_text(SYSCONFIG, TEXT_LIMIT) or "")


def _old_network(facts: Facts) -> Verdict:
    if find_program(facts.guest, "NetworkManager"):
        return warned("NetworkManager is installed, which this release cannot run beside the agent")
    if _sysconfig(facts).get("NETWORKING", "no").lower() != "yes":
        return failed("NETWORKING is not yes: no interface is brought up", SYSCONFIG)
    return passed("the network starts without NetworkManager", SYSCONFIG)


def _zeroconf(facts: Facts) -> Verdict:
    if _sysconfig(facts).get("NOZEROCONF", "no").lower() in ("yes", "true"):
        return passed("no route of 169.254.0.0/16 to the link", SYSCONFIG)
    return warned("NOZEROCONF is not yes: 169.254.0.0/16 is routed to the link", SYSCONFIG)


def _fix_sysconfig(facts: Facts) -> Iterator[Edit]:
    text = find_exact(facts.guest, SYSCONFIG, TEXT_LIMIT)
    yield Write(SYSCONFIG, as_bytes(set_assignments(text, {"NETWORKING": "yes", "NOZEROCONF": "yes"})))


def _dhclient_timeout(facts: Facts) -> tuple[str, int, int] | None:
    """(path, line, seconds) of dhclient's `timeout`; None when it is not set."""
    for path in DHCLIENT_CONFIGURATIONS:
        for number, line in enumerate((facts.guest.find_text(path, TEXT_LIMIT) or "").splitlines(), 1):
            words = line.strip().rstrip(";").split()
            if len(words) == 2 and words[0] == "timeout" and words[1].isdigit():
                return path, number, int(words[1][:9])
    return None


def _runs_dhclient(facts: Facts) -> bool:
    return has_guest(facts) and any(facts.guest.is_file(path) for path in DHCLIENT_CONFIGURATIONS)


def _dhcp_timeout(facts: Facts) -> Verdict:
    found = _dhclient_timeout(facts)
    if found is None:
        return passed("dhclient's own time-out")
    path, number, seconds = found
    if seconds < 60:
        return warned(f"timeout {seconds}: dhclient gives up before a slow answer", f"{path}:{number}")
    return passed(f"dhclient waits {seconds} s", f"{path}:{number}")


def _fix_dhcp_timeout(facts: Facts) -> Iterator[Edit]:
    found = _dhclient_timeout(facts)
    if found is not None:
        path, number, _ = found
        lines = find_exact(facts.guest, path, TEXT_LIMIT).splitlines(keepends=True)
        lines[number - 1] = "timeout 300;\n"
        yield Write(path, as_bytes("".join(lines)))


def _is_suse(facts: Facts) -> bool:
    return facts.os is not None and family(facts.os) == "suse" and facts.guest.is_file(SUSE_DHCP)


def _suse_hostname(facts: Facts) -> Verdict:
    keys = read_shell(facts.guest.find_text(SUSE_DHCP, TEXT_LIMIT) or "")
    if keys.get("DHCLIENT_SET_HOSTNAME", "yes").lower() == "no":
        return passed("DHCP does not change the host name", SUSE_DHCP)
    return warned("DHCLIENT_SET_HOSTNAME is not no: DHCP changes the host name", SUSE_DHCP)


def _fix_suse_hostname(facts: Facts) -> Iterator[Edit]:
    text = find_exact(facts.guest, SUSE_DHCP, TEXT_LIMIT)
    yield Write(SUSE_DHCP, as_bytes(set_assignments(text, {"DHCLIENT_SET_HOSTNAME": '"no"'})))


def _resolved(facts: Facts) -> bool:
    return is_enabled(facts.guest, "systemd-resolved.service")


def _resolv(facts: Facts) -> Verdict:
    files = facts.guest
    target = files.readlink(RESOLV_CONF)
    if target is not None:
        if "systemd/resolve" in target and not _resolved(facts):
            return warned(f"a link to {target}, but systemd-resolved does not start", RESOLV_CONF)
        if not target.startswith(("/run", "../run", "/var/run", "../var/run")) and not files.exists(
            RESOLV_CONF
        ):
            return warned(f"a link to {target}, which does not exist", RESOLV_CONF)
        return passed(f"a link to {target}", RESOLV_CONF)
    text = files.find_text(RESOLV_CONF, TEXT_LIMIT) or ""
    servers = [
        line.split()[1] for line in text.splitlines() if line.startswith("nameserver ") and line.split()[1:]
    ]
    fixed = [server for server in servers if server != AZURE_DNS]
    rewriters = ("NetworkManager", "network", "wicked", "ifupdown", "dhcpcd")
    if fixed and not any(tool in rewriters for tool in facts.network.tools) and not renders(facts):
        return warned("a file with name servers of another network, and nothing writes it anew", RESOLV_CONF)
    return passed("nothing of another network stays in it", RESOLV_CONF)


def _fix_resolv(facts: Facts) -> Iterator[Edit]:
    if _resolved(facts):
        yield Symlink(RESOLV_CONF, RESOLVED_STUB)
    elif facts.guest.readlink(RESOLV_CONF) is None:
        yield Truncate(RESOLV_CONF)
    else:
        yield Remove(RESOLV_CONF)  # a file is to stand in the link's place, not at its end
        yield Write(RESOLV_CONF, f"nameserver {AZURE_DNS}\n".encode())


CHECKS = (
    Check(
        "net-nm-sriov-unmanaged",
        "NetworkManager leaves virtual functions alone",
        Severity.BEST,
        "with accelerated networking NetworkManager configures the virtual function beside its master",
        sources.RED_HAT,
        _uses_networkmanager,
        _sriov,
        f"write {SRIOV_RULE}",
        fix=_fix_sriov,
    ),
    Check(
        "net-nm-absent-old",
        "an old Red Hat starts its network without NetworkManager",
        Severity.BEST,
        "the agent of that time does not work with NetworkManager, or no interface comes up",
        sources.LISA,
        lambda facts: (_red_hat_major(facts) or 99) < 7,
        _old_network,
        f"rpm -e --nodeps NetworkManager, and NETWORKING=yes in {SYSCONFIG}",
        fix=_fix_sysconfig,
    ),
    Check(
        "net-nozeroconf",
        "no link route hides the metadata service",
        Severity.BEST,
        "169.254.169.254, the metadata service, is looked for on the link and not found",
        sources.RED_HAT,
        lambda facts: _red_hat_major(facts) in (6, 7) and "network" in facts.network.tools,
        _zeroconf,
        f"NOZEROCONF=yes in {SYSCONFIG}",
        fix=_fix_sysconfig,
    ),
    Check(
        "net-dhcp-timeout",
        "dhclient waits long enough",
        Severity.BEST,
        "an answer on Azure can take a minute; a VM without an address is not reachable",
        "microsoft/lisa core/network dhcp timeout",
        _runs_dhclient,
        _dhcp_timeout,
        "timeout 300; in dhclient.conf",
        fix=_fix_dhcp_timeout,
    ),
    Check(
        "net-suse-hostname",
        "DHCP does not change the host name on SUSE",
        Severity.BEST,
        "the host name that provisioning sets is lost at the next lease",
        "azure-compute-docs linux/suse-create-upload-vhd.md",
        _is_suse,
        _suse_hostname,
        f'DHCLIENT_SET_HOSTNAME="no" in {SUSE_DHCP}',
        fix=_fix_suse_hostname,
    ),
    Check(
        "resolv-static",
        "name servers of another network do not stay",
        Severity.BEST,
        "no name is resolved on the new VM",
        "Azure/WALinuxAgent pa/deprovision/default.py",
        has_guest,
        _resolv,
        f"empty {RESOLV_CONF}, or link it to {RESOLVED_STUB}",
        fix=_fix_resolv,
    ),
)
