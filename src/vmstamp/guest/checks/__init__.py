"""The checks, by subject. `CHECKS` has them all, in the order in which they are shown."""

from vmstamp.guest.checks import access, agent, boot, container, leftovers, network, storage, windows
from vmstamp.guest.finding import Check

CHECKS: tuple[Check, ...] = (
    *container.CHECKS,
    *boot.CHECKS,
    *storage.CHECKS,
    *network.CHECKS,
    *access.CHECKS,
    *agent.CHECKS,
    *leftovers.CHECKS,
    *windows.CHECKS,
)

__all__ = ["CHECKS"]
