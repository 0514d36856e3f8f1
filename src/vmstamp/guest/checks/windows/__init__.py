"""The checks of a Windows, by subject, in the order in which they are shown."""

from vmstamp.guest.checks.windows import access, bcd, boot, drivers, machine, network, setup
from vmstamp.guest.finding import Check

CHECKS: tuple[Check, ...] = (
    *boot.CHECKS,
    *bcd.CHECKS,
    *drivers.CHECKS,
    *setup.CHECKS,
    *access.CHECKS,
    *network.CHECKS,
    *machine.CHECKS,
)

__all__ = ["CHECKS"]
