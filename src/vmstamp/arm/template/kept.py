"""What is kept of deployments: their documents, how each step stands, and how they ended.

A deployment is stored like any resource: what clients see in its document; in its state the template, the
values it was given and how each step stands.

REST: Deployments - Get, 2024-11-01.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from vmstamp.arm.catalog import Clock, timestamp
from vmstamp.arm.engine import Engine
from vmstamp.arm.operations import Operations, error_document
from vmstamp.arm.resource import Json, Resource
from vmstamp.arm.template.documents import dependencies_of, duration, providers_of
from vmstamp.arm.template.run import Outcome, operation_document
from vmstamp.arm.template.secrets import masked
from vmstamp.arm.template.spec import CANCELED, ENDED, TYPE_NAME, Spec, gone
from vmstamp.errors import AzureError
from vmstamp.resource_id import ResourceId


class Kept:
    """The rows of deployments. `operations` are those that run them."""

    def __init__(self, engine: Engine, operations: Operations, clock: Clock) -> None:
        self._engine = engine
        self._catalog = engine.catalog
        self._operations = operations
        self._clock = clock

    def get(self, id: ResourceId) -> Resource:
        """The stored deployment. Raises 404 as Azure does."""
        if id.group:
            self._engine.get_group(id)
        found = self._catalog.find(id)
        if found is None:
            raise AzureError(404, "DeploymentNotFound", f"Deployment '{id.name}' could not be found.")
        return found

    def refuse_active(self, id: ResourceId, besides: ResourceId | None = None) -> None:
        """Raises 409 while a deployment runs, or would replace the one that it is nested in."""
        existing = self._catalog.find(id)
        own = besides is not None and besides.key == id.key
        if own or (existing is not None and self.is_active(existing)):
            raise AzureError(
                409,
                "DeploymentActive",
                f"Unable to edit or replace deployment '{id.name}': previous deployment from "
                f"'{existing.created if existing else ''}' is still active. Please see "
                "https://aka.ms/arm-deploy for "
                "usage details.",
            )

    def is_active(self, resource: Resource) -> bool:
        """Whether somebody runs it."""
        return (
            resource.provisioning_state not in ENDED and self._operations.find_open(resource.id) is not None
        )

    def store(self, spec: Spec, values: Mapping[str, Any] | None) -> Resource:
        """A new row, or the old one's place; `values` are None when they must not be kept."""
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

    def save_operation(self, id: ResourceId, key: str, document: Json) -> None:
        """How the step `key` of a deployment stands."""
        with self._engine.db.write():
            resource = self._catalog.find(id)
            if resource:
                operations = {**resource.state["operations"], key: document}
                self._catalog.save(resource.with_state(operations=operations))

    def output_resources(self, spec: Spec) -> list[Json]:
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

    def end(self, id: ResourceId, error: AzureError | None) -> None:
        """How a deployment ended."""
        if error is None:
            self.update(id, provisioningState="Succeeded")
        elif error.code == CANCELED:
            self.update(id, provisioningState="Canceled")
        else:
            self.update(id, provisioningState="Failed", error=error_document(error))

    def update(self, id: ResourceId, **properties: Any) -> None:
        """Set members of its `properties`, and with them its timestamp and duration."""
        with self._engine.db.write():
            resource = self._catalog.find(id)
            if resource is None:
                return
            now = self._clock()
            begun = datetime.fromisoformat(resource.created)
            stamp = {"timestamp": timestamp(now), "duration": duration(now - begun)}
            self._catalog.save(resource.with_properties(**stamp, **properties))

    def close_orphans(self) -> None:
        """After a crash: nested deployments have no operation of their own; their parents begin them anew."""
        for resource in self._catalog.select(type=TYPE_NAME.lower()):
            if resource.provisioning_state not in ENDED and not self._operations.find_open(resource.id):
                self.end(resource.id, gone(resource.id))


class Record:
    """Keeps how each step of a deployment stands: `save` gets the deployment, the step's key, a document."""

    def __init__(
        self,
        id: ResourceId,
        clock: Clock,
        save: Callable[[ResourceId, str, Json], None],
        secrets: Callable[[], tuple[str, ...]],
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
        shown = {**document, "properties": masked(document["properties"], self._secrets())}
        self._save(self._id, key, {**shown, "id": f"{self._id}/operations/{number}"})
