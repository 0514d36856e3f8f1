"""Checks of WALinuxAgent."""

from __future__ import annotations

import re
from collections.abc import Iterator

from vmstamp.guest.checks import sources
from vmstamp.guest.edits import Edit, Remove
from vmstamp.guest.facts import FSTAB, Facts, has_guest
from vmstamp.guest.finding import Check, Severity, Verdict, failed, passed, warned
from vmstamp.guest.packages import find_program, find_python, find_python_module
from vmstamp.guest.provisioning.agents import (
    CLOUD_INIT_UNITS,
    WAAGENT_CONFIGURATION,
    WAAGENT_PROGRAMS,
    read_waagent_options,
)
from vmstamp.guest.provisioning.enable import enable_waagent, intended, waagent_edits
from vmstamp.guest.services import is_enabled
from vmstamp.guest.sshd import find_key_maker
from vmstamp.guest.system import is_older

DISABLE_AGENT = "/var/lib/waagent/disable_agent"
OLDEST = "2.2.53.1"  # the oldest that LISA's verify_waagent_version takes
OLDEST_ON_3_12 = "2.10"  # brings a copy of distutils, which Python 3.12 has not. WALinuxAgent #2919, #3063
EXTENSION_PLACES = ("/var/lib/waagent", "/var/lib", "/var")  # programs of extensions run from there

# cloud-init's own. Source: canonical/cloud-init config/cc_ssh.py GENERATE_KEY_NAMES
DEFAULT_KEY_TYPES = ("rsa", "ecdsa", "ed25519")

# ID of os-release(5). Source: WALinuxAgent osutil/factory.py and common/version.py get_distro
SUPPORTED = (
    "ubuntu", "debian", "kali", "rhel", "centos", "ol", "almalinux", "rocky", "cloudlinux", "fedora", "sles",
    "sled", "sles_sap", "sle-micro", "opensuse", "opensuse-leap", "opensuse-tumbleweed", "azurelinux",
    "mariner", "alpine", "flatcar", "coreos", "photon", "devuan", "clear-linux-os", "gentoo", "arch",
)  # fmt: skip
# What provisioning by waagent cannot do without, each by any of these names, and what is only missed.
NEEDED = (("openssl",), ("ssh-keygen",), ("useradd", "adduser"), ("usermod",), ("mount",))
MISSED = (("sfdisk", "parted"), ("ip", "ifconfig"), ("iptables", "nft", "firewall-cmd"))


def has_waagent(facts: Facts) -> bool:
    return facts.waagent is not None


def _present(facts: Facts) -> Verdict:
    waagent = facts.waagent
    if waagent is None:
        return warned("WALinuxAgent is not installed")
    if not waagent.enabled:
        return warned(f"WALinuxAgent {waagent.version}: {waagent.unit or 'its service'} is not enabled")
    if _stays_old(facts):
        return warned(
            f"WALinuxAgent {waagent.version} is older than {OLDEST}, and AutoUpdate.Enabled=n", waagent.unit
        )
    return passed(f"WALinuxAgent {waagent.version}", waagent.unit)


def _stays_old(facts: Facts) -> bool:
    """It is too old, and may not take the newer version that Azure offers."""
    version = facts.waagent.version if facts.waagent else ""
    updates = read_waagent_options(facts.guest).get("AutoUpdate.Enabled", "y").lower() != "n"
    return bool(version) and is_older(version, OLDEST) and not updates


def _fix_present(facts: Facts) -> Iterator[Edit]:
    yield from enable_waagent(facts)
    yield from fix_options(facts)


def _provisioning(facts: Facts) -> Verdict:
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
    runs = cloud_init is not None and cloud_init.enabled
    if agent == "auto" and runs and not is_enabled(facts.guest, CLOUD_INIT_UNITS[0]):
        # waagent asks systemctl is-enabled, which knows nothing of what a generator starts
        return warned(
            f"{said}, and {CLOUD_INIT_UNITS[0]} is not enabled: waagent provisions beside cloud-init",
            WAAGENT_CONFIGURATION,
        )
    return passed(said, WAAGENT_CONFIGURATION)


