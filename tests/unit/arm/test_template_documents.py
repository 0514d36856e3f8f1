"""What-if's differences, a group as a template, links, and durations."""

from datetime import timedelta
from typing import Any

import pytest

from tests.unit.arm.template_words import PREFIX, document, opened, resource
from vmstamp.arm.resource import Resource
from vmstamp.arm.template.documents import dependencies_of, duration, providers_of
from vmstamp.arm.template.export import export_group
from vmstamp.arm.template.request import read_request
from vmstamp.arm.template.template import template_hash
from vmstamp.arm.template.what_if import changes, differences
from vmstamp.errors import AzureError
from vmstamp.resource_id import ResourceId, parse_resource_id

ONE = parse_resource_id(f"{PREFIX}/A.B/c/one")


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({"a": 1, "b": 2}, {"A": 1}, []),
        ({"a": 1}, {"a": 2}, [("a", "Modify", 1, 2)]),
        ({}, {"a": 2}, [("a", "Create", None, 2)]),
        ({}, {"a": [], "b": {}}, []),
        ({"p": {"x": 1}}, {"p": {"x": 1, "y": 2}}, [("p.y", "Create", None, 2)]),
        ({"tags": {"a": "1"}}, {"tags": {}}, [("tags.a", "Delete", "1", None)]),
        ({"location": "westeurope"}, {"location": "WestEurope"}, []),
        ({"a": 1}, {"a": "[reference('x').y]"}, []),
        ({"l": [1]}, {"l": [1]}, []),
        ({"l": [1]}, {"l": [2, 3]}, [("l", "Array", None, None)]),
        ({"properties": {"provisioningState": "Succeeded"}}, {"properties": {"provisioningState": 0}}, []),
    ],
)
def test_differences(before: Any, after: Any, expected: list[Any]) -> None:
    found = differences(before, after)
    assert [(d["path"], d["propertyChangeType"], d["before"], d["after"]) for d in found] == expected


def test_differences_within_an_array_are_told_item_by_item() -> None:
    (change,) = differences({"l": [{"n": "a", "x": 1}, 2, 3]}, {"l": [{"n": "a", "x": 5}, 4]})
    told = [(child["path"], child["propertyChangeType"]) for child in change["children"]]
    assert told == [("0", "Modify"), ("1", "Modify"), ("2", "Delete")]
    assert change["children"][0]["children"] == [
        {"path": "x", "propertyChangeType": "Modify", "before": 1, "after": 5}
    ]


def test_a_secret_is_masked_in_what_would_change() -> None:
    template = document(
        (resource("one", properties={"key": "[concat('k-', parameters('p'))]"}),),
        parameters={"p": {"type": "securestring"}},
    )
    (change,) = changes([opened(template, {"p": "hush"})], lambda id: None, (), "FullResourcePayloads")
    assert change["changeType"] == "Create" and change["after"]["properties"] == {"key": "k-*******"}


def test_what_the_template_does_not_have_is_ignored_or_deleted() -> None:
    other = ResourceId("sub", "rg", "A.B", ("c",), ("other",))
    for deleted, kind in ((True, "Delete"), (False, "Ignore")):
        (change,) = changes([], lambda id: {"a": 1}, [(other, deleted)], "FullResourcePayloads")
        assert (change["changeType"], change["before"]) == (kind, {"a": 1})


def test_dependencies_and_providers_of_a_deployment() -> None:
    found = opened(document((resource("one", location="West Europe"), resource("two", dependsOn=["one"]))))
    (told,) = dependencies_of(found)
    assert told["resourceName"] == "two" and [one["id"] for one in told["dependsOn"]] == [str(ONE)]
    assert providers_of(found) == [
        {"namespace": "A.B", "resourceTypes": [{"resourceType": "c", "locations": ["westeurope"]}]}
    ]


