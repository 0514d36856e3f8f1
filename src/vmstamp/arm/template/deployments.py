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
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from vmstamp.arm.catalog import Clock, timestamp
from vmstamp.arm.engine import Engine
from vmstamp.arm.operations import Operation, Operations, Preempted, error_document, read_detail
from vmstamp.arm.shape import Json
from vmstamp.arm.template import preflight
from vmstamp.arm.template.documents import (
    dependencies_of,
    duration,
    environment,
    group_document,
    providers_of,
)
from vmstamp.arm.template.faults import ExpressionError, invalid_template
from vmstamp.arm.template.graph import Step, is_inner
from vmstamp.arm.template.live import Canceled, Door, Handle, Live
from vmstamp.arm.template.opened import Opened, Setting, evaluate_outputs, open_template
from vmstamp.arm.template.request import Asked, Fetch, read_request
from vmstamp.arm.template.run import Outcome, Run, deployment_failed, operation_document, outputs_failed
from vmstamp.arm.template.scope import Place, Scope
from vmstamp.arm.template.secrets import masked, secrets_of, unsaid
from vmstamp.arm.types import Request, Resource, ResourceType, Work, azure_fault
from vmstamp.errors import AzureError, VmstampError
from vmstamp.resource_id import ResourceId

log = logging.getLogger("vmstamp.arm")

TYPE_NAME = "Microsoft.Resources/deployments"
API_VERSIONS = ("2020-10-01", "2021-04-01", "2022-09-01", "2024-03-01", "2024-11-01", "2025-04-01")
KIND = "deployment"  # of its row among the operations
ENDED = ("Succeeded", "Failed", "Canceled")
WORKERS = 8  # deployments at a time
MAXIMUM_NESTING = 8  # deployments within each other; ours
NESTED_COST = 20_000  # of the budget for each of them: a link to itself in a loop has no end
CANCELED = "DeploymentCanceled"


