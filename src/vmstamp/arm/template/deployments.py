"""Deployments: the resource type Microsoft.Resources/deployments, from a request to its last operation.

A deployment is stored like any resource: what clients see in its document; in its state the template, the
values it was
given and how each step stands. It runs on a pool of its own, for it waits for operations of the engine's; a
deployment nested in another runs on the other's thread. Values of secure parameters are in memory alone: a
deployment that has them cannot go on after a crash, and then ends as Failed with that reason. Others do the
steps that are left.

REST: Deployments, 2024-11-01.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from vmstamp.arm import faults
from vmstamp.arm.catalog import Clock
from vmstamp.arm.engine import Engine
from vmstamp.arm.operations import Operation, Operations, Preempted
from vmstamp.arm.resource import Json, Resource
from vmstamp.arm.template.execution import Execution
from vmstamp.arm.template.kept import Kept
from vmstamp.arm.template.live import Canceled, Door, Handle
from vmstamp.arm.template.opened import Setting, open_template
from vmstamp.arm.template.opening import Opening
from vmstamp.arm.template.places import Places
from vmstamp.arm.template.request import Fetch, read_request
from vmstamp.arm.template.spec import API_VERSIONS, KIND, TYPE_NAME, Spec, canceled, gone
from vmstamp.arm.types import Request, ResourceType, Work, azure_fault
from vmstamp.errors import AzureError, VmstampError
from vmstamp.resource_id import ResourceId

log = logging.getLogger("vmstamp.arm")

WORKERS = 8  # deployments at a time


@dataclass
class _Running:
    canceled: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)


class Deployments:
    """The deployments of one stamp. Safe to share between threads, once it is connected.

    `fetch` reads linked templates; `storage_suffix` is what `environment()` says of the Blob service.
    """

    def __init__(
        self,
        engine: Engine,
        clock: Clock,
        fetch: Fetch,
        storage_suffix: str,
    ) -> None:
        self._engine = engine
        self._catalog = engine.catalog
        self._clock = clock
        self.operations = Operations(engine.db, clock, WORKERS)
        self._places = Places(engine, storage_suffix)
        self.opening = Opening(engine, clock, fetch, self._places)
        self.kept = Kept(engine, self.operations, clock)
        self.execution = Execution(engine, clock, self.opening, self.kept)
        self._running: dict[str, _Running] = {}
        self._lock = threading.Lock()
        self.handle: Handle = _nobody

    def connect(self, handle: Handle, describe_provider: Callable[[str], Json]) -> None:
        """Give it the control plane's own door, and what `providers()` shows of one."""
        self.handle = handle
        self._places.describe_provider = describe_provider

    def close(self) -> None:
        """End what runs; it is taken up again by the next start."""
        self.operations.close()

    # -- a deployment's life

    def start(self, spec: Spec) -> tuple[Resource, str, bool]:
        """Store an opened deployment and run it: the resource, its operation, whether it is new."""
        with self._engine.db.write():
            if spec.id.group:
                faults.refuse_while_deleting(self._engine.get_group(spec.id))
            existing = self._catalog.find(spec.id)
            self.kept.refuse_active(spec.id)
            if existing:
                self._refuse_moved(existing, spec.asked.location)
            resource = self.kept.store(
                spec, values=None if spec.opened.given.secure else spec.opened.given.values
            )
            operation = self.operations.record(resource.id, KIND)
        self._submit(spec, operation)
        return resource, operation, existing is None

    def _refuse_moved(self, existing: Resource, location: str) -> None:
        """A deployment of the subscription stays in its region."""
        wanted = self._engine.locations.normalize(location)
        if existing.location and wanted and existing.location != wanted:
            raise AzureError(
                409,
                "InvalidDeploymentLocation",
                f"Invalid deployment location '{wanted}'. The deployment '{existing.name}' already exists in "
                f"location '{existing.location}'.",
            )

    def _submit(self, spec: Spec, operation: str, done: Iterable[str] = (), *, resumed: bool = False) -> None:
        running = _Running()
        with self._lock:
            self._running[spec.id.key] = running

        def body(work: Work) -> None:
            door = Door(
                self.handle, self._engine.operations.wait, spec.base, work.cancelled, running.canceled
            )
            self.execution.run(spec, door, done)

        def finish(error: AzureError | None) -> None:
            self.kept.end(spec.id, error)
            with self._lock:
                self._running.pop(spec.id.key, None)
            running.ended.set()

        def guarded(work: Work) -> None:
            try:
                body(work)
            except Canceled:
                raise canceled(spec.id) from None
            except Preempted:
                running.ended.set()
                raise

        self.operations.submit(operation, guarded, finish, resumed=resumed)

    # -- cancel, delete, resume

    def cancel(self, id: ResourceId) -> None:
        """Stop a deployment. What it has begun goes on. Raises 409 when it does not run."""
        resource = self.kept.get(id)
        with self._lock:
            running = self._running.get(id.key)
        if running is None or not self.kept.is_active(resource):
            raise AzureError(
                409,
                "DeploymentCannotBeCancelled",
                f"The deployment '{id.name}' cannot be cancelled because it is in the state "
                f"'{resource.provisioning_state}'.",
            )
        running.canceled.set()

    def delete(self, id: ResourceId) -> bool:
        """Forget a deployment, not its resources; whether there was one. Raises 409 while it runs."""
        with self._engine.db.write():
            resource = self._catalog.find(id)
            if resource is None:
                return False
            if self.kept.is_active(resource):
                raise AzureError(
                    409,
                    "DeploymentBeingProcessed",
                    f"Unable to delete deployment '{id.name}': it is in the state "
                    f"'{resource.provisioning_state}'. "
                    "Cancel it first.",
                )
            self._catalog.delete(resource.id)
        return True

    def resume(self, operation: Operation) -> bool:
        """Take up a deployment that a crash interrupted; False when the operation is not one's."""
        if operation.kind != KIND:
            return False
        try:
            self._resume(operation)
        except Exception as error:
            if not isinstance(error, VmstampError):
                log.exception("the deployment of operation %s could not be resumed", operation.id)
            self._interrupted(operation, azure_fault(error).message)
        return True

    def _resume(self, operation: Operation) -> None:
        resource = self._catalog.find(operation.resource)
        if resource is None:
            self.operations.end(operation.id, error=gone(operation.resource))
            return
        state = resource.state
        if state.get("values") is None:
            self._interrupted(operation, "the values of its secure parameters are not kept")
            return
        properties = resource.properties
        body: Json = {
            "location": resource.location,
            "properties": {
                "mode": properties["mode"],
                "template": state["template"],
                "parameters": {
                    name: {"value": value} for name, value in state["values"].items() if value is not None
                },
            },
        }
        asked = replace(read_request(body, self.opening.fetch), link=properties.get("templateLink"))
        place = self._places.of(resource.id, asked, state["base"])
        home = ResourceId(resource.id.subscription, resource.id.group)
        opened = open_template(asked.template, asked.values, Setting(place, home, self._clock()))
        started = datetime.fromisoformat(resource.created)
        spec = Spec(
            resource.id,
            asked,
            opened,
            state["base"],
            properties["correlationId"],
            started,
            url=state.get("url", ""),
        )
        operations = state["operations"].items()
        done = [key for key, one in operations if one["properties"]["provisioningState"] == "Succeeded"]
        self._submit(spec, operation.id, done, resumed=True)

    def _interrupted(self, operation: Operation, why: str) -> None:
        error = AzureError(
            500,
            "OperationInterrupted",
            f"The stamp ended while the deployment '{operation.resource}' was under way, and it cannot be "
            "taken up "
            f"again: {why}. Send the request again.",
        )
        with self._engine.db.write():
            self.kept.end(operation.resource, error)
            self.operations.end(operation.id, error=error)

    def resource_type(self) -> ResourceType:
        """What the engine must know: a group's deletion takes its deployments along."""

        def remove(resource: Resource, work: Work) -> None:
            with self._lock:
                running = self._running.get(resource.id.key)
            if running:
                running.canceled.set()
                running.ended.wait(60)

        return ResourceType(TYPE_NAME, API_VERSIONS, remove=remove, delete_rank=0, listed=False)


def _nobody(request: Request) -> Any:
    raise AssertionError("the control plane's door is not connected")
