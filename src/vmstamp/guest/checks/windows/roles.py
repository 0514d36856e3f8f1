r"""Checks of what a Windows serves: what Azure does not support, and what an image cannot be.

A role or feature is told by Server Manager's cache (SOFTWARE\Microsoft\ServerManager\ServicingStorage\
ServerComponentCache\NAME, InstallState 1: installed; the names are Get-WindowsFeature's) and by the service
that comes with it. The cache is as old as Server Manager's last look, so a service counts without it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from vmstamp.guest.checks.windows import sources
from vmstamp.guest.checks.windows.settings import show, windows_of
from vmstamp.guest.facts import Facts, has_windows
from vmstamp.guest.finding import Check, Severity, Verdict, passed, warned
from vmstamp.guest.windows.system import Windows

SERVICES = r"CurrentControlSet\Services"
CONTROL = r"CurrentControlSet\Control"
CACHE = r"Microsoft\ServerManager\ServicingStorage\ServerComponentCache"
DOMAIN_CONTROLLER = "LanmanNT"
INSTALLED = 1  # InstallState
DISABLED, AUTOMATIC = 4, 2  # Start
MAX_SHOWN = 4


@dataclass(frozen=True)
class Role:
    """A role or feature that Azure, or Sysprep, does not support.

    `features` are its names in Server Manager, `services` what only it installs, `started` services that
    every Windows has and that start by themselves only with it.
    """

    name: str
    features: tuple[str, ...]
    services: tuple[str, ...] = ()
    started: tuple[str, ...] = ()


# Document: sources.SERVER_SOFTWARE, "Windows Server" and "Windows Server features". Not here: BitLocker, for
# data disks may have it (win-bitlocker asks for it), and Hyper-V, which sizes with nested virtualization run.
UNSUPPORTED = (
    Role("DHCP Server", ("DHCP",), ("DHCPServer",)),
    Role("Rights Management Services", ("ADRMS", "ADRMS-Server")),
    Role("Windows Deployment Services", ("WDS", "WDS-Deployment", "WDS-Transport"), ("WDSServer",)),
    Role("Internet Storage Name Server", ("ISNS",)),
    Role("Multipath I/O", ("Multipath-IO",)),
    Role("Network Load Balancing", ("NLB",)),
    Role("Peer Name Resolution Protocol", ("PNRP",)),
    Role("Routing and Remote Access", ("Routing", "NPAS-RRAS-Services"), started=("RemoteAccess",)),
    Role("DirectAccess", ("DirectAccess-VPN",)),
    Role("SNMP Services", ("SNMP-Service", "SNMP-Services"), ("SNMP",)),
    Role("Storage Manager for SANs", ("Storage-Mgr-SANS",)),
    Role("Windows Internet Name Service", ("WINS", "WINS-Server"), ("WINS",)),
    Role("Wireless LAN Service", ("Wireless-Networking",)),
)

# Document: sources.SYSPREP_ROLES, what is not supported on Windows Server 2012; those above are told there.
NOT_GENERALIZED = (
    Role("Active Directory Certificate Services", ("AD-Certificate",), ("CertSvc",)),
    Role("Active Directory Domain Services", ("AD-Domain-Services",)),
    Role("Active Directory Federation Services", ("ADFS-Federation",), ("adfssrv",)),
    Role("Active Directory Lightweight Directory Services", ("ADLDS",)),
    Role("Fax Server", ("Fax",)),
    Role("Network Policy and Access Services", ("NPAS",), ("IAS",)),
    Role("Windows Server Update Services", ("UpdateServices",), ("WsusService",)),
)


def find_roles(windows: Windows, roles: tuple[Role, ...]) -> Iterator[tuple[Role, str]]:
    """Those of the roles that are installed, each with where that is told. GuestError: a damaged hive."""
    for role in roles:
        where = _where(windows, role)
        if where:
            yield role, where


def _where(windows: Windows, role: Role) -> str:
    for service in (*role.services, *role.started):
        start = windows.number("SYSTEM", rf"{SERVICES}\{service}", "Start")
        if start == AUTOMATIC or (start not in (None, DISABLED) and service in role.services):
            return windows.place("SYSTEM", rf"{SERVICES}\{service}", "Start")
    for feature in role.features:
        key = rf"{CACHE}\{feature}"
        if windows.number("SOFTWARE", key, "InstallState") == INSTALLED:
            return windows.place("SOFTWARE", key, "InstallState")
    return ""


def _unsupported(facts: Facts) -> Verdict:
    found = list(find_roles(windows_of(facts), UNSUPPORTED))
    if not found:
        return passed("none of the roles and features that Azure does not support is installed")
    return warned(f"installed, and not supported on Azure: {_names(found)}", found[0][1])


def _names(found: list[tuple[Role, str]]) -> str:
    more = f" and {len(found) - MAX_SHOWN} more" if len(found) > MAX_SHOWN else ""
    return ", ".join(role.name for role, _ in found[:MAX_SHOWN]) + more


def _roles(facts: Facts) -> Verdict:
    windows = windows_of(facts)
    product = windows.text("SYSTEM", rf"{CONTROL}\ProductOptions", "ProductType")
    if product == DOMAIN_CONTROLLER:
        where = windows.place("SYSTEM", rf"{CONTROL}\ProductOptions", "ProductType")
        return warned("a domain controller: Sysprep refuses it, and copies of it break the domain", where)
    if windows.number("SYSTEM", f"{SERVICES}\\ClusSvc", "Start") == AUTOMATIC:
        where = windows.place("SYSTEM", f"{SERVICES}\\ClusSvc")
        return warned("a node of a failover cluster, which Sysprep does not take", where)
    parameters = rf"{SERVICES}\Tcpip\Parameters"
    domain = windows.text("SYSTEM", parameters, "Domain")
    if domain and windows.number("SYSTEM", f"{SERVICES}\\Netlogon", "Start") == 2:
        where = windows.place("SYSTEM", parameters, "Domain")
        return warned(f"a member of the domain {show(domain)}; Sysprep takes it out", where)
    found = list(find_roles(windows, NOT_GENERALIZED))
    if found:
        return warned(f"roles that do not outlast Sysprep: {_names(found)}", found[0][1])
    return passed("neither a domain's nor a cluster's member, and no role that Sysprep breaks")


CHECKS = (
    Check(
        "win-unsupported-roles",
        "no role or feature that Azure does not support",
        Severity.BEST,
        "Microsoft does not support it on a VM; most need what Azure's network and disks do not give",
        sources.SERVER_SOFTWARE,
        has_windows,
        _unsupported,
        "remove it with `Uninstall-WindowsFeature`, or use Azure's own service in its place",
    ),
    Check(
        "win-roles",
        "no role that an image cannot have",
        Severity.BEST,
        "Sysprep fails, the role does not work after it, or every VM is the same member of a domain",
        sources.GENERALIZE,
        has_windows,
        _roles,
        "remove the role, or leave the domain, before Sysprep",
        identity=True,
        trace=True,
    ),
)
