"""Checks of the provisioning agents."""

from __future__ import annotations

import re

from vmstamp.guest.agents import DS_IDENTIFY, WAAGENT_CONFIGURATION
from vmstamp.guest.checks import sources
from vmstamp.guest.facts import Facts, has_guest
from vmstamp.guest.finding import Check, Severity, Verdict, failed, passed, warned

WAAGENT_PROVISIONED = "/var/lib/waagent/provisioned"
AZURE = "azure"


def _any(facts: Facts) -> Verdict:
    if facts.provisioner == "cloud-init":
        version = facts.cloud_init.version if facts.cloud_init else ""
        return passed(f"cloud-init {version} provisions".replace("  ", " "))
    if facts.provisioner == "waagent":
        version = facts.waagent.version if facts.waagent else ""
        return passed(f"WALinuxAgent {version} provisions".replace("  ", " "))
    installed = [
        name for name, agent in (("cloud-init", facts.cloud_init), ("WALinuxAgent", facts.waagent)) if agent
    ]
    if installed:
        return failed(f"{' and '.join(installed)}: installed, but would not provision")
    return failed("neither cloud-init nor WALinuxAgent is installed")


def _cloud_init_enabled(facts: Facts) -> Verdict:
    cloud_init = facts.cloud_init
    assert cloud_init is not None
    if cloud_init.enabled:
        return passed("its generator and units are in place")
    if facts.provisioner == "waagent":
        return passed("cloud-init is off, and waagent provisions")
    return failed(cloud_init.disabled_by or "no target wants its units")


def _datasource(facts: Facts) -> Verdict:
    assert facts.cloud_init is not None
    listed = facts.cloud_init.datasource_list
    if listed is None:
        return passed("no datasource_list: cloud-init's own has Azure")
    if listed.error:
        return failed(listed.error, listed.where)
    if AZURE not in (name.lower() for name in listed.names):
        return failed(f"datasource_list is {', '.join(listed.names) or 'empty'}: without Azure", listed.where)
    if not listed.one_line:
        return warned("datasource_list is not on one line in [...]: ds-identify cannot read it", listed.where)
    return passed(f"datasource_list is {', '.join(listed.names)}", listed.where)


def _ds_identify(facts: Facts) -> Verdict:
    text = facts.guest.find_text(DS_IDENTIFY, 64 * 1024) or ""
    settings = dict(re.findall(r"^\s*(policy|datasource)\s*:\s*([^#\n]*)", text, re.MULTILINE))
    policy, datasource = settings.get("policy", "").strip(), settings.get("datasource", "").strip()
    if policy.startswith("disabled"):
        return failed(f"policy: {policy}", DS_IDENTIFY)
    if datasource and datasource.lower() != AZURE:
        return failed(f"datasource: {datasource}", DS_IDENTIFY)
    return passed("nothing keeps ds-identify from finding Azure")


def _command_line(facts: Facts) -> Verdict:
    for entry in facts.entries:
        for word in entry.command_line.words:
            key, _, value = word.partition("=")
            other = key in ("ds", "ci.ds", "ci.datasource") and not value.lower().startswith(AZURE)
            if other or word in ("cloud-init=disabled", "network-config=disabled"):
                return failed(word, entry.command_line.where)
    return passed("the kernel command line leaves cloud-init alone")


def _waagent_present(facts: Facts) -> Verdict:
    waagent = facts.waagent
    if waagent is None:
        return warned("WALinuxAgent is not installed")
    if not waagent.enabled:
        return warned(f"WALinuxAgent {waagent.version}: {waagent.unit or 'its service'} is not enabled")
    return passed(f"WALinuxAgent {waagent.version}", waagent.unit)