def test_a_group_as_a_template_is_a_template() -> None:
    two = parse_resource_id(f"{PREFIX}/A.B/c/two")
    inner = {"id": f"{ONE}/parts/p1"}
    stored: list[tuple[ResourceId, dict[str, Any]]] = [
        (ONE, {"properties": {"x": "[odd", "provisioningState": "Succeeded"}}),
        (two, {"tags": {"a": "b"}, "properties": {"part": inner, "far": "/subscriptions/sub"}}),
    ]
    resources = [
        (
            Resource(id, "westeurope", "", "", body, {}),
            {"type": "A.B/c", "location": "westeurope", **body},
            "2024-01-01",
        )
        for id, body in stored
    ]
    for parameterize in (True, False):
        found = opened(export_group(resources, parameterize))
        first, second = found.graph.steps
        assert (first.id, second.id) == (ONE, two)
        assert first.preview == {"location": "westeurope", "properties": {"x": "[odd"}}
        assert second.preview is not None and second.preview["properties"]["part"] == inner
        assert second.waits == {ONE.key}


@pytest.mark.parametrize(
    ("span", "text"),
    [
        (timedelta(), "PT0S"),
        (timedelta(seconds=1.25), "PT1.25S"),
        (timedelta(minutes=2, seconds=3), "PT2M3S"),
        (timedelta(days=1), "PT24H0S"),
    ],
)
def test_durations(span: timedelta, text: str) -> None:
    assert duration(span) == text


def test_the_hash_of_a_template_does_not_know_order() -> None:
    assert template_hash({"a": 1, "b": [2]}) == template_hash({"b": [2], "a": 1}) != template_hash({"a": 1})


# -- requests


def fetch(url: str) -> str:
    if url.endswith("broken.json"):
        return "{"
    return (
        f'{{"$schema": "{document()["$schema"]}", "contentVersion": "1.0.0.0", "resources": [] /* {url} */}}'
    )


@pytest.mark.parametrize(
    ("properties", "code", "said"),
    [
        ({"template": document()}, "InvalidRequestContent", "DeploymentMode"),
        ({"mode": "Incremental"}, "InvalidTemplate", "Either the template or the template link"),
        (
            {"mode": "Incremental", "template": document(), "templateLink": {"uri": "https://x/y"}},
            "InvalidTemplate",
            "not both",
        ),
        (
            {"mode": "Incremental", "templateLink": {"uri": "file:///etc/passwd"}},
            "InvalidContentLink",
            "absolute",
        ),
        ({"mode": "Incremental", "templateLink": {"id": "/x"}}, "NotSupportedByStamp", "template spec"),
        ({"mode": "Incremental", "templateLink": {"relativePath": "a"}}, "InvalidTemplate", "relativePath"),
        (
            {"mode": "Incremental", "templateLink": {"uri": "https://x/broken.json"}},
            "InvalidTemplate",
            "line 1",
        ),
        (
            {"mode": "Incremental", "template": document(), "onErrorDeployment": {"type": "x"}},
            "NotSupportedByStamp",
            "onErr",
        ),
        (
            {"mode": "Incremental", "template": document(), "parameters": {" ": {"value": 1}}},
            "InvalidDeploymentParameterKey",
            "empty key",
        ),
        (
            {"mode": "Incremental", "template": document(), "parameters": {"a": {}}},
            "InvalidDeploymentParameterValue",
            "'a' is null",
        ),
        (
            {
                "mode": "Incremental",
                "template": document(),
                "parameters": {"a": {"reference": {"keyVault": 1}}},
            },
            "NotSupportedByStamp",
            "Key Vault",
        ),
    ],
)
def test_a_request_that_cannot_be_understood_is_refused(properties: Any, code: str, said: str) -> None:
    with pytest.raises(AzureError) as caught:
        read_request({"properties": properties}, fetch)
    assert caught.value.code == code and said in caught.value.message


def test_a_linked_template_is_found_beside_its_parent() -> None:
    asked = read_request(
        {
            "properties": {
                "mode": "complete",
                "templateLink": {"relativePath": "b/c.json", "queryString": "?sig=1"},
            }
        },
        fetch,
        "https://x/a/main.json",
    )
    assert asked.mode == "Complete" and asked.link == {
        "uri": "https://x/a/b/c.json",
        "contentVersion": "1.0.0.0",
    }


def test_parameters_may_be_a_whole_file() -> None:
    given = {"$schema": "x", "contentVersion": "1.0.0.0", "parameters": {"a": {"value": 1}}}
    body = {"properties": {"mode": "Incremental", "template": document(), "parameters": given}}
    assert read_request(body, fetch).values == {"a": 1}