@dataclass(frozen=True)
class Spec:
    """A deployment that is about to run, or runs."""

    id: ResourceId
    asked: Asked
    opened: Opened
    base: str
    correlation: str
    started: datetime
    nesting: int = 0
    url: str = ""  # where its template lies, when it is linked
    outer: tuple[str, ...] = ()  # secrets of the deployment that it is nested in

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no error of it may say."""
        own = secrets_of(self.asked.template, self.opened.given.values)
        return tuple(sorted({*own, *self.outer}, key=len, reverse=True))


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
        self.fetch = fetch
        self._storage_suffix = storage_suffix
        self.operations = Operations(engine.db, clock, WORKERS)
        self._running: dict[str, _Running] = {}
        self._lock = threading.Lock()
        self.handle: Handle = _nobody
        self._describe_provider: Callable[[str], Json] = lambda name: {}

    def connect(self, handle: Handle, describe_provider: Callable[[str], Json]) -> None:
        """Give it the control plane's own door, and what `providers()` shows of one."""
        self.handle = handle
        self._describe_provider = describe_provider

    def close(self) -> None:
        """End what runs; it is taken up again by the next start."""
        self.operations.close()

    # -- what is asked

    def open(self, id: ResourceId, request: Request) -> Spec:
        """Understand a request and check all that can be checked now. Raises AzureError; stores nothing."""
        asked = read_request(request.body, self.fetch)
        if id.group:
            self._engine.get_group(id)
        else:
            self._check_subscription_scope(asked)
        home = ResourceId(id.subscription, id.group)
        now = self._clock()
        url = asked.link["uri"] if asked.link else ""
        place = self._place(id, asked, request.base)
        with unsaid(secrets_of(asked.template, asked.values)):
            opened = open_template(asked.template, asked.values, Setting(place, home, now))
            spec = Spec(id, asked, opened, request.base, str(uuid.uuid4()), now, url=url)
            for inner in (opened, *self.nested_of(spec)):
                preflight.check(self._engine, inner, id.name)
        return spec

    def _check_subscription_scope(self, asked: Asked) -> None:
        if asked.mode == "Complete":
            raise invalid_template(
                "The deployment mode 'Complete' is not supported for a deployment to the subscription's scope"
            )
        if not self._engine.locations.known(self._engine.locations.normalize(asked.location)):
            raise AzureError(
                400, "LocationRequired", "The location property is required for this definition."
            )

    def _place(self, id: ResourceId, asked: Asked, base: str) -> Place:
        subscription = self._engine.subscriptions.get(id.subscription)
        tenant, name = subscription.document["tenantId"], subscription.document["displayName"]
        group = self._catalog.find(ResourceId(id.subscription, id.group)) if id.group else None
        properties: Json = {
            "template": asked.template.document,
            "templateHash": asked.template.hash,
            "parameters": {},
            "mode": asked.mode,
            "provisioningState": "Accepted",
        }
        if asked.link:
            properties["templateLink"] = asked.link
        deployment: Json = {"name": id.name, "properties": properties}
        if asked.location:
            deployment["location"] = asked.location
        return Place(
            subscription={
                "id": str(subscription.id),
                "subscriptionId": subscription.id.subscription,
                "tenantId": tenant,
                "displayName": name,
            },
            tenant={
                "tenantId": tenant,
                "displayName": name,
                "countryCode": "",
            },
            group=group_document(id, group),
            deployment=deployment,
            environment=environment(base, tenant, self._storage_suffix),
            providers=self._provider,
        )

    def _provider(self, name: str) -> Json:
        try:
            return self._describe_provider(name)
        except AzureError as error:
            raise ExpressionError(error.message) from error

    # -- nested deployments

    def _open_for_preflight(self, parent: Spec, step: Step) -> Spec | None:
        """A nested deployment as far as it can be looked into before its parent runs."""
        body = step.preview or {}
        known = {k: v for k, v in body.get("properties", {}).items() if k != "template"}
        if preflight.is_open(known):
            return None
        if step.id.group and not self._catalog.find(ResourceId(step.id.subscription, step.id.group)):
            return None
        return self._open_nested(parent, step, body, step.scope)

    def nested_of(self, spec: Spec) -> list[Opened]:
        """The deployments nested in one, at any depth, as far as they can be looked into beforehand."""
        found: list[Opened] = []
        for step in spec.opened.graph.steps:
            if step.is_deployment and (inner := self._open_for_preflight(spec, step)):
                found += [inner.opened, *self.nested_of(inner)]
        return found

    def _open_nested(self, parent: Spec, step: Step, body: Json, scope: Scope) -> Spec:
        if parent.nesting >= MAXIMUM_NESTING:
            raise invalid_template(f"Deployments are nested more than '{MAXIMUM_NESTING}' levels deep")
        try:
            parent.opened.scope.budget.spend(NESTED_COST)
        except ExpressionError as error:
            raise invalid_template(error.message) from error
        asked = read_request(body, self.fetch, parent.url)
        if asked.mode == "Complete":
            raise invalid_template(
                "The deployment mode 'Complete' is not supported for nested deployments. Please see "
                "https://aka.ms/arm-deployment-modes for usage details."
            )
        home = ResourceId(step.id.subscription, step.id.group)
        outer = None if is_inner(step.body.get("properties") or {}) else scope
        now = self._clock()
        place = self._place(step.id, asked, parent.base)
        setting = Setting(place, home, now, outer, parent.opened.scope.budget)
        secrets = (*secrets_of(asked.template, asked.values), *parent.secrets)
        with unsaid(secrets):
            opened = open_template(asked.template, asked.values, setting)
        url = asked.link["uri"] if asked.link else parent.url
        level = parent.nesting + 1
        return Spec(step.id, asked, opened, parent.base, parent.correlation, now, level, url, parent.secrets)

    def _run_nested(self, parent: Spec, door: Door, step: Step, body: Json, scope: Scope) -> None:
        """A step that is a deployment: opened, stored, run here and now. Raises its error."""
        if step.id.group:
            self._engine.get_group(step.id)
        spec = self._open_nested(parent, step, body, scope)
        preflight.check(self._engine, spec.opened, spec.id.name)
        with self._engine.db.write():
            self._refuse_active(step.id, besides=parent.id)
            self._store(spec, values=None)
        error: AzureError | None = None
        try:
            self._run(spec, door, ())
        except Preempted:
            raise  # it stays open; its parent begins it anew
        except Canceled:
            self._end(spec.id, canceled(spec.id))
            raise
        except Exception as failure:
            error = azure_fault(failure)
        self._end(spec.id, error)
        if error:
            raise error

    # -- a deployment's life

    def start(self, spec: Spec) -> tuple[Resource, str, bool]:
        """Store an opened deployment and run it: the resource, its operation, whether it is new."""
        with self._engine.db.write():
            existing = self._catalog.find(spec.id)
            self._refuse_active(spec.id)
            if existing:
                self._refuse_moved(existing, spec.asked.location)
            resource = self._store(
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

    def _refuse_active(self, id: ResourceId, besides: ResourceId | None = None) -> None:
        existing = self._catalog.find(id)
        own = besides is not None and besides.key == id.key
        if own or (existing is not None and self._is_active(existing)):
            raise AzureError(
                409,
                "DeploymentActive",
                f"Unable to edit or replace deployment '{id.name}': previous deployment from "
                f"'{existing.created if existing else ''}' is still active. Please see "
                "https://aka.ms/arm-deploy for "
                "usage details.",
            )

    def _is_active(self, resource: Resource) -> bool:
        return resource.provisioning_state not in ENDED and self.operations.find_open(resource.id) is not None

    def _store(self, spec: Spec, values: Mapping[str, Any] | None) -> Resource:
        asked = spec.asked
        properties: Json = {
            "templateHash": asked.template.hash,
            "parameters": spec.opened.given.shown(),
            "mode": asked.mode,
            "provisioningState": "Accepted",
            "timestamp": timestamp(spec.started),
            "duration": "PT0S",
            "correlationId": spec.correlation,
            "providers": providers_of(spec.opened),
            "dependencies": dependencies_of(spec.opened),
        }
        if asked.link:
            properties["templateLink"] = asked.link
        document: Json = {"properties": properties}
        if asked.tags:
            document["tags"] = asked.tags
        state: Json = {
            "template": asked.template.document,
            "values": values,
            "base": spec.base,
            "url": spec.url,
            "operations": {},
        }
        existing = self._catalog.find(spec.id)
        location = asked.location and self._engine.locations.normalize(asked.location)
        made = self._catalog.new(existing.id if existing else spec.id, location, document, state)
        return self._catalog.save(made)

    def _submit(self, spec: Spec, operation: str, done: Iterable[str] = (), *, resumed: bool = False) -> None:
        running = _Running()
        with self._lock:
            self._running[spec.id.key] = running

        def body(work: Work) -> None:
            door = Door(
                self.handle, self._engine.operations.wait, spec.base, work.cancelled, running.canceled
            )
            self._run(spec, door, done)

        def finish(error: AzureError | None) -> None:
            self._end(spec.id, error)
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

    def _run(self, spec: Spec, door: Door, done: Iterable[str]) -> None:
        with unsaid(spec.secrets):
            self._run_steps(spec, door, done)

    def _run_steps(self, spec: Spec, door: Door, done: Iterable[str]) -> None:
        self._update(spec.id, provisioningState="Running")
        opened = spec.opened
        runtime = Live(door, opened.graph)
        record = _Record(spec.id, self._clock, self._save_operation, spec.secrets)

        def nested(step: Step, body: Json, scope: Scope) -> None:
            self._run_nested(spec, door, step, body, scope)

        failed = Run(opened, door, runtime, record.report, nested).go(done)
        self._update(spec.id, outputResources=self._output_resources(spec))
        if failed:
            raise deployment_failed(spec.id, failed)
        if spec.asked.mode == "Complete":
            self._delete_others(spec, door)
        try:
            outputs = evaluate_outputs(spec.asked.template, replace(opened.scope, runtime=runtime))
        except ExpressionError as error:
            raise outputs_failed(error) from error
        self._update(spec.id, outputs=outputs)

    def _save_operation(self, id: ResourceId, key: str, document: Json) -> None:
        with self._engine.db.write():
            resource = self._catalog.find(id)
            if resource:
                operations = {**resource.state["operations"], key: document}
                self._catalog.save(resource.with_state(operations=operations))

    def _output_resources(self, spec: Spec) -> list[Json]:
        """What a deployment made, nested deployments' resources in place of those."""
        resource = self._catalog.find(spec.id)
        operations = resource.state["operations"] if resource else {}
        found: list[Json] = []
        for step in spec.opened.graph.steps:
            state = operations.get(step.key, {}).get("properties", {}).get("provisioningState")
            if step.existing or state not in ("Succeeded", "Failed"):
                continue
            if step.is_deployment:
                nested = self._catalog.find(step.id)
                found.extend(nested.properties.get("outputResources", []) if nested else [])
            elif state == "Succeeded":
                found.append({"id": str(step.id)})
        return found

    def _delete_others(self, spec: Spec, door: Door) -> None:
        """Mode Complete: what the group has and the template has not goes, users before what they use."""
        kept = {step.key for step in spec.opened.graph.steps}
        kept |= {one["id"].lower() for one in self._output_resources(spec)}
        for id in self.others(spec.opened.home, kept):
            door.check()
            reply = door.send("DELETE", str(id), "")
            if error := door.finish(id, reply):
                failure = read_detail(error)
                raise AzureError(409, "DeploymentFailed", failure.message, target=str(id), details=[failure])

    def others(self, home: ResourceId, kept: Iterable[str]) -> list[ResourceId]:
        """What a deployment in mode Complete deletes of a group: all but `kept`, ids in lower case.

        A child goes with its parent, unless its type's rank says that it must go before.
        """
        stay = set(kept)
        found = [
            resource
            for resource in self._catalog.select(group=home.key)
            if self._engine.types[resource.type].listed and resource.id.key not in stay
        ]
        rank = {r.id.key: self._engine.types[r.type].delete_rank for r in found}
        found = [r for r in found if rank.get(r.id.parent.key, 99) > rank[r.id.key]]
        return [r.id for r in sorted(found, key=lambda r: (rank[r.id.key], r.id.key))]

    def _end(self, id: ResourceId, error: AzureError | None) -> None:
        if error is None:
            self._update(id, provisioningState="Succeeded")
        elif error.code == CANCELED:
            self._update(id, provisioningState="Canceled")
        else:
            self._update(id, provisioningState="Failed", error=error_document(error))

    def _update(self, id: ResourceId, **properties: Any) -> None:
        with self._engine.db.write():
            resource = self._catalog.find(id)
            if resource is None:
                return
            now = self._clock()
            begun = datetime.fromisoformat(resource.created)
            stamp = {"timestamp": timestamp(now), "duration": duration(now - begun)}
            self._catalog.save(resource.with_properties(**stamp, **properties))

    # -- cancel, delete, resume

    def cancel(self, id: ResourceId) -> None:
        """Stop a deployment. What it has begun goes on. Raises 409 when it does not run."""
        resource = self.get(id)
        with self._lock:
            running = self._running.get(id.key)
        if running is None or not self._is_active(resource):
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
            if self._is_active(resource):
                raise AzureError(
                    409,
                    "DeploymentBeingProcessed",
                    f"Unable to delete deployment '{id.name}': it is in the state "
                    f"'{resource.provisioning_state}'. "
                    "Cancel it first.",
                )
            self._catalog.delete(resource.id)
        return True

    def get(self, id: ResourceId) -> Resource:
        """The stored deployment. Raises 404 as Azure does."""
        if id.group:
            self._engine.get_group(id)
        found = self._catalog.find(id)
        if found is None:
            raise AzureError(404, "DeploymentNotFound", f"Deployment '{id.name}' could not be found.")
        return found

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
            self.operations.end(operation.id, error=_gone(operation.resource))
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
        asked = replace(read_request(body, self.fetch), link=properties.get("templateLink"))
        place = self._place(resource.id, asked, state["base"])
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
            self._end(operation.resource, error)
            self.operations.end(operation.id, error=error)

    def close_orphans(self) -> None:
        """After a crash: nested deployments have no operation of their own; their parents begin them anew."""
        for resource in self._catalog.select(type=TYPE_NAME.lower()):
            if resource.provisioning_state not in ENDED and not self.operations.find_open(resource.id):
                self._end(resource.id, _gone(resource.id))

    def resource_type(self) -> ResourceType:
        """What the engine must know: a group's deletion takes its deployments along."""

        def remove(resource: Resource, work: Work) -> None:
            with self._lock:
                running = self._running.get(resource.id.key)
            if running:
                running.canceled.set()
                running.ended.wait(60)

        return ResourceType(TYPE_NAME, API_VERSIONS, remove=remove, delete_rank=0, listed=False)


class _Record:
    """Keeps how each step of a deployment stands: `save` gets the deployment, the step's key, a document."""

    def __init__(
        self,
        id: ResourceId,
        clock: Clock,
        save: Callable[[ResourceId, str, Json], None],
        secrets: tuple[str, ...],
    ) -> None:
        self._id = id
        self._secrets = secrets
        self._clock = clock
        self._save = save
        self._begun: dict[str, tuple[str, datetime]] = {}

    def report(self, outcome: Outcome) -> None:
        key, now = outcome.step.key, self._clock()
        number, begun = self._begun.setdefault(key, (uuid.uuid4().hex[:16].upper(), now))
        document = operation_document(
            outcome, number, timestamp(begun), timestamp(now), duration(now - begun)
        )
        shown = {**document, "properties": masked(document["properties"], self._secrets)}
        self._save(self._id, key, {**shown, "id": f"{self._id}/operations/{number}"})


def _nobody(request: Request) -> Any:
    raise AssertionError("the control plane's door is not connected")


def _gone(id: ResourceId) -> AzureError:
    return AzureError(
        500,
        "OperationInterrupted",
        f"The stamp ended while the deployment '{id}' was under way, and it cannot be taken up again.",
    )


def canceled(id: ResourceId) -> AzureError:
    return AzureError(409, CANCELED, f"The deployment '{id.name}' was canceled.", target=str(id))
