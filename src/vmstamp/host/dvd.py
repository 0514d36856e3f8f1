"""The provisioning DVD of a VM: written for its start, deleted once its agent has reported Ready."""

from __future__ import annotations

import base64
import binascii
from pathlib import Path

from vmstamp.arm.compute.host import VmPlan
from vmstamp.errors import MachineError
from vmstamp.fabric.ovf_env import build_ovf_env
from vmstamp.machine.media import build_dvd
from vmstamp.machine.qemu import Machine


def write_dvd(directory: Path, plan: VmPlan) -> Path:
    """The provisioning DVD, readable by the owner alone: it may hold a password."""
    instance = plan.instance
    files = {"ovf-env.xml": build_ovf_env(instance)}
    if instance.custom_data:
        try:
            files["CustomData.bin"] = base64.b64decode(instance.custom_data)
        except binascii.Error as error:
            raise MachineError(f"the custom data of {instance.name} is not base64: {error}") from error
    path = directory / "provisioning.iso"
    build_dvd(files, path)
    return path


def take_dvd(machine: Machine) -> None:
    """Eject the provisioning DVD and delete its file: nothing keeps the password that it may hold."""
    machine.eject_dvd()
    if machine.spec.dvd is not None:
        machine.spec.dvd.unlink(missing_ok=True)
