"""Checks of who provisions a VM and reports Ready."""

from __future__ import annotations

from collections.abc import Iterator

from vmstamp.guest.checks import sources
from vmstamp.guest.checks.waagent import fix_options
from vmstamp.guest.edits import Edit
from vmstamp.guest.facts import Facts, has_guest
from vmstamp.guest.finding import Check, Severity, Verdict, failed, passed
from vmstamp.guest.provisioning.enable import enable_cloud_init, enable_waagent, intended
from vmstamp.guest.provisioning.reporter import reporter_edits


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
)
