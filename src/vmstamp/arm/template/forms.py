"""The functions that get their arguments as trees, as not all of them are evaluated, or not once.

A form is given the evaluator, the scope and the trees of its arguments.

Document: Logical functions; Lambda functions; Comparison functions (coalesce).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cmp_to_key
from typing import Any

from vmstamp.arm.template.expressions import Call, Literal, Node
from vmstamp.arm.template.faults import ExpressionError
from vmstamp.arm.template.functions import MANY, array, boolean, mapping, text
from vmstamp.arm.template.scope import Scope, deeper

Arguments = Sequence[Node]
Evaluator = Callable[[Node, Scope], Any]


@dataclass(frozen=True)
class Form:
    """One of them: `name` as Azure spells it, and how many arguments it takes."""

    name: str
    minimum: int
    maximum: int
    run: Callable[[Evaluator, Scope, Arguments], Any]


def _if(look: Evaluator, scope: Scope, arguments: Arguments) -> Any:
    chosen = boolean("if", look(arguments[0], scope))
    return look(arguments[1 if chosen else 2], scope)


def _and(look: Evaluator, scope: Scope, arguments: Arguments) -> bool:
    return all(boolean("and", look(argument, scope)) for argument in arguments)


def _or(look: Evaluator, scope: Scope, arguments: Arguments) -> bool:
    return any(boolean("or", look(argument, scope)) for argument in arguments)


def _coalesce(look: Evaluator, scope: Scope, arguments: Arguments) -> Any:
    for argument in arguments:
        value = look(argument, scope)
        if value is not None:
            return value
    return None


@dataclass(frozen=True)
class _Lambda:
    """A lambda and the scope it stands in."""

    parameters: tuple[str, ...]
    body: Node
    scope: Scope
    look: Evaluator

    def __call__(self, *values: Any) -> Any:
        given = dict(zip(self.parameters, values, strict=False))
        inner = replace(deeper(self.scope), lambdas={**self.scope.lambdas, **given})
        return self.look(self.body, inner)


def _read_lambda(
    look: Evaluator, function: str, node: Node, scope: Scope, most: int, least: int = 1
) -> _Lambda:
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
    return _Lambda(tuple(word.lower() for word in words), body, scope, look)


def _map(look: Evaluator, scope: Scope, arguments: Arguments) -> list[Any]:
    run = _read_lambda(look, "map", arguments[1], scope, 2)
    return [run(item, i) for i, item in enumerate(array("map", look(arguments[0], scope)))]


def _filter(look: Evaluator, scope: Scope, arguments: Arguments) -> list[Any]:
    run = _read_lambda(look, "filter", arguments[1], scope, 2)
    items = array("filter", look(arguments[0], scope))
    return [item for i, item in enumerate(items) if boolean("filter", run(item, i))]


def _reduce(look: Evaluator, scope: Scope, arguments: Arguments) -> Any:
    value = look(arguments[1], scope)
    run = _read_lambda(look, "reduce", arguments[2], scope, 3, 2)
    for i, item in enumerate(array("reduce", look(arguments[0], scope))):
        value = run(value, item, i)
    return value


def _sort(look: Evaluator, scope: Scope, arguments: Arguments) -> list[Any]:
    before = _read_lambda(look, "sort", arguments[1], scope, 2, 2)

    def order(left: Any, right: Any) -> int:
        if boolean("sort", before(left, right)):
            return -1
        return 1 if boolean("sort", before(right, left)) else 0

    return sorted(array("sort", look(arguments[0], scope)), key=cmp_to_key(order))


def _to_object(look: Evaluator, scope: Scope, arguments: Arguments) -> dict[str, Any]:
    items = array("toObject", look(arguments[0], scope))
    name = _read_lambda(look, "toObject", arguments[1], scope, 1)
    value = _read_lambda(look, "toObject", arguments[2], scope, 1) if len(arguments) > 2 else None
    return {text("toObject", name(item)): value(item) if value else item for item in items}


def _group_by(look: Evaluator, scope: Scope, arguments: Arguments) -> dict[str, list[Any]]:
    items = array("groupBy", look(arguments[0], scope))
    name = _read_lambda(look, "groupBy", arguments[1], scope, 2)
    found: dict[str, list[Any]] = {}
    for i, item in enumerate(items):
        found.setdefault(text("groupBy", name(item, i)), []).append(item)
    return found


def _map_values(look: Evaluator, scope: Scope, arguments: Arguments) -> dict[str, Any]:
    run = _read_lambda(look, "mapValues", arguments[1], scope, 1)
    members = mapping("mapValues", look(arguments[0], scope))
    return {name: run(value) for name, value in members.items()}


def _lambda(look: Evaluator, scope: Scope, arguments: Arguments) -> Any:
    raise ExpressionError(
        "The template function 'lambda' is not expected at this location: it is the argument of 'map', "
        "'filter' and "
        "the like"
    )


FORMS = {
    form.name.lower(): form
    for form in (
        Form("if", 3, 3, _if),
        Form("and", 2, MANY, _and),
        Form("or", 2, MANY, _or),
        Form("coalesce", 1, MANY, _coalesce),
        Form("map", 2, 2, _map),
        Form("filter", 2, 2, _filter),
        Form("reduce", 3, 3, _reduce),
        Form("sort", 2, 2, _sort),
        Form("toObject", 2, 3, _to_object),
        Form("groupBy", 2, 2, _group_by),
        Form("mapValues", 2, 2, _map_values),
        Form("lambda", 1, MANY, _lambda),
    )
}
