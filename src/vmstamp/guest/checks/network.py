"""Checks of network configuration: DHCP on a VM's interface, and nothing that binds it to another machine."""

from __future__ import annotations

import re
from collections.abc import Iterator

from vmstamp.guest.checks import sources
from vmstamp.guest.edits import Edit, Remove, Symlink, Write
from vmstamp.guest.facts import Facts, has_guest
from vmstamp.guest.finding import Check, Severity, Verdict, failed, passed, warned
from vmstamp.guest.lines import as_bytes, comment_out, find_exact
from vmstamp.guest.network.interface import PRIMARY, Interface
from vmstamp.guest.network.mend import dhcp_edits, has_dhcp, interface_edits
from vmstamp.guest.network.survey import in_force
from vmstamp.guest.packages import find_program
from vmstamp.guest.provisioning.cloud_config import network_disabled, system_network
from vmstamp.guest.system import is_older

UDEV_DIRECTORIES = ("/etc/udev/rules.d", "/usr/lib/udev/rules.d", "/lib/udev/rules.d")
PERSISTENT_NET_RULES = (
    "70-persistent-net.rules",
    "75-persistent-net-generator.rules",
    "85-persistent-net-cloud-init.rules",
)
# Left by Ubuntu's installers; they bind cloud-init or the network to the machine that was installed.
INSTALLER_CONFIGURATIONS = (
    "/etc/cloud/cloud.cfg.d/50-curtin-networking.cfg",
    "/etc/cloud/cloud.cfg.d/curtin-preserve-sources.cfg",
    "/etc/cloud/cloud.cfg.d/99-installer.cfg",
    "/etc/cloud/cloud.cfg.d/90-installer-network.cfg",
)
INSTALLER_BINDS = ("50-curtin-networking.cfg", "99-installer.cfg", "90-installer-network.cfg")

PACKAGE_FILES = ("/usr/lib/", "/lib/")
TEXT_LIMIT = 256 * 1024

# cloud-init's DHCP clients for the time before the network is up. Source: canonical/cloud-init net/dhcp.py
DHCP_CLIENTS = ("dhclient", "dhcpcd", "udhcpc")


def renders(facts: Facts) -> bool:
    """cloud-init writes the network's configuration at first boot, from what Azure tells it: DHCP."""
    config = facts.cloud_config
    provisions = facts.provisioner == "cloud-init"
    return provisions and not network_disabled(config) and system_network(config) is None


def _system(facts: Facts) -> tuple[Interface, ...]:
    """The interfaces of cloud-init's own files, when it would write them."""
    disabled = network_disabled(facts.cloud_config)
    if facts.provisioner != "cloud-init" or disabled:
        return ()
    return system_network(facts.cloud_config) or ()


def _kept(facts: Facts) -> tuple[Interface, ...]:
    """The configurations that a new machine will have: cloud-init's old one only when it writes no other."""
    written = () if renders(facts) else facts.network.written
    return (*facts.network.interfaces, *written, *_system(facts))


def _dhcp_primary(facts: Facts) -> Verdict:
    network = facts.network
    if renders(facts):
        return passed("cloud-init configures the interface at first boot, by DHCP")
    kept = in_force(_kept(facts))
    dhcp = next((one for one in kept if one.dhcp4), None)
    if has_dhcp(network) or dhcp:
        dhcp = dhcp or next((one for one in network.primary if one.dhcp4), None)
        return passed(f"{dhcp.tool} runs DHCP" if dhcp else "DHCP runs on every interface", _where(dhcp))
    if kept:
        return failed(f"{PRIMARY} has no DHCP", kept[0].where)
    if network.errors:
        return warned(f"not all of the configuration can be read: {network.errors[0]}")
    if not network.tools:
        return warned("no network service that is known starts at boot")
    if others := _kept(facts):
        return failed(
            f"{PRIMARY} is not configured, only {', '.join(one.who for one in others[:3])}", others[0].where
        )
    return failed(f"nothing configures {PRIMARY} for {network.tools[0]}")


def _where(interface: Interface | None) -> str:
    return interface.where if interface else ""


def _fix_dhcp_primary(facts: Facts) -> Iterator[Edit]:
    disabled = network_disabled(facts.cloud_config)
    if facts.provisioner == "cloud-init" and disabled:
        yield from _fix_cloud_init_disabled(facts)
    elif facts.provisioner == "cloud-init" and _system(facts):
        where = facts.cloud_config.where("network")
        if _only_network(facts, where):
            yield Remove(where)
    else:
        yield from dhcp_edits(facts.guest, facts.network)


