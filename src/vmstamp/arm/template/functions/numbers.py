"""Numeric, comparison and logical functions. Documents: Numeric, Comparison, Logical functions.

`if`, `and`, `or` and `coalesce` are in `forms.py`: what they do not need is not evaluated.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vmstamp.arm.template.faults import ExpressionError
from vmstamp.arm.template.functions import Function, boolean, integer, wrong_type
from vmstamp.arm.template.functions.collections import in_order
from vmstamp.arm.template.values import equal, is_number, type_name, whole


def _arithmetic(name: str, run: Callable[[int, int], int]) -> Function:
    return Function(name, 2, 2, lambda a, b: whole(run(integer(name, a), integer(name, b))))


def _divided(a: int, b: int) -> int:
    """The quotient, cut towards zero."""
    if b == 0:
        raise ExpressionError("The template language function 'div' cannot divide by zero")
    quotient = abs(a) // abs(b)
    return quotient if (a < 0) == (b < 0) else -quotient


def _remainder(a: int, b: int) -> int:
    """The remainder, with the sign of the dividend."""
    if b == 0:
        raise ExpressionError("The template language function 'mod' cannot divide by zero")
    return abs(a) % abs(b) * (-1 if a < 0 else 1)


def _int(value: Any) -> int:
    if is_number(value):
        return whole(int(value))
    if not isinstance(value, str):
        raise wrong_type("int", "to be an integer or a string", value)
    try:
        return whole(int(value)) if len(value) < 30 else whole(2**64)
    except ValueError as error:
        raise ExpressionError(
            f"The template language function 'int' cannot convert provided value '{value}' to integer value. "
            "Please see https://aka.ms/arm-function-int for usage details."
        ) from error


def _float(value: Any) -> float:
    if is_number(value):
        return float(value)
    if not isinstance(value, str):
        raise wrong_type("float", "to be a number or a string", value)
    try:
        found = float(value)
    except ValueError as error:
        raise ExpressionError(
            f"The template language function 'float' cannot convert provided value '{value}' to a number"
        ) from error
    if found != found or found in (float("inf"), float("-inf")):
        raise ExpressionError(f"The template language function 'float' cannot hold the value '{value}'")
    return found


def _bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if is_number(value):
        return bool(value)
    if isinstance(value, str) and value.lower() in ("true", "false", "1", "0"):
        return value.lower() in ("true", "1")
    raise ExpressionError(
        "The template language function 'bool' was invoked with a parameter that is not valid. The value "
        "cannot be converted to the target type"
    )


def _compared(name: str, run: Callable[[bool, bool], bool]) -> Function:
    """`run` gets whether the first is less, and whether they are equal."""

    def compare(left: Any, right: Any) -> bool:
        less = in_order(left, right)
        if less is None:
            raise ExpressionError(
                f"The template language function '{name}' expects two parameters of matching types: "
                "integers or "
                f"strings. Found '{type_name(left)}' and '{type_name(right)}'"
            )
        return run(less, bool(left == right))

    return Function(name, 2, 2, compare)


FUNCTIONS = (
    _arithmetic("add", lambda a, b: a + b),
    _arithmetic("sub", lambda a, b: a - b),
    _arithmetic("mul", lambda a, b: a * b),
    _arithmetic("div", _divided),
    _arithmetic("mod", _remainder),
    Function("int", 1, 1, _int),
    Function("float", 1, 1, _float),
    Function("bool", 1, 1, _bool),
    Function("equals", 2, 2, equal),
    _compared("less", lambda less, same: less),
    _compared("lessOrEquals", lambda less, same: less or same),
    _compared("greater", lambda less, same: not less and not same),
    _compared("greaterOrEquals", lambda less, same: not less),
    Function("not", 1, 1, lambda value: not boolean("not", value)),
    Function("xor", 2, 2, lambda a, b: boolean("xor", a) != boolean("xor", b)),
    Function("true", 0, 0, lambda: True),
    Function("false", 0, 0, lambda: False),
)
