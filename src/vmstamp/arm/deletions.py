"""DELETE of a resource, and of all that lie in a group: the engine's second door."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from vmstamp.arm import faults
from vmstamp.arm.conditions import check_conditions
from vmstamp.arm.resource import Resource
from vmstamp.arm.types import Reply, Request, ResourceType, Work
from vmstamp.errors import AzureError
from vmstamp.resource_id import ResourceId

if TYPE_CHECKING:
    from vmstamp.arm.engine import Engine


class Deletions:
    """The deletions of one stamp's resources."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def delete(self, id: ResourceId, request: Request) -> Reply:
        """Delete a resource; 204 when there is none."""
        kind = self._engine.get_type(id)
        with self._engine.db.write():
            self._engine.get_group(id)
            resource = self._engine.catalog.find(id)
            check_conditions(request.headers, resource, id, delete=True)
            if resource is None:
                return Reply(204)
            self._engine.guard(resource.id, "delete")
            before = self._before_delete(kind, resource)
            self._engine.catalog.save(resource.with_properties(provisioningState="Deleting"))
            operation = self._engine.operations.record(resource.id, "delete")
        self.submit(kind, operation, resource.id, before)
        if kind.style.synchronous_delete:
            self._engine.operations.wait(resource.id)
            ended = self._engine.operations.find(operation)
            if ended and ended.error:
                raise ended.error
            return Reply(200)
        return self._engine.polling.accepted(request, kind, resource.location, operation)

    def _before_delete(self, kind: ResourceType, resource: Resource) -> Callable[[], None]:
        """Check that it may be deleted; what to wait for before."""
        kind.check_delete(resource)
        self._engine.refuse_coupled(resource.id)
        self._engine.refuse_beside_parent(resource.id)
        running = self._engine.operations.find_open(resource.id)
        if running is None:
            return lambda: None
        if running.kind != "put" or not kind.preemptible:
            raise faults.conflict()
        return self._engine.operations.preempt(resource.id)

    def submit(
        self,
        kind: ResourceType,
        operation: str,
        id: ResourceId,
        before: Callable[[], None],
        resumed: bool = False,
    ) -> None:
        """Run a deletion that is recorded; `before` waits for what must have ended."""

        def body(work: Work) -> None:
            before()
            self._remove(kind, id, work)

        def finish(error: AzureError | None) -> None:
            if error:
                self._mark_failed(id)

        self._engine.operations.submit(operation, body, finish, resumed=resumed)

    def _remove(self, kind: ResourceType, id: ResourceId, work: Work) -> None:
        resource = self._engine.catalog.find(id)
        if resource is None:
            return
        if kind.remove:
            kind.remove(resource, work)
        self._engine.catalog.delete(id)

    def delete_all(self, group: str, work: Work) -> None:
        """Delete what lies in a group, those that use others first. Raises the first refusal."""
        found = sorted(
            self._engine.catalog.select(group=group),
            key=lambda r: (self._engine.types[r.type].delete_rank, r.id.key),
        )
        for resource in found:
            kind = self._engine.types[resource.type]
            with self._engine.db.write():
                fresh = self._engine.catalog.find(resource.id)
                if fresh is None:
                    continue
                kind.check_delete(fresh)
                self._engine.catalog.save(fresh.with_properties(provisioningState="Deleting"))
            self._engine.operations.preempt(resource.id)()
            try:
                self._remove(kind, resource.id, work)
            except Exception:
                self._mark_failed(resource.id)
                raise

    def _mark_failed(self, id: ResourceId) -> None:
        with self._engine.db.write():
            resource = self._engine.catalog.find(id)
            if resource:
                self._engine.catalog.save(resource.with_properties(provisioningState="Failed"))
