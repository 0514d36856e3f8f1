"""The functions that depend on nothing but their arguments, a module per subject of Azure's reference.

A function is a record; `find_function` finds it by its name, in which case does not count. Functions that
look at the deployment (`parameters`, `resourceId`, ...) are in `in_scope.py`, those that take a lambda in
`forms.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

from vmstamp.arm.template.faults import ExpressionError
from vmstamp.arm.template.values import type_name

MANY = 10_000


@dataclass(frozen=True)
class Function:
    """One function: `name` as Azure spells it, how many arguments it takes, and what it gives for them.

    `miscounted` is what Azure says of too few or too many arguments, where it is not what it says of most
    functions; {given} in it is their number.
    """

    name: str
    minimum: int
    maximum: int
    run: Callable[..., Any]
    miscounted: str = ""

    def call(self, arguments: Iterable[Any]) -> Any:
        given = list(arguments)
        if self.miscounted and not self.minimum <= len(given) <= self.maximum:
            raise ExpressionError(self.miscounted.format(given=len(given)))
        check_count(self.name, len(given), self.minimum, self.maximum)
        return self.run(*given)


def check_count(name: str, given: int, minimum: int, maximum: int) -> None:
    """Raises ExpressionError in Azure's words when a call has too few or too many arguments."""
    if minimum <= given <= maximum:
        return
    if minimum == maximum:
        requires = f"requires {minimum} argument(s)"
    elif maximum == MANY:
        requires = f"requires at least {minimum} argument(s)"
    else:
        requires = f"requires between {minimum} and {maximum} argument(s)"
    raise ExpressionError(
        f"Unable to evaluate template language function '{name}': function {requires} while {given} were "
        f"provided. Please see https://aka.ms/arm-resource-functions/#{name} for usage details."
    )


def wrong_type(name: str, expected: str, value: Any) -> ExpressionError:
    """`expected` is what Azure says: `to be a string`, `be an array or a string`."""
    return ExpressionError(
        f"The template language function '{name}' expects its parameter {expected}. The provided value "
        f"is of type '{type_name(value)}'. Please see https://aka.ms/arm-functions#{name} for usage details."
    )


def two_texts(name: str, first: Any, second: Any) -> tuple[str, str]:
    """The arguments of a function that takes two texts. Raises ExpressionError that names both types."""
    if isinstance(first, str) and isinstance(second, str):
        return first, second
    raise ExpressionError(
        f"The template language function '{name}' expects its parameters to be of type string and string. "
        f"The provided value is of type '{type_name(first)}' and '{type_name(second)}'. Please see "
        f"https://aka.ms/arm-functions#{name} for usage details."
    )


def text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise wrong_type(name, "to be a string", value)
    return value


def integer(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise wrong_type(name, "to be an integer", value)
    return value


def boolean(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise wrong_type(name, "to be a boolean", value)
    return value


def array(name: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise wrong_type(name, "to be an array", value)
    return value


def mapping(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise wrong_type(name, "to be an object", value)
    return value


@cache
def _functions() -> dict[str, Function]:
    from vmstamp.arm.template.functions import (
        addresses,
        collections,
        dates,
        numbers,
        objects,
        strings,
        uris,
    )

    modules = (addresses, collections, dates, numbers, objects, strings, uris)
    return {function.name.lower(): function for module in modules for function in module.FUNCTIONS}


def find_function(name: str) -> Function | None:
    return _functions().get(name.lower())


def names() -> list[str]:
    """Every function of this package, as Azure spells it."""
    return sorted(function.name for function in _functions().values())
