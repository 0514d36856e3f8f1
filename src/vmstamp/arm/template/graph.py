"""A template's resources as steps: what is to be made, and what waits for what.

Loops are unrolled, conditions decided, names and types evaluated; bodies stay expressions until their turn
comes. A step
waits for what its `dependsOn` names, for what its expressions `reference` or `list`, and in a serial loop for
the batch before it. What a condition leaves out is waited for by nobody.

Document: Define the order for deploying resources; Resource iteration; Conditional deployment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from vmstamp.arm.faults import unsupported
from vmstamp.arm.shape import Json
from vmstamp.arm.template.evaluate import MAXIMUM_COPIES, copy_count, evaluate, evaluate_node
from vmstamp.arm.template.expressions import Node, calls, is_expression, parse_expression
from vmstamp.arm.template.faults import (
    HELP_RESOURCES,
    HELP_SYNTAX,
    Deferred,
    ExpressionError,
    invalid_template,
    language_failure,
)
from vmstamp.arm.template.reader import Place
from vmstamp.arm.template.scope import Scope
from vmstamp.arm.template.template import ChildName, Declared, Template
from vmstamp.arm.template.values import get_member, type_name
from vmstamp.errors import AzureError
from vmstamp.resource_id import ResourceId

DEPLOYMENTS = "microsoft.resources/deployments"
GROUPS = "microsoft.resources/resourcegroups"
# Members of a declared resource that say how it is deployed; the rest is the resource's own.
DEPLOYING = (
    "apiversion",
    "asserts",
    "comments",
    "condition",
    "copy",
    "dependson",
    "existing",
    "metadata",
    "name",
    "resourcegroup",
    "scope",
    "subscriptionid",
    "type",
)
REFERENCE_FUNCTIONS = ("reference", "references", "resourceinfo")


@dataclass(frozen=True)
class Step:
    """One resource to be made. `body` holds expressions, `preview` what is known of them beforehand."""

    key: str  # its id in lower case
    id: ResourceId
    kind: str  # as the template spells it
    api_version: str
    body: Json
    scope: Scope
    place: Place
    path: str
    symbol: str = ""
    loop: str = ""
    index: int = 0
    existing: bool = False
    deployed: bool = True  # its condition holds
    depends_on: tuple[str, ...] = ()
    preview: Json | None = None
    waits: frozenset[str] = frozenset()

    @property
    def is_deployment(self) -> bool:
        return self.kind.lower() == DEPLOYMENTS

    def information(self) -> Json:
        """What `resourceInfo` gives."""
        return {"id": str(self.id), "name": self.id.name, "type": self.kind, "apiVersion": self.api_version}


@dataclass(frozen=True)
class Graph:
    """The steps of a template, in its order; those that are left out are in `all` alone."""

    steps: tuple[Step, ...]
    all: tuple[Step, ...]

    def find(self, text: str) -> list[Step]:
        """What a text means by a resource: a symbol, a loop, an id, a type with names, or a name."""
        return find_steps(self.all, text)


def find_steps(steps: Iterable[Step], text: str) -> list[Step]:
    """The steps that a text names: the first of these readings that finds any."""
    wanted = text.lower().rstrip("/")
    if wanted.startswith("/"):
        return [step for step in steps if step.key == wanted]
    readings: tuple[Callable[[Step], Iterable[str]], ...] = (
        lambda step: (step.symbol, f"{step.symbol}[{step.index}]" if step.loop else ""),
        lambda step: (step.loop,),
        _typed_names,
        lambda step: ("/".join(step.id.names), step.id.name),
    )
    known = list(steps)
    for reading in readings:
        found = [step for step in known if wanted in (word.lower() for word in reading(step))]
        if found:
            return found
    return []


def _typed_names(step: Step) -> Iterator[str]:
    """`Namespace/type/name/child/name`, and `Namespace/type/child/name/name`."""
    pairs = [word for pair in zip(step.id.types, step.id.names, strict=True) for word in pair]
    yield "/".join((step.id.provider, *pairs))
    yield "/".join((step.kind, *step.id.names))


def make_graph(template: Template, scope: Scope, home: ResourceId) -> Graph:
    """The steps of a template that is deployed to `home`, a group or the subscription.

    Raises AzureError: InvalidTemplate with the line, or a refusal by name.
    """
    steps = [step for declared in template.resources for step in _unroll(declared, scope, home)]
    if len(steps) > MAXIMUM_COPIES:
        raise invalid_template(
            f"The number of template resources limit exceeded. Limit: '{MAXIMUM_COPIES}' and actual: "
            f"'{len(steps)}'. "
            "Please see https://aka.ms/arm-template-limits for usage details."
        )
    _check_unique(steps)
    linked = [_link(step, steps) for step in steps]
    batched = _in_batches(linked, template, scope)
    kept = tuple(step for step in batched if step.deployed)
    _check_order(kept)
    return Graph(kept, tuple(batched))


# -- from what is declared to steps


def _unroll(declared: Declared, scope: Scope, home: ResourceId) -> list[Step]:
    loop = get_member(declared.body, "copy")
    if loop is None:
        return [_make_step(declared, scope, home, "", 0)]
    if not isinstance(loop, dict) or not isinstance(get_member(loop, "name"), str):
        raise _not_valid(declared, "the copy must be an object with a 'name' and a 'count'")
    name = str(get_member(loop, "name"))
    count = _identity(declared, lambda: copy_count({"count": get_member(loop, "count")}, scope))
    return [
        _make_step(declared, replace(scope, loops={**scope.loops, name: i, "": i}), home, name, i)
        for i in range(count)
    ]


def _identity(declared: Declared, run: Callable[[], Any]) -> Any:
    """What must be known before anything is deployed. Raises AzureError with the resource's line."""
    try:
        return run()
    except Deferred:
        why = "The template function 'reference' is not expected at this location"
    except ExpressionError as error:
        why = error.message
    raise _not_valid(declared, why)


