"""Tags at every scope, and the names that a subscription sets up."""

from __future__ import annotations

from typing import Any

import pytest

from tests.client.arm.parity.row import GROUP, NETWORK, SUBSCRIPTION, ask

API = "2021-04-01"
TAGS = "providers/Microsoft.Resources/tags/default"
ADDRESS = f"{NETWORK}/publicIPAddresses/ip1"
ROOT = f"/subscriptions/{SUBSCRIPTION}"


@pytest.fixture(autouse=True)
def address(arm: Any) -> None:
    body = {"location": "westeurope", "properties": {}, "tags": {"old": "1"}}
    arm.network.public_ip_addresses.begin_create_or_update("rg", "ip1", body).result()


def tags_of(arm: Any, scope: str) -> dict[str, str]:
    found: dict[str, str] = ask(arm, "GET", f"{scope}/{TAGS}", api=API).json()["properties"]["tags"]
    return found


@pytest.mark.parametrize("scope", [ROOT, GROUP, ADDRESS])
def test_tags_are_replaced_merged_and_deleted(arm: Any, scope: str) -> None:
    def send(method: str, operation: str, **tags: str) -> dict[str, str]:
        body = {"properties": {"tags": tags}, **({"operation": operation} if operation else {})}
        reply = ask(arm, method, f"{scope}/{TAGS}", body, api=API)
        assert reply.status_code == 200, reply.text
        assert reply.json()["id"] == f"{scope}/{TAGS}"
        found: dict[str, str] = reply.json()["properties"]["tags"]
        return found

    assert send("PUT", "", Dept="x", env="dev") == {"Dept": "x", "env": "dev"}
    assert send("PATCH", "Merge", dept="y", more="z") == {"Dept": "y", "env": "dev", "more": "z"}
    assert send("PATCH", "Delete", ENV="dev", more="other") == {"Dept": "y", "more": "z"}
    assert send("PATCH", "Replace", a="b") == {"a": "b"} == tags_of(arm, scope)
    assert ask(arm, "DELETE", f"{scope}/{TAGS}", api=API).status_code == 200
    assert tags_of(arm, scope) == {}


def test_tags_at_the_scope_are_those_of_the_resource(arm: Any) -> None:
    ask(
        arm, "PATCH", f"{ADDRESS}/{TAGS}", {"operation": "Merge", "properties": {"tags": {"n": "2"}}}, api=API
    )
    assert arm.network.public_ip_addresses.get("rg", "ip1").tags == {"old": "1", "n": "2"}
    found = ask(arm, "GET", f"{GROUP}/resources?$filter=tagName eq 'n' and tagValue eq '2'", api=API)
    assert [one["name"] for one in found.json()["value"]] == ["ip1"]


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"a/b": ""}, "InvalidTagNameCharacters"),
        ({"x" * 513: ""}, "InvalidTagName"),
        ({" ": ""}, "InvalidTagName"),
        ({"x": "y" * 257}, "InvalidTagValueLength"),
        ({f"x{i}": "" for i in range(51)}, "InvalidParameter"),
        ({"a": "", "A": ""}, "InvalidTag"),
    ],
)
def test_limits_of_tags(arm: Any, given: dict[str, str], code: str) -> None:
    refused = ask(arm, "PUT", f"{GROUP}/{TAGS}", {"properties": {"tags": given}}, api=API)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, code)
    assert tags_of(arm, GROUP) == {}


def test_names_and_values_are_set_up_counted_and_taken_away(arm: Any) -> None:
    names = f"{ROOT}/tagNames"
    assert ask(arm, "PUT", f"{names}/env", api=API).status_code == 201
    assert ask(arm, "PUT", f"{names}/env", api=API).status_code == 200
    assert ask(arm, "PUT", f"{names}/env/tagValues/dev", api=API).json()["tagValue"] == "dev"
    listed = {one["tagName"]: one for one in ask(arm, "GET", names, api=API).json()["value"]}
    assert listed["old"]["count"] == {"type": "Total", "value": 1}
    assert [(v["tagValue"], v["count"]["value"]) for v in listed["env"]["values"]] == [("dev", 0)]
    ask(arm, "PUT", f"{GROUP}/{TAGS}", {"properties": {"tags": {"env": "dev"}}}, api=API)
    assert ask(arm, "DELETE", f"{names}/env", api=API).json()["error"]["code"] == "TagInUse"
    ask(arm, "DELETE", f"{GROUP}/{TAGS}", api=API)
    assert ask(arm, "DELETE", f"{names}/env/tagValues/dev", api=API).status_code == 200
    assert ask(arm, "DELETE", f"{names}/env", api=API).status_code == 200
    assert ask(arm, "DELETE", f"{names}/env", api=API).status_code == 204