def _not_executable(facts: Facts) -> str:
    """The line of fstab that mounts the place of extensions without execution; ''."""
    for mount in facts.fstab:
        if mount.target.rstrip("/") in EXTENSION_PLACES and "noexec" in mount.options:
            return f"{FSTAB}:{mount.line}"
    return ""


def _extensions(facts: Facts) -> Verdict:
    if read_waagent_options(facts.guest).get("Extensions.Enabled", "y").lower() == "n":
        return warned("Extensions.Enabled=n", WAAGENT_CONFIGURATION)
    if facts.guest.exists(DISABLE_AGENT):
        return warned("waagent disabled itself", DISABLE_AGENT)
    if where := _not_executable(facts):
        return warned("noexec: programs of extensions cannot run", where)
    return passed("extensions may run")


def _key_type(facts: Facts) -> str:
    """The host key that waagent waits for. Spec: WALinuxAgent conf.py get_ssh_host_keypair_type."""
    configured = read_waagent_options(facts.guest).get("Provisioning.SshHostKeyPairType", "rsa")
    return "rsa" if configured == "auto" else configured


def _waits_for_key(facts: Facts) -> bool:
    waagent = facts.waagent
    return (
        waagent is not None
        and waagent.enabled
        and facts.provisioner == "cloud-init"
        and waagent.provisioning_agent in ("auto", "cloud-init")
    )


def _made_types(facts: Facts) -> list[str]:
    value = facts.cloud_config.get("ssh_genkeytypes")
    if isinstance(value, str):
        return [value]
    return [str(one) for one in value] if isinstance(value, list) else list(DEFAULT_KEY_TYPES)


def _hostkey(facts: Facts) -> Verdict:
    wanted = _key_type(facts)
    if find_key_maker(facts.guest) or wanted in _made_types(facts):
        return passed(f"waagent waits for a host key of type {wanted}, which is made")
    where = facts.cloud_config.where("ssh_genkeytypes")
    return warned(f"waagent waits half an hour for a host key of type {wanted}, which nobody makes", where)


def mended_options(facts: Facts) -> dict[str, str]:
    """Every value of waagent.conf that is to change: each check that mends the file gives the same."""
    values: dict[str, str] = {}
    configured = facts.waagent.provisioning_agent if facts.waagent else ""
    both = configured == "waagent" and intended(facts) == "cloud-init"
    if both or _provisioning(facts).status in ("fail", "warning"):
        values["Provisioning.Agent"] = intended(facts) or "waagent"
    if read_waagent_options(facts.guest).get("Extensions.Enabled", "y").lower() == "n":
        values["Extensions.Enabled"] = "y"
    if _stays_old(facts):
        values["AutoUpdate.Enabled"] = "y"
    made = _made_types(facts)
    if _waits_for_key(facts) and _hostkey(facts).status == "warning" and made:
        values["Provisioning.SshHostKeyPairType"] = made[0]
    return values


def fix_options(facts: Facts) -> Iterator[Edit]:
    """waagent.conf with all that is to change."""
    if facts.waagent is None:
        return
    if values := mended_options(facts):
        yield from waagent_edits(facts, values)


def _fix_extensions(facts: Facts) -> Iterator[Edit]:
    yield from fix_options(facts)
    if facts.guest.exists(DISABLE_AGENT):
        yield Remove(DISABLE_AGENT)


def _interpreter(facts: Facts) -> str:
    """The interpreter of waagent's first line; '' when it is no script."""
    program = next(path for path in WAAGENT_PROGRAMS if facts.guest.exists(path))
    line = facts.guest.read_part(program, 0, 200).split(b"\n", 1)[0].decode("utf-8", "replace")
    words = line.removeprefix("#!").split() if line.startswith("#!") else []
    if words[:1] and words[0].endswith("/env"):
        words = [word for word in words[1:] if not word.startswith("-")]
    return words[0] if words else ""


