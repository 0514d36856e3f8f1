"""UEFI firmware for Gen2 VMs: OVMF as Debian and Ubuntu package it, with a variable store per VM."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from vmstamp.errors import ProgramMissing

# Code and variable templates, the one to prefer first (4 MiB flash came with Debian 12 and Ubuntu 22.04).
CANDIDATES = (
    ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
    ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
    ("/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"),
)


@dataclass(frozen=True)
class Firmware:
    """`code` is read-only and shared, `variables` is the VM's own copy."""

    code: Path
    variables: Path


def install_firmware(directory: Path) -> Firmware:
    """The firmware for a VM in `directory`; its variables are copied there once and kept over restarts."""
    for code, template in CANDIDATES:
        if Path(code).exists() and Path(template).exists():
            variables = directory / "efivars.fd"
            if not variables.exists():
                shutil.copyfile(template, variables)
            return Firmware(Path(code), variables)
    raise ProgramMissing(
        "OVMF, the UEFI firmware of Gen2 VMs, is not installed", hint="install it: apt-get install ovmf"
    )
