"""Expressions and documents to values, in a scope.

`evaluate` goes through a whole document: strings that are expressions become their values, and the loops
of properties (`"copy": [...]` within an object) become arrays. Functions that look at the deployment are
here; so are those that do not evaluate all their arguments, and those that take a lambda.

Bounded: every call, item and character that a function makes is counted against the scope's budget.

Document: Template functions; Property, Variable and Output iteration.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cmp_to_key
from typing import Any

from vmstamp.arm.template import functions, identities
from vmstamp.arm.template.expressions import (
    Access,
    Call,
    Literal,
    Node,
    is_expression,
    parse_expression,
    unescape,
)
from vmstamp.arm.template.faults import HELP_COPY, HELP_FUNCTIONS, Deferred, ExpressionError
from vmstamp.arm.template.functions import MANY, array, boolean, check_count, integer, mapping, text
from vmstamp.arm.template.functions.collections import pick
from vmstamp.arm.template.functions.dates import UTC_NOW, format_moment
from vmstamp.arm.template.scope import Scope, find_loop, known, text_arguments
from vmstamp.arm.template.values import check_size, find_member, to_text

MAXIMUM_COPIES = 800  # of one loop, as in Azure
MAXIMUM_DEPTH = 24  # user functions and lambdas within each other; ours

Arguments = Sequence[Node]


def evaluate(value: Any, scope: Scope) -> Any:
    """A document's value. Raises ExpressionError, and Deferred unless the scope is partial."""
    try:
        found = _evaluate(value, scope)
    except RecursionError:
        raise ExpressionError("The template language expressions are nested too deeply") from None
    check_size(found)
    return found


def _evaluate(value: Any, scope: Scope) -> Any:
    if isinstance(value, str):
        return _evaluate_text(value, scope)
    if isinstance(value, list):
        return [_evaluate(item, scope) for item in value]
    if isinstance(value, dict):
        return _evaluate_object(value, scope)
    return value


def _evaluate_text(value: str, scope: Scope) -> Any:
    if not is_expression(value):
        return unescape(value)
    node = parse_expression(value)
    try:
        return evaluate_node(node, scope)
    except Deferred:
        if not scope.partial:
            raise
        scope.put_off(node, scope)
        return value


def _evaluate_object(value: Mapping[str, Any], scope: Scope) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, item in value.items():
        if name.lower() == "copy" and is_property_copy(item):
            for loop in item:
                found[text("copy", loop["name"])] = evaluate_loop(loop, scope)
        else:
            shown = _evaluate_text(name, scope) if is_expression(name) else name
            found[text("[]", shown)] = _evaluate(item, scope)
    return found


def is_property_copy(value: Any) -> bool:
    """Whether a member `copy` is the loops of its object, and no member that happens to have that name."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(one, dict) and {"name", "count", "input"} <= one.keys() for one in value)
    )


def evaluate_loop(loop: Mapping[str, Any], scope: Scope, *, unnamed: bool = False) -> list[Any]:
    """The array that a property's, variable's or output's loop makes."""
    count = copy_count(loop, scope)
    name = text("copy", loop.get("name") or "")

    def inner(index: int) -> Scope:
        loops = {**scope.loops, name: index}
        return replace(scope, loops={**loops, "": index} if unnamed else loops)

    return [_evaluate(loop.get("input"), inner(i)) for i in range(count)]


def copy_count(loop: Mapping[str, Any], scope: Scope) -> int:
    """How many times a loop runs. Raises ExpressionError."""
    count = _evaluate(loop.get("count"), scope)
    if isinstance(count, float) and count == int(count):
        count = int(count)
    if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= MAXIMUM_COPIES:
        raise ExpressionError(
            f"The copy count '{to_text(count)[:100]}' is not valid: the number of copies must be a "
            "non-negative "
            f"integer value and cannot exceed '{MAXIMUM_COPIES}'. {HELP_COPY}"
        )
    scope.budget.spend(count)
    return count


# -- expressions


def evaluate_node(node: Node, scope: Scope) -> Any:
    """The value of one expression's tree."""
    scope.budget.spend(1)
    if isinstance(node, Literal):
        return node.value
    if isinstance(node, Access):
        value = evaluate_node(node.base, scope)
        for key in node.keys:
            value = pick(value, evaluate_node(key, scope))
        return value
    return _charge(_call(node, scope), scope)


def _charge(value: Any, scope: Scope) -> Any:
    if isinstance(value, str | list | dict):
        scope.budget.spend(len(value))
    return value


