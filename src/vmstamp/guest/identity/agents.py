"""Steps about what the provisioning agents know of the machine: cloud-init's and WALinuxAgent's state.

Sources: WALinuxAgent `pa/deprovision/default.py`, cloud-init `cmd/clean.py` and `DataSourceAzure.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from vmstamp.guest.identity.step import (
    Default,
    Found,
    Guest,
    Severity,
    Step,
    contents,
    dropping,
    joined,
    places,
    removing,
)
from vmstamp.guest.provisioning import agents

AGENT_DIRECTORY = "/var/lib/waagent"
CLOUD_DIRECTORY = "/var/lib/cloud"
FSTAB = "/etc/fstab"
CLOUD_FSTAB = "comment=cloudconfig"  # cloud-init config/cc_mounts.py writes it into what it adds
UNIT_DIRECTORIES = ("/etc/systemd/system", "/lib/systemd/system")

# Files of installers that tell cloud-init about the machine that was installed.
INSTALLER_CONFIGURATION = (
    "99-installer.cfg", "90-installer-network.cfg", "50-curtin-networking.cfg",
    "curtin-preserve-sources.cfg", "subiquity-disable-cloudinit-networking.cfg",
)  # fmt: skip
# Ubuntu's installer writes this script, which has the list of what `cloud-init clean` is to remove with it.
INSTALLER_SCRIPT = "/etc/cloud/clean.d/99-installer"
INSTALLER_LISTED = re.compile(r"""["'](/etc/cloud/[\w.-]+(?:/[\w.-]+)?)["']""", re.ASCII)
# A datasource whose user data stands in the configuration itself.
OWN_USER_DATA = re.compile(r"^datasource[ \t]*:.*\n(?:[ \t#-].*\n|\n)*?[ \t]+userdata_raw[ \t]*:", re.M)
# Top-level keys of cloud-config that make users or give secrets.
SECRET_KEYS = re.compile(
    r"^(users|password|chpasswd|ssh_authorized_keys|ssh_keys|user-data|userdata)\s*:(.*(?:\n[ \t-].*)*)", re.M
)


# `def_log_file: PATH`, and `output: {all: '| tee -a PATH'}` with its variants.
CONFIGURED_LOG = re.compile(
    r"^(?:def_log_file[ \t]*:|output[ \t]*:.*(?:tee -a|>))[ \t]*(/[\w./-]+)", re.M | re.A
)
AGENT_LOG = re.compile(r"/var/log/cloud-init.*\.log")


def _cloud_state(guest: Guest) -> Iterator[Found]:
    """All that `cloud-init clean` removes, but for seeds and scripts, which are steps of their own."""
    for name in guest.files.list(CLOUD_DIRECTORY):
        path = f"{CLOUD_DIRECTORY}/{name}"
        if name not in ("seed", "scripts") and guest.holds(path):
            yield Found(path, "cloud-init's state of an instance", removing(path))


def _seeds(guest: Guest) -> Iterator[Found]:
    for name in guest.files.list(f"{CLOUD_DIRECTORY}/seed"):
        path = f"{CLOUD_DIRECTORY}/seed/{name}"
        if guest.holds(path):
            yield Found(path, "a seed, which wins over the provisioning DVD", removing(path))


def _installer_configuration(guest: Guest) -> Iterator[Found]:
    """An installer's file that makes users or has user data of its own."""
    for path in guest.glob("/etc/cloud/cloud.cfg.d/*.cfg"):
        if path.rsplit("/", 1)[-1] in INSTALLER_CONFIGURATION and _secrets(guest.text(path)):
            yield Found(path, "an installer's users and passwords for cloud-init", removing(path))


def _installer_rest(guest: Guest) -> Iterator[Found]:
    """What the installer's own script would remove with `cloud-init clean`, but for the files with users."""
    for path in dict.fromkeys(INSTALLER_LISTED.findall(guest.text(INSTALLER_SCRIPT))):
        if guest.files.find(path, follow=False) is not None and not _secrets(guest.text(path)):
            off = path == agents.CLOUD_INIT_DISABLED
            detail = (
                "the installer switched cloud-init off" if off else "an installer's settings for cloud-init"
            )
            yield Found(path, detail, removing(path))


def _configured_logs(guest: Guest) -> Iterator[Found]:
    """Logs that cloud-init was told to write elsewhere. Source: cloud-init util.py get_config_logfiles"""
    for path in ("/etc/cloud/cloud.cfg", *guest.glob("/etc/cloud/cloud.cfg.d/*.cfg")):
        for log in CONFIGURED_LOG.findall(guest.text(path)):
            if not AGENT_LOG.match(log) and guest.holds(log) and guest.files.is_file(log):
                yield Found(log, "logs of cloud-init", removing(log))


def _users_configuration(guest: Guest) -> Iterator[Found]:
    for path in guest.glob("/etc/cloud/cloud.cfg.d/*.cfg"):
        keys = _secrets(guest.text(path))
        if keys and path.rsplit("/", 1)[-1] not in INSTALLER_CONFIGURATION:
            yield Found(path, f"makes the same users in every VM ({', '.join(keys)})", removing(path))


def _secrets(text: str) -> list[str]:
    """The top-level keys of a cloud-config that make users or give secrets; `users: [default]` is none."""
    found = []
    for key, value in SECRET_KEYS.findall(text):
        words = re.sub(r"#.*", "", value).replace("[", " ").replace("]", " ").replace("-", " ").split()
        if words and not (key == "users" and words == ["default"]):
            found.append(key)
    if OWN_USER_DATA.search(text):
        found.append("userdata_raw")
    return found


def _agent_state(guest: Guest) -> Iterator[Found]:
    for name in guest.files.list(AGENT_DIRECTORY):
        path = f"{AGENT_DIRECTORY}/{name}"
        if not guest.files.is_directory(path) or guest.files.list(path):
            yield Found(path, _agent_detail(name), removing(path))


def _agent_detail(name: str) -> str:
    if name.endswith((".prv", ".pem", ".pfx", ".p7m")):
        return "a private key or certificate of the agent"
    known = {
        "provisioned": "the agent believes that it has provisioned this machine",
        "ovf-env.xml": "the provisioning data: user name, perhaps a password",
        "CustomData": "custom data of the instance",
    }
    return known.get(name, "state of the agent")


def _cloud_network(guest: Guest) -> Iterator[Found]:
    """What cloud-init wrote for the old machine and writes for each new one, when it runs there."""
    if not guest.has_cloud_init:
        return
    detail = "network configuration of the old machine, which cloud-init writes anew"
    for pattern in (
        "/etc/netplan/50-cloud-init.yaml",
        "/etc/network/interfaces.d/50-cloud-init*",
        "/etc/systemd/network/10-cloud-init-*",
        "/etc/NetworkManager/system-connections/cloud-init-*.nmconnection",
        "/etc/NetworkManager/conf.d/99-cloud-init.conf",
        "/etc/NetworkManager/conf.d/30-cloud-init-ip6-addr-gen-mode.conf",
    ):
        for path in guest.glob(pattern):
            yield Found(path, detail, removing(path))
    for path in guest.glob("/etc/sysconfig/network-scripts/ifcfg-*"):
        if guest.text(path).startswith("# Created by cloud-init"):
            yield Found(path, detail, removing(path))
    for path in guest.glob("/etc/ssh/sshd_config.d/50-cloud-init.conf"):
        yield Found(path, "whether the old machine took passwords; cloud-init writes it anew", removing(path))


def _resource_disk(guest: Guest) -> Iterator[Found]:
    """Lines of fstab(5) that cloud-init added for disks of the old machine."""
    count = sum(CLOUD_FSTAB in line for line in guest.text(FSTAB).split("\n") if not line.startswith("#"))
    if count and guest.has_cloud_init:
        mend = dropping(FSTAB, lambda line: CLOUD_FSTAB in line and not line.startswith("#"))
        lines = "a line" if count == 1 else f"{count} lines"
        yield Found(FSTAB, f"{lines} that cloud-init wrote for the old machine's disks", mend)


STEPS = (
    Step(
        "wa-stale-state",
        "empty WALinuxAgent's state",
        "the agent believes that it has provisioned this machine and makes no user; its keys are in every VM",
        "WALinuxAgent pa/provision/default.py, pa/deprovision/default.py",
        Severity.IDENTITY,
        _agent_state,
    ),
    Step(
        "ci-instance-leftover",
        "remove cloud-init's state of the old instance",
        "user data with its secrets is in every VM, and cloud-init may take a new VM for the old one",
        "cloud-init cmd/clean.py",
        Severity.IDENTITY,
        _cloud_state,
    ),
    Step(
        "ci-seed-leftover",
        "remove cloud-init's seeds, and the users that an installer told it to make",
        "a seed wins over the provisioning DVD: the VM gets the old user and name",
        "cloud-init DataSourceAzure.py crawl_metadata, cmd/clean.py --seed",
        Severity.IDENTITY,
        joined(_seeds, _installer_configuration),
    ),
    Step(
        "ci-installer",
        "remove what Ubuntu's installer left for cloud-init",
        "cloud-init stays switched off, or looks for the installer's data and not for Azure's",
        "subiquity's /etc/cloud/clean.d/99-installer",
        Severity.TRACE,
        _installer_rest,
    ),
    Step(
        "ci-scripts",
        "remove scripts that cloud-init would run",
        "what the old machine was told to run at each boot runs in every VM",
        "cloud-init cmd/clean.py",
        Severity.TRACE,
        contents((f"{CLOUD_DIRECTORY}/scripts/*", "scripts that cloud-init runs")),
    ),
    Step(
        "ci-users-config",
        "remove cloud-init's configuration files that make users or set passwords",
        "every VM gets the same user or password, beside the one that was asked for",
        "cloud-init config/cc_users_groups.py, cc_set_passwords.py",
        Severity.IDENTITY,
        _users_configuration,
        Default.OFF,
    ),
    Step(
        "agent-credentials",
        "remove the agents' logs",
        "they may hold custom data, and they name the old machine",
        "WALinuxAgent pa/deprovision/default.py; cloud-init cmd/clean.py --logs",
        Severity.TRACE,
        joined(
            places(
                ("/var/log/cloud-init*.log*", "logs of cloud-init"),
                ("/var/log/waagent*.log*", "logs of WALinuxAgent"),
            ),
            contents(("/var/log/azure", "logs of WALinuxAgent and its extensions")),
            _configured_logs,
        ),
    ),
    Step(
        "wa-units",
        "remove units that WALinuxAgent wrote for itself",
        "they start programs that were removed with its state",
        "WALinuxAgent pa/deprovision/default.py, ga/persist_firewall_rules.py, ga/cgroupconfigurator.py",
        Severity.TRACE,
        places(
            ("/etc/systemd/system/*.wants/waagent-network-setup.service", "starts a program of the agent's"),
            *(
                (f"{directory}/{name}", "a unit that the agent wrote")
                for directory in UNIT_DIRECTORIES
                for name in (
                    "waagent-network-setup.service",
                    "azure-walinuxagent-logcollector.slice",
                    "azure-vmextensions-*.slice",
                    "waagent.service.d/1[1-4]-*.conf",
                    "walinuxagent.service.d/1[1-4]-*.conf",
                )
            ),
        ),
    ),
    Step(
        "ci-network",
        "remove the network and sshd files that cloud-init wrote",
        "they name the old machine's MAC address; a new VM has another",
        "cloud-init cmd/clean.py --configs network ssh_config",
        Severity.TRACE,
        _cloud_network,
    ),
    Step(
        "resource-disk-fstab",
        "remove the lines of fstab that cloud-init wrote",
        "they mount disks that only the old machine had",
        "cloud-init cmd/clean.py --configs fstab",
        Severity.TRACE,
        _resource_disk,
    ),
)
