"""Functions on arrays, and on what has a length: texts and objects too.

Document: Array functions for ARM templates.
"""

from __future__ import annotations

from functools import reduce
from typing import Any

from vmstamp.arm.template.faults import HELP_FUNCTIONS, ExpressionError
from vmstamp.arm.template.functions import MANY, Function, array, integer, text, two_texts, wrong_type
from vmstamp.arm.template.values import equal, find_member, is_number, to_text, type_name

MAXIMUM_RANGE = 10_000  # items of range(), as in Azure
_LAST_INTEGER = 2**31 - 1


def _array(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _concat(*values: Any) -> Any:
    if values and all(isinstance(value, list) for value in values):
        return [item for value in values for item in value]
    if any(isinstance(value, list | dict) for value in values):
        raise ExpressionError(
            "The provided parameters for language function 'concat' are invalid. Either all or none of the "
            "parameters must be an array. Please see https://aka.ms/arm-functions/#concat for usage details."
        )
    return "".join(map(to_text, values))


def _contains(container: Any, item: Any) -> bool:
    if isinstance(container, str):
        return to_text(item) in container
    if isinstance(container, list):
        return any(equal(one, item) for one in container)
    if isinstance(container, dict):
        return find_member(container, to_text(item)) is not None
    raise wrong_type("contains", "to be an array, an object or a string", container)


def _empty(value: Any) -> bool:
    if value is None:
        return True
    if isinstance(value, str | list | dict):
        return not value
    raise ExpressionError(
        "The template function 'empty' expects its parameter to be an object, an array, or a string. The "
        f"provided value is of type '{type_name(value)}'. Please see https://aka.ms/arm-functions#empty for "
        "usage details."
    )


def _first(value: Any) -> Any:
    if not isinstance(value, str | list):
        raise wrong_type("first", "be an array or a string", value)
    if not value:
        return "" if isinstance(value, str) else None
    return value[0]


def _last(value: Any) -> Any:
    if not isinstance(value, str | list):
        raise wrong_type("last", "be an array or a string", value)
    if not value:
        return "" if isinstance(value, str) else None
    return value[-1]


def _flatten(value: Any) -> list[Any]:
    found: list[Any] = []
    for item in array("flatten", value):
        found.extend(array("flatten", item))
    return found


def _index_of(container: Any, item: Any) -> int:
    if isinstance(container, list):
        return next((i for i, one in enumerate(container) if equal(one, item)), -1)
    whole, part = two_texts("indexOf", container, item)
    return whole.lower().find(part.lower())


def _last_index_of(container: Any, item: Any) -> int:
    if isinstance(container, list):
        return max((i for i, one in enumerate(container) if equal(one, item)), default=-1)
    whole, part = two_texts("lastIndexOf", container, item)
    return whole.lower().rfind(part.lower())


def _length(value: Any) -> int:
    if isinstance(value, str | list | dict):
        return len(value)
    raise ExpressionError(
        "The template language function 'length' expects its parameter to be an array, object, or a string. "
        f"The provided value is of type '{type_name(value)}'. Please see "
        "https://aka.ms/arm-functions/#length for usage details."
    )


def _numbers(name: str, values: tuple[Any, ...]) -> list[int]:
    found = values[0] if len(values) == 1 and isinstance(values[0], list) else list(values)
    if not found:
        raise ExpressionError(f"The template language function '{name}' expects at least one number")
    return [integer(name, value) for value in found]


def _range(start: Any, count: Any) -> list[int]:
    first, number = integer("range", start), integer("range", count)
    if not 0 <= number <= MAXIMUM_RANGE:
        raise ExpressionError(
            "The template language function 'range' expects its second parameter, the count, to be between "
            f"'0' and '{MAXIMUM_RANGE}'. The provided value is '{number}'"
        )
    if first + number > _LAST_INTEGER:
        raise ExpressionError(
            "The template language function 'range' expects the sum of its parameters not to exceed "
            f"'{_LAST_INTEGER}'"
        )
    return list(range(first, first + number))


def _skip(value: Any, count: Any) -> Any:
    if not isinstance(value, str | list):
        raise wrong_type("skip", "to be an array or a string", value)
    return value[max(0, integer("skip", count)) :]


def _take(value: Any, count: Any) -> Any:
    if not isinstance(value, str | list):
        raise wrong_type("take", "to be an array or a string", value)
    return value[: max(0, integer("take", count))]


def _merged(left: Any, right: Any) -> Any:
    """A deep union: objects member by member, all else is taken from the right."""
    if not (isinstance(left, dict) and isinstance(right, dict)):
        return right
    found = dict(left)
    for given, value in right.items():
        name = find_member(found, given)
        found[name or given] = _merged(found[name], value) if name else value
    return found


def _union(*values: Any) -> Any:
    _check_alike("union", values)
    if isinstance(values[0], dict):
        return reduce(_merged, values)
    found: list[Any] = []
    for item in (item for value in values for item in value):
        if not any(equal(item, one) for one in found):
            found.append(item)
    return found


def _intersection(*values: Any) -> Any:
    _check_alike("intersection", values)
    first, others = values[0], values[1:]
    if isinstance(first, dict):
        return {
            name: value
            for name, value in first.items()
            if all((same := find_member(o, name)) is not None and equal(o[same], value) for o in others)
        }
    found: list[Any] = []
    for item in first:
        everywhere = all(any(equal(item, one) for one in other) for other in others)
        if everywhere and not any(equal(item, one) for one in found):
            found.append(item)
    return found


def _check_alike(name: str, values: tuple[Any, ...]) -> None:
    if not all(isinstance(v, dict) for v in values) and not all(isinstance(v, list) for v in values):
        raise ExpressionError(
            f"The template language function '{name}' expects its parameters to be all arrays or all "
            "objects. "
            f"Found '{', '.join(map(type_name, values))}'"
        )


def _join(values: Any, delimiter: Any) -> str:
    return text("join", delimiter).join(map(to_text, array("join", values)))


def pick(value: Any, key: Any, *, found: bool = True) -> Any:
    """`value[key]`, as an expression's property or index access; raises ExpressionError.

    With `found` False a key that is not there gives None instead.
    """
    if isinstance(value, dict):
        name = find_member(value, text("[]", key))
        if name is None and found:
            raise ExpressionError(
                f"The language expression property '{key}' doesn't exist, available properties are "
                f"'{', '.join(value)}'"
            )
        return value[name] if name is not None else None
    if isinstance(value, list):
        index = integer("[]", key)
        if not 0 <= index < len(value):
            if not found:
                return None
            raise ExpressionError(f"The language expression property array index '{index}' is out of bounds")
        return value[index]
    if not found and value is None:
        return None
    raise ExpressionError(
        f"The language expression property '{key}' can't be evaluated, property value of type "
        f"'{type_name(value)}' is neither an object nor an array"
    )


def _try_get(value: Any, *keys: Any) -> Any:
    for key in keys:
        value = pick(value, key, found=False)
    return value


def _from_end(value: Any, index: Any, found: bool) -> Any:
    items, place = array("indexFromEnd", value), integer("indexFromEnd", index)
    if not 1 <= place <= len(items):
        if not found:
            return None
        raise ExpressionError(f"The language expression property array index '{place}' is out of bounds")
    return items[-place]


FUNCTIONS = (
    Function("array", 1, 1, _array),
    Function(
        "concat",
        1,
        MANY,
        _concat,
        "Unable to evaluate template language function 'concat'. At least one parameter should be provided. "
        + HELP_FUNCTIONS,
    ),
    Function("contains", 2, 2, _contains),
    Function("createArray", 0, MANY, lambda *values: list(values)),
    Function("empty", 1, 1, _empty),
    Function("first", 1, 1, _first),
    Function("flatten", 1, 1, _flatten),
    Function("indexOf", 2, 2, _index_of),
    Function("indexFromEnd", 2, 2, lambda value, index: _from_end(value, index, True)),
    Function("intersection", 2, MANY, _intersection),
    Function("join", 2, 2, _join),
    Function("last", 1, 1, _last),
    Function("lastIndexOf", 2, 2, _last_index_of),
    Function(
        "length",
        1,
        1,
        _length,
        "The template language function 'length' expects exactly one parameter: an array, object, or a "
        "string the length of which is returned. The function was invoked with '{given}' parameters. Please "
        "see https://aka.ms/arm-functions/#length for usage details.",
    ),
    Function("max", 1, MANY, lambda *values: max(_numbers("max", values))),
    Function("min", 1, MANY, lambda *values: min(_numbers("min", values))),
    Function("range", 2, 2, _range),
    Function("skip", 2, 2, _skip),
    Function("take", 2, 2, _take),
    Function("tryGet", 2, MANY, _try_get),
    Function("tryIndexFromEnd", 2, 2, lambda value, index: _from_end(value, index, False)),
    Function("union", 2, MANY, _union),
)


def in_order(left: Any, right: Any) -> bool | None:
    """Whether left < right, for two numbers or two texts; None for anything else.

    Texts compare as .NET's invariant culture has it, as far as letters of ASCII go: other characters come
    before digits, digits before letters, and `a` before `A` where nothing else differs.
    """
    if is_number(left) and is_number(right):
        return bool(left < right)
    if isinstance(left, str) and isinstance(right, str):
        return _rank(left) < _rank(right)
    return None


def _rank(value: str) -> tuple[list[tuple[int, str]], list[bool], str]:
    letters = [(2 if c.isalpha() else 1 if c.isdigit() else 0, c.lower()) for c in value]
    return letters, [c.isupper() for c in value], value
