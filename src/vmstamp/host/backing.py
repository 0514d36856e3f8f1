"""Which content each overlay of a VM was laid over (`backing.json`), and its folding."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

from vmstamp.arm.compute.host import DiskPlan
from vmstamp.machine.overlay import copy_sparse, fold, written
from vmstamp.machine.qemu import Machine


def _backings(directory: Path) -> dict[str, str]:
    try:
        found: dict[str, str] = json.loads((directory / "backing.json").read_text())
    except (OSError, ValueError):
        return {}
    return found


def lies_over(directory: Path, disk: DiskPlan) -> bool:
    return _backings(directory).get(disk.overlay_name) == str(disk.path)


def note_backing(directory: Path, disk: DiskPlan) -> None:
    beside = directory / "backing.json.new"
    beside.write_text(json.dumps({**_backings(directory), disk.overlay_name: str(disk.path)}))
    beside.replace(directory / "backing.json")


def fold_beside(machine: Machine, overlay: Path, disk: DiskPlan) -> Path | None:
    """Fold a copy of the overlay of a running machine."""
    copied = overlay.with_name(f"{overlay.name}.{uuid.uuid4().hex}")
    try:
        with machine.paused():
            copy_sparse(overlay, copied)
        return fold_overlay(copied, disk, f"{copied.name}.folded")
    finally:
        copied.unlink(missing_ok=True)


def fold_overlay(overlay: Path, disk: DiskPlan, name: str) -> Path | None:
    if not written(overlay):
        return None
    folded = overlay.with_name(name)
    folded.unlink(missing_ok=True)
    fold(overlay, disk.path, disk.size, folded)
    return folded
