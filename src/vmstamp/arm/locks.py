"""Microsoft.Authorization/locks: what keeps a subscription, a group or a resource from being changed.

A lock holds for its scope and all that lies in it. CanNotDelete refuses deletions; ReadOnly refuses writes
and every POST too, also those that only read (listKeys), as Azure does. A scope in which something is locked
cannot be deleted as a whole. Locks themselves are not kept by locks. REST: Management Locks, 2020-05-01.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final, Literal

from vmstamp.arm import faults
from vmstamp.arm.catalog import Catalog
from vmstamp.arm.resource import Json, Resource
from vmstamp.arm.shape import READ_ONLY, OneOf, clean
from vmstamp.arm.types import Reply, Request, ResourceType
from vmstamp.errors import AzureError
from vmstamp.resource_id import ResourceId

NAME: Final = "Microsoft.Authorization/locks"
PROVIDER, KIND = NAME.split("/")
API_VERSIONS: Final = ("2015-01-01", "2016-09-01", "2017-04-01", "2020-05-01")
MAXIMUM_NOTES: Final = 512  # characters

TYPE: Final = ResourceType(NAME, API_VERSIONS, listed=False, delete_rank=9)

Verb = Literal["write", "delete"]

SHAPE: Final = {
    "properties": {
        "level": OneOf("CanNotDelete", "ReadOnly"),
        "notes": str,
        "owners": [{"applicationId": str}],
    },
    "systemData": READ_ONLY,
    "id": READ_ONLY,
    "name": READ_ONLY,
    "type": READ_ONLY,
}


def show(lock: Resource) -> Json:
    return {"id": str(lock.id), "type": NAME, "name": lock.name, "properties": lock.properties}


def find_locking(locks: Iterable[Resource], id: ResourceId, verb: Verb) -> list[ResourceId]:
    """The scopes whose locks refuse to write or delete `id`, each once; of a deletion also those below it."""
    found: dict[str, ResourceId] = {}
    for lock in locks:
        scope = lock.id.scope
        above = scope.covers(id) and (verb == "delete" or lock.properties["level"] == "ReadOnly")
        below = verb == "delete" and id.covers(scope)
        if above or below:
            found[scope.key] = scope
    return list(found.values())


class Locks:
    """The requests on locks, and the question whether one refuses something."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def check(self, id: ResourceId, verb: Verb) -> None:
        """Raises 409 ScopeLocked when a lock refuses it."""
        found = find_locking(self._catalog.select(type=NAME), id, verb)
        if found:
            raise AzureError(
                409,
                "ScopeLocked",
                f"The scope '{id}' cannot perform {verb} operation because following scope(s) are locked: "
                f"'{','.join(map(str, found))}'. Please remove the lock and try again.",
            )

    def handle(self, request: Request, scope: ResourceId, words: tuple[str, ...]) -> Reply:
        """A request on `scope`'s locks; `words` are what follows `locks`. The scope exists."""
        if not words and request.method == "GET":
            return self._list(request, scope)
        if len(words) != 1:
            raise faults.unsupported(f"The request {request.method} '{request.path}'")
        id = scope.extension(PROVIDER, KIND, words[0])
        match request.method:
            case "GET":
                return Reply(200, show(self._get(id)))
            case "PUT":
                return self._put(id, request)
            case "DELETE":
                return self._delete(id)
        raise faults.unsupported(f"The request {request.method} '{request.path}'")

    def _list(self, request: Request, scope: ResourceId) -> Reply:
        """The locks on a scope and on all that lies in it; with atScope() those that hold for the scope
        itself."""
        wanted = request.query.get("$filter", "").replace(" ", "").lower()
        if wanted not in ("", "atscope()"):
            raise faults.unsupported(
                f"The filter '{request.query['$filter']}' on this list", target="$filter"
            )
        found = [
            lock
            for lock in self._catalog.select(type=NAME)
            if (lock.id.scope.covers(scope) if wanted else scope.covers(lock.id.scope))
        ]
        return Reply(200, {"value": [show(lock) for lock in found]})

    def _get(self, id: ResourceId) -> Resource:
        lock = self._catalog.find(id)
        if lock is None:
            raise AzureError(404, "LockNotFound", f"The lock '{id.name}' could not be found.")
        return lock

    def _put(self, id: ResourceId, request: Request) -> Reply:
        properties = read_lock(request)
        with self._catalog.db.write():
            existing = self._catalog.find(id)
            document: Json = {"properties": properties}
            if existing:
                lock = self._catalog.save(replace(existing, document=document))
            else:
                lock = self._catalog.save(self._catalog.new(id, "", document, {}))
        return Reply(200 if existing else 201, show(lock))

    def _delete(self, id: ResourceId) -> Reply:
        with self._catalog.db.write():
            if self._catalog.find(id) is None:
                return Reply(204)
            self._catalog.delete(id)
        return Reply(200)


def read_lock(request: Request) -> Json:
    """The properties of a lock from a body. Raises AzureError (400)."""
    found: Json = clean(request.body, SHAPE).get("properties", {})
    if "level" not in found:
        raise faults.missing_parameter("level")
    if len(found.get("notes", "")) > MAXIMUM_NOTES:
        raise faults.invalid_parameter(
            f"The notes of a lock have at most {MAXIMUM_NOTES} characters.", "notes"
        )
    return found
