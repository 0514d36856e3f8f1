"""Functions on texts. Document: String functions for ARM templates."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, unquote, urljoin, urlsplit

from vmstamp.arm.template.faults import ExpressionError
from vmstamp.arm.template.functions import MANY, Function, array, integer, text, wrong_type
from vmstamp.arm.template.functions.number_format import format_number
from vmstamp.arm.template.unique_string import name_guid, unique_string
from vmstamp.arm.template.values import to_text, type_name

_PLACE = re.compile(r"\{\{|\}\}|\{(\d{1,4})(?:,\s*(-?\d{1,4}))?(?::([^{}]*))?\}|[{}]")
_DATA_URI = re.compile(
    r"data:(?P<type>[^,;]*(?:;[^,;=]+=[^,;]+)*)(?P<base64>;base64)?,(?P<data>.*)", re.DOTALL
)
MAXIMUM_PADDED = 16_384  # characters of padLeft


def _decoded(name: str, value: Any) -> str:
    try:
        return base64.b64decode(text(name, value), validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise ExpressionError(
            f"The template language function '{name}' was invoked with a parameter that is not valid. The "
            "value "
            f"cannot be decoded from base64 representation"
        ) from error


def _base64_to_json(value: Any) -> Any:
    try:
        return json.loads(_decoded("base64ToJson", value))
    except (ValueError, RecursionError) as error:
        raise ExpressionError(
            "The template language function 'base64ToJson' expects its parameter to be JSON in base64"
        ) from error


def _data_uri(value: Any) -> str:
    encoded = base64.b64encode(to_text(value).encode()).decode()
    return f"data:text/plain;charset=utf8;base64,{encoded}"


def _data_uri_to_string(value: Any) -> str:
    match = _DATA_URI.fullmatch(text("dataUriToString", value))
    if match is None:
        raise ExpressionError("The template language function 'dataUriToString' expects a data URI")
    if match["base64"]:
        return _decoded("dataUriToString", match["data"])
    return unquote(match["data"])


def _format(pattern: Any, *values: Any) -> str:
    """Composite formatting: `{0}`, `{1,-10}`, `{2:N0}`, `{{` for a brace."""

    def place(match: re.Match[str]) -> str:
        if match[0] in ("{{", "}}"):
            return match[0][0]
        if match[1] is None or int(match[1]) >= len(values):
            raise ExpressionError(
                "Unable to evaluate template language function 'format': the format is not valid or names "
                "more "
                f"arguments than the '{len(values)}' given. Please see https://aka.ms/arm-functions#format "
                "for "
                "usage details."
            )
        shown = _formatted(values[int(match[1])], match[3] or "")
        width = int(match[2] or 0)
        return shown.rjust(width) if width > 0 else shown.ljust(-width)

    return _PLACE.sub(place, text("format", pattern))


def _formatted(value: Any, style: str) -> str:
    if style and isinstance(value, int | float) and not isinstance(value, bool):
        return format_number(value, style)
    return to_text(value)


def _pad_left(value: Any, width: Any, filling: Any = " ") -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise wrong_type("padLeft", "a string or an integer", value)
    length = integer("padLeft", width)
    if not 0 <= length <= MAXIMUM_PADDED:
        raise ExpressionError(
            "The template language function 'padLeft' expects its second parameter to be between '0' and "
            f"'{MAXIMUM_PADDED}'"
        )
    if len(text("padLeft", filling)) != 1:
        raise ExpressionError(
            "The template language function 'padLeft' expects its third parameter to be a single character"
        )
    return str(value).rjust(length, filling)


def _split(value: Any, delimiter: Any) -> list[str]:
    delimiters = [delimiter] if isinstance(delimiter, str) else array("split", delimiter)
    wanted = [text("split", one) for one in delimiters if one != ""]
    if not wanted:
        return [text("split", value)]
    return re.split("|".join(map(re.escape, sorted(wanted, key=len, reverse=True))), text("split", value))


def _substring(value: Any, start: Any, length: Any = None) -> str:
    whole, first = text("substring", value), integer("substring", start)
    count = len(whole) - first if length is None else integer("substring", length)
    if first < 0 or count < 0 or first + count > len(whole):
        raise ExpressionError(
            "The template language function 'substring' parameters are not valid: index and length must "
            "refer to "
            f"a location within the string. The 'index' parameter is '{first}', the 'length' parameter is "
            f"'{count}', the length of the string is '{len(whole)}'. Please see "
            "https://aka.ms/arm-functions#substring for usage details."
        )
    return whole[first : first + count]


def _uri(base: Any, relative: Any) -> str:
    url = text("uri", base)
    if not urlsplit(url).scheme:
        raise ExpressionError(f"The template language function 'uri' expects an absolute URI, not '{url}'")
    return urljoin(url, text("uri", relative))


def _texts(name: str, values: tuple[Any, ...]) -> list[str]:
    if not all(isinstance(value, str) for value in values):
        found = ", ".join(map(type_name, values))
        raise ExpressionError(
            f"The template language function '{name}' expects its parameters to be string literals. Found "
            f"'{found}'. Please see https://aka.ms/arm-functions#{name.lower()} for usage details."
        )
    return list(values)


def _fail(message: Any) -> None:
    raise ExpressionError(text("fail", message))


def _of_text(name: str, run: Callable[[str], Any]) -> Function:
    return Function(name, 1, 1, lambda value: run(text(name, value)))


def _replaced(value: Any, old: Any, new: Any) -> str:
    if not text("replace", old):
        raise ExpressionError("The template language function 'replace' expects a text to look for")
    return text("replace", value).replace(old, text("replace", new))


FUNCTIONS = (
    _of_text("base64", lambda value: base64.b64encode(value.encode()).decode()),
    Function("base64ToJson", 1, 1, _base64_to_json),
    Function("base64ToString", 1, 1, lambda value: _decoded("base64ToString", value)),
    Function("dataUri", 1, 1, _data_uri),
    Function("dataUriToString", 1, 1, _data_uri_to_string),
    Function(
        "endsWith", 2, 2, lambda a, b: text("endsWith", a).lower().endswith(text("endsWith", b).lower())
    ),
    Function("fail", 1, 1, _fail),
    Function("format", 1, MANY, _format),
    Function("guid", 1, MANY, lambda *values: name_guid(_texts("guid", values))),
    Function("padLeft", 2, 3, _pad_left),
    Function("replace", 3, 3, _replaced),
    Function("split", 2, 2, _split),
    Function(
        "startsWith",
        2,
        2,
        lambda a, b: text("startsWith", a).lower().startswith(text("startsWith", b).lower()),
    ),
    Function("substring", 2, 3, _substring),
    _of_text("toLower", str.lower),
    _of_text("toUpper", str.upper),
    _of_text("trim", str.strip),
    Function("uniqueString", 1, MANY, lambda *values: unique_string(_texts("uniqueString", values))),
    Function("uri", 2, 2, _uri),
    _of_text("uriComponent", lambda value: quote(value, safe="")),
    _of_text("uriComponentToString", unquote),
)
