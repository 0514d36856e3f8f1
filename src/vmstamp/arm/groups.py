"""Resource groups: PUT and PATCH at once, DELETE takes all that lies in it along.

A group's deletion that meets a resource which cannot go (a disk with an open access, say) fails with
that refusal and leaves the rest; Azure would go on trying for an hour.
"""

from __future__ import annotations

import re
from dataclasses import replace

from vmstamp.arm import faults
from vmstamp.arm.conditions import check_conditions
from vmstamp.arm.engine import Engine
from vmstamp.arm.filters import parse_filter
from vmstamp.arm.moves import Moves
from vmstamp.arm.operations import Operation
from vmstamp.arm.polling import MOVE
from vmstamp.arm.resource import Json, Resource
from vmstamp.arm.shape import tags, without_nulls
from vmstamp.arm.types import Reply, Request, ResourceType, Work
from vmstamp.errors import AzureError
from vmstamp.resource_id import ResourceId

NAME = re.compile(r"[\w\-.()]{1,90}(?<!\.)")

TYPE = ResourceType("Microsoft.Resources/resourceGroups", ("2021-04-01", "2022-09-01", "2024-11-01"))


def show(group: Resource) -> Json:
    head: Json = {"id": str(group.id), "name": group.name, "type": TYPE.name, "location": group.location}
    return {**head, **group.document}


class Groups:
    """The operations on resource groups."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._catalog = engine.catalog
        self.moves = Moves(engine)

    def get(self, id: ResourceId) -> Reply:
        return Reply(200, show(self._engine.get_group(id)))

    def head(self, id: ResourceId) -> Reply:
        return Reply(204 if self._catalog.find(id) else 404)

    def list_page(self, request: Request, subscription: str) -> Reply:
        wanted = parse_filter(request.query.get("$filter", ""))
        groups = self._catalog.select(type=TYPE.key, scope=f"/subscriptions/{subscription}")
        return Reply(200, {"value": [show(g) for g in groups if wanted(g)]})

    def put(self, id: ResourceId, request: Request) -> Reply:
        body = _body(request)
        if not NAME.fullmatch(id.group):
            raise AzureError(
                400,
                "InvalidResourceGroup",
                f"The provided resource group name '{id.group}' has these invalid characters or ends with a "
                "dot. The name can only be a letter, digit, '-', '.', '(', ')' or '_', and at most 90 of "
                "them.",
            )
        with self._engine.db.write():
            self._engine.guard(id, "write")
            existing = self._catalog.find(id)
            check_conditions(request.headers, existing, id)
            location = self._location(id, body, existing)
            document: Json = {"properties": {"provisioningState": "Succeeded"}}
            if "tags" in body:
                document["tags"] = tags(body)
            if "managedBy" in body:
                document["managedBy"] = str(body["managedBy"])
            if existing:
                faults.refuse_while_deleting(existing)
                group = self._catalog.save(replace(existing, document=document))
            else:
                group = self._catalog.save(self._catalog.new(id, location, document, {}))
        return Reply(200 if existing else 201, show(group))

    def _location(self, id: ResourceId, body: Json, existing: Resource | None) -> str:
        given = body.get("location")
        if not isinstance(given, str) or not given:
            raise AzureError(
                400, "LocationRequired", "The location property is required for this definition."
            )
        location = self._engine.locations.normalize(given)
        if not self._engine.locations.known(location):
            raise AzureError(
                400,
                "LocationNotAvailableForResourceGroup",
                f"The provided location '{given}' is not available for resource group. List of available "
                f"regions is '{','.join(self._engine.locations.names())}'.",
            )
        if existing and existing.location != location:
            raise AzureError(
                409,
                "InvalidResourceGroupLocation",
                f"Invalid resource group location '{location}'. The Resource group already exists in "
                f"location '{existing.location}'.",
            )
        return location

    def patch(self, id: ResourceId, request: Request) -> Reply:
        body = _body(request)
        for name in body:
            if name.lower() not in ("tags", "name", "id", "location", "properties"):
                raise faults.unsupported(f"The property '{name}'", target=name)
        with self._engine.db.write():
            group = self._engine.get_group(id)
            self._engine.guard(id, "write")
            faults.refuse_while_deleting(group)
            group = self._catalog.save(replace(group, document={**group.document, "tags": tags(body)}))
        return Reply(200, show(group))

    def delete(self, id: ResourceId, request: Request) -> Reply:
        with self._engine.db.write():
            group = self._engine.get_group(id)
            self._engine.guard(id, "delete")
            running = self._engine.operations.find_open(group.id)
            operation = running.id if running else self._engine.operations.record(group.id, "delete")
            if not running:
                self._catalog.save(group.with_properties(provisioningState="Deleting"))
        if not running:
            self.submit_delete(operation, group)
        url = f"{request.base}/subscriptions/{id.subscription}/operationresults/{operation}"
        headers = {"Location": f"{url}?api-version={request.api_version}", "Retry-After": "1"}
        return Reply(202, None, {**headers, "x-ms-retry-after-ms": "200"})

    def resume(self, operation: Operation) -> bool:
        """Take up a deletion that a crash interrupted; False when the operation is not a group's."""
        if operation.resource.type != TYPE.name:
            return False
        if operation.kind == MOVE:
            self.moves.resume(operation)
            return True
        group = self._catalog.find(operation.resource)
        if group is None:
            self._engine.operations.end(operation.id)
        else:
            self.submit_delete(operation.id, group, resumed=True)
        return True

    def submit_delete(self, operation: str, group: Resource, *, resumed: bool = False) -> None:
        """Run a recorded deletion."""

        def body(work: Work) -> None:
            self._engine.deletions.delete_all(group.id.key, work)
            self._catalog.delete(group.id)

        def finish(error: AzureError | None) -> None:
            left = self._catalog.find(group.id)
            if left and error:
                self._catalog.save(left.with_properties(provisioningState="Failed"))

        self._engine.operations.submit(operation, body, finish, resumed=resumed)


def _body(request: Request) -> Json:
    if not isinstance(request.body, dict):
        raise faults.invalid_content("The request body must be a JSON object")
    found: Json = without_nulls(request.body)
    return found
