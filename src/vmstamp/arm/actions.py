"""POST of an action on a resource: the engine's third door."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmstamp.arm import faults
from vmstamp.arm.resource import Json, Resource
from vmstamp.arm.types import Action, Reply, Request, ResourceType, Work
from vmstamp.errors import AzureError
from vmstamp.resource_id import ResourceId

if TYPE_CHECKING:
    from vmstamp.arm.engine import Engine


class Actions:
    """The actions on one stamp's resources."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def act(self, id: ResourceId, name: str, request: Request) -> Reply:
        """POST an action on a resource."""
        kind = self._engine.get_type(id)
        action = next((a for a in kind.actions if a.name.lower() == name.lower()), None)
        if action is None:
            raise self.unknown_action(kind, name)
        with self._engine.db.write():
            resource = self._resource_to_act_on(id)
            self._engine.guard(resource.id, "write")
            if not action.beside:
                self._refuse_busy(id, action)
            input = action.check(resource, request)
            if not action.beside:  # once more: what the check stored may use other resources
                self._engine.refuse_coupled(resource.id)
            if action.synchronous and not action.beside:
                return Reply(200, action.run(resource, Work(input=input)))
            if not action.synchronous:
                operation = self._engine.operations.record(resource.id, action.name, input=input)
        if action.synchronous:
            return Reply(200, action.run(resource, Work(input=input)))
        self.submit(action, operation, resource.id)
        return self._engine.polling.accepted(request, kind, resource.location, operation)

    def _refuse_busy(self, id: ResourceId, action: Action) -> None:
        """Raises 409 while an operation works on a resource, or on one that it shares bytes with."""
        if running := self._engine.operations.find_open(id):
            same = running.kind == action.name and action.in_progress
            raise faults.conflict(same) if same else faults.conflict()
        if action.not_beside:
            children = self._engine.catalog.select(type=f"{id.type}/{action.not_beside}", scope=str(id))
            if self._engine.operations.any_open([child.id.key for child in children]):
                raise faults.conflict()
        self._engine.refuse_coupled(id)

    def _resource_to_act_on(self, id: ResourceId) -> Resource:
        resource = self._engine.get_resource(id)
        if resource.provisioning_state == "Deleting":
            raise faults.conflict()
        return resource

    @staticmethod
    def unknown_action(kind: ResourceType, name: str) -> AzureError:
        known = faults.quoted(action.name for action in kind.actions) or "none"
        return faults.unsupported(f"The action '{name}' on '{kind.name}' (supported: {known})")

    def submit(self, action: Action, operation: str, id: ResourceId, resumed: bool = False) -> None:
        """Run an action that is recorded."""

        def body(work: Work) -> Json | None:
            return action.run(self._engine.get_resource(id), work)

        self._engine.operations.submit(operation, body, lambda error: None, resumed=resumed)
