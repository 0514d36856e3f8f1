"""The checks of a Windows, by subject, in the order in which they are shown."""

from vmstamp.guest.checks.windows import (
    access,
    bcd,
    boot,
    devices,
    drivers,
    image,
    machine,
    network,
    roles,
    setup,
    signatures,
    winrm,
)
from vmstamp.guest.finding import Check

CHECKS: tuple[Check, ...] = (
    *boot.CHECKS,
    *bcd.CHECKS,
    *drivers.CHECKS,
    *signatures.CHECKS,
    *devices.CHECKS,
    *setup.CHECKS,
    *access.CHECKS,
    *network.CHECKS,
    *winrm.CHECKS,
    *machine.CHECKS,
    *roles.CHECKS,
    *image.CHECKS,
)

__all__ = ["CHECKS"]