def _not_valid(declared: Declared, why: str) -> AzureError:
    line, column = declared.place
    name = get_member(declared.body, "name")
    shown = declared.symbol or (name if isinstance(name, str) else declared.path)
    return invalid_template(
        f"The template resource '{shown}' at line '{line}' and column '{column}' is not valid: {why}. "
        "Please see https://aka.ms/arm-functions for usage details.",
        line=line,
        column=column,
        path=declared.path,
    )


def _make_step(declared: Declared, scope: Scope, home: ResourceId, loop: str, index: int) -> Step:
    body = declared.body
    condition = _identity(declared, lambda: evaluate(get_member(body, "condition"), scope))
    if not isinstance(condition, bool | None):
        raise _not_valid(declared, f"the condition is of type '{type_name(condition)}', not 'Boolean'")
    kind = _text(declared, scope, "type")
    name = _identity(declared, lambda: _name(get_member(body, "name"), scope))
    existing = bool(get_member(body, "existing"))
    if get_member(body, "scope") is not None:
        what = "deployment" if kind.lower() == DEPLOYMENTS else "extension resource"
        raise unsupported(f"The {what} '{kind}' '{name}' (its property 'scope')", target=declared.path)
    id = _make_id(declared, scope, home, kind, name, existing)
    own = {key: value for key, value in body.items() if key.lower() not in DEPLOYING}
    if kind.lower() == DEPLOYMENTS and not existing and not isinstance(own.get("properties"), dict):
        raise _not_valid(declared, "the property 'properties' of a deployment must be an object")
    step = Step(
        key=id.key,
        id=id,
        kind=kind,
        api_version=_text(declared, scope, "apiVersion"),
        body=own,
        scope=scope,
        place=declared.place,
        path=declared.path,
        symbol=declared.symbol,
        loop=loop,
        index=index,
        existing=existing,
        deployed=condition is not False,
    )
    return replace(step, depends_on=_depends_on(declared, scope)) if step.deployed else step


def _text(declared: Declared, scope: Scope, member: str) -> str:
    found = _identity(declared, lambda: evaluate(get_member(declared.body, member), scope))
    if not isinstance(found, str) or not found:
        raise _not_valid(declared, f"the property '{member}' is required and must be a string")
    return found


