"""Child resources that live inside their parent's document: subnets, security rules.

A PUT or DELETE of one is a PUT of the parent with that element changed or left out, so the parent's
`parse` is the one place that decides.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from vmstamp.arm import faults
from vmstamp.arm.engine import Engine, read_body
from vmstamp.arm.polling import RETRY_AFTER
from vmstamp.arm.resource import Json, Resource
from vmstamp.arm.types import Reply, Request, ResourceType
from vmstamp.resource_id import ResourceId


class EmbeddedResources:
    """The operations on child resources inside a parent's document."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def find(self, id: ResourceId) -> tuple[ResourceType, str] | None:
        """When ids of this type live inside their parent's document: the parent's type and the property."""
        if len(id.types) < 2:
            return None
        parent = self._engine.types.get(id.parent.type.lower())
        if parent is None:
            return None
        name = {k.lower(): v for k, v in parent.embedded.items()}.get(id.types[-1].lower())
        return (parent, name) if name else None

    def get(self, id: ResourceId, parent: ResourceType, property: str) -> Reply:
        owner = self._engine.get_resource(id.parent)
        for shown in self._engine.show(owner)["properties"].get(property, []):
            if shown["name"].lower() == id.name.lower():
                return Reply(200, shown, {"ETag": owner.etag})
        raise faults.not_found(f"Resource {id} not found.")

    def list_page(self, owner: ResourceId, property: str) -> Reply:
        return Reply(
            200,
            {"value": self._engine.show(self._engine.get_resource(owner))["properties"].get(property, [])},
        )

    def put(self, id: ResourceId, request: Request, parent: ResourceType, property: str) -> Reply:
        body = read_body(request)
        with self._engine.db.write():
            owner = self._engine.open_for_write(id.parent, replace(request, headers={}))
            if owner is None:
                raise faults.parent_not_found(id)
            items = list(owner.properties.get(property, []))
            names = [item["name"].lower() for item in items]
            new = id.name.lower() not in names
            element = {**body, "name": id.name}
            if new:
                items.append(element)
            else:
                items[names.index(id.name.lower())] = element
            stored = self._engine.store(parent, owner.id, _with_items(owner, property, items), owner, request)
            operation = self._engine.operations.record(id, "put", done=True)
        stored.run()
        shown = self.get(id, parent, property)
        url = self._engine.polling.url(request, parent, owner.location, operation)
        headers = {**shown.headers, "Azure-AsyncOperation": url, **RETRY_AFTER}
        return Reply(201 if new else 200, shown.body, headers)

    def delete(self, id: ResourceId, request: Request, parent: ResourceType, property: str) -> Reply:
        with self._engine.db.write():
            owner = self._engine.open_for_write(id.parent, replace(request, headers={}))
            self._engine.guard(id, "delete")
            items = owner.properties.get(property, []) if owner else []
            left = [item for item in items if item["name"].lower() != id.name.lower()]
            if owner is None or len(left) == len(items):
                return Reply(204)
            stored = self._engine.store(parent, owner.id, _with_items(owner, property, left), owner, request)
            operation = self._engine.operations.record(id, "delete", done=True)
        stored.run()
        return self._engine.polling.accepted(request, parent, owner.location, operation)


def _with_items(owner: Resource, property: str, items: list[Any]) -> Json:
    document = owner.with_properties(**{property: items}).document
    return {"location": owner.location, **document}
