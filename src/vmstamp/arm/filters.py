"""The `$filter` of lists of resources and groups.

`NAME eq|ne 'VALUE'`, `substringof('VALUE', NAME)` and `startswith(tagName, 'VALUE')`, joined by `and`, which
binds tighter, and `or`. REST: Resources - List; Resource Groups - List.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from vmstamp.arm.resource import Resource
from vmstamp.errors import AzureError

_VALUE: Final = r"'(?P<{0}>(?:[^']|'')*)'"
_TERM: Final = re.compile(
    rf"\s*(?:(?P<name>\w+)\s+(?P<operator>eq|ne)\s+{_VALUE.format('value')}"
    rf"|substringof\(\s*{_VALUE.format('part')}\s*,\s*(?P<within>\w+)\s*\)"
    rf"|startswith\(\s*(?P<beginning>\w+)\s*,\s*{_VALUE.format('start')}\s*\))\s*",
    re.IGNORECASE,
)
_JOIN: Final = re.compile(r"(and|or)\b", re.IGNORECASE)

Test = Callable[[Resource], bool]

_PROPERTIES: Final[Mapping[str, Callable[[Resource], str]]] = {
    "resourcetype": lambda resource: resource.type,
    "resourcegroup": lambda resource: resource.id.group.lower(),
    "name": lambda resource: resource.name.lower(),
    "location": lambda resource: resource.location,
}
_SEARCHED: Final = ("name", "resourcegroup")


class _Term(NamedTuple):
    """One comparison: a property in lower case, how it is compared, and with what."""

    name: str
    operator: str  # eq, ne, substringof, startswith
    value: str


def parse_filter(text: str) -> Test:
    """A test of a resource. Raises AzureError (400) that says what is understood."""
    if not text.strip():
        return lambda resource: True
    alternatives = [_all(terms, text) for terms in _parse(text)]
    return lambda resource: any(test(resource) for test in alternatives)


def _parse(text: str) -> list[list[_Term]]:
    """The terms joined by `and`, of each that is joined by `or`."""
    found: list[list[_Term]] = [[]]
    place = 0
    while (match := _TERM.match(text, place)) is not None:
        found[-1].append(_term(match))
        if match.end() == len(text):
            return found
        join = _JOIN.match(text, match.end())
        if join is None:
            break
        if join[1].lower() == "or":
            found.append([])
        place = join.end()
    raise _invalid(text)


def _term(match: re.Match[str]) -> _Term:
    if match["name"]:
        name, operator, value = match["name"], match["operator"], match["value"]
    elif match["within"]:
        name, operator, value = match["within"], "substringof", match["part"]
    else:
        name, operator, value = match["beginning"], "startswith", match["start"]
    return _Term(name.lower(), operator.lower(), value.replace("''", "'"))


def _all(terms: list[_Term], text: str) -> Test:
    tags = [term for term in terms if term.name in ("tagname", "tagvalue")]
    tests = [_property_test(term, text) for term in terms if term not in tags]
    if tags:
        tests.append(_tag_test(tags, text))
    return lambda resource: all(test(resource) for test in tests)


def _property_test(term: _Term, text: str) -> Test:
    find = _PROPERTIES.get(term.name)
    wanted = term.value.lower()
    if term.name == "location":
        wanted = wanted.replace(" ", "")
    if find is None or (term.operator == "substringof" and term.name not in _SEARCHED):
        raise _invalid(text)
    match term.operator:
        case "eq":
            return lambda resource: find(resource) == wanted
        case "ne":
            return lambda resource: find(resource) != wanted
        case "substringof":
            return lambda resource: wanted in find(resource)
        case _:
            raise _invalid(text)


def _tag_test(terms: list[_Term], text: str) -> Test:
    """Names of tags are compared without case, values with it."""
    given = {(term.name, term.operator): term.value for term in terms}
    name, start = given.pop(("tagname", "eq"), None), given.pop(("tagname", "startswith"), None)
    value = given.pop(("tagvalue", "eq"), None)
    if given or (name is None) == (start is None) or (value is not None and name is None):
        raise _invalid(text)

    def test(resource: Resource) -> bool:
        tags = {key.lower(): content for key, content in resource.document.get("tags", {}).items()}
        if name is None:
            return any(key.startswith((start or "").lower()) for key in tags)
        return name.lower() in tags and value in (None, tags[name.lower()])

    return test


def _invalid(text: str) -> AzureError:
    return AzureError(
        400,
        "InvalidFilterInQueryString",
        f"Invalid $filter '{text}' specified in the query string. This stamp supports resourceType, "
        "resourceGroup, name and location with eq and ne, substringof of name and resourceGroup, tagName "
        "with eq and startswith, tagValue with eq, joined by and and or.",
    )
