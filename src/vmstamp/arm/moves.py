"""Moving resources to another group, of the same subscription or another: moveResources,
validateMoveResources.

Only ids change: a move rewrites them in the resources, in what lies below these and in all that refers to
them, in one transaction. So it has happened or not, whenever the server dies, and a running VM runs on. Both
groups take no writes from the acceptance of a move until its end. REST: Resources - Move Resources,
2021-04-01.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from vmstamp.arm import faults
from vmstamp.arm.engine import Engine
from vmstamp.arm.operations import Operation
from vmstamp.arm.polling import MOVE, RETRY_AFTER, VALIDATE_MOVE
from vmstamp.arm.resource import Json, Resource
from vmstamp.arm.shape import clean
from vmstamp.arm.types import Reply, Request, Work
from vmstamp.errors import AzureError, Detail
from vmstamp.resource_id import ResourceId, parse_resource_id

SHAPE: Final = {"resources": [str], "targetResourceGroup": str}
MAXIMUM: Final = 800  # resources of one move
DEPLOYMENTS: Final = "microsoft.resources/deployments"  # the history of a group stays with it, as it is

# The references whose two ends go together: to any other group, and to another subscription.
TOGETHER: Final = frozenset({"disk"})
TOGETHER_ABROAD: Final = TOGETHER | {"interface", "subnet", "public address", "security group"}

WORDS_OF_ID: Final = 8  # of a resource that is no child: subscriptions/S/resourceGroups/G/providers/P/T/N


@dataclass(frozen=True)
class Move:
    """What is asked: the resources by id, and the group that they go to."""

    resources: tuple[ResourceId, ...]
    source: ResourceId
    target: ResourceId

    @property
    def renamed(self) -> dict[str, str]:
        """New ids by old ones in lower case."""
        return {id.key: str(self.moved(id)) for id in self.resources}

    def moved(self, id: ResourceId) -> ResourceId:
        return replace(id, subscription=self.target.subscription, group=self.target.group)


def with_new_ids(value: Any, renamed: Mapping[str, str]) -> Any:
    """A JSON value with every id of a renamed resource, or of a part of one, rewritten."""
    if isinstance(value, dict):
        return {name: with_new_ids(item, renamed) for name, item in value.items()}
    if isinstance(value, list):
        return [with_new_ids(item, renamed) for item in value]
    if isinstance(value, str) and value[:15].lower() == "/subscriptions/":
        words = value.split("/")
        new = renamed.get("/".join(words[: WORDS_OF_ID + 1]).lower())
        return value if new is None else "/".join((new, *words[WORDS_OF_ID + 1 :]))
    return value


class Moves:
    """The moves between the groups of one stamp."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._catalog = engine.catalog

    def move(self, request: Request, source: ResourceId) -> Reply:
        """POST moveResources on a group."""
        with self._engine.db.write():
            asked = self._read(request, source)
            self._check(asked)
            operation = self._engine.operations.record(source, MOVE, input=_stored(asked))
            self._mark(asked, operation)
        self._submit(operation, asked)
        return _accepted(request, operation)

    def validate(self, request: Request, source: ResourceId) -> Reply:
        """POST validateMoveResources on a group: what a move would be told, at the Location."""
        operations = self._engine.operations
        with self._engine.db.write():
            asked = self._read(request, source)
            operation = operations.record(source, VALIDATE_MOVE, input=_stored(asked))
            try:
                self._check(asked)
            except AzureError as error:
                operations.end(operation, error=error)
            else:
                operations.end(operation)
        return _accepted(request, operation)

    def resume(self, operation: Operation) -> None:
        """Take up a move that a crash interrupted."""
        ids = tuple(map(parse_resource_id, operation.input["resources"]))
        target = parse_resource_id(operation.input["target"])
        self._submit(operation.id, Move(ids, operation.resource, target), resumed=True)

    # -- what may be moved

    def _read(self, request: Request, source: ResourceId) -> Move:
        """The request understood; both groups and all resources are there. Raises AzureError."""
        self._engine.get_group(source)
        body = clean(request.body, SHAPE)
        given, target = body.get("resources", []), body.get("targetResourceGroup")
        if not given:
            raise faults.missing_parameter("resources")
        if not target:
            raise faults.missing_parameter("targetResourceGroup")
        if len(given) > MAXIMUM:
            raise faults.invalid_parameter(f"At most {MAXIMUM} resources are moved at once.", "resources")
        into = _parse(target, "targetResourceGroup")
        if into.provider or not into.group:
            raise faults.invalid_property_id(target, "targetResourceGroup")
        self._engine.subscriptions.get(into.subscription, request.tenant)
        group = self._engine.get_group(into).id
        if group.key == source.key:
            raise faults.invalid_parameter(
                "The source and the target resource group of a move must differ.", "targetResourceGroup"
            )
        found = {}
        for text in given:
            id = _parse(text, "resources")
            if id.group_key != source.key or len(id.types) != 1:
                raise faults.invalid_parameter(
                    f"The resource '{text}' cannot be moved: it is no resource of its own in the "
                    f"resource group '{source.group}'.",
                    "resources",
                )
            self._engine.get_type(id)
            found[id.key] = self._engine.get_resource(id).id
        return Move(tuple(found.values()), source, group)

    def _check(self, asked: Move) -> None:
        """Raises AzureError unless the move can be done now."""
        for group in (asked.source, asked.target):
            faults.refuse_while_deleting(self._engine.get_group(group))
        target = self._engine.subscriptions.get(asked.target.subscription)
        for id in (asked.source, asked.target, *asked.resources):
            self._engine.guard(id, "write")
            self._engine.subscriptions.check_registered(target, id.provider)
            if id.provider and self._catalog.find(asked.moved(id)):
                raise AzureError(
                    409,
                    "ResourceMoveConflict",
                    f"The resource '{id.name}' of type '{id.type}' exists already in the resource group "
                    f"'{asked.target.group}'.",
                )
        for resource in (*self._moving(asked), *self._affected(asked)):
            if self._engine.operations.find_open(resource.id):
                raise faults.conflict()
        problems = [problem for id in asked.resources for problem in self._problems(asked, id)]
        if problems:
            raise _refused(asked, problems)

    def _problems(self, asked: Move, id: ResourceId) -> Iterable[tuple[ResourceId, Json]]:
        """What keeps one resource from being moved, each with its resource."""
        resource = self._engine.get_resource(id)
        if str(resource.state.get("access until", "")) > self._catalog.now():
            yield (
                id,
                {
                    "code": "OperationNotAllowed",
                    "target": str(id),
                    "message": "There is an active shared access signature outstanding for disk "
                    f"{id.name}. Call EndGetAccess before moving the disk.",
                },
            )
        for missing in self._missing(asked, resource):
            yield (
                id,
                {
                    "code": "MissingMoveDependentResources",
                    "target": str(missing),
                    "message": "The move resources request does not contain all the dependent resources. "
                    "Please check error details for missing resource ids.",
                },
            )

    def _missing(self, asked: Move, resource: Resource) -> list[ResourceId]:
        """What must go along with a resource and does not."""
        abroad = asked.source.subscription.lower() != asked.target.subscription.lower()
        kinds = TOGETHER_ABROAD if abroad else TOGETHER
        users = [r.source for r in self._catalog.referrers_within(resource.id) if r.kind in kinds]
        references = self._engine.types[resource.type].references(resource)
        used = [_whole(r.target) for r in references if r.kind in kinds]
        going = {id.key for id in asked.resources}
        others = [self._catalog.find(id) for id in [*map(str, users), *used]]
        missing = {one.id.key: one.id for one in others if one is not None and one.id.key not in going}
        return [missing[key] for key in sorted(missing)]

    # -- doing it

    def _mark(self, asked: Move, operation: str) -> None:
        for id in (asked.source, asked.target):
            self._catalog.save(self._engine.get_group(id).with_state(moving=operation))

    def _submit(self, operation: str, asked: Move, *, resumed: bool = False) -> None:
        def body(work: Work) -> None:
            with self._engine.db.write():
                self._rename(asked)

        def finish(error: AzureError | None) -> None:
            for id in (asked.source, asked.target):
                group = self._catalog.find(id)
                if group and group.state.get("moving") == operation:
                    left = {name: value for name, value in group.state.items() if name != "moving"}
                    self._catalog.save(replace(group, state=left))

        self._engine.operations.submit(operation, body, finish, resumed=resumed)

    def _moving(self, asked: Move) -> list[Resource]:
        """The rows that move: the resources with their children and what lies on these."""
        whole = [self._catalog.find(id) for id in asked.resources]
        below = [r for id in asked.resources for r in self._catalog.select(scope=str(id))]
        return [one for one in (*whole, *below) if one is not None]

    def _affected(self, asked: Move) -> list[Resource]:
        """The rows that stay and name something that moves."""
        renamed, going = asked.renamed, {one.id.key for one in self._moving(asked)}
        return [
            one
            for one in self._catalog.naming(f"{asked.source.key}/providers/")
            if one.id.key not in going
            and one.type != DEPLOYMENTS
            and with_new_ids([one.document, one.state], renamed) != [one.document, one.state]
        ]

    def _rename(self, asked: Move) -> None:
        """Give all their new ids, in the caller's transaction. Nothing is left to do when it was done
        before."""
        renamed, moving, affected = asked.renamed, self._moving(asked), self._affected(asked)
        for one in moving:
            self._catalog.delete(one.id)
        for one in (*moving, *affected):
            self._catalog.save(
                replace(
                    one,
                    id=parse_resource_id(with_new_ids(str(one.id), renamed)),
                    document=with_new_ids(one.document, renamed),
                    state=with_new_ids(one.state, renamed),
                )
            )


