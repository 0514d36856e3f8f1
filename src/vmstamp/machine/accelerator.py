"""Whether guests run under KVM here, found by running one: an openable /dev/kvm is no proof."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Lock

from vmstamp.errors import ProgramError
from vmstamp.machine.spec import KVM_CPU
from vmstamp.run import run

PROBE_TIMEOUT = 10.0  # seconds; a working KVM needs about half of one
DEVICE = Path("/dev/kvm")
# A boot sector that writes 0x10 to port 0xf4, where isa-debug-exit turns it into exit status 0x21.
BOOT_SECTOR = bytes.fromhex("b010e6f4fa" + "ebfe").ljust(510, b"\0") + b"\x55\xaa"
PROVED = 0x10 << 1 | 1

_trying = Lock()


@dataclass(frozen=True)
class Accelerator:
    """`name` is kvm or tcg (software emulation); `reason` says why, for people."""

    name: str
    reason: str


def probe_accelerator() -> Accelerator:
    """Try KVM once per process with a guest of one sector and our VMs' CPU. Blocks for up to ten seconds.

    Thread-safe: who asks while it is tried waits for the answer.
    """
    with _trying:
        return _probe()


@cache
def _probe() -> Accelerator:
    if not DEVICE.exists():
        return Accelerator("tcg", "this computer has no /dev/kvm")
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        return Accelerator("tcg", "/dev/kvm may not be opened by this user (is it in the group kvm?)")
    try:
        status, said = _run_probe()
    except ProgramError:
        return Accelerator(
            "tcg", f"/dev/kvm is there, but a guest under it did not run within {PROBE_TIMEOUT:.0f} s"
        )
    if status == PROVED:
        return Accelerator("kvm", "a guest ran under KVM")
    return Accelerator(
        "tcg", f"/dev/kvm is there, but a guest under it failed: {said or f'exit status {status}'}"
    )


def _run_probe() -> tuple[int, str]:
    with tempfile.NamedTemporaryFile(prefix="vmstamp-kvm-") as disk:
        disk.write(BOOT_SECTOR.ljust(1 << 20, b"\0"))
        disk.flush()
        words = ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]
        words += ["-machine", "pc", "-accel", "kvm", "-cpu", KVM_CPU, "-m", "64M"]
        words += ["-drive", f"file={disk.name},format=raw,if=ide"]
        words += ["-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"]
        done = run(words, check=False, timeout=PROBE_TIMEOUT)
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return done.status, lines[-1] if lines else ""
