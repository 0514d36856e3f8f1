"""The requests on proxy resources: what their own service keeps, behind all that ARM asks of a request."""

from __future__ import annotations

from vmstamp.arm import faults
from vmstamp.arm.engine import Engine, read_body
from vmstamp.arm.lists import next_link
from vmstamp.arm.locks import Verb
from vmstamp.arm.proxy_types import ProxyType
from vmstamp.arm.resource import Json, Resource
from vmstamp.arm.types import Reply, Request
from vmstamp.errors import AzureError
from vmstamp.resource_id import ResourceId


class ProxyResources:
    """The proxy resources of one stamp."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def handle(self, request: Request, id: ResourceId, kind: ProxyType) -> Reply:
        """A request at a proxy resource."""
        match request.method:
            case "GET":
                return _reply(200, kind, self._spelled(id, kind), kind.find(id))
            case "HEAD":
                return self._head(id, kind)
            case "PUT":
                return self._put(request, id, kind)
            case "PATCH" if kind.change:
                return self._patch(request, id, kind)
            case "DELETE" if kind.remove:
                return self._delete(id, kind)
        raise AzureError(
            405,
            "HttpMethodNotSupported",
            f"The method {request.method} is not supported at '{request.path}'.",
        )

    def list_page(self, request: Request, below: ResourceId, kind: ProxyType) -> Reply:
        """A page of the resources of a type below an id; `$skiptoken` is where it begins."""
        owner = self._engine.get_resource(_owner_id(below, kind))
        found = kind.page(below, request)
        value = [
            _shown(kind, _canonical(below.child(kind.words[-1], name), kind, owner), document)
            for name, document in found.items
        ]
        going_on = {"nextLink": next_link(request, found.following)} if found.following else {}
        return Reply(200, {"value": value, **going_on})

    def act(self, request: Request, id: ResourceId, kind: ProxyType, name: str) -> Reply:
        """POST an action."""
        action = next((one for one in kind.actions if one.name.lower() == name.lower()), None)
        if action is None:
            known = faults.quoted(one.name for one in kind.actions) or "none"
            raise faults.unsupported(f"The action '{name}' on '{kind.name}' (supported: {known})")
        with self._engine.db.write():
            self._check(id, kind, "write")
            return Reply(200, action.run(id, request.json))

    def exported(self, owner: Resource) -> list[tuple[ProxyType, ResourceId, Json]]:
        """What a template would say of the proxy resources that belong to a resource."""
        return [
            (kind, id, document)
            for kind in self._engine.proxies.values()
            if kind.owner.lower() == owner.type
            for id, document in kind.exported(owner.id)
        ]

    # -- one request

    def _head(self, id: ResourceId, kind: ProxyType) -> Reply:
        try:
            self._spelled(id, kind)
            kind.find(id)
        except AzureError as error:
            if error.status != 404:
                raise
            return Reply(404)
        return Reply(204)

    def _put(self, request: Request, id: ResourceId, kind: ProxyType) -> Reply:
        body = kind.parse(read_body(request))
        with self._engine.db.write():
            owner = self._check(id, kind, "write")
            document, new = kind.put(id, body, owner)
        return _reply(201 if new else 200, kind, _canonical(id, kind, owner), document)

    def _patch(self, request: Request, id: ResourceId, kind: ProxyType) -> Reply:
        assert kind.change
        body = kind.parse(read_body(request))
        with self._engine.db.write():
            owner = self._check(id, kind, "write")
            document = kind.change(id, body, owner)
        return _reply(200, kind, _canonical(id, kind, owner), document)

    def _delete(self, id: ResourceId, kind: ProxyType) -> Reply:
        assert kind.remove

        def check() -> None:
            self._check(id, kind, "delete")

        self._spelled(id, kind)
        return Reply(200 if kind.remove(id, check) else 204)

    # -- whom it belongs to

    def _spelled(self, id: ResourceId, kind: ProxyType) -> ResourceId:
        """The id as it is shown. Raises 404 when there is no owner."""
        return _canonical(id, kind, self._engine.get_resource(_owner_id(id, kind)))

    def _check(self, id: ResourceId, kind: ProxyType, verb: Verb) -> Resource:
        """The owner, after all that a change of what belongs to it demands was checked. In a transaction."""
        engine = self._engine
        group = engine.get_group(id)
        engine.guard(id, verb)
        engine.subscriptions.check_registered(engine.subscriptions.get(id.subscription), kind.provider)
        if verb == "write":
            faults.refuse_while_deleting(group)
        owner = engine.catalog.find(_owner_id(id, kind))
        if owner is None:
            raise faults.parent_not_found(id, _owner_id(id, kind))
        if engine.operations.find_open(owner.id):
            raise faults.conflict()
        return owner


def _owner_id(id: ResourceId, kind: ProxyType) -> ResourceId:
    depth = kind.owner.count("/")
    return ResourceId(id.subscription, id.group, id.provider, id.types[:depth], id.names[:depth])


def _canonical(id: ResourceId, kind: ProxyType, owner: Resource) -> ResourceId:
    """The id with its owner's and its type's spelling."""
    names = (*owner.id.names, *id.names[len(owner.id.names) :])
    return ResourceId(owner.id.subscription, owner.id.group, kind.provider, kind.words, names)


def _shown(kind: ProxyType, id: ResourceId, document: Json) -> Json:
    return {"id": str(id), "name": id.name, "type": kind.name, **document}


def _reply(status: int, kind: ProxyType, id: ResourceId, document: Json) -> Reply:
    headers = {"ETag": document["etag"]} if "etag" in document else {}
    return Reply(status, _shown(kind, id, document), headers)
