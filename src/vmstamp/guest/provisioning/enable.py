"""Edits that enable an agent that is installed: cloud-init's units, waagent's unit and waagent.conf."""

from __future__ import annotations

from collections.abc import Iterator

from vmstamp.guest.edits import Edit, Remove, Symlink, Write
from vmstamp.guest.facts import Facts
from vmstamp.guest.files.fs import Files
from vmstamp.guest.lines import as_bytes, find_exact, set_assignments
from vmstamp.guest.provisioning.agents import (
    CLOUD_INIT_DISABLED,
    CLOUD_INIT_STAGES,
    CLOUD_INIT_TARGET,
    CLOUD_INIT_UNITS,
    CONFIGURATION_LIMIT,
    GENERATORS,
    WAAGENT_CONFIGURATION,
)
from vmstamp.guest.services import find_unit

SYSTEM_UNITS = "/etc/systemd/system"
VENDOR_DIRECTORIES = ("/usr/lib/systemd/system", "/lib/systemd/system")


def intended(facts: Facts) -> str:
    """Who is to provision: who does now, else cloud-init or waagent where it is installed; '' neither."""
    if facts.provisioner:
        return facts.provisioner
    if facts.cloud_init is not None and any(_vendor_unit(facts.guest, unit) for unit in CLOUD_INIT_UNITS):
        return "cloud-init"
    return "waagent" if facts.waagent is not None and facts.waagent.unit else ""


def _vendor_unit(files: Files, unit: str) -> str | None:
    """The unit's file as its package installed it, whatever the administrator put before it."""
    paths = (f"{directory}/{unit}" for directory in VENDOR_DIRECTORIES)
    return next((path for path in paths if files.find(path, follow=False)), None)


def enable_cloud_init(files: Files) -> Iterator[Edit]:
    """Nothing disables it, and its target wants every stage that is installed."""
    if files.exists(CLOUD_INIT_DISABLED):
        yield Remove(CLOUD_INIT_DISABLED)
    target = _vendor_unit(files, CLOUD_INIT_TARGET)
    wants = f"{SYSTEM_UNITS}/{CLOUD_INIT_TARGET if target else 'multi-user.target'}.wants"
    for unit in (*CLOUD_INIT_STAGES, CLOUD_INIT_TARGET):
        vendor = _vendor_unit(files, unit)
        if vendor is None:
            continue
        if files.readlink(f"{SYSTEM_UNITS}/{unit}") == "/dev/null":
            yield Remove(f"{SYSTEM_UNITS}/{unit}")
        if unit != CLOUD_INIT_TARGET:
            yield Symlink(f"{wants}/{unit}", vendor)
    if target and not any(files.exists(path) for path in GENERATORS):
        yield Symlink(f"{SYSTEM_UNITS}/multi-user.target.wants/{CLOUD_INIT_TARGET}", target)


def enable_waagent(facts: Facts) -> Iterator[Edit]:
    """Its unit is unmasked and wanted at boot, when it is installed."""
    waagent = facts.waagent
    if waagent is None or not waagent.unit:
        return
    if facts.guest.readlink(f"{SYSTEM_UNITS}/{waagent.unit}") == "/dev/null":
        yield Remove(f"{SYSTEM_UNITS}/{waagent.unit}")
    path = _vendor_unit(facts.guest, waagent.unit) or find_unit(facts.guest, waagent.unit)
    if path and not waagent.enabled:
        yield Symlink(f"{SYSTEM_UNITS}/multi-user.target.wants/{waagent.unit}", path)


def waagent_edits(facts: Facts, values: dict[str, str]) -> Iterator[Edit]:
    """waagent.conf with the values, all else as it is."""
    text = find_exact(facts.guest, WAAGENT_CONFIGURATION, CONFIGURATION_LIMIT)
    yield Write(WAAGENT_CONFIGURATION, as_bytes(set_assignments(text, values)))
