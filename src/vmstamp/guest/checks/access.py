"""Checks of whether somebody can log in."""

from __future__ import annotations

from collections.abc import Iterator

from vmstamp.guest.checks import sources
from vmstamp.guest.facts import Facts, has_guest
from vmstamp.guest.finding import Check, Severity, Verdict, failed, passed, warned
from vmstamp.guest.fs import Files
from vmstamp.guest.services import UNIT_DIRECTORIES, find_unit, is_enabled, is_masked

SSHD_PROGRAMS = ("/usr/sbin/sshd", "/usr/bin/sshd")
SSHD_UNITS = ("ssh.service", "sshd.service", "ssh.socket", "sshd.socket")
SSH_DIRECTORY = "/etc/ssh"


def has_ssh_server(files: Files) -> bool:
    return any(files.exists(path) for path in SSHD_PROGRAMS)


def host_keys(files: Files) -> list[str]:
    """The private host keys' paths."""
    names = files.list(SSH_DIRECTORY)
    return [f"{SSH_DIRECTORY}/{n}" for n in names if n.startswith("ssh_host_") and n.endswith("_key")]


def _enabled(facts: Facts) -> Verdict:
    files = facts.guest
    if not has_ssh_server(files):
        return failed("no SSH server is installed")
    unit = next((unit for unit in SSHD_UNITS if is_enabled(files, unit)), None)
    if unit is not None:
        return passed(f"{unit} is enabled", find_unit(files, unit) or "")
    masked = next((unit for unit in SSHD_UNITS if is_masked(files, unit)), None)
    return failed(f"{masked} is masked" if masked else "no SSH service or socket is enabled")


def _host_keys(facts: Facts) -> Verdict:
    keys = host_keys(facts.guest)
    if keys:
        return passed(f"{len(keys)} host keys are there", SSH_DIRECTORY)
    maker = find_key_maker(facts.guest)
    if maker:
        return passed("host keys are made before the SSH server starts", maker)
    if facts.provisioner == "cloud-init":
        return passed("cloud-init makes the host keys at first boot")
    if facts.provisioner == "waagent":
        return failed(
            "no host keys, and nothing makes them before the SSH server starts: waagent makes them later, "
            "but does not start a service that has failed",
            SSH_DIRECTORY,
        )
    return warned("no host keys, and nothing was found that makes them", SSH_DIRECTORY)


def find_key_maker(files: Files) -> str | None:
    """The unit or drop-in that runs ssh-keygen before sshd: Red Hat's sshd-keygen, or one by hand."""
    return next((path for path in _unit_files(files) if _makes_keys(files, path)), None)


def _unit_files(files: Files) -> Iterator[str]:
    for directory in UNIT_DIRECTORIES:
        for name in files.list(directory):
            path = f"{directory}/{name}"
            if name in ("ssh.service.d", "sshd.service.d"):
                yield from (f"{path}/{drop_in}" for drop_in in files.list(path))
            elif name in ("ssh.service", "sshd.service") or name.startswith("sshd-keygen"):
                yield path


def _makes_keys(files: Files, path: str) -> bool:
    if path.rsplit("/", 1)[-1].startswith("sshd-keygen"):
        return path.endswith((".service", ".target"))
    return "ssh-keygen" in (files.find_text(path, 64 * 1024) or "")


CHECKS = (
    Check(
        "sshd-enabled",
        "an SSH server is installed and starts at boot",
        Severity.PROVISION,
        "the VM becomes Ready, but nobody can log in",
        sources.GENERIC,
        has_guest,
        _enabled,
        "install openssh-server and enable it",
    ),
    Check(
        "sshd-host-keygen",
        "host keys are there, or are made before the SSH server starts",
        Severity.PROVISION,
        "without host keys the SSH server fails: the VM is Ready and port 22 is refused",
        "Azure/WALinuxAgent common/osutil/debian.py; seen with waagent 2.12 on Debian 13",
        lambda facts: facts.files is not None and has_ssh_server(facts.files),
        _host_keys,
        "add a drop-in to ssh.service: ExecStartPre=/usr/bin/ssh-keygen -A, first in the list",
    ),
)  # fmt: skip
