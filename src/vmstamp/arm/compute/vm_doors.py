"""The ports that running virtual machines offer, kept to what their interfaces and security groups now say.

A change takes effect with the answer to its PUT. Nothing of it is to be resumed: forwards live and die with
the server, and a VM's start opens what holds then.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import Final

from vmstamp.arm.catalog import Catalog
from vmstamp.arm.compute.host import Host
from vmstamp.arm.compute.vm_plan import Plans
from vmstamp.arm.network import interfaces
from vmstamp.arm.resource import Resource
from vmstamp.errors import AzureError, MachineError
from vmstamp.resource_id import ResourceId

log: Final = logging.getLogger(__name__)


class Doors:
    """What follows from a change of a network resource for the machines that run."""

    def __init__(self, catalog: Catalog, plans: Plans, host: Host) -> None:
        self._catalog = catalog
        self._plans = plans
        self._host = host

    def interface_changed(self, interface: Resource) -> None:
        """It has another public address or another security group."""
        self._renew([interface.id])

    def network_changed(self, network: Resource) -> None:
        """One of its subnets has another security group."""
        users = self._catalog.referrers_within(network.id)
        self._renew(user.source for user in users if user.kind == "subnet")

    def group_changed(self, group: Resource) -> None:
        """It has other rules."""
        self._renew(self._interfaces(group))

    def _interfaces(self, group: Resource) -> Iterator[ResourceId]:
        """The interfaces that a security group holds for, by themselves or by their subnet."""
        for user in self._catalog.referrers(group.id, "security group"):
            if user.source.type.lower() == interfaces.NAME.lower():
                yield user.source
            else:
                yield from (one.source for one in self._catalog.referrers(user.part, "subnet"))

    def _renew(self, changed: Iterable[ResourceId]) -> None:
        found = [user.source for id in changed for user in self._catalog.referrers(id, "interface")]
        for id in {id.key: id for id in found}.values():
            vm = self._catalog.find(id)
            if vm is not None and self._host.running(vm.properties["vmId"]):
                self.open(vm)

    def open(self, vm: Resource) -> None:
        """Offer what holds now of a VM that runs. A port that this computer does not give is logged."""
        try:
            self._host.offer(vm.properties["vmId"], self._plans.nics(vm))
        except (MachineError, AzureError) as error:
            log.warning("the ports of VM '%s' were not all opened: %s", vm.name, error)
