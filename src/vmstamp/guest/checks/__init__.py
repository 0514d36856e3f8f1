"""The checks, by subject. `CHECKS` has them all, in the order in which they are shown."""

from vmstamp.guest.checks import (
    access,
    agent,
    boot,
    cloud_init,
    container,
    firewall,
    network,
    network_tools,
    software,
    storage,
    waagent,
)
from vmstamp.guest.finding import Check

CHECKS: tuple[Check, ...] = (
    *container.CHECKS,
    *boot.CHECKS,
    *storage.CHECKS,
    *network.CHECKS,
    *network_tools.CHECKS,
    *firewall.CHECKS,
    *access.CHECKS,
    *agent.CHECKS,
    *cloud_init.CHECKS,
    *waagent.CHECKS,
    *software.CHECKS,
)

__all__ = ["CHECKS"]
