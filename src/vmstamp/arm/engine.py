"""The engine: what every resource type has in common, written once.

It knows ids, groups, locations, ETags, conflicts, asynchronous operations and paging; a type
(`types.ResourceType`) supplies the rest. `routes.py` calls it with a request that it has understood.

Transactions: a request that changes something reads, decides (`parse`, `check`), stores and records its
operation in one transaction; only then is the operation run. So what a client was told has been stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from vmstamp.arm import faults
from vmstamp.arm.actions import Actions
from vmstamp.arm.catalog import Catalog, Clock, utc_now
from vmstamp.arm.conditions import check_conditions
from vmstamp.arm.deletions import Deletions
from vmstamp.arm.locations import Locations
from vmstamp.arm.locks import TYPE as LOCK_TYPE
from vmstamp.arm.locks import Locks, Verb
from vmstamp.arm.operations import WORKERS, Operations
from vmstamp.arm.polling import RETRY_AFTER, Polling
from vmstamp.arm.proxy_types import ProxyType
from vmstamp.arm.recovery import Recovery
from vmstamp.arm.resource import Json, Reference, Resource
from vmstamp.arm.shape import merged, tags, without_nulls
from vmstamp.arm.subscriptions import TYPE as SUBSCRIPTION_TYPE
from vmstamp.arm.subscriptions import Subscriptions
from vmstamp.arm.types import Change, Put, Reply, Request, ResourceType, Work
from vmstamp.db import Database
from vmstamp.errors import AzureError
from vmstamp.resource_id import ResourceId

READ_ONLY_MEMBERS = ("id", "name", "type", "etag", "systemData", "resourceGroup")


@dataclass(frozen=True)
class Settings:
    """Who the stamp's own subscription is, its one principal, and how much a page of a list holds."""

    subscription: str
    tenant: str
    principal: str = ""  # object id of the service principal that signs in
    subscription_name: str = "vmstamp"
    default_location: str = "local"
    page_size: int = 1000


@dataclass(frozen=True)
class Stored:
    """A PUT that was accepted: the resource as to be shown, and what to run after the commit."""

    resource: Resource
    operation: str
    new: bool
    run: Callable[[], None]


