"""The checks, by subject. `CHECKS` has them all, in the order in which they are shown."""

from vmstamp.guest.checks import (
    access,
    accounts,
    agent,
    boot,
    cloud_init,
    cmdline,
    container,
    firewall,
    free_space,
    kernel,
    kernel_level,
    leftovers,
    logs,
    lvm,
    network,
    network_tools,
    partitions,
    software,
    storage,
    waagent,
    windows,
)
from vmstamp.guest.finding import Check

CHECKS: tuple[Check, ...] = (
    *container.CHECKS,
    *partitions.CHECKS,
    *boot.CHECKS,
    *cmdline.CHECKS,
    *kernel.CHECKS,
    *kernel_level.CHECKS,
    *storage.CHECKS,
    *lvm.CHECKS,
    *network.CHECKS,
    *network_tools.CHECKS,
    *firewall.CHECKS,
    *access.CHECKS,
    *accounts.CHECKS,
    *agent.CHECKS,
    *cloud_init.CHECKS,
    *waagent.CHECKS,
    *software.CHECKS,
    *logs.CHECKS,
    *leftovers.CHECKS,
    *free_space.CHECKS,
    *windows.CHECKS,
)

__all__ = ["CHECKS"]
