"""From the resources that a template declares to steps: loops unrolled, conditions decided, ids made.

Document: Resource iteration; Conditional deployment; Set scope for extension resources.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from vmstamp.arm.faults import unsupported
from vmstamp.arm.template.evaluate import copy_count, evaluate
from vmstamp.arm.template.faults import (
    HELP_FUNCTIONS,
    HELP_RESOURCES,
    Deferred,
    ExpressionError,
    NotFound,
    invalid_template,
    told_apart,
)
from vmstamp.arm.template.reader import Place, place_of
from vmstamp.arm.template.scope import Scope
from vmstamp.arm.template.step import DEPLOYING, DEPLOYMENTS, EXTENSIONS, GROUPS, Step
from vmstamp.arm.template.template import ChildName, Declared
from vmstamp.arm.template.values import get_member, type_name
from vmstamp.errors import AzureError
from vmstamp.resource_id import ResourceId, parse_resource_id


def unroll(declared: Declared, scope: Scope, home: ResourceId) -> list[Step]:
    """The steps of one declared resource: as many as its loop says. Raises AzureError."""
    loop = get_member(declared.body, "copy")
    if loop is None:
        return [_make_step(declared, scope, home, "", 0)]
    if not isinstance(loop, dict) or not isinstance(get_member(loop, "name"), str):
        raise not_valid(declared, "the copy must be an object with a 'name' and a 'count'")
    name = str(get_member(loop, "name"))
    place = place_of(declared.source, "copy")
    count = identity(
        declared,
        lambda: copy_count({"count": get_member(loop, "count")}, scope, place, f"{declared.path}.copy"),
    )
    return [
        _make_step(declared, replace(scope, loops={**scope.loops, name: i, "": i}), home, name, i)
        for i in range(count)
    ]


def identity(declared: Declared, run: Callable[[], Any]) -> Any:
    """What must be known before anything is deployed. Raises AzureError with the resource's line."""
    try:
        return run()
    except Deferred as error:
        why = error.message
    except NotFound as error:
        line, column = declared.place
        raise invalid_template(error.message, line=line, column=column, path=declared.path) from error
    except ExpressionError as error:
        if (fault := told_apart(error)) is not None:
            raise fault from error
        why = error.message
    raise not_valid(declared, why)


def not_valid(declared: Declared, why: str) -> AzureError:
    """400 that says the line of a resource, and why it cannot be."""
    line, column = declared.place
    return invalid_template(
        f"The template resource '{_shown(declared)}' at line '{line}' and column '{column}' is not valid: "
        f"{why}. {HELP_FUNCTIONS}",
        line=line,
        column=column,
        path=declared.path,
    )


def _shown(declared: Declared) -> str:
    name = get_member(declared.body, "name")
    return declared.symbol or (name if isinstance(name, str) else declared.path)


def without_scope(name: str, place: Place, path: str) -> AzureError:
    """400 for a `scope` of what cannot lie on another resource."""
    line, column = place
    return invalid_template(
        f"The template resource '{name}' at line '{line}' and column '{column}' is invalid. 'Scope' property "
        f"is not supported. {HELP_RESOURCES}",
        line=line,
        column=column,
        path=path,
    )


def _make_step(declared: Declared, scope: Scope, home: ResourceId, loop: str, index: int) -> Step:
    body = declared.body
    condition = identity(declared, lambda: evaluate(get_member(body, "condition"), scope))
    if not isinstance(condition, bool | None):
        raise not_valid(declared, f"the condition is of type '{type_name(condition)}', not 'Boolean'")
    kind = _text(declared, scope, "type")
    name = identity(declared, lambda: _name(get_member(body, "name"), scope))
    existing = bool(get_member(body, "existing"))
    if get_member(body, "scope") is not None and kind.lower() == DEPLOYMENTS:
        raise unsupported(f"The deployment '{kind}' '{name}' (its property 'scope')", target=declared.path)
    id = _make_id(declared, scope, home, kind, name, existing)
    own = {key: value for key, value in body.items() if key.lower() not in DEPLOYING}
    if kind.lower() == DEPLOYMENTS and not existing and not isinstance(own.get("properties"), dict):
        raise not_valid(declared, "the property 'properties' of a deployment must be an object")
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
    found = identity(declared, lambda: evaluate(get_member(declared.body, member), scope))
    if not isinstance(found, str) or not found:
        raise not_valid(declared, f"the property '{member}' is required and must be a string")
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
        line, column = place_of(declared.source, "type")
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
            raise not_valid(declared, "a resource group cannot be deployed to a resource group")
        return ResourceId(subscription, name)
    if get_member(declared.body, "scope") is not None or kind.lower() in EXTENSIONS:
        return _make_extension_id(declared, scope, ResourceId(subscription, group), kind, names)
    if not group and kind.lower() != DEPLOYMENTS and not existing:
        raise not_valid(
            declared, f"the resource type '{kind}' cannot be deployed at the subscription's scope"
        )
    return ResourceId(subscription, group, provider, tuple(types), tuple(names))


def _make_extension_id(
    declared: Declared, scope: Scope, home: ResourceId, kind: str, names: list[str]
) -> ResourceId:
    """The id of what lies on another resource, by its `scope`; without one on what is deployed to."""
    given = identity(declared, lambda: evaluate(get_member(declared.body, "scope"), scope))
    text = given.strip("/") if isinstance(given, str) else ""
    if given is not None and not isinstance(given, str):
        raise not_valid(declared, f"the scope is of type '{type_name(given)}', not 'String'")
    whole = f"/{text}" if text.lower().startswith("subscriptions/") else f"{home}/providers/{text}"
    try:
        on = parse_resource_id(whole) if text else home
    except ValueError:
        raise not_valid(declared, f"the scope '{given}' is no resource's id") from None
    provider, *types = kind.split("/")
    if len(types) != 1:
        raise without_scope(_shown(declared), declared.place, declared.path)
    return on.extension(provider, types[0], names[0])


def _elsewhere(declared: Declared, scope: Scope, member: str, kind: str, existing: bool) -> str:
    value = get_member(declared.body, member)
    if value is None:
        return ""
    if kind.lower() != DEPLOYMENTS and not existing:
        raise not_valid(declared, f"the property '{member}' is not valid for the resource type '{kind}'")
    return _text(declared, scope, member)


def _depends_on(declared: Declared, scope: Scope) -> tuple[str, ...]:
    found = identity(declared, lambda: evaluate(get_member(declared.body, "dependsOn"), scope))
    if isinstance(found, str):
        found = [found]
    if not isinstance(found, list | None) or not all(isinstance(one, str) for one in found or ()):
        raise not_valid(declared, "the property 'dependsOn' must be an array of strings")
    return tuple(found or ())


def check_unique(steps: Iterable[Step]) -> None:
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