def _call(node: Call, scope: Scope) -> Any:
    name = node.name.lower()
    if node.namespace:
        return _call_user_function(node, scope)
    if form := _FORMS.get(name):
        check_count(form.name, len(node.arguments), form.minimum, form.maximum)
        return form.run(scope, node.arguments)
    arguments = [evaluate_node(argument, scope) for argument in node.arguments]
    if own := _IN_SCOPE.get(name):
        check_count(own.name, len(arguments), own.minimum, own.maximum)
        return own.run(scope, *arguments)
    if function := functions.find_function(name):
        return function.call(arguments)
    if name.startswith("list") and len(name) > 4:
        return _list_action(node.name, scope, arguments)
    if name in _REFUSED:
        raise ExpressionError(f"The template function '{node.name}' is not supported by this stamp")
    raise ExpressionError(f"The template function '{node.name}' is not valid. {HELP_FUNCTIONS}")


def _call_user_function(node: Call, scope: Scope) -> Any:
    full = f"{node.namespace}.{node.name}"
    function = scope.functions.get(full.lower())
    if function is None:
        raise ExpressionError(f"The template function '{full}' is not valid. {HELP_FUNCTIONS}")
    check_count(full, len(node.arguments), len(function.parameters), len(function.parameters))
    values = [evaluate_node(argument, scope) for argument in node.arguments]
    parameters = known(dict(zip(function.parameters, values, strict=True)), "parameter")
    inner = replace(
        _deeper(scope),
        parameters=parameters,
        variables=known({}, "variable"),
        loops={},
        lambdas={},
        partial=False,
    )
    return _evaluate(function.value, inner)


def _deeper(scope: Scope) -> Scope:
    if scope.depth >= MAXIMUM_DEPTH:
        raise ExpressionError(
            f"The template's functions call each other more than '{MAXIMUM_DEPTH}' levels deep"
        )
    return replace(scope, depth=scope.depth + 1)


@dataclass(frozen=True)
class _Own:
    """A function that needs the scope; `run` gets it first."""

    name: str
    minimum: int
    maximum: int
    run: Callable[..., Any]


# -- forms: what they do not need is not evaluated


def _if(scope: Scope, arguments: Arguments) -> Any:
    chosen = boolean("if", evaluate_node(arguments[0], scope))
    return evaluate_node(arguments[1 if chosen else 2], scope)


def _and(scope: Scope, arguments: Arguments) -> bool:
    return all(boolean("and", evaluate_node(argument, scope)) for argument in arguments)


def _or(scope: Scope, arguments: Arguments) -> bool:
    return any(boolean("or", evaluate_node(argument, scope)) for argument in arguments)


def _coalesce(scope: Scope, arguments: Arguments) -> Any:
    for argument in arguments:
        value = evaluate_node(argument, scope)
        if value is not None:
            return value
    return None


@dataclass(frozen=True)
class _Lambda:
    """A lambda and the scope it stands in."""

    parameters: tuple[str, ...]
    body: Node
    scope: Scope

    def __call__(self, *values: Any) -> Any:
        given = dict(zip(self.parameters, values, strict=False))
        inner = replace(_deeper(self.scope), lambdas={**self.scope.lambdas, **given})
        return evaluate_node(self.body, inner)


def _read_lambda(function: str, node: Node, scope: Scope, most: int, least: int = 1) -> _Lambda:
    if not (
        isinstance(node, Call) and node.name.lower() == "lambda" and not node.namespace and node.arguments
    ):
        raise ExpressionError(f"The template function '{function}' expects a lambda function as its argument")
    *names, body = node.arguments
    words = [name.value for name in names if isinstance(name, Literal) and isinstance(name.value, str)]
    if len(words) != len(names) or not least <= len(words) <= most:
        raise ExpressionError(
            f"The template function '{function}' expects a lambda function of '{least}' to '{most}' "
            "parameters"
        )
    return _Lambda(tuple(word.lower() for word in words), body, scope)


def _map(scope: Scope, arguments: Arguments) -> list[Any]:
    run = _read_lambda("map", arguments[1], scope, 2)
    return [run(item, i) for i, item in enumerate(array("map", evaluate_node(arguments[0], scope)))]


def _filter(scope: Scope, arguments: Arguments) -> list[Any]:
    run = _read_lambda("filter", arguments[1], scope, 2)
    items = array("filter", evaluate_node(arguments[0], scope))
    return [item for i, item in enumerate(items) if boolean("filter", run(item, i))]


