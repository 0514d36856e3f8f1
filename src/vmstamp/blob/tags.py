"""Tags of blobs: what may be one, how they are sent, and expressions over them. Pure.

REST: Set Blob Tags; Find Blobs by Tags; Specifying conditional headers for Blob service operations.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl

from vmstamp.blob import faults
from vmstamp.errors import AzureError

MAXIMUM_TAGS: Final = 10
_KEY_LENGTHS: Final = range(1, 129)
_VALUE_LENGTHS: Final = range(257)
_TEXT: Final = re.compile(r"[A-Za-z0-9 +\-./:=_]*")
_TERM: Final = re.compile(
    r"""\s*(?:"(?P<quoted>[^"]+)"|(?P<plain>@?[A-Za-z0-9_]+))\s*(?P<sign><>|>=|<=|=|<|>)\s*'(?P<value>[^']*)'\s*"""
)
_WORD: Final = re.compile(r"(AND|OR)\b", re.IGNORECASE)
_SIGNS: Final[dict[str, Callable[[str, str], bool]]] = {
    "=": operator.eq,
    "<>": operator.ne,
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}


def check_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """The tags, if a blob may have them. Raises 400 TagsTooLarge, InvalidTags."""
    if len(tags) > MAXIMUM_TAGS:
        raise faults.fault("TagsTooLarge")
    for key, value in tags.items():
        if len(key) not in _KEY_LENGTHS or len(value) not in _VALUE_LENGTHS:
            raise faults.fault("TagsTooLarge")
        if not (_TEXT.fullmatch(key) and _TEXT.fullmatch(value)):
            raise faults.fault("InvalidTags")
    return dict(tags)


def parse_tags_header(text: str) -> dict[str, str]:
    """The tags of x-ms-tags, which are written as a URL's query is."""
    try:
        return check_tags(dict(parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text))))
    except ValueError:
        raise faults.invalid_header("x-ms-tags", text) from None


@dataclass(frozen=True)
class Term:
    """One comparison: a tag's key, or "@container"; the sign; the value, as text."""

    key: str
    sign: str
    value: str

    def holds(self, tags: Mapping[str, str]) -> bool:
        return self.key in tags and _SIGNS[self.sign](tags[self.key], self.value)


Expression = tuple[tuple[Term, ...], ...]  # any of these of which all hold


def parse_expression(text: str, name: str) -> Expression:
    """An expression over tags; AND binds closer than OR. Raises 400 that names the header or parameter."""
    alternatives: list[list[Term]] = [[]]
    at = 0
    while True:
        match = _TERM.match(text, at)
        if match is None:
            raise _malformed(name, "comparison", at, text)
        alternatives[-1].append(Term(match["quoted"] or match["plain"], match["sign"], match["value"]))
        at = match.end()
        if at == len(text):
            return tuple(tuple(terms) for terms in alternatives)
        word = _WORD.match(text, at)
        if word is None:
            raise _malformed(name, "AND or OR", at, text)
        if word[0].upper() == "OR":
            alternatives.append([])
        at = word.end()


def _malformed(name: str, wanted: str, at: int, text: str) -> AzureError:
    return faults.fault("InvalidQueryParameterValue", f"{name}: no {wanted} at character {at} of {text}")


def matches(expression: Expression, tags: Mapping[str, str]) -> bool:
    return any(all(term.holds(tags) for term in terms) for terms in expression)