def _python(facts: Facts) -> Verdict:
    waagent = facts.waagent
    assert waagent is not None
    name = _interpreter(facts)
    if not name:
        return passed("waagent is no script")
    path = name if name.startswith("/") else find_program(facts.guest, name)
    if path is None or not facts.guest.find(path, follow=False):
        return failed(f"waagent's interpreter {name} is not there", WAAGENT_PROGRAMS[0])
    found = re.search(r"python(\d)\.(\d{1,3})$", name)
    version = (int(found[1]), int(found[2])) if found else find_python(facts.guest)
    if version is None or not version >= (3, 12):
        return passed(f"waagent runs with {name}", path)
    needs_distutils = waagent.version and is_older(waagent.version, OLDEST_ON_3_12)
    if needs_distutils and find_python_module(facts.guest, "setuptools") is None:  # which has one
        return failed(
            f"WALinuxAgent {waagent.version} does not run with Python {version[0]}.{version[1]}", path
        )
    if version >= (3, 13) and facts.provisioner == "waagent" and not _can_hash(facts):
        return warned(f"Python {version[0]}.{version[1]} has no crypt: waagent cannot set a password", path)
    return passed(f"WALinuxAgent {waagent.version} runs with Python {version[0]}.{version[1]}", path)


def _can_hash(facts: Facts) -> bool:
    return any(
        find_python_module(facts.guest, name) for name in ("crypt", "legacycrypt", "crypt_r", "passlib")
    )


def _tools(facts: Facts) -> Verdict:
    missing = [names[0] for names in NEEDED if find_program(facts.guest, *names) is None]
    if missing:
        verdict = failed if facts.provisioner == "waagent" else warned
        return verdict(f"waagent calls programs that are not installed: {', '.join(missing)}")
    missed = [names[0] for names in MISSED if find_program(facts.guest, *names) is None]
    if missed:
        return warned(f"waagent calls programs that are not installed: {', '.join(missed)}")
    return passed("the programs that waagent calls are there")


def _supported(facts: Facts) -> Verdict:
    assert facts.os is not None
    if facts.os.id in SUPPORTED:
        return passed(f"waagent knows {facts.os.id}")
    return warned(f"waagent does not know {facts.os.id}, and takes it for a Linux of no kind")


CHECKS = (
    Check(
        "wa-present",
        "WALinuxAgent is installed and enabled",
        Severity.BEST,
        "without it no VM extension and no run-command works",
        sources.LISA,
        has_guest,
        _present,
        "install it: waagent on Debian, walinuxagent on Ubuntu, WALinuxAgent elsewhere",
        fix=_fix_present,
    ),
    Check(
        "wa-conf-provisioning",
        "waagent and cloud-init agree who provisions",
        Severity.PROVISION,
        "both provision, or neither does",
        "Azure/WALinuxAgent pa/provision/factory.py",
        has_waagent,
        _provisioning,
        "set Provisioning.Agent=auto in /etc/waagent.conf",
        fix=fix_options,
    ),
    Check(
        "wa-ext-enabled",
        "extensions can run",
        Severity.BEST,
        "VM extensions and run-command do nothing",
        "Azure/WALinuxAgent README",
        has_waagent,
        _extensions,
        f"Extensions.Enabled=y in {WAAGENT_CONFIGURATION}, and no noexec on /var",
        fix=_fix_extensions,
    ),
    Check(
        "wa-hostkey-type",
        "the host key that waagent waits for is made",
        Severity.BEST,
        "waagent waits half an hour, then reports that provisioning failed",
        "Azure/WALinuxAgent pa/provision/cloudinit.py",
        _waits_for_key,
        _hostkey,
        "set Provisioning.SshHostKeyPairType to a type of cloud-init's ssh_genkeytypes",
        fix=fix_options,
    ),
    Check(
        "wa-python",
        "waagent runs with the guest's Python",
        Severity.BEST,
        "waagent does not start, or cannot set a password",
        "Azure/WALinuxAgent #3063, #3070, #3542",
        has_waagent,
        _python,
        "install a newer WALinuxAgent, or the Python that its first line names",
    ),
    Check(
        "wa-tools",
        "the programs that waagent calls are there",
        Severity.PROVISION,
        "waagent fails in the middle of provisioning",
        "Azure/WALinuxAgent README",
        has_waagent,
        _tools,
        "install openssl, openssh-client, passwd, util-linux, iproute2 and iptables",
    ),
    Check(
        "wa-supported-distro",
        "waagent knows the distribution",
        Severity.BEST,
        "services are restarted and users made as on no real distribution",
        "Azure/WALinuxAgent common/osutil/factory.py",
        lambda facts: facts.waagent is not None and facts.os is not None,
        _supported,
        "use a distribution that Azure endorses, or cloud-init",
    ),
)
