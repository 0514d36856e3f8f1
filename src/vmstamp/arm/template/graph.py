"""A template's resources as steps: what is to be made, and what waits for what.

Names and types are evaluated; bodies stay expressions until their turn comes. A step waits for what its
`dependsOn` names, for what its expressions `reference` or `list`, and in a serial loop for the batch before
it. What a condition leaves out is waited for by nobody.

Document: Define the order for deploying resources; Resource iteration; Conditional deployment.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from vmstamp.arm.resource import Json
from vmstamp.arm.template.evaluate import MAXIMUM_COPIES, evaluate, evaluate_node
from vmstamp.arm.template.expressions import Access, Call, Node, calls, is_expression, parse_expression
from vmstamp.arm.template.faults import (
    HELP_COPY,
    HELP_RESOURCES,
    HELP_SYNTAX,
    Deferred,
    ExpressionError,
    invalid_template,
    language_failure,
)
from vmstamp.arm.template.reader import place_of
from vmstamp.arm.template.scope import Scope
from vmstamp.arm.template.step import Step, find_steps, is_inner
from vmstamp.arm.template.template import Template
from vmstamp.arm.template.unroll import check_unique, identity, unroll
from vmstamp.arm.template.values import get_member
from vmstamp.errors import AzureError
from vmstamp.resource_id import ResourceId, parse_resource_id

REFERENCE_FUNCTIONS = ("reference", "references", "resourceinfo")


@dataclass(frozen=True)
class Graph:
    """The steps of a template, in its order; those that are left out are in `all` alone."""

    steps: tuple[Step, ...]
    all: tuple[Step, ...]

    def find(self, text: str) -> list[Step]:
        """What a text means by a resource: a symbol, a loop, an id, a type with names, or a name."""
        return find_steps(self.all, text)


def make_graph(template: Template, scope: Scope, home: ResourceId, *, nested: bool = False) -> Graph:
    """The steps of a template that is deployed to `home`, a group or the subscription.

    The expressions of one that is `nested` see the resources of the template around it.
    Raises AzureError: InvalidTemplate with the line, or a refusal by name.
    """
    steps = [step for declared in template.resources for step in unroll(declared, scope, home)]
    if len(steps) > MAXIMUM_COPIES:
        raise invalid_template(
            f"The number of template resources limit exceeded. Limit: '{MAXIMUM_COPIES}' and actual: "
            f"'{len(steps)}'. "
            "Please see https://aka.ms/arm-template-limits for usage details."
        )
    check_unique(steps)
    linked = [_link(step, steps, nested) for step in steps]
    batched = _in_batches(linked, template, scope)
    kept = tuple(step for step in batched if step.deployed)
    _check_order(kept)
    return Graph(kept, tuple(batched))


def _link(step: Step, steps: list[Step], nested: bool) -> Step:
    """A step with its preview, and with what it waits for."""
    if not step.deployed:
        return step
    found: list[Step] = []
    for text in step.depends_on:
        named = find_steps(steps, text)
        if not named:
            raise _undefined(text)
        found.extend(named)
    implied: list[str] = []

    def put_off(node: Node, scope: Scope) -> None:
        implied.extend(text for _, text in _referenced(calls(node), scope))
        if not nested:
            _check_references(step, node, scope, steps)

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
        raise language_failure(f"resource '{step.id}'", error, step.place) from error
    if template is not None:
        found["properties"]["template"] = template
    return found


def _undefined(text: str) -> AzureError:
    """400 for a dependency on what the template does not have."""
    shown = _typed_name(text)
    if "/" not in shown:
        return _unknown_reference(shown)
    return invalid_template(f"The resource '{shown}' is not defined in the template. {HELP_SYNTAX}")


def _unknown_reference(name: str) -> AzureError:
    return invalid_template(
        f"The template reference '{name}' is not valid: could not find template resource or resource copy "
        "with this name. Please see https://aka.ms/arm-function-reference for usage details."
    )


def _typed_name(text: str) -> str:
    """`Namespace/type/child/name/name` of an id, as messages say it; another text as it is."""
    try:
        id = parse_resource_id(text)
    except ValueError:
        return text
    return "/".join((id.provider, *id.types, *id.names)) if id.types else text


def _check_references(step: Step, node: Node, scope: Scope, steps: Iterable[Step]) -> None:
    """Raises InvalidTemplate when `reference` is asked for what it cannot tell, as Azure does beforehand."""
    own = "/".join((step.kind, *step.id.names))
    for call, text in _referenced(_taken(node, scope), scope):
        named = find_steps(steps, text)
        if any(one.key == step.key for one in named) and not step.is_deployment:
            if call.name.lower() == "reference":
                raise invalid_template(
                    f"The template resource '{own}' cannot reference itself. Please see "
                    "https://aka.ms/arm-function-reference for usage details."
                )
            if call.name.lower().startswith("list"):
                raise _circle(step)
        if call.name.lower() != "reference" or named:
            continue
        if not text.startswith("/"):
            raise _unknown_reference(text)
        if len(call.arguments) == 1:
            raise invalid_template(
                f"The template resource '{own}' reference to '{_typed_name(text)}' requires an API version. "
                f"{HELP_SYNTAX}"
            )


def _taken(node: Node, scope: Scope) -> Iterator[Call]:
    """The calls of an expression but those in branches of `if` that are known not to be taken."""
    if isinstance(node, Access):
        for part in (node.base, *node.keys):
            yield from _taken(part, scope)
    if not isinstance(node, Call):
        return
    arguments = node.arguments
    if node.name.lower() == "if" and not node.namespace and len(arguments) == 3:
        try:
            chosen = evaluate_node(arguments[0], replace(scope, partial=False))
        except (ExpressionError, Deferred):
            chosen = None
        if isinstance(chosen, bool):
            arguments = (arguments[1 if chosen else 2],)
    yield node
    for argument in arguments:
        yield from _taken(argument, scope)


def _referenced(asked: Iterable[Call], scope: Scope) -> Iterator[tuple[Call, str]]:
    """What calls ask for of deployed resources, as far as their arguments are known."""
    for call in asked:
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
            yield call, text


def _referenced_in(value: Any, scope: Scope) -> Iterator[str]:
    """The same of every expression in a document; what cannot be parsed is its own template's matter."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str) and is_expression(one):
            try:
                yield from (text for _, text in _referenced(calls(parse_expression(one)), scope))
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
        size = identity(declared, partial(evaluate, get_member(loop, "batchSize"), scope))
        size = 1 if size is None else size
        count = sum(step.path == declared.path for step in steps)
        if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= max(count, 1):
            line, column = place_of(declared.source, "copy")
            raise invalid_template(
                f"The template 'copy' definition at line '{line}' and column '{column}' has an invalid copy "
                "batch size. The copy batch size must be a non-negative integer value and cannot exceed the "
                f"copy count '{count}'. {HELP_COPY}",
                line=line,
                column=column,
                path=f"{declared.path}.copy",
            )
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
    raise _circle(ids[min(waiting)])


def _circle(step: Step) -> AzureError:
    """Azure says no place of it."""
    message = f"Circular dependency detected on resource: '{step.id}'. {HELP_RESOURCES}"
    return AzureError(400, "InvalidTemplate", f"Deployment template validation failed: '{message}'.")
