"""The checks, by subject. `CHECKS` has them all, in the order in which they are shown."""

from vmstamp.guest.checks import access, agent, boot, cmdline, container, kernel, leftovers, network, partitions, storage, windows
from vmstamp.guest.finding import Check

CHECKS: tuple[Check, ...] = (
    *container.CHECKS,
    *partitions.CHECKS,
    *boot.CHECKS,
    *cmdline.CHECKS,
    *kernel.CHECKS,
    *storage.CHECKS,
    *network.CHECKS,
    *access.CHECKS,
    *agent.CHECKS,
    *leftovers.CHECKS,
    *windows.CHECKS,
)

__all__ = ["CHECKS"]