def _waagent_provisioning(facts: Facts) -> Verdict:
    waagent = facts.waagent
    assert waagent is not None
    agent, cloud_init = waagent.provisioning_agent, facts.cloud_init
    said = f"Provisioning.Agent={agent}"
    if agent not in ("auto", "cloud-init", "waagent", "disabled"):
        return failed(f"{said} is none of auto, cloud-init, waagent, disabled", WAAGENT_CONFIGURATION)
    if agent == "cloud-init" and (cloud_init is None or not cloud_init.enabled):
        return failed(f"{said}, but cloud-init would not run", WAAGENT_CONFIGURATION)
    if agent == "waagent" and cloud_init is not None and cloud_init.enabled:
        return failed(f"{said}, but cloud-init provisions too", WAAGENT_CONFIGURATION)
    if agent == "disabled" and facts.provisioner == "":
        return failed(f"{said}, and no cloud-init", WAAGENT_CONFIGURATION)
    return passed(said, WAAGENT_CONFIGURATION)


def _waagent_state(facts: Facts) -> Verdict:
    if not facts.guest.exists(WAAGENT_PROVISIONED):
        return passed("waagent has not provisioned this disk")
    verdict = failed if facts.provisioner == "waagent" else warned
    return verdict("waagent believes that it has provisioned this machine already", WAAGENT_PROVISIONED)


CHECKS = (
    Check(
        "agent-any",
        "an agent provisions the VM",
        Severity.PROVISION,
        "nobody reports Ready: the deployment fails after 20 to 40 minutes (OSProvisioningTimedOut)",
        sources.NO_AGENT,
        has_guest,
        _any,
        "install cloud-init, or WALinuxAgent with Provisioning.Agent=waagent",
    ),
    Check(
        "ci-enabled",
        "cloud-init would run",
        Severity.PROVISION,
        "no user, no keys, no report: the deployment times out",
        "canonical/cloud-init systemd/cloud-init-generator",
        lambda facts: facts.cloud_init is not None,
        _cloud_init_enabled,
        "remove /etc/cloud/cloud-init.disabled, unmask its units",
    ),
    Check(
        "ci-datasource",
        "cloud-init may use its Azure datasource",
        Severity.PROVISION,
        "cloud-init does not look for Azure; the deployment times out",
        sources.DS_IDENTIFY,
        lambda facts: facts.cloud_init is not None,
        _datasource,
        "write `datasource_list: [ Azure ]` to /etc/cloud/cloud.cfg.d/91-azure_datasource.cfg",
    ),
    Check(
        "ci-ds-identify-policy",
        "ds-identify is not bound to another datasource",
        Severity.PROVISION,
        "cloud-init does not run, or looks elsewhere",
        sources.DS_IDENTIFY,
        lambda facts: facts.cloud_init is not None,
        _ds_identify,
        "delete /etc/cloud/ds-identify.cfg",
    ),
    Check(
        "cmdline-cloudinit-off",
        "the kernel command line does not turn cloud-init off",
        Severity.PROVISION,
        "cloud-init does not run, or looks elsewhere",
        sources.DS_IDENTIFY,
        lambda facts: facts.cloud_init is not None and bool(facts.entries),
        _command_line,
        "remove it from GRUB_CMDLINE_LINUX and run update-grub",
    ),
    Check(
        "wa-present",
        "WALinuxAgent is installed and enabled",
        Severity.BEST,
        "without it no VM extension and no run-command works",
        sources.LISA,
        has_guest,
        _waagent_present,
        "install it: waagent on Debian, walinuxagent on Ubuntu, WALinuxAgent elsewhere",
    ),
    Check(
        "wa-conf-provisioning",
        "waagent and cloud-init agree who provisions",
        Severity.PROVISION,
        "both provision, or neither does",
        "Azure/WALinuxAgent pa/provision/factory.py",
        lambda facts: facts.waagent is not None,
        _waagent_provisioning,
        "set Provisioning.Agent=auto in /etc/waagent.conf",
    ),
    Check(
        "wa-stale-state",
        "waagent does not take the disk for provisioned",
        Severity.PROVISION,
        "waagent creates no user and reports no Ready",
        "Azure/WALinuxAgent pa/provision/default.py",
        lambda facts: facts.waagent is not None,
        _waagent_state,
        "generalize the machine: waagent -deprovision+user -force",
    ),
)  # fmt: skip
