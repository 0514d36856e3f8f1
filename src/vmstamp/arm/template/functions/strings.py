"""Functions on texts. Document: String functions for ARM templates."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from vmstamp.arm.template.faults import HELP_FUNCTIONS, ExpressionError
from vmstamp.arm.template.functions import MANY, Function, integer, text, two_texts
from vmstamp.arm.template.functions.number_format import format_number
from vmstamp.arm.template.reader import ReadError, read_plain
from vmstamp.arm.template.unique_string import name_guid, unique_string
from vmstamp.arm.template.values import to_text, type_name

_PLACE = re.compile(r"\{\{|\}\}|\{(\d{1,4})(?:,\s*(-?\d{1,4}))?(?::([^{}]*))?\}|[{}]")
_DATA_URI = re.compile(
    r"data:(?P<type>[^,;]*(?:;[^,;=]+=[^,;]+)*)(?P<base64>;base64)?,(?P<data>.*)", re.DOTALL
)
MAXIMUM_PADDED = 16  # characters of padLeft, as in Azure
_WRONG_INDEX = (
    "Index (zero based) must be greater than or equal to zero and less than the size of the argument list."
)


def _decoded(name: str, value: Any) -> str:
    try:
        return base64.b64decode(text(name, value), validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise ExpressionError(
            f"The template language function '{name}' was invoked with a parameter that is not valid. The "
            "value cannot be decoded from base64 representation"
        ) from error


def _base64_to_json(value: Any) -> Any:
    try:
        return read_plain(_decoded("base64ToJson", value))
    except ReadError as error:
        raise ExpressionError(
            "The template language function 'base64ToJson' expects its parameter to be JSON in base64"
        ) from error


def _base64(value: Any) -> str:
    if not isinstance(value, str):
        raise _not_of_type("base64", "its parameter to be of type 'String'", value)
    return base64.b64encode(value.encode()).decode()


def _not_of_type(name: str, expected: str, value: Any) -> ExpressionError:
    return ExpressionError(
        f"The template language function '{name}' expects {expected}. The provided value is of type "
        f"'{type_name(value)}'. {HELP_FUNCTIONS}"
    )


def _data_uri(value: Any) -> str:
    encoded = base64.b64encode(to_text(value).encode()).decode()
    kind = "text/plain" if isinstance(value, str) else "application/json"
    return f"data:{kind};charset=utf8;base64,{encoded}"


def _data_uri_to_string(value: Any) -> Any:
    """What a data URI holds: a text, or the value of one that says that it is JSON."""
    match = _DATA_URI.fullmatch(text("dataUriToString", value))
    if match is None:
        raise ExpressionError(
            "The template language function 'dataUriToString' expects its parameter to be formatted as a "
            f"valid data URI. The provided value '{value}' was not formatted correctly. Please see "
            "https://aka.ms/arm-functions#dataUriToString for usage details."
        )
    try:
        encoded = match["data"]
        found = base64.b64decode(encoded, validate=True).decode() if match["base64"] else unquote(encoded)
        kind = match["type"].partition(";")[0].strip().lower()
        return read_plain(found) if kind == "application/json" else found
    except (ValueError, ReadError) as error:
        raise ExpressionError(
            "The template language function 'dataUriToString' was invoked with a parameter that is not "
            "valid. The value cannot be converted to the target type"
        ) from error


def _format(pattern: Any, *values: Any) -> str:
    """Composite formatting: `{0}`, `{1,-10}`, `{2:N0}`, `{{` for a brace."""

    def place(match: re.Match[str]) -> str:
        if match[0] in ("{{", "}}"):
            return match[0][0]
        if match[1] is None or int(match[1]) >= len(values):
            wrong = "Input string was not in a correct format." if match[1] is None else _WRONG_INDEX
            raise ExpressionError(
                f"Unable to evaluate language function 'format': the format is invalid: '{wrong}'. Please "
                "see https://aka.ms/arm-function-format for usage details."
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
        found = type_name(value)
        raise _padding(
            f"the first parameter is invalid. The source string must be a String or integer type, while "
            f"'{found}' was provided"
        )
    if isinstance(width, bool) or not isinstance(width, int) or not 0 <= width <= MAXIMUM_PADDED:
        raise _padding(
            "the second parameter is invalid. Total width must be a positive integer value and not greater "
            f"than '{MAXIMUM_PADDED}', while '{to_text(width)}' was provided"
        )
    if not isinstance(filling, str):
        raise _padding(
            "the third parameter is invalid. The padding character must be a string type, while "
            f"'{type_name(filling)}' was provided"
        )
    if len(filling) != 1:
        raise _padding(
            "the third parameter is invalid. The padding character must be a single character, while "
            f"'{filling}' was provided"
        )
    return str(value).rjust(width, filling)


_PAD_LEFT = "The syntax is padLeft(string, totalWidth [, paddingChar]). Please see "
_PAD_LEFT += "https://aka.ms/arm-functions/#padleft for usage details."


def _padding(why: str) -> ExpressionError:
    return ExpressionError(f"Unable to evaluate template language function 'padLeft': {why}. {_PAD_LEFT}")


def _split(value: Any, delimiter: Any) -> list[str]:
    if not isinstance(value, str):
        raise _not_of_type("split", "its first parameter to be of type 'String'", value)
    delimiters = delimiter if isinstance(delimiter, list) else [delimiter]
    for one in delimiters:
        if not isinstance(one, str):
            raise _not_of_type(
                "split", "its second parameter to be of type 'String or Array of Strings'", one
            )
    wanted = sorted((one for one in delimiters if one), key=len, reverse=True)
    return re.split("|".join(map(re.escape, wanted)), value) if wanted else [value]


def _substring(value: Any, start: Any, length: Any = None) -> str:
    whole, first = text("substring", value), integer("substring", start)
    if first < 0:
        raise _no_part(f"The index parameter cannot be less than zero. The index: '{first}'")
    if first > len(whole):
        raise _no_part(
            f"The index parameter cannot be larger than the length of the string. The index parameter: "
            f"'{first}', the length of the string parameter: '{len(whole)}'"
        )
    count = len(whole) - first if length is None else integer("substring", length)
    if count < 0:
        raise _no_part(f"The length parameter cannot be less than zero. The length parameter: '{count}'")
    if first + count > len(whole):
        raise _no_part(
            "The index and length parameters must refer to a location within the string. The index "
            f"parameter: '{first}', the length parameter: '{count}', the length of the string parameter: "
            f"'{len(whole)}'"
        )
    return whole[first : first + count]


def _no_part(why: str) -> ExpressionError:
    return ExpressionError(
        f"Unable to evaluate the template language function 'substring'. {why}. Please see "
        "https://aka.ms/arm-functions/#substring for usage details."
    )


def _texts(name: str, values: tuple[Any, ...]) -> list[str]:
    if not all(isinstance(value, str) for value in values):
        found = ", ".join(map(type_name, values))
        raise ExpressionError(
            f"The template language function '{name}' expects its parameters to be string literals. Found "
            f"'{found}'. Please see https://aka.ms/arm-functions#{name.lower()} for usage details."
        )
    return list(values)


def _ends_with(value: Any, end: Any) -> bool:
    whole, part = two_texts("endsWith", value, end)
    return whole.lower().endswith(part.lower())


def _starts_with(value: Any, start: Any) -> bool:
    whole, part = two_texts("startsWith", value, start)
    return whole.lower().startswith(part.lower())


def _fail(message: Any) -> None:
    raise ExpressionError(text("fail", message))


def _of_text(name: str, run: Callable[[str], Any]) -> Function:
    return Function(name, 1, 1, lambda value: run(text(name, value)))


def _replaced(value: Any, old: Any, new: Any) -> str:
    if not text("replace", old):
        raise ExpressionError("The template language function 'replace' expects a text to look for")
    return text("replace", value).replace(old, text("replace", new))


FUNCTIONS = (
    Function(
        "base64",
        1,
        1,
        _base64,
        f"The template language function 'base64' must have only one parameter. {HELP_FUNCTIONS}",
    ),
    Function("base64ToJson", 1, 1, _base64_to_json),
    Function("base64ToString", 1, 1, lambda value: _decoded("base64ToString", value)),
    Function("dataUri", 1, 1, _data_uri),
    Function("dataUriToString", 1, 1, _data_uri_to_string),
    Function("endsWith", 2, 2, _ends_with),
    Function("fail", 1, 1, _fail),
    Function("format", 1, MANY, _format),
    Function("guid", 1, MANY, lambda *values: name_guid(_texts("guid", values))),
    Function(
        "padLeft",
        2,
        3,
        _pad_left,
        "Unable to evaluate template language function 'padLeft': function requires minimum two and maximum "
        f"three arguments while '{{given}}' was provided. {_PAD_LEFT}",
    ),
    Function("replace", 3, 3, _replaced),
    Function(
        "split",
        2,
        2,
        _split,
        f"The template language function 'split' expects exactly '2' parameters. {HELP_FUNCTIONS}",
    ),
    Function("startsWith", 2, 2, _starts_with),
    Function(
        "substring",
        2,
        3,
        _substring,
        "The template language function 'substring' expects at least two parameters and up to three "
        "parameters: a string, a start index and optionally a length. Please see "
        "https://aka.ms/arm-functions/#substring for usage details.",
    ),
    _of_text("toLower", str.lower),
    _of_text("toUpper", str.upper),
    _of_text("trim", str.strip),
    Function("uniqueString", 1, MANY, lambda *values: unique_string(_texts("uniqueString", values))),
)
