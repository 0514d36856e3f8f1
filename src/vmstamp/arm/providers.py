"""Resource providers: what each offers, whether a subscription is registered with it, what it does.

A subscription is registered with all of them from the start; it may leave one of whose types it has no
resources, and writes nothing of it until it is registered again. REST: Providers, 2021-04-01; Provider
Operations Metadata, 2022-04-01.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from vmstamp.arm import faults
from vmstamp.arm.engine import Engine
from vmstamp.arm.groups import TYPE as GROUP_TYPE
from vmstamp.arm.proxy_types import ProxyType
from vmstamp.arm.resource import Json, Resource
from vmstamp.arm.types import Reply, Request, ResourceType
from vmstamp.errors import AzureError
from vmstamp.resource_id import ResourceId

OPERATIONS: Final = "Microsoft.Authorization/providerOperations"
# With these every subscription is registered for good.
FREE: Final = ("Microsoft.Authorization", "Microsoft.Resources")
VERBS: Final = {"read": "Read", "write": "Create or update", "delete": "Delete"}


class Providers:
    """The providers of one stamp, as a subscription sees them."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._subscriptions = engine.subscriptions

    def list_page(self, subscription: Resource) -> Reply:
        return Reply(200, {"value": [self._show(name, subscription) for name in self._names()]})

    def get(self, name: str, subscription: Resource) -> Reply:
        return Reply(200, self._show(self._known(name), subscription))

    def describe(self, name: str) -> Json:
        """What `providers/NAME` shows in the stamp's own subscription. Raises 404 when it is not there."""
        own = self._subscriptions.get(self._engine.settings.subscription)
        return self._show(self._known(name), own)

    def act(self, name: str, action: str, id: ResourceId) -> Reply:
        """POST register or unregister of a subscription."""
        namespace = self._known(name)
        wanted = action.lower() == "register"
        with self._engine.db.write():
            subscription = self._subscriptions.get(id.subscription)
            self._subscriptions.check_writable(subscription)
            if not wanted:
                self._check_unused(namespace, subscription)
            saved = self._subscriptions.set_registered(subscription, namespace, wanted)
        return Reply(200, self._show(namespace, saved))

    def _check_unused(self, namespace: str, subscription: Resource) -> None:
        if namespace in FREE:
            raise faults.unsupported(f"Unregistering from '{namespace}', which needs no registration,")
        used = (
            str(one.id)
            for kind in self._types(namespace)
            for one in self._engine.catalog.select(type=kind.name, scope=str(subscription.id))
        )
        if (first := next(used, None)) is not None:
            raise AzureError(
                409,
                "Conflict",
                f"The subscription cannot be unregistered from the namespace '{namespace}' because it has "
                f"resources of it, '{first}' for one. Delete them first.",
            )

    def _names(self) -> list[str]:
        return sorted({GROUP_TYPE.provider, *(kind.provider for kind in self._engine.types.values())})

    def _known(self, given: str) -> str:
        """A namespace as Azure spells it. Raises AzureError (404)."""
        found = next((name for name in self._names() if name.lower() == given.lower()), None)
        if found is None:
            raise self._engine.unknown_type(given, "")
        return found

    def _types(self, namespace: str) -> list[ResourceType]:
        return [kind for kind in self._engine.types.values() if kind.provider == namespace]

    def _proxies(self, namespace: str) -> list[ProxyType]:
        return [kind for kind in self._engine.proxies.values() if kind.provider == namespace]

    def _show(self, name: str, subscription: Resource) -> Json:
        locations = [self._engine.locations.display_name(n) for n in self._engine.locations.names()]
        registered = self._subscriptions.is_registered(subscription, name)
        return {
            "id": f"{subscription.id}/providers/{name}",
            "namespace": name,
            "registrationState": "Registered" if registered else "Unregistered",
            "registrationPolicy": "RegistrationFree" if name in FREE else "RegistrationRequired",
            "resourceTypes": [
                {
                    "resourceType": kind.name.split("/", 1)[1],
                    "locations": locations,
                    "apiVersions": sorted(kind.api_versions, reverse=True),
                    "capabilities": "SupportsTags, SupportsLocation",
                }
                for kind in self._types(name)
            ]
            + [
                {
                    "resourceType": "/".join(kind.words),
                    "locations": locations,
                    "apiVersions": sorted(kind.api_versions, reverse=True),
                    "capabilities": "None",
                }
                for kind in self._proxies(name)
            ],
        }

    # -- what may be done

    def operations(self, words: tuple[str, ...], request: Request) -> Reply:
        """GET of the operations of every provider, or of the one that `words` name."""
        expand = request.query.get("$expand", "resourceTypes").lower() == "resourcetypes"
        if not words:
            return Reply(200, {"value": [self._operations(name, expand) for name in self._names()]})
        if len(words) > 1:
            raise faults.unsupported(f"The request {request.method} '{request.path}'")
        return Reply(200, self._operations(self._known(words[0]), expand))

    def _operations(self, namespace: str, expand: bool) -> Json:
        kinds: list[ResourceType | ProxyType] = [*self._types(namespace), *self._proxies(namespace)]
        if namespace == GROUP_TYPE.provider:
            kinds = [GROUP_TYPE, *kinds]
        types = [
            {
                "name": kind.name.split("/", 1)[1],
                "displayName": kind.name.split("/", 1)[1],
                "operations": [_operation(kind, verb, text) for verb, text in _verbs(kind)],
            }
            for kind in kinds
        ]
        return {
            "id": f"/providers/{OPERATIONS}/{namespace}",
            "name": namespace,
            "type": OPERATIONS,
            "displayName": namespace,
            "resourceTypes": types if expand else [],
            "operations": [
                {
                    "name": f"{namespace}/{verb}/action",
                    "displayName": f"{verb.capitalize()} the subscription",
                    "description": f"{verb.capitalize()} the subscription",
                    "isDataAction": False,
                }
                for verb in ("register", "unregister")
            ],
        }


def _verbs(kind: ResourceType | ProxyType) -> Iterator[tuple[str, str]]:
    """What may be done with resources of a type: the end of the operation's name, and words for people."""
    yield from VERBS.items()
    for name in kind.reads if isinstance(kind, ResourceType) else ():
        yield f"{name}/read", f"Read {name}"
    for action in kind.actions:
        yield f"{action.name}/action", f"Do {action.name}"


def _operation(kind: ResourceType | ProxyType, verb: str, text: str) -> Json:
    words = f"{text}: {kind.name}"
    return {
        "name": f"{kind.name}/{verb}",
        "displayName": words,
        "description": words,
        "isDataAction": False,
    }
