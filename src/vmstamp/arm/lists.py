"""Lists of resources, page by page: of one type, and over all types.

`$skiptoken` of a nextLink is the last id of the page before.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote, urlencode

from vmstamp.arm import faults
from vmstamp.arm.engine import Engine
from vmstamp.arm.resource import Json, Resource
from vmstamp.arm.types import Reply, Request
from vmstamp.errors import AzureError
from vmstamp.resource_id import ResourceId

CHUNK = 1000  # rows that a filtered list reads at once
EXPANDABLE = ("createdTime", "changedTime", "provisioningState")


def next_link(request: Request, token: str) -> str:
    """The absolute URL of the page after the one that ends with `token`."""
    query = {**request.query, "$skiptoken": token}
    return f"{request.base}{quote(request.path)}?{urlencode(query)}"


class Lists:
    """The lists of one stamp."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._catalog = engine.catalog

    def of_type(self, request: Request, type: str, scope: ResourceId) -> Reply:
        """A page of the resources of a type in a group or a subscription."""
        if text := request.query.get("$filter"):
            raise faults.unsupported(f"The filter '{text}' on this list", target="$filter")
        limit = self._page_size(request)
        after = request.query.get("$skiptoken", "")
        found = self._catalog.select(type=type, scope=str(scope), after=after, limit=limit + 1)
        shown = [resource.id for resource in found[:limit]]
        status_only = request.query.get("statusonly", "").lower() == "true"
        expand = "instanceView" if status_only else request.query.get("$expand", "")
        with self._catalog.knowing_referrers(shown):
            return _page(request, found, limit, lambda resource: self._engine.show(resource, expand))

    def of_all(self, request: Request, scope: ResourceId, test: Callable[[Resource], bool]) -> Reply:
        """A page of the resources of every type in a group or a subscription that pass a test, in brief.

        REST: Resources - List, List By Resource Group, 2021-04-01.
        """
        expand = _expand(request)
        limit = self._page_size(request)
        after = request.query.get("$skiptoken", "")
        found: list[Resource] = []
        while len(found) <= limit:
            chunk = self._catalog.select(scope=str(scope), after=after, limit=CHUNK)
            found += [r for r in chunk if self._is_listed(r) and test(r)]
            if len(chunk) < CHUNK:
                break
            after = chunk[-1].id.key
        computed = [one.id for one in found[:limit] if self._engine.types[one.type].view_of_head]
        with self._catalog.knowing_referrers(computed):
            return _page(request, found, limit, lambda resource: self._brief(resource, expand))

    def _is_listed(self, resource: Resource) -> bool:
        kind = self._engine.types.get(resource.type)
        return kind is not None and kind.listed

    def _brief(self, resource: Resource, expand: tuple[str, ...]) -> Json:
        """A resource without its properties, named with its parents, and with the times asked for."""
        kind = self._engine.types[resource.type]
        head = {
            "name": "/".join(resource.id.names) or resource.name,
            "id": str(resource.id),
            "type": kind.name,
            "location": resource.location,
        }
        shown = {**head, **(kind.view(resource, "") if kind.view_of_head else resource.document)}
        brief = {name: value for name, value in shown.items() if name not in ("properties", "etag")}
        times = {
            "createdTime": resource.created,
            "changedTime": resource.changed,
            "provisioningState": resource.provisioning_state,
        }
        return {**brief, **{name: times[name] for name in expand}}

    def _page_size(self, request: Request) -> int:
        top = request.query.get("$top", "")
        if top and not (top.isdecimal() and int(top) > 0):
            raise AzureError(
                400, "InvalidQueryParameter", f"The query parameter '$top' with value '{top}' is invalid."
            )
        return min(int(top), self._engine.settings.page_size) if top else self._engine.settings.page_size


def _page(request: Request, found: list[Resource], limit: int, show: Callable[[Resource], Json]) -> Reply:
    """The first `limit` of what was found; there is another page when more was."""
    page: Json = {"value": [show(resource) for resource in found[:limit]]}
    if len(found) > limit:
        page["nextLink"] = next_link(request, found[limit - 1].id.key)
    return Reply(200, page)


def _expand(request: Request) -> tuple[str, ...]:
    """The members that `$expand` asks for. Raises AzureError (400) that names one that is not known."""
    spelled = {name.lower(): name for name in EXPANDABLE}
    words = [word.strip() for word in request.query.get("$expand", "").split(",") if word.strip()]
    for word in words:
        if word.lower() not in spelled:
            raise faults.unsupported(f"The value '{word}' of '$expand'", target="$expand")
    return tuple(spelled[word.lower()] for word in words)
