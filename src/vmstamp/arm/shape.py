"""What a request body may say: its members, their types, and which of them the stamp acts on.

A shape is a mapping from member names, spelled as Azure spells them, to nodes. Members are matched
without case (clients differ: `diskSizeGb`, `diskSizeGB`); null counts as absent. A node is

    str, int, bool          a value of this type that the stamp acts on
    OneOf(...)              one of these words, returned as spelled here; anything else is invalid
    Only(...)               Azure knows more values, the stamp these: another is refused by name
    Url()                   a URL without its query
    an object with `clean(value, path)`: a node of its own kind, such as `links.Link`
    {...}                   an object of that shape
    [node]                  a list
    KEEP                    known not to change what the stamp does: kept and returned as it is
    READ_ONLY               what Azure itself fills in: dropped, since clients send back what they got

A member that a shape does not name is refused by name, unless it is empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from vmstamp.arm.faults import invalid_content, invalid_parameter, quoted, unsupported
from vmstamp.arm.resource import Json
from vmstamp.errors import AzureError


class _Marker:
    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name


KEEP: Final = _Marker("KEEP")
READ_ONLY: Final = _Marker("READ_ONLY")


class OneOf:
    """Words that Azure knows here; matched without case."""

    def __init__(self, *values: str) -> None:
        self.values = values

    def clean(self, value: Any, path: str) -> str:
        for known in self.values:
            if isinstance(value, str) and value.lower() == known.lower():
                return known
        raise invalid_parameter(
            f"The value '{value}' of parameter '{_last(path)}' is not allowed. Allowed values are "
            f"{quoted(self.values)}.",
            _last(path),
        )


class Only:
    """Values that the stamp supports, of more that Azure knows."""

    def __init__(self, *values: object) -> None:
        self.values = values

    def clean(self, value: Any, path: str) -> Any:
        for known in self.values:
            if value == known and isinstance(value, bool) == isinstance(known, bool):
                return known
            if isinstance(value, str) and isinstance(known, str) and value.lower() == known.lower():
                return known
        shown = str(value).lower() if isinstance(value, bool) else value
        raise unsupported(f"The value '{shown}' of property '{path}'", target=path)


class Url:
    """A URL; its query, which may hold a SAS, is not kept: the stamp reads its own blobs without."""

    def clean(self, value: Any, path: str) -> str:
        return str(_clean_scalar(value, str, path)).split("?", 1)[0]


Node = Any  # a node as said at the top; recursive, so not spelled out as a type
Shape = Mapping[str, Node]

_TYPES = {str: "String", int: "Int32", bool: "Boolean"}


def _last(path: str) -> str:
    return path.rsplit(".", 1)[-1]


def _clean(value: Any, node: Node, path: str) -> Any:
    if hasattr(node, "clean"):
        return node.clean(value, path)
    if isinstance(node, Mapping):
        return clean(value, node, path)
    if isinstance(node, list):
        return _clean_list(value, node[0], path)
    if node is KEEP:
        return without_nulls(value)
    return _clean_scalar(value, node, path)


def _clean_scalar(value: Any, kind: type, path: str) -> Any:
    if kind is bool and isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if kind is int and isinstance(value, str) and value.isdecimal() and len(value) < 20:
        return int(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise invalid_content(f"Error converting value to type 'System.{_TYPES[kind]}'. Path '{path}'")
    return value


def _clean_list(value: Any, node: Node, path: str) -> list[Any]:
    if not isinstance(value, list):
        raise invalid_content(f"Cannot deserialize the current JSON value into a list. Path '{path}'")
    return [_clean(item, node, f"{path}[{i}]") for i, item in enumerate(value) if item is not None]


def clean(body: Any, shape: Shape, path: str = "") -> Json:
    """The body with the shape's spelling, without nulls and read-only members. Raises AzureError (400)."""
    if not isinstance(body, dict):
        raise invalid_content(f"Cannot deserialize the current JSON value into an object. Path '{path}'")
    spelled = {name.lower(): name for name in shape}
    found: Json = {}
    for given, value in body.items():
        here = f"{path}.{given}" if path else given
        name = spelled.get(given.lower())
        if value is None or (name is not None and shape[name] is READ_ONLY):
            continue
        if name is None:
            if value in ([], {}, ""):
                continue
            raise unsupported(f"The property '{here}'", target=here)
        found[name] = _clean(value, shape[name], f"{path}.{name}" if path else name)
    return found


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_nulls(item) for name, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value if item is not None]
    return value


def merged(base: Any, patch: Any) -> Any:
    """JSON merge patch (RFC 7396), members matched without case; lists are replaced."""
    if not isinstance(base, dict) or not isinstance(patch, dict):
        return patch
    result = dict(base)
    spelled = {name.lower(): name for name in base}
    for given, value in patch.items():
        name = spelled.get(given.lower(), given)
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


RESERVED: Final = set("<>%&\\?/")  # in names of tags
TAG_NAME: Final = 512  # characters at most
STORAGE_TAG_NAME: Final = 128
TAG_VALUE: Final = 256
TAGS: Final = 50  # of one resource


def tags(body: Json, kind: str = "") -> dict[str, str]:
    """A body's tags. Raises AzureError when they are not texts, or more than Azure takes.

    `kind` is the type of their resource: a storage account's names are shorter.
    """
    found = body.get("tags") or {}
    if not isinstance(found, dict) or not all(isinstance(v, (str, type(None))) for v in found.values()):
        raise invalid_content("Error converting value to type 'System.String'. Path 'tags'")
    if len(found) > TAGS:
        raise invalid_parameter(f"The number of tags must not exceed {TAGS}.", "tags")
    longest = STORAGE_TAG_NAME if kind.lower() == "microsoft.storage/storageaccounts" else TAG_NAME
    given = {name: value or "" for name, value in found.items()}
    for name, value in given.items():
        _check_tag(name, value, longest)
    if len({name.lower() for name in given}) < len(given):
        raise AzureError(
            400, "InvalidTag", "The names of tags are told apart without case; two are the same."
        )
    return given


def _check_tag(name: str, value: str, longest: int) -> None:
    if not name.strip():
        raise AzureError(
            400,
            "InvalidTagName",
            "The tag name must be non-null, non-empty and non-whitespace only. Please provide an actual "
            "value.",
        )
    if RESERVED & set(name) or any(ord(character) < 32 for character in name):
        raise AzureError(
            400,
            "InvalidTagNameCharacters",
            f"The tag names '{name}' have reserved characters '<,>,%,&,\\,?,/' or control characters.",
        )
    if len(name) > longest:
        raise AzureError(
            400,
            "InvalidTagName",
            f"Tag name too large. Following tag name '{name}' exceeded the maximum length. Maximum allowed "
            f"length for tag name - '{longest}' characters.",
        )
    if len(value) > TAG_VALUE:
        raise AzureError(
            400,
            "InvalidTagValueLength",
            f"Tag value too large. Following tag value '{value}' exceeded the maximum length. Maximum "
            f"allowed "
            f"length for tag value - '{TAG_VALUE}' characters.",
        )
