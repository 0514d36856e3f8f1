"""Tags of anything that has them: Microsoft.Resources/tags/default at a subscription, a group or a resource;
and the names and values that a subscription has set up beforehand (`tagNames`).

Names are compared without case, values with it. REST: Tags, 2021-04-01.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Final
from urllib.parse import quote

from vmstamp.arm import faults
from vmstamp.arm.engine import Engine
from vmstamp.arm.resource import Json, Resource
from vmstamp.arm.shape import READ_ONLY, OneOf, clean, tags
from vmstamp.arm.types import Reply, Request
from vmstamp.errors import AzureError
from vmstamp.resource_id import ResourceId

NAME: Final = "Microsoft.Resources/tags"
OPERATION: Final = OneOf("Merge", "Replace", "Delete")

Tags = dict[str, str]


class _Map:
    """A node of a shape: tags as they are."""

    def clean(self, value: object, path: str) -> Tags:
        return tags({"tags": value})


SHAPE: Final = {
    "operation": OPERATION,
    "properties": {"tags": _Map()},
    "id": READ_ONLY,
    "name": READ_ONLY,
    "type": READ_ONLY,
}


def changed(old: Tags, operation: str, given: Tags) -> Tags:
    """Tags after a PATCH. Delete takes a name away when its value is the one given, or none was."""
    spelled = {name.lower(): name for name in old}
    match operation:
        case "Replace":
            return dict(given)
        case "Merge":
            return {**old, **{spelled.get(name.lower(), name): value for name, value in given.items()}}
    gone = {name.lower(): value for name, value in given.items()}
    return {name: value for name, value in old.items() if gone.get(name.lower()) not in ("", value)}


class TagRoutes:
    """The requests on tags."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._catalog = engine.catalog

    def handle(self, request: Request, scope: ResourceId, words: tuple[str, ...]) -> Reply:
        """A request on `scope`'s tags; `words` are what follows `Microsoft.Resources/tags`."""
        if tuple(map(str.lower, words)) != ("default",):
            raise faults.unsupported(f"The request {request.method} '{request.path}'")
        if request.method == "GET":
            return Reply(200, _show(self._owner(scope)))
        given: Json = {} if request.method == "DELETE" else clean(request.body, SHAPE)
        named = given.get("properties", {}).get("tags", {})
        operation = self._operation(request, given)
        with self._engine.db.write():
            owner = self._owner(scope)
            self._engine.guard(owner.id, "write")
            if self._engine.operations.find_open(owner.id):
                raise faults.conflict()
            new = changed(owner.document.get("tags", {}), operation, named)
            document = {**owner.document, "tags": tags({"tags": new}, owner.type)}
            saved = self._catalog.save(replace(owner, document=document))
        return Reply(200, None if request.method == "DELETE" else _show(saved))

    @staticmethod
    def _operation(request: Request, given: Json) -> str:
        match request.method:
            case "PUT" | "DELETE":
                return "Replace"
            case "PATCH" if "operation" in given:
                return str(given["operation"])
            case "PATCH":
                raise faults.missing_parameter("operation")
        raise faults.unsupported(f"The request {request.method} '{request.path}'")

    def _owner(self, scope: ResourceId) -> Resource:
        if scope.provider:
            self._engine.get_type(scope)
            return self._engine.get_resource(scope)
        return (
            self._engine.get_group(scope)
            if scope.group
            else self._engine.subscriptions.get(scope.subscription)
        )

    # -- names that a subscription sets up

    def handle_names(self, request: Request, subscription: Resource, words: tuple[str, ...]) -> Reply:
        """A request at `tagNames[/NAME[/tagValues/VALUE]]`; `words` are what follows."""
        if len(words) == 3 and words[1].lower() != "tagvalues":
            raise faults.unsupported(f"The request {request.method} '{request.path}'")
        match request.method, len(words):
            case "GET", 0:
                return Reply(200, {"value": self._list(subscription)})
            case "PUT", 1 | 3:
                return self._add(subscription, words[0], words[2] if len(words) == 3 else None)
            case "DELETE", 1 | 3:
                return self._remove(subscription, words[0], words[2] if len(words) == 3 else None)
        raise faults.unsupported(f"The request {request.method} '{request.path}'")

    def _add(self, subscription: Resource, name: str, value: str | None) -> Reply:
        tags({"tags": {name: value or ""}})
        with self._engine.db.write():
            self._engine.guard(subscription.id, "write")
            fresh = self._engine.subscriptions.get(subscription.id.subscription)
            known: dict[str, list[str]] = fresh.state.get("tagNames", {})
            spelled = _spelled(known, name)
            if value is not None and spelled not in known:
                raise AzureError(404, "TagNotFound", f"The tag '{name}' could not be found.")
            values = known.get(spelled, [])
            new = spelled not in known or (value is not None and value not in values)
            added = [*values, value] if value is not None and value not in values else values
            self._catalog.save(fresh.with_state(tagNames={**known, spelled: added}))
        shown = next(
            one
            for one in self._list(fresh.with_state(tagNames={**known, spelled: added}))
            if one["tagName"] == spelled
        )
        if value is not None:
            shown = next(one for one in shown["values"] if one["tagValue"] == value)
        return Reply(201 if new else 200, shown)

    def _remove(self, subscription: Resource, name: str, value: str | None) -> Reply:
        """Take a name or one of its values away. A name goes with its values, unless a resource has it."""
        with self._engine.db.write():
            self._engine.guard(subscription.id, "write")
            fresh = self._engine.subscriptions.get(subscription.id.subscription)
            known: dict[str, list[str]] = fresh.state.get("tagNames", {})
            spelled = _spelled(known, name)
            if spelled not in known or (value is not None and value not in known[spelled]):
                return Reply(204)
            used = self._used(subscription.id)[spelled.lower()]
            if (value is None and used) or (value is not None and used[value]):
                what = f"tag '{name}'" if value is None else f"value '{value}' of the tag '{name}'"
                raise AzureError(
                    409, "TagInUse", f"The {what} cannot be deleted because resources or groups have it."
                )
            left = {key: [v for v in values if key != spelled or v != value] for key, values in known.items()}
            if value is None:
                del left[spelled]
            self._catalog.save(fresh.with_state(tagNames=left))
        return Reply(200)

    def _used(self, subscription: ResourceId) -> dict[str, Counter[str]]:
        """How often each value of each name (in lower case) is used in a subscription."""
        found = _Counts()
        for resource in self._catalog.select(scope=str(subscription)):
            for name, value in resource.document.get("tags", {}).items():
                found[name.lower()][value] += 1
        return found

    def _list(self, subscription: Resource) -> list[Json]:
        """Names that were set up, and those that are used."""
        used = self._used(subscription.id)
        known: dict[str, list[str]] = subscription.state.get("tagNames", {})
        names = {**{name: name for name in used}, **{name.lower(): name for name in known}}
        return [
            _show_name(subscription.id, shown, {**dict.fromkeys(known.get(shown, ()), 0), **used[key]})
            for key, shown in sorted(names.items())
        ]


class _Counts(dict[str, Counter[str]]):
    """Counters that are there, empty, for every name."""

    def __missing__(self, name: str) -> Counter[str]:
        self[name] = Counter()
        return self[name]


def _spelled(known: Iterable[str], name: str) -> str:
    """The name as it was set up first."""
    return next((one for one in known if one.lower() == name.lower()), name)


def _show(owner: Resource) -> Json:
    return {
        "id": f"{owner.id}/providers/{NAME}/default",
        "name": "default",
        "type": NAME,
        "properties": {"tags": owner.document.get("tags", {})},
    }


def _show_name(subscription: ResourceId, name: str, values: dict[str, int]) -> Json:
    id = f"{subscription}/tagNames/{quote(name)}"
    return {
        "id": id,
        "tagName": name,
        "count": {"type": "Total", "value": sum(values.values())},
        "values": [
            {
                "id": f"{id}/tagValues/{quote(value)}",
                "tagValue": value,
                "count": {"type": "Total", "value": count},
            }
            for value, count in sorted(values.items())
        ],
    }
