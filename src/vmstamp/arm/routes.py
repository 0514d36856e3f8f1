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
from vmstamp.arm.groups import TYPE as GROUP_TYPE
from vmstamp.arm.groups import Groups
from vmstamp.arm.shape import Json
from vmstamp.arm.template.routes import DeploymentRoutes, calculate_hash
from vmstamp.arm.types import Call, Reply, Request, ResourceType
from vmstamp.errors import AzureError
from vmstamp.resource_id import ResourceId

API_VERSION = re.compile(r"20\d\d-\d\d-\d\d(-preview|-alpha|-beta|-privatepreview)?")

# The last but one word of the URLs at which operations are polled, and whether it gives the bare result.
OPERATION_SEGMENTS = {
    "operations": False,
    "diskoperations": False,
    "asyncoperations": False,
    "operationresults": True,
}

# Types that lists over all types leave out.
UNLISTED = (GROUP_TYPE.key, "microsoft.resources/deployments")

Words = tuple[str, ...]


class Router:
    """Routes requests of one stamp's control plane. `handle` is the one entry; it raises AzureError."""

    def __init__(
        self, engine: Engine, groups: Groups, deployments: DeploymentRoutes, calls: Iterable[Call] = ()
    ) -> None:
        self._engine = engine
        self._groups = groups
        self._deployments = deployments
        self._embedded = EmbeddedResources(engine)
        self._calls = tuple(calls)

    def handle(self, request: Request) -> Reply:
        words = tuple(word for word in request.path.split("/") if word)
        if not words or words[0].lower() not in ("subscriptions", "tenants", "providers"):
            raise AzureError(404, "NotFound", f"There is nothing at '{request.path}'.")
        check_api_version(request)
        if words[0].lower() == "tenants":
            return _only("GET", request, self._tenants)
        if words[0].lower() == "providers":
            return self._in_tenant(request, words[1:])
        if len(words) == 1:
            return _only("GET", request, lambda: Reply(200, {"value": [self._subscription()]}))
        self._check_subscription(words[1])
        return self._in_subscription(request, words[2:])

    def _in_tenant(self, request: Request, words: Words) -> Reply:
        lower = tuple(word.lower() for word in words)
        if lower == ("microsoft.resources", "calculatetemplatehash"):
            return _only("POST", request, lambda: calculate_hash(request))
        if _of_deployments(words):
            raise faults.unsupported("A deployment at the tenant's scope")
        if lower[:2] == ("microsoft.management", "managementgroups"):
            raise faults.unsupported("A deployment at a management group's scope")
        return self._providers(request, words)

    def _check_subscription(self, given: str) -> None:
        if given.lower() != self._engine.settings.subscription.lower():
            raise AzureError(404, "SubscriptionNotFound", f"The subscription '{given}' could not be found.")

    def _in_subscription(self, request: Request, words: Words) -> Reply:
        subscription = self._engine.settings.subscription
        head = words[0].lower() if words else ""
        if not words:
            return _only("GET", request, lambda: Reply(200, self._subscription()))
        if head == "locations" and len(words) == 1:
            return _only("GET", request, self._locations)
        if head == "resources" and len(words) == 1:
            return _only("GET", request, lambda: self._resources(request, ""))
        if head == "operationresults" and len(words) == 2:
            return self._engine.polling.result(words[1], request)
        if head == "resourcegroups" and len(words) == 1:
            return _only("GET", request, lambda: self._groups.list_page(request, subscription))
        if head == "resourcegroups":
            return self._in_group(request, words[1], words[2:])
        if head == "providers" and _of_deployments(words[1:]):
            return self._deployments.handle(request, ResourceId(subscription), words[3:])
        if head == "providers" and len(words) > 1 and not _is_registration(words):
            return self._below_provider(request, ResourceId(subscription), words[1], words[2:])
        if head == "providers":
            return self._providers(request, words[1:])
        raise faults.unsupported(f"The request {request.method} '{request.path}'")

    # -- resource groups and resources

    def _in_group(self, request: Request, group: str, words: Words) -> Reply:
        id = ResourceId(self._engine.settings.subscription, group)
        if not words:
            return self._group(request, id)
        if words[0].lower() == "resources" and len(words) == 1:
            self._engine.get_group(id)
            return _only("GET", request, lambda: self._resources(request, id.key))
        if words[0].lower() == "exporttemplate" and len(words) == 1:
            return _only("POST", request, lambda: self._deployments.export_group(request, id))
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

    def _resources(self, request: Request, group: str) -> Reply:
        test = parse_filter(request.query.get("$filter", ""))
        found = self._engine.catalog.select(group=group)
        shown = [self._engine.brief(r) for r in found if r.type not in UNLISTED and test(r)]
        return Reply(200, {"value": shown})

    def _below_provider(self, request: Request, scope: ResourceId, provider: str, words: Words) -> Reply:
        if not scope.group and (reply := self._at_subscription(request, provider, words)):
            return reply
        id = ResourceId(scope.subscription, scope.group, provider, words[::2], words[1::2])
        if len(words) % 2 == 0:
            return self._resource(request, id)
        below = ResourceId(scope.subscription, scope.group, provider, words[:-1:2], words[1::2])
        if request.method == "POST":
            return self._engine.act(below, words[-1], request)
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
                return self._engine.delete(id, request)
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
            return self._engine.list_page(request, type=kind.key, group=below.group_key)
        kind = self._engine.get_type(below)
        embedded = {name.lower(): property for name, property in kind.embedded.items()}
        if last.lower() in embedded:
            return self._embedded.list_page(below, embedded[last.lower()])
        child = self._engine.types.get(f"{below.type}/{last}".lower())
        if child is not None:
            self._engine.get_resource(below)
            return self._engine.list_page(request, type=child.key, scope=str(below))
        reads = {name.lower(): read for name, read in kind.reads.items()}
        if last.lower() not in reads:
            raise self._engine.unknown_type(below.provider, "/".join((*below.types, last)))
        resource = self._engine.catalog.find(below)
        if resource is None:
            raise faults.not_found()
        return Reply(200, reads[last.lower()](resource))

    # -- what describes the stamp

    def _subscription(self) -> Json:
        settings = self._engine.settings
        return {
            "id": f"/subscriptions/{settings.subscription}",
            "subscriptionId": settings.subscription,
            "tenantId": settings.tenant,
            "displayName": settings.subscription_name,
            "state": "Enabled",
            "subscriptionPolicies": {
                "locationPlacementId": "Internal_2014-09-01",
                "quotaId": "Internal_2014-09-01",
            },
            "authorizationSource": "RoleBased",
            "managedByTenants": [],
        }

    def _tenants(self) -> Reply:
        tenant = self._engine.settings.tenant
        return Reply(200, {"value": [{"id": f"/tenants/{tenant}", "tenantId": tenant}]})

    def _locations(self) -> Reply:
        locations = self._engine.locations
        value = [
            {
                "id": f"/subscriptions/{self._engine.settings.subscription}/locations/{name}",
                "name": name,
                "type": "Region",
                "displayName": locations.display_name(name),
                "regionalDisplayName": locations.display_name(name),
                "metadata": {"regionType": "Physical", "regionCategory": "Other"},
            }
            for name in locations.names()
        ]
        return Reply(200, {"value": value})

    def _providers(self, request: Request, words: Words) -> Reply:
        known = sorted({GROUP_TYPE.provider, *(t.provider for t in self._engine.types.values())})
        if not words:
            return _only("GET", request, lambda: Reply(200, {"value": [self._provider(n) for n in known]}))
        name = next((n for n in known if n.lower() == words[0].lower()), None)
        if name is None:
            raise self._engine.unknown_type(words[0], "")
        if len(words) == 1:
            return _only("GET", request, lambda: Reply(200, self._provider(name)))
        return _only("POST", request, lambda: Reply(200, self._provider(name)))

    def describe_provider(self, name: str) -> Json:
        """What `providers/NAME` shows. Raises AzureError for a provider that is not there."""
        reply = self._providers(Request("GET", f"/providers/{name}"), (name,))
        found: Json = reply.body
        return found

    def _provider(self, name: str) -> Json:
        """One provider, always registered: there is nothing to register in one stamp."""
        locations = [self._engine.locations.display_name(n) for n in self._engine.locations.names()]
        types = [t for t in self._engine.types.values() if t.provider == name]
        return {
            "id": f"/subscriptions/{self._engine.settings.subscription}/providers/{name}",
            "namespace": name,
            "registrationState": "Registered",
            "registrationPolicy": "RegistrationRequired",
            "resourceTypes": [
                {
                    "resourceType": t.name.split("/", 1)[1],
                    "locations": locations,
                    "apiVersions": sorted(t.api_versions, reverse=True),
                    "capabilities": "SupportsTags, SupportsLocation",
                }
                for t in types
            ],
        }


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