def _name(value: Any, scope: Scope) -> str:
    if isinstance(value, ChildName):
        return f"{_name(value.parent, scope)}/{_name(value.own, scope)}"
    found = evaluate(value, scope)
    if not isinstance(found, str) or not found.strip():
        raise ExpressionError("the property 'name' is required and must be a string that is not empty")
    return found


def _make_id(
    declared: Declared, scope: Scope, home: ResourceId, kind: str, name: str, existing: bool
) -> ResourceId:
    provider, *types = kind.split("/")
    names = name.split("/")
    if not types or len(types) != len(names) or not all(types) or not all(names):
        line, column = declared.place
        raise invalid_template(
            f"The template resource '{name}' for type '{kind}' at line '{line}' and column '{column}' has "
            "incorrect "
            "segment lengths. A nested resource type must have identical number of segments as its resource "
            "name. A "
            "root resource type must have segment length one greater than its resource name. "
            f"{HELP_RESOURCES}",
            line=line,
            column=column,
            path=f"{declared.path}.type",
        )
    group = _elsewhere(declared, scope, "resourceGroup", kind, existing)
    subscription = _elsewhere(declared, scope, "subscriptionId", kind, existing)
    if not subscription:  # with one, and no group, it goes to the subscription itself
        group, subscription = group or home.group, home.subscription
    if kind.lower() == GROUPS:
        if home.group and not existing:
            raise _not_valid(declared, "a resource group cannot be deployed to a resource group")
        return ResourceId(subscription, name)
    if not group and kind.lower() != DEPLOYMENTS and not existing:
        raise _not_valid(
            declared, f"the resource type '{kind}' cannot be deployed at the subscription's scope"
        )
    return ResourceId(subscription, group, provider, tuple(types), tuple(names))


def _elsewhere(declared: Declared, scope: Scope, member: str, kind: str, existing: bool) -> str:
    value = get_member(declared.body, member)
    if value is None:
        return ""
    if kind.lower() != DEPLOYMENTS and not existing:
        raise _not_valid(declared, f"the property '{member}' is not valid for the resource type '{kind}'")
    return _text(declared, scope, member)


def _depends_on(declared: Declared, scope: Scope) -> tuple[str, ...]:
    found = _identity(declared, lambda: evaluate(get_member(declared.body, "dependsOn"), scope))
    if isinstance(found, str):
        found = [found]
    if not isinstance(found, list | None) or not all(isinstance(one, str) for one in found or ()):
        raise _not_valid(declared, "the property 'dependsOn' must be an array of strings")
    return tuple(found or ())


def _check_unique(steps: Iterable[Step]) -> None:
    seen: set[str] = set()
    for step in steps:
        if not step.deployed or step.existing:
            continue
        if step.key in seen:
            line, column = step.place
            name = "/".join(step.id.names) or step.id.name
            raise invalid_template(
                f"The resource '{step.kind}/{name}' at line '{line}' and column '{column}' is defined "
                f"multiple times in a template. {HELP_RESOURCES}",
                line=line,
                column=column,
                path=step.path,
            )
        seen.add(step.key)


# -- what waits for what


def _link(step: Step, steps: list[Step]) -> Step:
    """A step with its preview, and with what it waits for."""
    if not step.deployed:
        return step
    found: list[Step] = []
    for text in step.depends_on:
        named = find_steps(steps, text)
        if not named:
            raise invalid_template(
                f"The resource '{text}' is not defined in the template. {HELP_SYNTAX}",
                line=step.place[0],
                column=step.place[1],
                path=step.path,
            )
        found.extend(named)
    implied: list[str] = []

    def put_off(node: Node, scope: Scope) -> None:
        implied.extend(_referenced(node, scope))

    scope = replace(step.scope, partial=True, put_off=put_off)
    preview = None if step.existing else _preview(step, scope, implied)
    for text in implied:
        found.extend(one for one in find_steps(steps, text) if one.key != step.key)
    waits = frozenset(one.key for one in found if one.deployed)
    return replace(step, waits=waits, preview=preview)


