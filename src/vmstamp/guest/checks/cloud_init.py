"""Checks of cloud-init."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from vmstamp.guest.boot.cmdline import change_command_lines, drop_words
from vmstamp.guest.checks import sources
from vmstamp.guest.edits import Edit, Remove, Write
from vmstamp.guest.facts import Facts
from vmstamp.guest.finding import Check, Severity, Verdict, failed, passed, warned
from vmstamp.guest.packages import find_python, find_python_module
from vmstamp.guest.provisioning.agents import DS_IDENTIFY
from vmstamp.guest.provisioning.cloud_config import DIRECTORY
from vmstamp.guest.provisioning.enable import enable_cloud_init
from vmstamp.guest.system import family

AZURE = "azure"
DATASOURCE_FILE = "91-azure_datasource.cfg"
KVP_FILE = "10-azure-kvp.cfg"
HOSTNAME_FILE = "91-azure_hostname.cfg"
MODULES_FILE = "91-azure_modules.cfg"
EARLY_MODULES = ("disk_setup", "mounts")
LAST_PYTHON_WITH_CRYPT = (3, 12)  # PEP 594

KVP_TEXT = (
    "# Provisioning events go to the host by Hyper-V's key-value pairs.\n"
    "reporting:\n  logging:\n    type: log\n  telemetry:\n    type: hyperv\n"
)


def has_cloud_init(facts: Facts) -> bool:
    return facts.cloud_init is not None


def provisions(facts: Facts) -> bool:
    return facts.files is not None and facts.provisioner == "cloud-init"


def _winning_path(name: str, deciding: str) -> str:
    """The path of a new file that is merged after the one that decides now."""
    current = deciding.rsplit("/", 1)[-1] if deciding.startswith(f"{DIRECTORY}/") else ""
    later = f"{current.removesuffix('.cfg')}_{name}"  # an underscore sorts after the dot
    return f"{DIRECTORY}/{name if current <= name else later}"


def _enabled(facts: Facts) -> Verdict:
    cloud_init = facts.cloud_init
    assert cloud_init is not None
    if cloud_init.enabled:
        return passed("its generator and units are in place")
    if facts.provisioner == "waagent":
        return passed("cloud-init is off, and waagent provisions")
    return failed(cloud_init.disabled_by or "no target wants its units")


def _fix_enabled(facts: Facts) -> Iterator[Edit]:
    yield from enable_cloud_init(facts.guest)


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


def _fix_datasource(facts: Facts) -> Iterator[Edit]:
    assert facts.cloud_init is not None
    listed = facts.cloud_init.datasource_list
    path = _winning_path(DATASOURCE_FILE, listed.where if listed else "")
    yield Write(path, b"# On one line: ds-identify reads no other form.\ndatasource_list: [ Azure ]\n")


def _ds_identify(facts: Facts) -> Verdict:
    text = facts.guest.find_text(DS_IDENTIFY, 64 * 1024) or ""
    settings = dict(re.findall(r"^[ \t]*(policy|datasource)[ \t]*:[ \t]*([^#\n]*)", text, re.MULTILINE))
    policy, datasource = settings.get("policy", "").strip(), settings.get("datasource", "").strip()
    if policy.startswith("disabled"):
        return failed(f"policy: {policy}", DS_IDENTIFY)
    if datasource and datasource.lower() != AZURE:
        return failed(f"datasource: {datasource}", DS_IDENTIFY)
    return passed("nothing keeps ds-identify from finding Azure")


def _fix_ds_identify(facts: Facts) -> Iterator[Edit]:
    yield Remove(DS_IDENTIFY)


def _turns_off(word: str) -> bool:
    """Whether a word of the command line keeps cloud-init from running, from Azure or from the network.

    Source: canonical/cloud-init systemd/cloud-init-generator, tools/ds-identify
    """
    key, _, value = word.strip("\"'").partition("=")
    value = value.lower()
    if key in ("cloud-init", "network-config"):
        return value == "disabled"
    if key == "ci.di.policy":
        return value.startswith("disabled")
    return key in ("ds", "ci.ds", "ci.datasource") and not value.startswith(AZURE)


def _command_line(facts: Facts) -> Verdict:
    for entry in facts.entries:
        for word in filter(_turns_off, entry.command_line.words):
            return failed(word, entry.command_line.where)
    return passed("the kernel command line leaves cloud-init alone")


def _fix_command_line(facts: Facts) -> Iterator[Edit]:
    yield from change_command_lines(facts.guest, drop_words(_turns_off))


def _crypt(facts: Facts) -> Verdict:
    version = find_python(facts.guest)
    if version is None or version <= LAST_PYTHON_WITH_CRYPT:
        return passed(f"Python {'.'.join(map(str, version))} has crypt" if version else "no python3 is found")
    found = next(
        (path for path in (find_python_module(facts.guest, m) for m in ("passlib", "crypt")) if path), None
    )
    if found:
        return passed("passwords can be hashed", found)
    return warned(f"Python {version[0]}.{version[1]} has no crypt, and passlib is not installed")


def _kvp(facts: Facts) -> Verdict:
    reporting = facts.cloud_config.get("reporting")
    entries = reporting.values() if isinstance(reporting, dict) else ()
    if any(isinstance(entry, dict) and entry.get("type") == "hyperv" for entry in entries):
        return passed("events are reported to the host", facts.cloud_config.where("reporting"))
    return warned("no reporting of type hyperv: the host learns nothing of what provisioning does")


def _fix_kvp(facts: Facts) -> Iterator[Edit]:
    yield Write(
        _winning_path(KVP_FILE, facts.cloud_config.where("reporting", "telemetry")), KVP_TEXT.encode()
    )


def _hostname(facts: Facts) -> Verdict:
    where = facts.cloud_config.where("preserve_hostname")
    if facts.cloud_config.get("preserve_hostname") is True:
        return warned("preserve_hostname: true: the VM keeps the image's host name", where)
    return passed("the VM gets its own host name", where)


def _fix_hostname(facts: Facts) -> Iterator[Edit]:
    path = _winning_path(HOSTNAME_FILE, facts.cloud_config.where("preserve_hostname"))
    yield Write(path, b"preserve_hostname: false\n")


def _modules(facts: Facts) -> list[Any]:
    value = facts.cloud_config.get("cloud_init_modules")
    return value if isinstance(value, list) else []


def _missing_modules(facts: Facts) -> list[str]:
    names = {
        str(one[0] if isinstance(one, list) and one else one).replace("-", "_") for one in _modules(facts)
    }
    return [name for name in EARLY_MODULES if name not in names]


def _mounts(facts: Facts) -> Verdict:
    missing = _missing_modules(facts)
    where = facts.cloud_config.where("cloud_init_modules")
    if missing:
        return warned(f"cloud_init_modules has no {' and '.join(missing)}", where)
    return passed("the temporary disk is mounted early", where)


def _fix_mounts(facts: Facts) -> Iterator[Edit]:
    import yaml  # takes 20 ms

    modules = [*_modules(facts), *_missing_modules(facts)]
    path = _winning_path(MODULES_FILE, facts.cloud_config.where("cloud_init_modules"))
    yield Write(path, yaml.safe_dump({"cloud_init_modules": modules}).encode())


def _valid(facts: Facts) -> Verdict:
    listed = facts.cloud_init.datasource_list if facts.cloud_init else None
    told = listed.where if listed and listed.error else "-"  # ci-datasource tells of it
    errors = [error for error in facts.cloud_config.errors if not error.startswith(f"{told}:")]
    if errors:
        where, _, problem = errors[0].partition(": ")
        return warned(f"cannot be read: {problem}", where)
    return passed(f"{len(facts.cloud_config.sources)} files are read")


CHECKS = (
    Check(
        "ci-enabled",
        "cloud-init would run",
        Severity.PROVISION,
        "no user, no keys, no report: the deployment times out",
        "canonical/cloud-init systemd/cloud-init-generator",
        has_cloud_init,
        _enabled,
        "remove /etc/cloud/cloud-init.disabled, unmask its units",
        fix=_fix_enabled,
    ),
    Check(
        "ci-config-valid",
        "cloud-init can read its configuration",
        Severity.BEST,
        "cloud-init leaves out the whole file, with all that it sets",
        "canonical/cloud-init cloudinit/util.py read_conf",
        has_cloud_init,
        _valid,
        "cloud-init schema --config-file FILE says what is wrong",
    ),
    Check(
        "ci-datasource",
        "cloud-init may use its Azure datasource",
        Severity.PROVISION,
        "cloud-init does not look for Azure; the deployment times out",
        sources.DS_IDENTIFY,
        has_cloud_init,
        _datasource,
        "write `datasource_list: [ Azure ]` to /etc/cloud/cloud.cfg.d/91-azure_datasource.cfg",
        fix=_fix_datasource,
    ),
    Check(
        "ci-ds-identify-policy",
        "ds-identify is not bound to another datasource",
        Severity.PROVISION,
        "cloud-init does not run, or looks elsewhere",
        sources.DS_IDENTIFY,
        has_cloud_init,
        _ds_identify,
        "delete /etc/cloud/ds-identify.cfg",
        fix=_fix_ds_identify,
    ),
    Check(
        "cmdline-cloudinit-off",
        "the kernel command line does not turn cloud-init off",
        Severity.PROVISION,
        "cloud-init does not run, or looks elsewhere",
        sources.DS_IDENTIFY,
        lambda facts: facts.cloud_init is not None and bool(facts.entries),
        _command_line,
        "remove it from GRUB_CMDLINE_LINUX and run update-grub; with systemd-boot from /etc/kernel/cmdline "
        "and the files in loader/entries",
        fix=_fix_command_line,
    ),
    Check(
        "ci-python-crypt",
        "cloud-init can hash a password",
        Severity.PROVISION,
        "a VM that is deployed with a password reports that provisioning failed",
        "canonical/cloud-init cloudinit/sources/DataSourceAzure.py",
        provisions,
        _crypt,
        "install python3-passlib",
    ),
    Check(
        "ci-kvp-telemetry",
        "cloud-init reports its events to the host",
        Severity.BEST,
        "when provisioning fails, Azure's support sees nothing of it",
        sources.RED_HAT,
        provisions,
        _kvp,
        f"write {DIRECTORY}/{KVP_FILE} with reporting: telemetry: type: hyperv",
        fix=_fix_kvp,
    ),
    Check(
        "ci-preserve-hostname",
        "a VM gets its own host name",
        Severity.BEST,
        "every VM of the image has the same host name",
        "canonical/cloud-init config/cc_set_hostname.py",
        provisions,
        _hostname,
        "remove preserve_hostname: true",
        fix=_fix_hostname,
    ),
    Check(
        "ci-mounts-stage",
        "the temporary disk is mounted early on SUSE",
        Severity.BEST,
        "swap and mounts of the temporary disk come too late, or not at all",
        "azure-compute-docs linux/suse-create-upload-vhd.md",
        lambda facts: provisions(facts) and facts.os is not None and family(facts.os) == "suse",
        _mounts,
        "add disk_setup and mounts to cloud_init_modules",
        fix=_fix_mounts,
    ),
)
