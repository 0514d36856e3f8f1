"""Checks of what a generalized disk must not have; each is a step of generalizing, asked instead of done.

A leftover of identity fails, a trace warns.
"""

from __future__ import annotations

from collections.abc import Iterable

from vmstamp.guest import finding
from vmstamp.guest.edits import Edit
from vmstamp.guest.facts import Facts, has_guest
from vmstamp.guest.finding import Check, Verdict, failed, passed, warned
from vmstamp.guest.generalize import compact, do
from vmstamp.guest.identity import STEPS
from vmstamp.guest.identity.step import Default, Guest, Severity, Step, plain
from vmstamp.guest.overlay import Overlay

# What happens on Azure; the rest leaks an identity or a secret.
SEVERITIES = {
    "wa-stale-state": finding.Severity.PROVISION,
    "ci-seed-leftover": finding.Severity.PROVISION,
    **dict.fromkeys(
        ("dhcp-leases", "pkg-cache", "pending-fs-ops", "hostname", "rpm-db", "service-data", "service-ids",
         "resource-disk-fstab", "ci-network"),
        finding.Severity.BEST,
    ),
    "shell-history": finding.Severity.CERTIFICATION,
}  # fmt: skip


def check_of(step: Step) -> Check:
    """The check that asks whether the step has anything to do."""

    def run(facts: Facts) -> Verdict:
        found = tuple(step.find(Guest(facts.guest)))
        if not found:
            return passed("nothing is left")
        more = f", and {len(found) - 1} more" if len(found) > 1 else ""
        judged = failed if step.severity is Severity.IDENTITY else warned
        return judged(plain(f"{found[0].detail}{more}"), plain(found[0].where))

    def fix(facts: Facts) -> Iterable[Edit]:
        return compact(do(step, Overlay(facts.guest)).edits)

    flag = "" if step.default is Default.ON else f" --also {step.id}"
    return Check(
        step.id,
        f"nothing is left for: {step.title}",
        SEVERITIES.get(step.id, finding.Severity.SECURITY),
        step.why,
        step.source,
        has_guest,
        run,
        f"vmstamp generalize FILE{flag}",
        identity=True,
        trace=step.severity is Severity.TRACE,
        fix=fix,
    )


# Steps whose places other checks judge for every disk: net-mac-bound and udev-persistent-net, resolv-static,
# lvm-devices-file and multipath-wwid.
JUDGED_ELSEWHERE = ("net-hwaddr", "resolv-conf", "storage-devices")

CHECKS = tuple(
    check_of(step) for step in STEPS if step.default is not Default.NEVER and step.id not in JUDGED_ELSEWHERE
)
