"""Checks of who provisions a VM and reports Ready."""

from __future__ import annotations

from collections.abc import Iterator

from vmstamp.guest.checks import sources
from vmstamp.guest.checks.waagent import fix_options
from vmstamp.guest.edits import Edit, Symlink
from vmstamp.guest.facts import Facts, has_guest
from vmstamp.guest.finding import Check, Severity, Verdict, failed, not_applicable, passed, warned
from vmstamp.guest.packages import find_program
from vmstamp.guest.provisioning.enable import enable_cloud_init, enable_waagent, intended
from vmstamp.guest.provisioning.reporter import reporter_edits
from vmstamp.guest.services import find_unit, is_enabled, is_masked
from vmstamp.guest.system import family

# Source: Azure/GuestProxyAgent proxy_agent_setup/src/linux.rs
PROXY_AGENT = "azure-proxy-agent"
PROXY_UNIT = f"{PROXY_AGENT}.service"
PROXY_FILTER = "/usr/lib/azure-proxy-agent/ebpf_cgroup.o"  # the program that redirects its connections


def _any(facts: Facts) -> Verdict:
    if facts.provisioner == "cloud-init":
        version = facts.cloud_init.version if facts.cloud_init else ""
        return passed(f"cloud-init {version} provisions".replace("  ", " "))
    if facts.provisioner == "waagent":
        version = facts.waagent.version if facts.waagent else ""
        return passed(f"WALinuxAgent {version} provisions".replace("  ", " "))
    if facts.reporter:
        return passed("no agent, but a unit of its own reports Ready", facts.reporter)
    installed = [
        name for name, agent in (("cloud-init", facts.cloud_init), ("WALinuxAgent", facts.waagent)) if agent
    ]
    if installed:
        return failed(f"{' and '.join(installed)}: installed, but would not provision")
    return failed("neither cloud-init nor WALinuxAgent is installed")


def _fix_any(facts: Facts) -> Iterator[Edit]:
    """The agent that is there is enabled and told to provision; without one, a unit reports Ready."""
    match intended(facts):
        case "cloud-init":
            yield from enable_cloud_init(facts.guest)
            yield from fix_options(facts)
        case "waagent":
            yield from enable_waagent(facts)
            yield from fix_options(facts)
        case "":
            yield from reporter_edits(facts.guest)


def _proxy_agent(facts: Facts) -> Verdict:
    files = facts.guest
    program, unit = find_program(files, PROXY_AGENT), find_unit(files, PROXY_UNIT)
    if program is None and unit is None:
        if facts.os is not None and family(facts.os) == "azurelinux":
            return warned(f"{PROXY_AGENT} is not installed, which Azure Linux has a package of")
        return not_applicable(f"no {PROXY_AGENT}: VMs are deployed without ProxyAgentSettings")
    if program is None:
        return warned(f"{PROXY_UNIT} is there, the program is not", unit or "")
    if unit is None or not is_enabled(files, PROXY_UNIT):
        said = "is masked" if is_masked(files, PROXY_UNIT) else "is not enabled" if unit else "is not there"
        return warned(f"{PROXY_UNIT} {said}: the program answers that it is not ready", unit or program)
    if not files.is_file(PROXY_FILTER):
        return warned(f"{PROXY_FILTER} is not there: no connection goes through {PROXY_AGENT}", program)
    return passed(f"{PROXY_AGENT} starts at boot", program)


def _fix_proxy_agent(facts: Facts) -> Iterator[Edit]:
    """The unit that is there is wanted, as its package does it."""
    unit = find_unit(facts.guest, PROXY_UNIT)
    ready = unit is not None and find_program(facts.guest, PROXY_AGENT) is not None
    if ready and not is_enabled(facts.guest, PROXY_UNIT) and not is_masked(facts.guest, PROXY_UNIT):
        yield Symlink(f"/etc/systemd/system/multi-user.target.wants/{PROXY_UNIT}", unit or "")


CHECKS = (
    Check(
        "agent-any",
        "an agent provisions the VM",
        Severity.PROVISION,
        "nobody reports Ready: the deployment fails after 20 to 40 minutes (OSProvisioningTimedOut)",
        sources.NO_AGENT,
        has_guest,
        _any,
        "install cloud-init, or WALinuxAgent with Provisioning.Agent=waagent; --fix enables what is "
        "installed, and else adds a unit that only reports Ready: it makes no users and no keys",
        fix=_fix_any,
    ),
    Check(
        "azurelinux-proxy-agent",
        "Azure's proxy agent would start",
        Severity.BEST,
        "a deployment with ProxyAgentSettings fails: cloud-init reports what azure-proxy-agent --status says",
        "canonical/cloud-init cloudinit/sources/DataSourceAzure.py",
        has_guest,
        _proxy_agent,
        f"install azure-proxy-agent and enable {PROXY_UNIT}, or remove both",
        fix=_fix_proxy_agent,
    ),
)
