"""Which request means what: paths of ARM to the engine's functions.

Paths are matched without case; double and trailing slashes do not count. Everything below
`/subscriptions` wants an api-version, and any date is taken: clients differ, and what a version changes
is decided where it matters.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from vmstamp.arm import faults
from vmstamp.arm.embedded import EmbeddedResources
from vmstamp.arm.engine import Engine
from vmstamp.arm.filters import parse_filter
from vmstamp.arm.groups import Groups
from vmstamp.arm.lists import Lists
from vmstamp.arm.locks import NAME as LOCKS
from vmstamp.arm.providers import OPERATIONS, Providers
from vmstamp.arm.proxies import ProxyResources
from vmstamp.arm.resource import Json, Resource
from vmstamp.arm.subscriptions import PROVIDER as SUBSCRIPTION_PROVIDER
from vmstamp.arm.subscriptions import show as show_subscription
from vmstamp.arm.tags import NAME as TAGS
from vmstamp.arm.tags import TagRoutes
from vmstamp.arm.template.routes import DeploymentRoutes, calculate_hash
from vmstamp.arm.types import Call, Reply, Request, ResourceType
from vmstamp.errors import AzureError
from vmstamp.resource_id import ResourceId, parse_resource_id

API_VERSION = re.compile(r"20\d\d-\d\d-\d\d(-preview|-alpha|-beta|-privatepreview)?")

# The last but one word of the URLs at which operations are polled, and whether it gives the bare result.
OPERATION_SEGMENTS = {
    "operations": False,
    "diskoperations": False,
    "capsoperations": False,
    "asyncoperations": False,
    "operationresults": True,
}

Words = tuple[str, ...]
Extension = Callable[[Request, ResourceId, Words], Reply]


class Router:
    """Routes requests of one stamp's control plane. `handle` is the one entry; it raises AzureError."""

    def __init__(
        self, engine: Engine, groups: Groups, deployments: DeploymentRoutes, calls: Iterable[Call] = ()
    ) -> None:
        self._engine = engine
        self._groups = groups
        self._deployments = deployments
        self._embedded = EmbeddedResources(engine)
        self._proxies = ProxyResources(engine)
        self._calls = tuple(calls)
        self._lists = Lists(engine)
        self._providers = Providers(engine)
        self._subscriptions = engine.subscriptions
        self._tags = TagRoutes(engine)
        # What may lie on a subscription, a group or a resource, by namespace and type.
        self._extensions: dict[str, Extension] = {
            LOCKS.lower(): engine.locks.handle,
            TAGS.lower(): self._tags.handle,
        }

    def handle(self, request: Request) -> Reply:
        words = tuple(word for word in request.path.split("/") if word)
        if not words or words[0].lower() not in ("subscriptions", "tenants", "providers"):
            raise AzureError(404, "NotFound", f"There is nothing at '{request.path}'.")
        self._check_api_version(request, words)
        if words[0].lower() == "tenants":
            return _only("GET", request, self._subscriptions.list_tenants)
        if words[0].lower() == "providers":
            return self._in_tenant(request, words[1:])
        if len(words) == 1:
            return _only("GET", request, lambda: self._subscriptions.list_page(request))
        subscription = self._subscriptions.get(words[1], request.tenant)
        if (reply := self._on_scope(request, words)) is not None:
            return reply
        return self._in_subscription(request, subscription, words[2:])

    def _on_scope(self, request: Request, words: Words) -> Reply | None:
        """The reply of an extension resource (a lock, tags) on a scope, which must exist; else None."""
        marks = [i for i, word in enumerate(words[:-2]) if word.lower() == "providers"]
        if not marks:
            return None
        at = marks[-1]
        handle = self._extensions.get("/".join(words[at + 1 : at + 3]).lower())
        if handle is None:
            return None
        try:
            scope = parse_resource_id("/" + "/".join(words[:at]))
        except ValueError:
            raise faults.unsupported(f"The request {request.method} '{request.path}'") from None
        self._engine.check_scope(scope)
        return handle(request, scope, words[at + 3 :])

    def _check_api_version(self, request: Request, words: Words) -> None:
        """Raises 400 when the api-version is absent or no version at all; of a type, with what it has."""
        if API_VERSION.fullmatch(request.api_version) or not request.api_version:
            return check_api_version(request)
        lower = [word.lower() for word in words]
        last = len(lower) - 1 - lower[::-1].index("providers") if "providers" in lower else len(lower)
        kind = self._engine.types.get("/".join(lower[last + 1 : last + 3]))
        if kind is None:
            return check_api_version(request)
        group = ResourceId(words[1], words[3]) if lower[2] == "resourcegroups" else None
        found = self._engine.catalog.find(group) if group else None
        raise faults.no_registered_provider(
            kind.name, kind.api_versions, request.api_version, found, self._engine.locations.names()
        )

    def _in_tenant(self, request: Request, words: Words) -> Reply:
        lower = tuple(word.lower() for word in words)
        if lower == ("microsoft.resources", "calculatetemplatehash"):
            return _only("POST", request, lambda: calculate_hash(request))
        if _of_deployments(words):
            raise faults.unsupported("A deployment at the tenant's scope")
        if lower[:2] == ("microsoft.management", "managementgroups"):
            raise faults.unsupported("A deployment at a management group's scope")
        if lower[:2] == (SUBSCRIPTION_PROVIDER.lower(), "aliases"):
            return self._subscriptions.handle_alias(request, words[2:])
        if "/".join(lower[:2]) == OPERATIONS.lower():
            return _only("GET", request, lambda: self._providers.operations(words[2:], request))
        own = self._subscriptions.get(self._engine.settings.subscription)
        return _only("GET", request, lambda: self._provider(words, own))

    def _in_subscription(self, request: Request, found: Resource, words: Words) -> Reply:
        subscription = found.id.subscription
        head = words[0].lower() if words else ""
        if not words:
            return _only("GET", request, lambda: Reply(200, show_subscription(found)))
        if head == "locations" and len(words) == 1:
            return _only("GET", request, lambda: self._locations(subscription))
        if head == "resources" and len(words) == 1:
            return _only("GET", request, lambda: self._resources(request, found.id))
        if head == "tagnames":
            return self._tags.handle_names(request, found, words[1:])
        if head == "operationresults" and len(words) == 2:
            return self._engine.polling.result(words[1], request)
        if head == "resourcegroups" and len(words) == 1:
            return _only("GET", request, lambda: self._groups.list_page(request, subscription))
        if head == "resourcegroups":
            return self._in_group(request, ResourceId(subscription, words[1]), words[2:])
        if head == "providers" and _of_deployments(words[1:]):
            return self._deployments.handle(request, ResourceId(subscription), words[3:])
        if head == "providers" and len(words) == 3 and words[1].lower() == SUBSCRIPTION_PROVIDER.lower():
            return _only("POST", request, lambda: self._subscriptions.act(request, found, words[2]))
        if head == "providers" and len(words) > 1 and not _is_registration(words):
            return self._below_provider(request, ResourceId(subscription), words[1], words[2:])
        if head == "providers":
            if len(words) == 3:
                return _only("POST", request, lambda: self._providers.act(words[1], words[2], found.id))
            return _only("GET", request, lambda: self._provider(words[1:], found))
        raise faults.unsupported(f"The request {request.method} '{request.path}'")

    # -- resource groups and resources

    def _in_group(self, request: Request, id: ResourceId, words: Words) -> Reply:
        if not words:
            return self._group(request, id)
        if words[0].lower() == "resources" and len(words) == 1:
            self._engine.get_group(id)
            return _only("GET", request, lambda: self._resources(request, id))
        if words[0].lower() == "exporttemplate" and len(words) == 1:
            return _only("POST", request, lambda: self._deployments.export_group(request, id))
        if words[0].lower() == "moveresources" and len(words) == 1:
            return _only("POST", request, lambda: self._groups.moves.move(request, id))
        if words[0].lower() == "validatemoveresources" and len(words) == 1:
            return _only("POST", request, lambda: self._groups.moves.validate(request, id))
        if words[0].lower() == "deployments":
            return self._deployments.handle(request, id, words[1:])
        if words[0].lower() == "providers" and _of_deployments(words[1:]):
            return self._deployments.handle(request, id, words[3:])
        if words[0].lower() == "providers" and len(words) > 2:
            return self._below_provider(request, id, words[1], words[2:])
        raise faults.unsupported(f"The request {request.method} '{request.path}'")

    def _group(self, request: Request, id: ResourceId) -> Reply:
        match request.method:
            case "GET":
                return self._groups.get(id)
            case "HEAD":
                return self._groups.head(id)
            case "PUT":
                return self._groups.put(id, request)
            case "PATCH":
                return self._groups.patch(id, request)
            case "DELETE":
                return self._groups.delete(id, request)
        raise method_not_allowed(request)

    def _resources(self, request: Request, scope: ResourceId) -> Reply:
        return self._lists.of_all(request, scope, parse_filter(request.query.get("$filter", "")))

    def _below_provider(self, request: Request, scope: ResourceId, provider: str, words: Words) -> Reply:
        if not scope.group and (reply := self._at_subscription(request, provider, words)):
            return reply
        id = ResourceId(scope.subscription, scope.group, provider, words[::2], words[1::2])
        if len(words) % 2 == 0:
            return self._resource(request, id)
        below = ResourceId(scope.subscription, scope.group, provider, words[:-1:2], words[1::2])
        if request.method == "POST" and (proxy := self._engine.proxies.get(below.type.lower())):
            return self._proxies.act(request, below, proxy, words[-1])
        if request.method == "POST":
            return self._engine.actions.act(below, words[-1], request)
        if request.method == "GET":
            return self._collection(request, below, words[-1])
        raise method_not_allowed(request)

    def _at_subscription(self, request: Request, provider: str, words: Words) -> Reply | None:
        if len(words) == 4 and words[0].lower() == "locations" and request.method == "GET":
            bare = OPERATION_SEGMENTS.get(words[2].lower())
            if bare or (bare is not None and request.query.get("monitor", "").lower() == "true"):
                return self._engine.polling.result(words[3], request)
            if bare is not None:
                return self._engine.polling.status(words[3])
        for call in self._calls:
            if (captured := call.match(request.method, provider, words)) is not None:
                return call.run(request, captured)
        if len(words) == 1:
            return None
        raise self._engine.unknown_type(provider, "/".join(words[::2]))

    def _resource(self, request: Request, id: ResourceId) -> Reply:
        if proxy := self._engine.proxies.get(id.type.lower()):
            return self._proxies.handle(request, id, proxy)
        if embedding := self._embedded.find(id):
            return self._embedded_resource(request, id, *embedding)
        match request.method:
            case "GET":
                return self._engine.get(id, request)
            case "HEAD":
                self._engine.get_type(id)
                return Reply(204 if self._engine.catalog.find(id) else 404)
            case "PUT":
                return self._engine.put(id, request)
            case "PATCH":
                return self._engine.patch(id, request)
            case "DELETE":
                return self._engine.deletions.delete(id, request)
        raise method_not_allowed(request)

    def _embedded_resource(
        self, request: Request, id: ResourceId, parent: ResourceType, property: str
    ) -> Reply:
        match request.method:
            case "GET":
                return self._embedded.get(id, parent, property)
            case "PUT":
                return self._embedded.put(id, request, parent, property)
            case "DELETE":
                return self._embedded.delete(id, request, parent, property)
        raise method_not_allowed(request)

    def _collection(self, request: Request, below: ResourceId, last: str) -> Reply:
        if not below.types:
            kind = self._engine.get_type(ResourceId(below.subscription, "", below.provider, (last,), ("",)))
            if below.group:
                self._engine.get_group(below)
            scope = ResourceId(below.subscription, below.group)
            return self._lists.of_type(request, kind.key, scope)
        if proxy := self._engine.proxies.get("/".join((below.type, last)).lower()):
            return self._proxies.list_page(request, below, proxy)
        kind = self._engine.get_type(below)
        if nested := self._engine.types.get("/".join((below.type, last)).lower()):
            self._engine.get_group(below)
            if self._engine.catalog.find(below) is None:
                raise faults.nested_parent_not_found(below)
            return self._lists.of_type(request, nested.key, below)
        embedded = {name.lower(): property for name, property in kind.embedded.items()}
        if last.lower() in embedded:
            return self._embedded.list_page(below, embedded[last.lower()])
        reads = {name.lower(): read for name, read in kind.reads.items()}
        queries = {name.lower(): query for name, query in kind.queries.items()}
        if last.lower() not in reads and last.lower() not in queries:
            raise self._engine.unknown_type(below.provider, "/".join((*below.types, last)))
        resource = self._engine.catalog.find(below)
        if resource is None:
            raise faults.not_found()
        if query := queries.get(last.lower()):
            return Reply(200, query(resource, request))
        return Reply(200, reads[last.lower()](resource))

    # -- what describes the stamp

    def _locations(self, subscription: str) -> Reply:
        locations = self._engine.locations
        value = [
            {
                "id": f"/subscriptions/{subscription}/locations/{name}",
                "name": name,
                "type": "Region",
                "displayName": locations.display_name(name),
                "regionalDisplayName": locations.display_name(name),
                "metadata": {"regionType": "Physical", "regionCategory": "Other"},
            }
            for name in locations.names()
        ]
        return Reply(200, {"value": value})

    def _provider(self, words: Words, subscription: Resource) -> Reply:
        if len(words) > 1:
            raise self._engine.unknown_type(words[0], "/".join(words[1::2]))
        if words:
            return self._providers.get(words[0], subscription)
        return self._providers.list_page(subscription)

    def describe_provider(self, name: str) -> Json:
        """What `providers/NAME` shows. Raises AzureError for a provider that is not there."""
        return self._providers.describe(name)


def check_api_version(request: Request) -> None:
    """Raises 400 when the api-version is absent or no version at all."""
    if not request.api_version:
        raise AzureError(
            400,
            "MissingApiVersionParameter",
            "The api-version query parameter (?api-version=) is required for all requests.",
        )
    if not API_VERSION.fullmatch(request.api_version):
        raise AzureError(
            400,
            "InvalidApiVersionParameter",
            f"The api-version '{request.api_version}' is invalid. The supported versions are those of the "
            "form '2024-11-01' or '2024-11-01-preview'.",
        )


def method_not_allowed(request: Request) -> AzureError:
    return AzureError(
        405, "HttpMethodNotSupported", f"The method {request.method} is not supported at '{request.path}'."
    )


def _only(method: str, request: Request, run: Callable[[], Reply]) -> Reply:
    if request.method != method:
        raise method_not_allowed(request)
    return run()


def _of_deployments(words: Words) -> bool:
    return tuple(word.lower() for word in words[:2]) == ("microsoft.resources", "deployments")


def _is_registration(words: Words) -> bool:
    return len(words) == 2 or (len(words) == 3 and words[2].lower() in ("register", "unregister"))