def _parse(text: str, path: str) -> ResourceId:
    try:
        return parse_resource_id(text)
    except ValueError as error:
        raise faults.invalid_property_id(text, path) from error


def _whole(target: str) -> str:
    """The id of the resource that a reference's target is, or is a part of."""
    return "/".join(target.split("/")[: WORDS_OF_ID + 1])


def _stored(asked: Move) -> Json:
    return {"resources": list(map(str, asked.resources)), "target": str(asked.target)}


def _accepted(request: Request, operation: str) -> Reply:
    url = f"{request.base}/subscriptions/{request.subscription}/operationresults/{operation}"
    return Reply(202, None, {"Location": f"{url}?api-version={request.api_version}", **RETRY_AFTER})


def _refused(asked: Move, problems: list[tuple[ResourceId, Json]]) -> AzureError:
    """The providers' refusals: per type a detail whose message is an error in JSON, as Azure nests it."""
    by_type: dict[str, list[Json]] = {}
    for id, problem in problems:
        by_type.setdefault(id.type, []).append(problem)
    details = []
    for kind, found in by_type.items():
        inner = {"code": found[0]["code"], "message": found[0]["message"], "details": found}
        details.append(Detail("ResourceMoveProviderValidationFailed", json.dumps({"error": inner}), kind))
    return AzureError(
        409,
        "ResourceMoveProviderValidationFailed",
        "Resource move validation failed. Please see details. Diagnostic information: subscription id "
        f"'{asked.source.subscription}'.",
        details=details,
    )
