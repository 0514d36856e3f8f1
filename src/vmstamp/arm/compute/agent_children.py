"""What extensions and run commands have in common: children of a VM that its guest's agent carries out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

from vmstamp.arm.catalog import Catalog
from vmstamp.arm.compute.guest_agent import GuestAgents, Task, check_allowed
from vmstamp.arm.compute.naming import API_VERSIONS, VM_STYLE
from vmstamp.arm.compute.vm_view import power_state
from vmstamp.arm.faults import conflict, not_allowed, parent_not_found
from vmstamp.arm.operations import Preempted
from vmstamp.arm.resource import Json, Reference, Resource
from vmstamp.arm.types import Change, Put, ResourceType, Work
from vmstamp.errors import AzureError
from vmstamp.fabric.extensions import Handler
from vmstamp.resource_id import ResourceId


class AgentChildren(ABC):
    """A type whose resources are handlers' work.

    Its resources keep in their state `protected`, the protected settings until the agent has been told, and
    `sent`, whether there were any that the agent has been told.
    """

    name: str  # of the type
    what: str  # a resource of the type, in words
    not_running: str  # the refusal where the VM does not run

    def __init__(self, catalog: Catalog, agents: GuestAgents) -> None:
        self._catalog = catalog
        self._agents = agents

    @abstractmethod
    def handler_of(self, child: Resource) -> Handler:
        """Who carries it out."""

    @abstractmethod
    def parse(self, put: Put) -> Change: ...

    @abstractmethod
    def apply(self, child: Resource, work: Work) -> Resource: ...

    @abstractmethod
    def view(self, child: Resource, expand: str) -> Json: ...

    def type(self) -> ResourceType:
        return ResourceType(
            name=self.name,
            api_versions=API_VERSIONS,
            style=VM_STYLE,
            parse=self.parse,
            apply=self.carry_out,
            remove=self.remove,
            abandoned=lambda child: child.with_state(protected=None),
            view=self.view,
            references=references,
            check_delete=self.check_delete,
            patch="all",
            delete_rank=2,
            beside_parent=False,
        )

    def find_vm(self, id: ResourceId) -> Resource:
        """The VM of a child's id. Raises AzureError (404) when it is not there."""
        vm = self._catalog.find(id.parent)
        if vm is None:
            raise parent_not_found(id)
        return vm

    def check_vm(self, vm: Resource) -> None:
        """Raises AzureError when nothing can be asked of the VM's agent now."""
        check_allowed(vm)
        if vm.provisioning_state in ("Creating", "Deleting"):
            raise conflict()
        if power_state(vm, self._agents.host) != "running":
            raise not_allowed(self.not_running)

    def carry_out(self, child: Resource, work: Work) -> Resource:
        """As `apply`; where that fails the protected settings are gone too, unless it is taken up again."""
        try:
            return self.apply(child, work)
        except Preempted:
            raise
        except Exception:
            if (fresh := self._catalog.find(child.id)) and fresh.state.get("protected"):
                self.save(fresh.with_state(protected=None))
                self._catalog.db.scrub()
            raise

    def hand_over(self, child: Resource, work: Work) -> Resource:
        """The resource without its protected settings, and saved so: they are gone once the agent has them.

        Raises AzureError when they went to the agent already, but the stamp ended before it knew the outcome.
        """
        if work.resumed and child.state.get("sent"):
            raise AzureError(
                500,
                "OperationInterrupted",
                f"The stamp ended while the {self.what} '{child.name}' was under way. Its protected settings "
                "are not kept, so it cannot be begun again. Send the request again.",
            )
        forgotten = child.with_state(protected=None, told=None, sent=bool(child.state.get("protected")))
        self.save(forgotten)
        if child.state.get("protected"):
            self._catalog.db.scrub()
        return forgotten

    def save(self, child: Resource) -> None:
        with self._catalog.db.write():
            self._catalog.save(child, touch=False)

    def check_delete(self, child: Resource) -> None:
        vm = self._catalog.find(child.id.parent)
        if vm is not None and vm.provisioning_state != "Deleting":
            self.check_vm(vm)

    def remove(self, child: Resource, work: Work) -> None:
        """Withdraw it in the guest; a VM that goes takes it along."""
        vm = self._catalog.find(child.id.parent)
        if vm is not None and vm.provisioning_state != "Deleting":
            self._agents.withdraw(vm, Task(child.name, self.handler_of(child), {}), work.cancelled)


def references(child: Resource) -> Iterator[Reference]:
    """It hangs on its VM."""
    yield Reference("extension", str(child.id.parent), str(child.id))