def _preview(step: Step, scope: Scope, implied: list[str]) -> Json:
    """The body as far as it is known. A deployment's own template is left as it is."""
    body = dict(step.body)
    properties = body.get("properties")
    template = None
    if step.is_deployment and isinstance(properties, dict):
        template = properties.get("template")
        body["properties"] = {name: value for name, value in properties.items() if name != "template"}
        if template is not None and not is_inner(properties):
            implied.extend(_referenced_in(template, step.scope))
    try:
        found: Json = evaluate(body, scope)
    except ExpressionError as error:
        raise language_failure(f"resource '{step.id}'", error, step.place, step.path) from error
    if template is not None:
        found["properties"]["template"] = template
    return found


def is_inner(properties: Mapping[str, Any]) -> bool:
    """Whether a nested deployment's expressions see the nested template alone. A linked one's always do."""
    options = get_member(properties, "expressionEvaluationOptions") or {}
    inner = str(get_member(options, "scope") or "outer").lower() == "inner"
    return inner or get_member(properties, "template") is None


def _referenced(node: Node, scope: Scope) -> Iterator[str]:
    """What an expression asks for of deployed resources, as far as its arguments are known."""
    for call in calls(node):
        name = call.name.lower()
        if (
            call.namespace
            or not call.arguments
            or not (name in REFERENCE_FUNCTIONS or name.startswith("list"))
        ):
            continue
        try:
            text = evaluate_node(call.arguments[0], replace(scope, partial=False))
        except (ExpressionError, Deferred):
            continue
        if isinstance(text, str):
            yield text


def _referenced_in(value: Any, scope: Scope) -> Iterator[str]:
    """The same of every expression in a document; what cannot be parsed is its own template's matter."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str) and is_expression(one):
            try:
                yield from _referenced(parse_expression(one), scope)
            except ExpressionError:
                continue
        elif isinstance(one, dict):
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)


def _in_batches(steps: list[Step], template: Template, scope: Scope) -> list[Step]:
    """Serial loops: each batch waits for the one before it."""
    sizes: dict[str, int] = {}
    for declared in template.resources:
        loop = get_member(declared.body, "copy")
        if not isinstance(loop, dict) or str(get_member(loop, "mode") or "").lower() != "serial":
            continue
        size = _identity(declared, partial(evaluate, get_member(loop, "batchSize"), scope))
        size = 1 if size is None else size
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise _not_valid(declared, "the copy's 'batchSize' must be an integer of at least 1")
        sizes[declared.path] = size
    by_place = {(step.path, step.index): step.key for step in steps if step.loop and step.deployed}
    return [_after_batch(step, sizes.get(step.path), by_place) for step in steps]


def _after_batch(step: Step, size: int | None, by_place: Mapping[tuple[str, int], str]) -> Step:
    if size is None or not step.loop or step.index < size:
        return step
    start = (step.index // size - 1) * size
    before = {by_place[step.path, i] for i in range(start, start + size) if (step.path, i) in by_place}
    return replace(step, waits=step.waits | before)


def _check_order(steps: Iterable[Step]) -> None:
    """Raises InvalidTemplate when steps wait for each other in a circle."""
    waiting = {step.key: set(step.waits) for step in steps}
    ids = {step.key: step for step in steps}
    ready = [key for key, waits in waiting.items() if not waits & waiting.keys()]
    followers: dict[str, list[str]] = {}
    for key, waits in waiting.items():
        for one in waits:
            followers.setdefault(one, []).append(key)
    while ready:
        key = ready.pop()
        waiting.pop(key, None)
        for follower in followers.get(key, ()):
            if follower in waiting and not waiting[follower] & waiting.keys():
                ready.append(follower)
    if not waiting:
        return
    step = ids[min(waiting)]
    raise invalid_template(
        f"Circular dependency detected on resource: '{step.id}'. {HELP_RESOURCES}",
        line=step.place[0],
        column=step.place[1],
        path=step.path,
    )