class Engine:
    """One stamp's control plane. Safe to share between threads."""

    def __init__(
        self,
        db: Database,
        types: Callable[[Catalog], Iterable[ResourceType]],
        settings: Settings,
        *,
        proxies: Callable[[Catalog], Iterable[ProxyType]] = lambda catalog: (),
        locations: Locations | None = None,
        clock: Clock = utc_now,
        workers: int = WORKERS,
    ) -> None:
        self.db = db
        self.settings = settings
        self.locations = locations or Locations()
        self.catalog = Catalog(db, self._references, clock)
        self.operations = Operations(db, clock, workers)
        self.types = {t.key: t for t in types(self.catalog)}
        self.types |= {kind.key: kind for kind in (SUBSCRIPTION_TYPE, LOCK_TYPE)}
        self.proxies = {kind.key: kind for kind in proxies(self.catalog)}
        self.subscriptions = Subscriptions(
            self.catalog, settings.subscription, settings.tenant, settings.subscription_name
        )
        self.locks = Locks(self.catalog)
        self.polling = Polling(self.catalog, self.operations, self.show)
        self.deletions = Deletions(self)
        self.actions = Actions(self)
        self.recovery = Recovery(self)

    def close(self) -> None:
        """End what runs; open operations are taken up again by the next start."""
        self.operations.close()

    def _references(self, resource: Resource) -> Iterable[Reference]:
        kind = self.types.get(resource.type)
        return kind.references(resource) if kind else ()

    # -- what routes need to know of types

    def get_type(self, id: ResourceId) -> ResourceType:
        """The type of an id. Raises AzureError that names what is not there."""
        found = self.types.get(id.type.lower())
        if found is None and (proxy := self.proxies.get(id.type.lower())):
            raise faults.unsupported(f"This request on '{proxy.name}'")
        if found is None:
            raise self.unknown_type(id.provider, "/".join(id.types))
        return found

    def unknown_type(self, provider: str, kind: str) -> AzureError:
        provided = ["Microsoft.Resources/resourceGroups", *(t.name for t in self.types.values())]
        provided += [proxy.name for proxy in self.proxies.values()]
        pairs = [name.split("/", 1) for name in provided]
        known = [name for namespace, name in pairs if namespace.lower() == provider.lower()]
        if not known:
            providers = sorted({namespace for namespace, _ in pairs})
            return AzureError(
                404,
                "InvalidResourceNamespace",
                f"The resource namespace '{provider}' is invalid. This stamp supports "
                f"{faults.quoted(providers)}.",
            )
        return AzureError(
            404,
            "InvalidResourceType",
            f"The resource type '{kind}' could not be found in the namespace '{provider}': it is not "
            f"supported by this stamp, which supports {faults.quoted(sorted(known))}.",
        )

    # -- reading

    def show(self, resource: Resource, expand: str = "") -> Json:
        """A resource as a client sees it."""
        kind = self.types[resource.type]
        document = kind.view(resource, expand)
        head = {
            "name": resource.name,
            "id": str(resource.id),
            "type": kind.name,
            "location": resource.location,
        }
        if kind.etag_in_body:
            head["etag"] = resource.etag
        return {**head, **document}

    def get_resource(self, id: ResourceId) -> Resource:
        """The stored resource. Raises 404 as Azure does, naming the group when that is what lacks."""
        found = self.catalog.find(id)
        if found is None:
            self.get_group(id)
            raise faults.resource_not_found(id)
        return found

    def get_group(self, id: ResourceId) -> Resource:
        group = self.catalog.find(ResourceId(id.subscription, id.group))
        if group is None:
            raise faults.group_not_found(id.group)
        return group

    def get(self, id: ResourceId, request: Request) -> Reply:
        self.get_type(id)
        resource = self.get_resource(id)
        return Reply(200, self.show(resource, request.query.get("$expand", "")), {"ETag": resource.etag})

    def check_scope(self, scope: ResourceId) -> None:
        """Raises 404 unless the subscription, group or resource is there."""
        if scope.provider:
            self.get_type(scope)
            self.get_resource(scope)
        elif scope.group:
            self.get_group(scope)
        else:
            self.subscriptions.get(scope.subscription)

    def guard(self, id: ResourceId, verb: Verb) -> None:
        """What any write or deletion demands of the places that `id` lies in. Raises 409.

        The subscription is enabled, no lock refuses it, and no resources of the group are being moved.
        """
        self.subscriptions.check_writable(self.subscriptions.get(id.subscription))
        self.locks.check(id, verb)
        group = self.catalog.find(ResourceId(id.subscription, id.group)) if id.group else None
        if group and group.state.get("moving"):
            raise AzureError(
                409,
                "ResourceGroupBeingMoved",
                f"Resources of the group '{group.name}' are being moved, so it cannot perform {verb} "
                "operations until the move has ended.",
            )

    # -- PUT and PATCH

    def put(self, id: ResourceId, request: Request) -> Reply:
        """Create or replace a resource."""
        kind = self.get_type(id)
        body = read_body(request)
        with self.db.write():
            existing = self.open_for_write(id, request)
            stored = self.store(kind, id, body, existing, request)
        stored.run()
        return self._put_reply(kind, stored, request)

    def patch(self, id: ResourceId, request: Request) -> Reply:
        """Change what the type lets PATCH change: tags, or any member (merged)."""
        kind = self.get_type(id)
        body = read_body(request)
        other = [name for name in body if name.lower() not in ("tags", *map(str.lower, READ_ONLY_MEMBERS))]
        if kind.patch == "tags" and other:
            raise faults.unsupported(f"Changing '{other[0]}' of '{kind.name}' by PATCH", target=other[0])
        with self.db.write():
            existing = self.open_for_write(id, request)
            if existing is None:
                raise faults.resource_not_found(id)
            whole = {"location": existing.location, **existing.document}
            given = {**merged(whole, body), "tags": body.get("tags", existing.document.get("tags", {}))}
            stored = self.store(kind, id, given, existing, request)
        stored.run()
        return self._put_reply(kind, stored, request)

    def open_for_write(self, id: ResourceId, request: Request) -> Resource | None:
        """The existing resource, after all that any write demands was checked."""
        group = self.get_group(id)
        self.guard(id, "write")
        provider = self.get_type(id).provider
        self.subscriptions.check_registered(self.subscriptions.get(id.subscription), provider)
        faults.refuse_while_deleting(group)
        existing = self.catalog.find(id)
        check_conditions(request.headers, existing, id)
        if self.operations.find_open(id):
            raise faults.conflict()
        self.refuse_beside_parent(id)
        return existing

    def refuse_beside_parent(self, id: ResourceId) -> None:
        """Raises 409 while an operation works on a child's parent, where the child's type says so."""
        kind = self.types.get(id.type.lower())
        if kind and not kind.beside_parent and self.operations.find_open(id.parent):
            raise faults.conflict()

    def store(
        self, kind: ResourceType, id: ResourceId, body: Json, existing: Resource | None, request: Request
    ) -> Stored:
        """Decide and store, in the caller's transaction; what is to be run once it is committed."""
        location = self._location(kind, id, body, existing)
        put = Put(
            existing.id if existing else id,
            body,
            location,
            existing,
            request.api_version,
            self.catalog,
            partial=request.method == "PATCH",
        )
        change = self._with_tags(kind, kind.parse(put), body)
        for companion in change.companions:
            self.catalog.save(companion)
        working = kind.style.creating if existing is None else "Updating"
        now = "Succeeded" if kind.apply is None else working
        resource = self.catalog.save(self._resource(put, change).with_properties(provisioningState=now))
        if kind.apply is not None and self.operations.any_open(self.catalog.coupled(resource.id)):
            raise faults.conflict()
        operation = self.operations.record(resource.id, "put", done=kind.apply is None)
        new = existing is None
        shown = resource.with_properties(provisioningState=working)
        if kind.apply is None:
            return Stored(shown, operation, new, lambda: kind.changed(resource))
        return Stored(shown, operation, new, lambda: self.submit_put(kind, operation, resource.id, new))

    def _location(self, kind: ResourceType, id: ResourceId, body: Json, existing: Resource | None) -> str:
        given = body.get("location")
        if given is None and existing:
            return existing.location
        if not given or not isinstance(given, str):
            raise AzureError(
                400, "LocationRequired", "The location property is required for this definition."
            )
        location = self.locations.normalize(given)
        if not self.locations.known(location):
            raise AzureError(
                400,
                "LocationNotAvailableForResourceType",
                f"The provided location '{given}' is not available for resource type '{kind.name}'. List of "
                f"available regions for the resource type is '{','.join(self.locations.names())}'.",
            )
        if existing and existing.location != location:
            raise faults.other_region(id.name, kind.name, id.group, existing.location, location)
        return location

    @staticmethod
    def _with_tags(kind: ResourceType, change: Change, body: Json) -> Change:
        found = tags(body, kind.name)
        document = {name: value for name, value in change.document.items() if name != "location"}
        return replace(change, document={**document, **({"tags": found} if found or "tags" in body else {})})

    def _resource(self, put: Put, change: Change) -> Resource:
        if put.existing is None:
            return self.catalog.new(put.id, put.location, change.document, change.state)
        return replace(put.existing, document=change.document, state=change.state)

    def _put_reply(self, kind: ResourceType, stored: Stored, request: Request) -> Reply:
        style, resource, operation = kind.style, stored.resource, stored.operation
        status = style.created_status if stored.new else style.updated_status
        headers = {"ETag": resource.etag, **RETRY_AFTER}
        if style.async_header:
            headers["Azure-AsyncOperation"] = self.polling.url(request, kind, resource.location, operation)
        if style.location_header and status == 202:
            headers["Location"] = self.polling.url(request, kind, resource.location, operation, result=True)
        if style.notification:
            headers["Azure-AsyncNotification"] = "Enabled"
        return Reply(status, self._put_body(kind, resource, status), headers)

    def _put_body(self, kind: ResourceType, resource: Resource, status: int) -> Json | None:
        if kind.style.body == "empty" and status == 202:
            return None
        shown = self.show(resource)
        if kind.style.body == "bare" and status == 202:
            shown = {name: value for name, value in shown.items() if name not in ("id", "type")}
            shown["properties"] = {**shown["properties"], "isArmResource": True}
        return shown

    def submit_put(
        self, kind: ResourceType, operation: str, id: ResourceId, first: bool, resumed: bool = False
    ) -> None:
        def body(work: Work) -> None:
            resource = self.catalog.find(id)
            if resource is None or kind.apply is None:
                raise faults.resource_not_found(id)
            applied.append(kind.apply(resource, work))

        def finish(error: AzureError | None) -> None:
            resource = self.catalog.find(id)
            if resource is None or resource.provisioning_state == "Deleting":
                return
            if applied:
                resource = replace(resource, document=applied[0].document, state=applied[0].state)
            self.catalog.save(resource.with_properties(provisioningState="Failed" if error else "Succeeded"))

        applied: list[Resource] = []
        self.operations.submit(operation, body, finish, resumed=resumed, first=first)

    def refuse_coupled(self, id: ResourceId) -> None:
        """Raises 409 while an operation works on a resource that shares bytes with this one."""
        if self.operations.any_open([*self.catalog.coupled(id), *self.catalog.coupled_to(id)]):
            raise faults.conflict()


def read_body(request: Request) -> Json:
    if not isinstance(request.body, dict):
        raise faults.invalid_content("The request body must be a JSON object")
    dropped = {name.lower() for name in READ_ONLY_MEMBERS}
    given: Json = request.body
    common = ("tags", "location", "properties")
    body = {name.lower() if name.lower() in common else name: value for name, value in given.items()}
    return {
        name: without_nulls(v) for name, v in body.items() if v is not None and name.lower() not in dropped
    }