def _only_network(facts: Facts, path: str) -> bool:
    """The file of cloud-init sets nothing but the network, so it can go."""
    return set(dict(facts.cloud_config.sources).get(path, {})) == {"network"}


def _fixed(facts: Facts) -> list[Interface]:
    """The configurations with addresses, but for those of packages and of containers' interfaces."""
    return [
        one
        for one in _kept(facts)
        if one.automatic and one.addresses and one.possible and not one.where.startswith(PACKAGE_FILES)
    ]


def _static(facts: Facts) -> Verdict:
    static = _fixed(facts)
    if not static:
        return passed("no address, gateway or name server is fixed")
    hard = next((one for one in static if one.is_for_primary and not one.dhcp4), None)
    if hard:
        return failed(f"{hard.who}: a fixed address, gateway or name server", hard.where)
    what = "fixed addresses beside DHCP" if static[0].dhcp4 else "a fixed address of another machine"
    return warned(f"{static[0].who}: {what}", static[0].where)


def _fix_static(facts: Facts) -> Iterator[Edit]:
    for one in _fixed(facts):
        if not one.dhcp4:
            yield from interface_edits(facts.guest, facts.network, one)


def _bound(facts: Facts) -> list[Interface]:
    links = [link for link in facts.network.links if "cloud-init" not in link.where]
    return [*(one for one in _kept(facts) if one.macs), *links]


def _mac_bound(facts: Facts) -> Verdict:
    bound = _bound(facts)
    if not bound:
        return passed("no configuration is bound to a hardware address")
    one = bound[0]
    matters = not renders(facts) and one.tool != "udev" and not has_dhcp(facts.network)
    verdict = failed if matters else warned
    return verdict(f"{one.tool}: bound to a hardware address of another machine", one.where)


def _fix_mac_bound(facts: Facts) -> Iterator[Edit]:
    for one in _bound(facts):
        yield from interface_edits(facts.guest, facts.network, one)


def _rules(facts: Facts) -> Iterator[str]:
    """The files that count: a name in /etc hides the same name of a package."""
    for name in PERSISTENT_NET_RULES:
        paths = (f"{directory}/{name}" for directory in UDEV_DIRECTORIES)
        path = next((path for path in paths if facts.guest.find(path, follow=False)), None)
        if path and facts.guest.readlink(path) != "/dev/null" and facts.guest.is_file(path):
            yield path


def _persistent_net(facts: Facts) -> Verdict:
    for path in _rules(facts):
        verdict = warned if facts.provisioner == "cloud-init" else failed
        return verdict("network interfaces are named by the MAC addresses of another machine", path)
    return passed("no rule names interfaces by MAC address")


def _fix_persistent_net(facts: Facts) -> Iterator[Edit]:
    """A package's rule is masked, as it would come back; those in /etc go."""
    for path in _rules(facts):
        name = path.rsplit("/", 1)[-1]
        if "generator" in name or not path.startswith("/etc/"):
            yield Symlink(f"/etc/udev/rules.d/{name}", "/dev/null")
        else:
            yield Remove(path)


def _cloud_init_disabled(facts: Facts) -> Verdict:
    where = network_disabled(facts.cloud_config)
    if not where:
        return passed("cloud-init may configure the network")
    if has_dhcp(facts.network):
        return passed("cloud-init leaves the network alone, and DHCP is configured", where)
    return failed("network: {config: disabled}, and nothing else runs DHCP", where)


def _fix_cloud_init_disabled(facts: Facts) -> Iterator[Edit]:
    """A file that only disables the network goes; of another the lines that do become comments."""
    if has_dhcp(facts.network):
        return
    for path, values in facts.cloud_config.sources:
        network = values.get("network")
        if not isinstance(network, dict) or network.get("config") != "disabled":
            continue
        if _only_network(facts, path):
            yield Remove(path)
            continue
        text = find_exact(facts.guest, path, TEXT_LIMIT)
        if numbers := _disabling_lines(text):
            yield Write(path, as_bytes(comment_out(text, numbers)))