def _reduce(scope: Scope, arguments: Arguments) -> Any:
    value = evaluate_node(arguments[1], scope)
    run = _read_lambda("reduce", arguments[2], scope, 3, 2)
    for i, item in enumerate(array("reduce", evaluate_node(arguments[0], scope))):
        value = run(value, item, i)
    return value


def _sort(scope: Scope, arguments: Arguments) -> list[Any]:
    before = _read_lambda("sort", arguments[1], scope, 2, 2)

    def order(left: Any, right: Any) -> int:
        if boolean("sort", before(left, right)):
            return -1
        return 1 if boolean("sort", before(right, left)) else 0

    return sorted(array("sort", evaluate_node(arguments[0], scope)), key=cmp_to_key(order))


def _to_object(scope: Scope, arguments: Arguments) -> dict[str, Any]:
    items = array("toObject", evaluate_node(arguments[0], scope))
    name = _read_lambda("toObject", arguments[1], scope, 1)
    value = _read_lambda("toObject", arguments[2], scope, 1) if len(arguments) > 2 else None
    return {text("toObject", name(item)): value(item) if value else item for item in items}


def _group_by(scope: Scope, arguments: Arguments) -> dict[str, list[Any]]:
    items = array("groupBy", evaluate_node(arguments[0], scope))
    name = _read_lambda("groupBy", arguments[1], scope, 2)
    found: dict[str, list[Any]] = {}
    for i, item in enumerate(items):
        found.setdefault(text("groupBy", name(item, i)), []).append(item)
    return found


def _map_values(scope: Scope, arguments: Arguments) -> dict[str, Any]:
    run = _read_lambda("mapValues", arguments[1], scope, 1)
    members = mapping("mapValues", evaluate_node(arguments[0], scope))
    return {name: run(value) for name, value in members.items()}


def _lambda(scope: Scope, arguments: Arguments) -> Any:
    raise ExpressionError(
        "The template function 'lambda' is not expected at this location: it is the argument of 'map', "
        "'filter' and "
        "the like"
    )


_FORMS = {
    form.name.lower(): form
    for form in (
        _Own("if", 3, 3, _if),
        _Own("and", 2, MANY, _and),
        _Own("or", 2, MANY, _or),
        _Own("coalesce", 1, MANY, _coalesce),
        _Own("map", 2, 2, _map),
        _Own("filter", 2, 2, _filter),
        _Own("reduce", 3, 3, _reduce),
        _Own("sort", 2, 2, _sort),
        _Own("toObject", 2, 3, _to_object),
        _Own("groupBy", 2, 2, _group_by),
        _Own("mapValues", 2, 2, _map_values),
        _Own("lambda", 1, MANY, _lambda),
    )
}


# -- functions that look at the deployment


def _lambda_variables(scope: Scope, name: Any) -> Any:
    key = text("lambdaVariables", name).lower()
    if key not in scope.lambdas:
        raise ExpressionError(f"The lambda variable '{name}' is not found")
    return scope.lambdas[key]


def _copy_index(scope: Scope, *arguments: Any) -> int:
    name, offset = "", 0
    match arguments:
        case [str() as name]:
            pass
        case [int() as offset]:
            pass
        case [str() as name, int() as offset]:
            pass
        case []:
            pass
        case _:
            raise ExpressionError(
                "The template function 'copyIndex' expects the name of a loop and an offset. Please see "
                "https://aka.ms/arm-copy for usage details."
            )
    return find_loop(scope.loops, name) + offset


def _moment(scope: Scope, pattern: Any = UTC_NOW) -> str:
    if scope.now is None:
        raise _only_in_defaults("utcNow")
    return format_moment(scope.now, text("utcNow", pattern))


def _new_guid(scope: Scope) -> str:
    if scope.now is None:
        raise _only_in_defaults("newGuid")
    return str(uuid.uuid4())


def _only_in_defaults(name: str) -> ExpressionError:
    return ExpressionError(
        f"The template function '{name}' is not expected at this location. The function can only be used in "
        "the "
        f"default value of a parameter. {HELP_FUNCTIONS}"
    )


def _resource_group(scope: Scope) -> Any:
    if scope.place.group is None:
        raise ExpressionError(
            "The template function 'RESOURCEGROUP' is not expected at this location. The function can only "
            "be used "
            f"in a deployment to a resource group. {HELP_FUNCTIONS}"
        )
    return scope.place.group


def _reference(scope: Scope, name: Any, api_version: Any = "", full: Any = "") -> Any:
    return scope.runtime.reference(
        text("reference", name), api_version or "", text("reference", full).lower() == "full"
    )


