"""Whether the kernel is one that the marketplace approves: CVE-2019-11477, -11478 and -11479 (TCP SACK).

Document: sources.CERTIFICATION, "SACK vulnerability patch verification". It lists, for each line of a
distribution's kernels, the first release with the patches; every kernel from 5.2 on has them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from vmstamp.guest.checks import sources
from vmstamp.guest.checks.kernel import has_kernel
from vmstamp.guest.facts import Facts
from vmstamp.guest.finding import Check, Severity, Verdict, not_applicable, passed, warned
from vmstamp.guest.system import OperatingSystem, family

Numbers = tuple[int, ...]

PATCHED: Final = (5, 2)
RED_HAT: Final = (
    "2.6.32-754.15.3", "3.10.0-327.79.2", "3.10.0-514.66.2", "3.10.0-693.50.3", "3.10.0-862.34.2",
    "3.10.0-957.21.3", "3.10.0-1062.1.1", "4.18.0-80.4.2", "4.18.0-147",
)  # fmt: skip
ORACLE: Final = ("2.6.39-400.312.2", "3.8.13-118.35.2", "4.1.12-124.28.3", "4.14.35-1902.2.0")
DEBIAN: Final = ("3.16.68-2", "4.9.168-1+deb9u3", "4.19.37-5")
UBUNTU: Final[Mapping[str, tuple[str, ...]]] = {
    "14.04": ("4.4.0-151", "4.15.0-1049"),
    "16.04": ("4.15.0-1049",),
    "18.04": ("4.18.0-1023", "5.0.0-1025"),
    "18.10": ("4.18.0-1023",),
    "19.04": ("5.0.0-1010",),
}
# Without a package's last number, which the names of SUSE's kernels have not.
SUSE: Final = ("3.0.101-108.95", "3.12.74-60.64.115", "4.4.121-92.114", "4.4.180-94.97", "4.12.14-95.19")
SUSE_AZURE: Final = ("4.4.180-4.31", "4.12.14-6.15", "4.12.14-5.30")


def judge_level(system: OperatingSystem, release: str, package: str = "") -> Verdict:
    """A kernel by its release (`uname -r`), and by its package's version, which Debian's list has."""
    if _numbers(release)[:2] >= PATCHED:
        return passed(f"{release} has the patches, as every kernel from 5.2 on")
    version, approved, line = _listed(system, release, package)
    found = _numbers(version)
    for one in approved:
        first = _numbers(one)
        if found[:line] == first[:line]:
            verdict = passed if found >= first else warned
            return verdict(f"{version}; {one} is the first that is approved")
    same = [_numbers(one)[:line] for one in approved if _numbers(one)[: line - 1] == found[: line - 1]]
    if family(system) == "rhel" and same and found[:line] > max(same):
        return passed(f"{version} is of a later line than those with the flaw")
    return not_applicable(f"{version or release} is of no line that the marketplace's list has")


def _listed(system: OperatingSystem, release: str, package: str) -> tuple[str, Iterable[str], int]:
    """What is compared, the approved ones, and how many numbers tell a line of kernels."""
    if system.id == "ol" and "uek" in release:
        return release, ORACLE, 3
    if system.id == "ubuntu":
        of_azure = release.endswith("-azure") or _numbers(release)[:2] == (4, 4)
        return release, UBUNTU.get(system.version_id, ()) if of_azure else (), 3
    match family(system):
        case "rhel":
            return release, RED_HAT, 4
        case "suse":
            return release, SUSE_AZURE if release.endswith("-azure") else SUSE, 4
        case "debian":
            return package, DEBIAN, 2
    return release, (), 1


def _numbers(version: str) -> Numbers:
    """The numbers of a release up to its architecture, and of a Debian version all of them."""
    text = version.rpartition(":")[2]
    head = text if "+deb" in text else (re.match(r"\d+(?:[.-]\d+)*", text) or [""])[0]
    return tuple(int(one[:9]) for one in re.findall(r"\d+", head))


def _level(facts: Facts) -> Verdict:
    kernel = facts.boots.default
    assert kernel is not None and facts.os is not None
    verdict = judge_level(facts.os, kernel.release, facts.packages.get(f"linux-image-{kernel.release}", ""))
    return Verdict(verdict.status, verdict.found, kernel.where)


CHECKS = (
    Check(
        "kernel-sack-level",
        "the kernel has the patches against TCP SACK panic",
        Severity.CERTIFICATION,
        "CVE-2019-11477: whoever reaches a port makes the kernel panic; the marketplace may refuse the image",
        sources.CERTIFICATION,
        lambda facts: has_kernel(facts) and facts.os is not None,
        _level,
        "upgrade the kernel",
    ),
)
