"""Functions on objects. Document: Object functions for ARM templates."""

from __future__ import annotations

from typing import Any

from vmstamp.arm.template.faults import ExpressionError
from vmstamp.arm.template.functions import MANY, Function, array, mapping, text
from vmstamp.arm.template.reader import ReadError, read_plain
from vmstamp.arm.template.values import find_member, to_text


def _create_object(*values: Any) -> dict[str, Any]:
    if len(values) % 2:
        raise ExpressionError(
            "The template language function 'createObject' expects an even number of parameters: names, each "
            "with its value"
        )
    return {text("createObject", name): value for name, value in zip(values[::2], values[1::2], strict=True)}


def _items(value: Any) -> list[dict[str, Any]]:
    """The members by name, as Azure orders them: without case."""
    members = mapping("items", value)
    return [{"key": name, "value": members[name]} for name in sorted(members, key=_by_name)]


def _object_keys(value: Any) -> list[str]:
    return sorted(mapping("objectKeys", value), key=_by_name)


def _by_name(name: str) -> tuple[str, str]:
    return name.lower(), name


def _shallow_merge(values: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for one in array("shallowMerge", values):
        for name, value in mapping("shallowMerge", one).items():
            found[find_member(found, name) or name] = value
    return found


def _json(value: Any) -> Any:
    try:
        return read_plain(text("json", value))
    except ReadError as error:
        raise ExpressionError(
            "The template language function 'json' parameter is not valid. The provided value "
            f"'{str(value)[:100]}' could not be parsed as JSON: {error}"
        ) from error


def _null() -> None:
    return None


FUNCTIONS = (
    Function("createObject", 0, MANY, _create_object),
    Function("items", 1, 1, _items),
    Function("json", 1, 1, _json),
    Function("null", 0, 0, _null),
    Function("objectKeys", 1, 1, _object_keys),
    Function("shallowMerge", 1, 1, _shallow_merge),
    Function("string", 1, 1, lambda value: _json_text(value)),
    Function("any", 1, 1, lambda value: value),
)


def _json_text(value: Any) -> str:
    return "null" if value is None else to_text(value)
