"""The checks of a Windows, by subject, in the order in which they are shown."""

from vmstamp.guest.checks.windows import access, boot, machine, network, setup
from vmstamp.guest.finding import Check

CHECKS: tuple[Check, ...] = (
    *boot.CHECKS,
    *setup.CHECKS,
    *access.CHECKS,
    *network.CHECKS,
    *machine.CHECKS,
)

__all__ = ["CHECKS"]