def _disabling_lines(text: str) -> set[int]:
    """The lines of `network: {config: disabled}`, in one line or in two; none of any other form."""
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        if re.match(r"network:\s*\{\s*config:\s*[\"']?disabled[\"']?\s*\}", line):
            return {number}
        following = lines[number] if number < len(lines) else ""
        if re.match(r"network:\s*$", line) and re.match(r"\s+config:\s*[\"']?disabled", following):
            return {number, number + 1}
    return set()


def _leftovers(facts: Facts) -> list[str]:
    netplan = [name for name in facts.guest.list("/etc/netplan") if "installer" in name]
    known = [path for path in INSTALLER_CONFIGURATIONS if facts.guest.is_file(path)]
    return [*known, *(f"/etc/netplan/{name}" for name in netplan if name.endswith(".yaml"))]


def _installer_leftovers(facts: Facts) -> Verdict:
    found = _leftovers(facts)
    if not found:
        return passed("no configuration of an installer is left")
    binding = next((path for path in found if path.endswith(INSTALLER_BINDS)), None)
    if binding:
        return failed("an installer bound cloud-init to the machine that it installed", binding)
    return warned("an installer's configuration of the machine that it installed", found[0])


def _fix_installer_leftovers(facts: Facts) -> Iterator[Edit]:
    yield from (Remove(path) for path in _leftovers(facts))


def _ephemeral_client(facts: Facts) -> Verdict:
    found = find_program(facts.guest, *DHCP_CLIENTS)
    if found is None:
        return failed("none of dhclient, dhcpcd and udhcpc is installed")
    version = facts.cloud_init.version if facts.cloud_init else ""
    if not found.endswith("dhclient") and version and is_older(version, "23.3"):
        return failed(f"cloud-init {version} runs only dhclient, which is not installed", found)
    return passed("cloud-init has a DHCP client for the time before the network is up", found)


CHECKS = (
    Check(
        "net-dhcp-primary",
        "the VM's interface gets its address by DHCP",
        Severity.PROVISION,
        "the VM has no network: no agent reaches Azure, and the deployment times out",
        sources.GENERIC,
        has_guest,
        _dhcp_primary,
        f"configure DHCP for {PRIMARY} with the guest's own network tool",
        fix=_fix_dhcp_primary,
    ),
    Check(
        "net-static",
        "no address, gateway or name server is fixed",
        Severity.PROVISION,
        "the address of another network is used: the VM is not reachable and does not reach Azure",
        sources.MIGRATE,
        has_guest,
        _static,
        "remove it, and let DHCP give address, gateway and name servers",
        fix=_fix_static,
    ),
    Check(
        "net-mac-bound",
        "no network configuration is bound to a hardware address",
        Severity.PROVISION,
        "the new VM's interface has another address, so nothing configures it",
        sources.MIGRATE,
        has_guest,
        _mac_bound,
        "remove HWADDR=, mac-address=, macaddress: and MACAddress=",
        fix=_fix_mac_bound,
    ),
    Check(
        "udev-persistent-net",
        "no udev rules bind interface names to MAC addresses",
        Severity.PROVISION,
        "the new VM's interface becomes eth1, which nothing configures",
        sources.RED_HAT,
        has_guest,
        _persistent_net,
        "delete the rules, and link the generator to /dev/null",
        fix=_fix_persistent_net,
    ),
    Check(
        "net-cloudinit-disabled",
        "cloud-init configures the network, or DHCP is configured without it",
        Severity.PROVISION,
        "nobody configures the new VM's interface",
        sources.UBUNTU,
        lambda facts: facts.cloud_init is not None,
        _cloud_init_disabled,
        "delete the file with `network: {config: disabled}`",
        fix=_fix_cloud_init_disabled,
    ),
    Check(
        "net-installer-leftovers",
        "no configuration of an installer is left",
        Severity.PROVISION,
        "cloud-init keeps to the network and datasource of the machine that was installed",
        sources.UBUNTU,
        has_guest,
        _installer_leftovers,
        "delete the files that the installer left",
        fix=_fix_installer_leftovers,
    ),
    Check(
        "net-ephemeral-dhcp-client",
        "cloud-init has a DHCP client for the time before the network is up",
        Severity.PROVISION,
        "cloud-init reaches neither the metadata service nor the wire server, and never reports Ready",
        "canonical/cloud-init cloudinit/net/dhcp.py",
        lambda facts: facts.files is not None and facts.provisioner == "cloud-init",
        _ephemeral_client,
        "install isc-dhcp-client or dhcpcd",
    ),
)