def _references(scope: Scope, symbol: Any, full: Any = "") -> Any:
    return scope.runtime.references(text("references", symbol), text("references", full).lower() == "full")


def _list_action(name: str, scope: Scope, arguments: Sequence[Any]) -> Any:
    check_count(name, len(arguments), 1, 3)
    words = text_arguments(name, arguments[:2])
    body = arguments[2] if len(arguments) > 2 else None
    return scope.runtime.list_action(name, words[0], words[1] if len(words) > 1 else "", body)


def _pick_zones(scope: Scope, namespace: Any, kind: Any, location: Any, *numbers: Any) -> list[str]:
    """A stamp's regions have no zones, as many of Azure's have none: an empty array."""
    text_arguments("pickZones", (namespace, kind, location))
    for number in numbers:
        integer("pickZones", number)
    return []


def _providers(scope: Scope, namespace: Any, kind: Any = None) -> Any:
    found = scope.place.providers(text("providers", namespace))
    if kind is None:
        return found
    for one in found["resourceTypes"]:
        if one["resourceType"].lower() == text("providers", kind).lower():
            return one
    raise ExpressionError(f"The resource type '{kind}' could not be found in the namespace '{namespace}'")


def _id_function(name: str, make: Callable[..., str]) -> _Own:
    return _Own(name, 2, MANY, lambda scope, *words: make(scope.place, text_arguments(name, words)))


def _parameter(scope: Scope, name: Any) -> Any:
    return scope.parameters.get(text("parameters", name))


def _variable(scope: Scope, name: Any) -> Any:
    return scope.variables.get(text("variables", name))


_IN_SCOPE = {
    own.name.lower(): own
    for own in (
        _Own("parameters", 1, 1, _parameter),
        _Own("variables", 1, 1, _variable),
        _Own("lambdaVariables", 1, 1, _lambda_variables),
        _Own("copyIndex", 0, 2, _copy_index),
        _Own("utcNow", 0, 1, _moment),
        _Own("newGuid", 0, 0, _new_guid),
        _Own("deployment", 0, 0, lambda scope: scope.place.deployment),
        _Own("environment", 0, 0, lambda scope: scope.place.environment),
        _Own("subscription", 0, 0, lambda scope: scope.place.subscription),
        _Own("tenant", 0, 0, lambda scope: scope.place.tenant),
        _Own("resourceGroup", 0, 0, _resource_group),
        _Own("reference", 1, 3, _reference),
        _Own("references", 1, 2, _references),
        _Own("resourceInfo", 1, 1, lambda scope, name: scope.runtime.information(text("resourceInfo", name))),
        _Own("pickZones", 3, 5, _pick_zones),
        _Own("providers", 1, 2, _providers),
        _id_function("resourceId", identities.resource_id),
        _id_function("subscriptionResourceId", identities.subscription_resource_id),
        _id_function("tenantResourceId", identities.tenant_resource_id),
        _id_function("extensionResourceId", identities.extension_resource_id),
    )
}

# Functions of Azure about services that a stamp does not have.
_REFUSED = {
    "deployer",
    "managementgroup",
    "managementgroupresourceid",
    "tologicalzone",
    "tologicalzones",
    "tophysicalzone",
    "tophysicalzones",
    "getsecret",
    "loadtextcontent",
    "externalinput",
    "builduri",
    "parseuri",
}


def function_names() -> list[str]:
    """Every function that is there, as Azure spells it; `list*` apart."""
    own = [one.name for one in (*_FORMS.values(), *_IN_SCOPE.values())]
    return sorted([*own, *functions.names()])


def variable_value(definitions: Mapping[str, Any], name: str, scope: Scope) -> Any:
    """The value of a variable: its loop, when it is one, else its document.

    `{"copy": [...]}` at the top of the variables makes further variables: see `variable_definitions`.
    """
    spelled = find_member(definitions, name)
    value = definitions[spelled] if spelled else None
    if isinstance(value, TopLevelLoop):
        return evaluate_loop(value.loop, scope, unnamed=True)
    return _evaluate(value, scope)


@dataclass(frozen=True)
class TopLevelLoop:
    """A variable that is made by a loop."""

    loop: Mapping[str, Any]


def variable_definitions(section: Mapping[str, Any]) -> dict[str, Any]:
    """The variables of a template with those that its top level `copy` makes."""
    found: dict[str, Any] = {}
    for name, value in section.items():
        if name.lower() == "copy" and is_property_copy(value):
            found.update({str(loop["name"]): TopLevelLoop(loop) for loop in value})
        else:
            found[name] = value
    return found
