"""The text of templates and of the bodies that carry them: JSON as Azure's reader takes it.

Beside JSON: comments (`//` and `/* */`), strings over several lines and in single quotes, commas before a
closing bracket, and names without quotes: az sends `template:{...}` with the file's own text in it. Where
each value stands is kept for messages: objects and arrays are a dict and a list that know it. A position is
how many characters of the line are read when the reader has seen it: the bracket that an object or an array
begins with, the end of any other value, the colon after a name. So Azure's reader (Json.NET) counts.
"""

from __future__ import annotations

import json
import re
from typing import Any

from vmstamp.errors import VmstampError

MAXIMUM_DEPTH = 100  # objects and arrays within each other

_SPACE = re.compile(r"(?:[ \t\r\n\ufeff]+|//[^\n]*|/\*.*?\*/)*", re.DOTALL)
_STRINGS = {
    '"': re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL),
    "'": re.compile(r"'(?:[^'\\]|\\.)*'", re.DOTALL),
}
_QUOTES = re.compile(r"\\.|\"", re.DOTALL)  # what a string in single quotes writes otherwise
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?")
_NAME = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")
_WORDS = {"true": True, "false": False, "null": None}

Place = tuple[int, int]  # line, from 1, and position in it


class Object(dict[str, Any]):
    """A JSON object; `places` says where each member's value stands, `names` where its name does."""

    def __init__(self) -> None:
        super().__init__()
        self.places: dict[str, Place] = {}
        self.names: dict[str, Place] = {}


class Array(list[Any]):
    """A JSON array; `places` says where each item stands."""

    def __init__(self) -> None:
        super().__init__()
        self.places: list[Place] = []


def place_of(container: Any, key: str | int) -> Place:
    """Where a member or an item stands; (0, 0) when its container was not read from text."""
    if isinstance(container, Object) and isinstance(key, str):
        return container.places.get(key, (0, 0))
    if isinstance(container, Array) and isinstance(key, int) and key < len(container.places):
        return container.places[key]
    return (0, 0)


def place_of_name(container: Any, name: str) -> Place:
    """Where the name of a member stands; (0, 0) when its object was not read from text."""
    return container.names.get(name, (0, 0)) if isinstance(container, Object) else (0, 0)


class ReadError(VmstampError):
    """A text is no JSON: the message has the path, the line and the position."""


def read(text: str) -> Any:
    """The value of a text. Raises ReadError."""
    return _Reader(text).read()


def read_plain(text: str) -> Any:
    """The value of a text, of plain dicts and lists. Raises ReadError."""
    return _plain(read(text))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _in_double_quotes(text: str) -> str:
    """A string in single quotes, as JSON writes it."""
    other = {"\\'": "'", '"': '\\"'}
    return '"' + _QUOTES.sub(lambda match: other.get(match[0], match[0]), text[1:-1]) + '"'


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._path: list[str | int] = []
        self._line = 1
        self._counted = 0  # up to where lines were counted
        self._line_start = 0
        self._named: Place = (0, 0)  # the name that was read last

    def read(self) -> Any:
        self._space()
        value = self._value()
        self._space()
        if self._at < len(self._text):
            raise self._error("Additional text found in JSON string after finishing deserializing object")
        return value

    def _space(self) -> None:
        match = _SPACE.match(self._text, self._at)
        self._at = match.end() if match else self._at

    def _place(self) -> Place:
        ends = self._text.count("\n", self._counted, self._at)
        if ends:
            self._line += ends
            self._line_start = self._text.rfind("\n", 0, self._at) + 1
        self._counted = self._at
        return (self._line, self._at - self._line_start)

    def _error(self, what: str) -> ReadError:
        line, column = self._place()
        path = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in self._path).lstrip(".")
        return ReadError(f"{what}. Path '{path}', line {line}, position {column}.")

    def _unexpected(self, where: str) -> ReadError:
        if self._at >= len(self._text):
            return self._error("Unexpected end of content")
        return self._error(f"{where}: {self._text[self._at]}")

    def _placed(self) -> tuple[Any, Place]:
        """A value, and where it stands."""
        line, column = self._place()
        value = self._value()
        return value, (line, column + 1) if isinstance(value, dict | list) else self._place()

    def _value(self) -> Any:
        character = self._text[self._at : self._at + 1]
        if character == "{":
            return self._object()
        if character == "[":
            return self._array()
        if character in _STRINGS:
            return self._string(character)
        if match := _NUMBER.match(self._text, self._at):
            return self._number(match[0])
        match = _NAME.match(self._text, self._at)
        if match is None or match[0] not in _WORDS:
            raise self._unexpected("Unexpected character encountered while parsing value")
        self._at = match.end()
        return _WORDS[match[0]]

    def _number(self, text: str) -> int | float:
        if len(text) > 400:
            raise self._error("The number is too long")
        self._at += len(text)
        found = json.loads(text)
        if isinstance(found, float) and found in (float("inf"), float("-inf")):
            raise self._error("The number is too large")
        return found  # type: ignore[no-any-return]

    def _string(self, quote: str) -> str:
        match = _STRINGS[quote].match(self._text, self._at)
        if match is None:
            raise self._error(f"Unterminated string. Expected delimiter: {quote}")
        try:
            written = match[0] if quote == '"' else _in_double_quotes(match[0])
            found: str = json.loads(written, strict=False)
        except ValueError as error:
            raise self._error("Bad JSON escape sequence") from error
        self._at = match.end()
        return found

    def _enter(self) -> None:
        if len(self._path) >= MAXIMUM_DEPTH:
            raise self._error(f"The reader's MaxDepth of {MAXIMUM_DEPTH} has been exceeded")
        self._at += 1
        self._space()

    def _object(self) -> Object:
        found = Object()
        self._enter()
        while not self._text.startswith("}", self._at):
            name = self._member_name()
            self._path.append(name)
            found.names[name] = self._named
            found[name], found.places[name] = self._placed()
            self._separator("}")
            self._path.pop()
        self._at += 1
        return found

    def _member_name(self) -> str:
        if self._text.startswith(tuple(_STRINGS), self._at):
            name = self._string(self._text[self._at])
        elif match := _NAME.match(self._text, self._at):
            name, self._at = match[0], match.end()
        else:
            raise self._unexpected("Invalid property identifier character")
        self._space()
        if not self._text.startswith(":", self._at):
            raise self._unexpected("Invalid character after parsing property name. Expected ':' but got")
        self._at += 1
        self._named = self._place()
        self._space()
        return name

    def _array(self) -> Array:
        found = Array()
        self._enter()
        while not self._text.startswith("]", self._at):
            self._path.append(len(found))
            value, place = self._placed()
            found.append(value)
            found.places.append(place)
            self._separator("]")
            self._path.pop()
        self._at += 1
        return found

    def _separator(self, end: str) -> None:
        self._space()
        if self._text.startswith(",", self._at):
            self._at += 1
            self._space()
        elif not self._text.startswith(end, self._at):
            raise self._unexpected("After parsing a value an unexpected character was encountered")
