"""The values of templates: JSON, with Azure's names of their types, its equality and its limits."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from vmstamp.arm.template.faults import ExpressionError

MAXIMUM_TEXT = 4 * 2**20  # characters of JSON: as large as a template may be
SMALLEST, LARGEST = -(2**63), 2**63 - 1


def type_name(value: Any) -> str:
    """`String`, `Integer`, ...: as Azure's messages say it."""
    match value:
        case None:
            return "Null"
        case bool():
            return "Boolean"
        case int():
            return "Integer"
        case float():
            return "Float"
        case str():
            return "String"
        case list():
            return "Array"
    return "Object"


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def equal(left: Any, right: Any) -> bool:
    """Deep equality: types count (1 is not '1', nor true), case counts, the order of members does not."""
    check_size(left)
    return _equal(left, right)


def _equal(left: Any, right: Any) -> bool:
    if is_number(left) and is_number(right):
        return bool(left == right)
    if type_name(left) != type_name(right):
        return False
    if isinstance(left, list):
        return len(left) == len(right) and all(map(_equal, left, right))
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(_equal(left[name], right[name]) for name in left)
    return bool(left == right)


def find_member(value: Mapping[str, Any], name: str) -> str | None:
    """How an object spells a member: names are matched without case, the exact one first."""
    if name in value:
        return name
    return next((known for known in value if known.lower() == name.lower()), None)


def get_member(value: Any, name: str) -> Any:
    """A member of an object, its name matched without case; None when there is none, or no object."""
    spelled = find_member(value, name) if isinstance(value, dict) else None
    return value[spelled] if spelled is not None else None


def check_size(value: Any) -> None:
    """Raises ExpressionError when a value's JSON would be longer than a template may be.

    A value can be far larger than what it took to write it: the same array may stand in it many times.
    """
    length = 0
    for piece in _pieces(value):
        length += piece
        if length > MAXIMUM_TEXT:
            raise ExpressionError(f"The size of the value exceeds the limit of '{MAXIMUM_TEXT}' characters")


def _pieces(value: Any) -> Iterator[int]:
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            yield 2 + sum(len(name) + 3 for name in one)
            waiting.extend(one.values())
        elif isinstance(one, list):
            yield 2 + len(one)
            waiting.extend(one)
        else:
            yield len(one) + 2 if isinstance(one, str) else 5


def to_text(value: Any) -> str:
    """A value as `string()` and `concat()` write it: text as it is, JSON without spaces, True, False."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "True" if value else "False"
    if value is None:
        return ""
    check_size(value)
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def whole(value: int) -> int:
    """An integer that fits into 64 bits. Raises ExpressionError."""
    if not SMALLEST <= value <= LARGEST:
        raise ExpressionError("The result of the arithmetic operation is not a valid 64 bit integer")
    return value
