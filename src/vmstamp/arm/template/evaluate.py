"""Expressions and documents to values, in a scope.

`evaluate` goes through a whole document: strings that are expressions become their values, and the loops
of properties (`"copy": [...]` within an object) become arrays. The functions are in `functions/`,
`in_scope.py` and `forms.py`.

Bounded: every call, item and character that a function makes is counted against the scope's budget.

Document: Template functions; Property, Variable and Output iteration.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from vmstamp.arm.template import functions
from vmstamp.arm.template.expressions import (
    Access,
    Call,
    Literal,
    Node,
    is_expression,
    parse_expression,
    unescape,
)
from vmstamp.arm.template.faults import HELP_COPY, HELP_FUNCTIONS, Deferred, ExpressionError, SectionError
from vmstamp.arm.template.forms import FORMS
from vmstamp.arm.template.functions import check_count, text
from vmstamp.arm.template.functions.collections import pick
from vmstamp.arm.template.in_scope import IN_SCOPE, list_action
from vmstamp.arm.template.reader import Place, place_of
from vmstamp.arm.template.scope import Scope, deeper, known
from vmstamp.arm.template.values import check_size, find_member, to_text

MAXIMUM_COPIES = 800  # of one loop, as in Azure


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
            for i, loop in enumerate(item):
                found[text("copy", loop["name"])] = evaluate_loop(loop, scope, place_of(item, i))
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


def evaluate_loop(
    loop: Mapping[str, Any], scope: Scope, place: Place = (0, 0), *, unnamed: bool = False
) -> list[Any]:
    """The array that a property's, variable's or output's loop makes; `place` is where the loop stands."""
    count = copy_count(loop, scope, place)
    name = text("copy", loop.get("name") or "")

    def inner(index: int) -> Scope:
        loops = {**scope.loops, name: index}
        return replace(scope, loops={**loops, "": index} if unnamed else loops)

    return [_evaluate(loop.get("input"), inner(i)) for i in range(count)]


def copy_count(loop: Mapping[str, Any], scope: Scope, place: Place = (0, 0), path: str = "") -> int:
    """How many times a loop runs. Raises ExpressionError: SectionError for what is no count."""
    count = _evaluate(loop.get("count"), scope)
    if isinstance(count, float) and count == int(count):
        count = int(count)
    if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= MAXIMUM_COPIES:
        given = loop.get("count")
        shown = (given if isinstance(given, str) else to_text(given))[:200]
        raise SectionError(
            f"The template 'copy' definition at line '{place[0]}' and column '{place[1]}' has an invalid "
            f"copy count of: '{shown}'. The copy count must be a non-negative integer value and cannot "
            f"exceed '{MAXIMUM_COPIES}'. {HELP_COPY}",
            place,
            path,
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
    if form := FORMS.get(name):
        check_count(form.name, len(node.arguments), form.minimum, form.maximum)
        return form.run(evaluate_node, scope, node.arguments)
    arguments = [evaluate_node(argument, scope) for argument in node.arguments]
    if own := IN_SCOPE.get(name):
        check_count(own.name, len(arguments), own.minimum, own.maximum)
        return own.run(scope, *arguments)
    if function := functions.find_function(name):
        return function.call(arguments)
    if name.startswith("list") and len(name) > 4:
        return list_action(node.name, scope, arguments)
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
        deeper(scope),
        parameters=parameters,
        variables=known({}, "variable"),
        loops={},
        lambdas={},
        partial=False,
    )
    return _evaluate(function.value, inner)


# Functions of Azure about services that a stamp does not have.
_REFUSED = {
    "managementgroup",
    "managementgroupresourceid",
    "getsecret",
    "loadtextcontent",
    "externalinput",
}


def function_names() -> list[str]:
    """Every function that is there, as Azure spells it; `list*` apart."""
    own = [one.name for one in FORMS.values()] + [one.name for one in IN_SCOPE.values()]
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
