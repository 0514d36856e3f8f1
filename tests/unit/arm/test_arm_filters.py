"""What a `$filter` of resources finds, and which are refused."""

from __future__ import annotations

import pytest

from vmstamp.arm.filters import parse_filter
from vmstamp.arm.resource import Resource
from vmstamp.errors import AzureError
from vmstamp.resource_id import ResourceId


def resource(name: str, location: str = "westeurope", **tags: str) -> Resource:
    id = ResourceId("s", "Rg", "Microsoft.Compute", ("disks",), (name,))
    return Resource(id, location, "etag", "2024-01-01T00:00:00Z", {"tags": tags}, {})


FOUND = {
    "": "Web web-data db",
    "name eq 'WEB'": "Web",
    "name ne 'web' and location eq 'West Europe'": "web-data",
    "substringof('web', name)": "Web web-data",
    "substringof('RG', resourceGroup) and name eq 'db'": "db",
    "resourceType eq 'microsoft.compute/DISKS'": "Web web-data db",
    "resourceGroup eq 'other'": "",
    "name eq 'db' or name eq 'web' and location eq 'nowhere'": "db",
    "tagName eq 'ENV'": "Web web-data",
    "tagName eq 'env' and tagValue eq 'test and or more'": "web-data",
    "tagName eq 'env' and tagValue eq 'Prod'": "",
    "startswith(tagname, 'EN')": "Web web-data",
    "startswith(tagName, 'env') and substringof('data',name)": "web-data",
    "tagName eq 'owner' and tagValue eq 'o''hara'": "db",
}


@pytest.mark.parametrize("text", FOUND)
def test_a_filter_finds(text: str) -> None:
    every = [
        resource("Web", env="prod"),
        resource("web-data", env="test and or more"),
        resource("db", "northeurope", owner="o'hara"),
    ]
    test = parse_filter(text)
    assert " ".join(one.name for one in every if test(one)) == FOUND[text]


@pytest.mark.parametrize(
    "text",
    [
        "name",
        "name gt 'a'",
        "name eq 'a' and",
        "name eq 'a' name eq 'b'",
        "(name eq 'a')",
        "kind eq 'a'",
        "substringof('a', location)",
        "startswith(name, 'a')",
        "tagValue eq 'a'",
        "tagName ne 'a'",
        "tagName eq 'a' or tagValue eq 'b'",
        "name eq 'a'x",
    ],
)
def test_what_is_not_understood_is_refused(text: str) -> None:
    with pytest.raises(AzureError, match="Invalid \\$filter") as caught:
        parse_filter(text)
    assert (caught.value.status, caught.value.code) == (400, "InvalidFilterInQueryString")
