"""The few `$filter` expressions that lists of resources and groups take: `NAME eq 'VALUE' [and ...]`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from vmstamp.arm.types import Resource
from vmstamp.errors import AzureError

TERM = re.compile(r"\s*(\w+)\s+eq\s+'((?:[^']|'')*)'\s*")

Test = Callable[[Resource], bool]

RESOURCE_TESTS: Mapping[str, Callable[[Resource, str], bool]] = {
    "resourcetype": lambda resource, value: resource.type == value.lower(),
    "resourcegroup": lambda resource, value: resource.id.group.lower() == value.lower(),
    "name": lambda resource, value: resource.name.lower() == value.lower(),
    "location": lambda resource, value: resource.location == value.lower().replace(" ", ""),
}


def parse_filter(text: str) -> Test:
    """A test of a resource. Raises AzureError (400) that says what is understood."""
    if not text.strip():
        return lambda resource: True
    terms: list[tuple[str, str]] = []
    for part in re.split(r"\s+and\s+", text.strip()):
        match = TERM.fullmatch(part)
        if match is None:
            raise _invalid(text)
        terms.append((match[1].lower(), match[2].replace("''", "'")))
    return _all(terms, text)


def _all(terms: list[tuple[str, str]], text: str) -> Test:
    given = dict(terms)
    tag, value = given.pop("tagname", None), given.pop("tagvalue", None)
    if any(name not in RESOURCE_TESTS for name in given) or (value is not None and tag is None):
        raise _invalid(text)

    def test(resource: Resource) -> bool:
        tags = {name.lower(): content for name, content in resource.document.get("tags", {}).items()}
        if tag is not None and (tag.lower() not in tags or value not in (None, tags[tag.lower()])):
            return False
        return all(RESOURCE_TESTS[name](resource, wanted) for name, wanted in given.items())

    return test


def _invalid(text: str) -> AzureError:
    return AzureError(
        400,
        "InvalidFilterInQueryString",
        f"Invalid $filter '{text}' specified in the query string. This stamp supports resourceType, "
        "resourceGroup, name, location, tagName and tagValue, each with eq, joined by and.",
    )
