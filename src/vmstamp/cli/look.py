"""A disk file looked at without a boot, and what of its problems the upload mends."""

from __future__ import annotations

from dataclasses import dataclass

from vmstamp.cli.render import Reporter
from vmstamp.disk import Disk
from vmstamp.errors import GuestError
from vmstamp.guest.checks.container import mended_by_upload
from vmstamp.guest.finding import Finding
from vmstamp.guest.inspect import Report, inspect, require_bootable


@dataclass(frozen=True)
class Look:
    """An inspection, and which of its problems the upload mends by itself (`mended`: ids)."""

    report: Report
    mended: frozenset[str]

    @property
    def problems(self) -> tuple[Finding, ...]:
        """What would fail on Azure even after `vmstamp upload`."""
        return tuple(one for one in self.report.problems if one.id not in self.mended)


def look_at(source: Disk) -> Look:
    """Inspect a disk. Raises DiskError and GuestError."""
    return Look(inspect(source), mended_by_upload(source))


def look_bootable(source: Disk) -> Look:
    """Like `look_at`; GuestError as well when no VM can boot the disk."""
    found = look_at(source)
    require_bootable(found.report)
    return found


def choose_generation(report: Report, wanted: int | None) -> int:
    """The generation to deploy: what was asked for if the disk boots in it, else its newest."""
    if wanted is None:
        return max(report.generations)
    if wanted not in report.generations:
        able = " and ".join(f"generation {one}" for one in report.generations)
        raise GuestError(
            f"{report.path}: the disk does not boot in generation {wanted}; it boots in {able}",
            hint=f"pass --generation {report.generations[-1]}, or leave it away",
        )
    return wanted


def tell_problems(look: Look, report: Reporter) -> None:
    """Say what would fail on Azure, and of that what the upload mends."""
    for problem in look.report.problems:
        end = "mended by the upload" if problem.id in look.mended else "would fail on Azure"
        report.say(f"{end}: {problem.found}")


def inspection_text(report: Report) -> str:
    """One line about a disk."""
    os = report.os.pretty_name if report.os else "no operating system that this version reads"
    able = "/".join(str(one) for one in report.generations) or "none"
    agent = report.provisioner or "no provisioning agent"
    kind = f"{report.subformat} {report.format}".strip()
    return f"{kind}, {os}, generation {able}, {agent}"
