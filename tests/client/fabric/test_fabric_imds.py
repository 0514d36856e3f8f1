"""IMDS, as guests ask it."""

from __future__ import annotations

import json

import pytest

from tests.client.fabric_doors import API, FIRST, METADATA, Doors
from vmstamp.timeline import Stage, Timeline


def test_metadata_header_is_needed(doors: Doors, timeline: Timeline) -> None:
    reply = doors.ask(doors.imds, f"/metadata/instance?{API}")
    assert reply.status == 400
    assert json.loads(reply.body) == {"error": "Bad request. Required metadata header not specified"}
    assert timeline.find(Stage.IMDS) is None


def test_forwarded_request_is_refused(doors: Doors, timeline: Timeline) -> None:
    headers = {**METADATA, "X-Forwarded-For": "10.0.0.1"}
    reply = doors.ask(doors.imds, f"/metadata/instance?{API}", headers)
    assert reply.status == 400
    assert "X-Forwarded-For" in json.loads(reply.body)["error"]


@pytest.mark.parametrize("query", ["", "?api-version=", "?api-version=2017-07-01", "?api-version=latest"])
@pytest.mark.parametrize("path", ["/metadata", "/metadata/instance", "/metadata/instance/compute/name"])
def test_wrong_api_version_is_refused_with_the_newest(
    path: str, query: str, doors: Doors, timeline: Timeline
) -> None:
    reply = doors.ask(doors.imds, path + query, METADATA)
    assert reply.status == 400
    assert json.loads(reply.body) == {
        "error": "Bad request. api-version is invalid or was not specified in the request. "
        "For more information refer to aka.ms/azureimds",
        "newest-versions": ["2025-04-07", "2024-07-17", "2024-03-15"],
    }


@pytest.mark.parametrize(
    "version",
    ["2017-08-01", "2017-12-01", "2018-02-01", "2019-06-01", "2021-08-01", "2021-02-01", "2025-04-07"],
)
def test_versions_that_agents_ask_for_are_served(version: str, doors: Doors, timeline: Timeline) -> None:
    reply = doors.ask(doors.imds, f"/metadata/instance?api-version={version}", METADATA)
    assert reply.status == 200
    assert json.loads(reply.body)["network"]["interface"][0]["macAddress"] == "000D3A000000"
    assert timeline.find(Stage.IMDS) is not None


def test_versions_are_listed_without_an_api_version(doors: Doors, timeline: Timeline) -> None:
    versions = json.loads(doors.ask(doors.imds, "/metadata/versions", METADATA).body)["apiVersions"]
    assert {"2017-08-01", "2018-02-01", "2021-02-01", "2025-04-07"} <= set(versions)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("compute/name", "vm1"),
        ("compute/vmSize", "Standard_B1s"),
        ("compute/VMID", FIRST),
        ("compute/osProfile/", "adminUsername\ncomputerName\ndisablePasswordAuthentication"),
        ("network", "interface/"),
        ("network/interface", "0/\n1/"),
        ("network/interface/1/ipv4/ipAddress/0/privateIpAddress", "127.0.0.3"),
    ],
)
def test_nodes_and_leaves_are_served_as_text(path: str, text: str, doors: Doors, timeline: Timeline) -> None:
    reply = doors.ask(doors.imds, f"/metadata/instance/{path}?{API}&format=text", METADATA)
    assert (reply.status, reply.text) == (200, text)
    assert reply.type.startswith("text/plain")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/metadata/instance/compute/nothing?{}", 404),
        ("/metadata/instance/network/interface/2?{}", 404),
        ("/metadata/instance/network/interface/-1?{}", 404),
        ("/metadata/instance/compute/name/more?{}&format=text", 404),
        ("/metadata/instance/compute/name?{}", 400),
        ("/metadata/instance?{}&format=xml", 400),
        ("/metadata/attested/document?{}", 404),
        ("/metadata/scheduledevents?api-version=2020-07-01", 404),
        ("/metadata?{}", 404),
        ("/?{}", 404),
    ],
)
def test_what_imds_does_not_serve_is_refused_in_json(
    path: str, status: int, doors: Doors, timeline: Timeline
) -> None:
    reply = doors.ask(doors.imds, path.format(API), METADATA)
    assert reply.status == status
    assert json.loads(reply.body).keys() == {"error"}


def test_token_is_refused_as_for_a_vm_without_an_identity(doors: Doors, timeline: Timeline) -> None:
    path = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://management.azure.com/"
    reply = doors.ask(doors.imds, path, METADATA)
    assert reply.status == 400
    assert json.loads(reply.body) == {"error": "invalid_request", "error_description": "Identity not found"}


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_imds_takes_get_alone(method: str, doors: Doors, timeline: Timeline) -> None:
    assert doors.ask(doors.imds, f"/metadata/instance?{API}", METADATA, method=method).status == 405
