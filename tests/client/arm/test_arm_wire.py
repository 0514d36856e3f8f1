"""The door itself: tokens, headers, bodies that are no JSON, secrets that stay unsaid."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

SUBSCRIPTION = "11111111-2222-3333-4444-555555555555"
GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg"
Send = Callable[..., requests.Response]


@pytest.fixture
def send(arm: Any) -> Iterator[Send]:
    """Send a request by hand; a wrong token by `token`."""
    with requests.Session() as session:
        session.trust_env = False
        session.verify = arm.options["connection_verify"]

        def run(method: str, path: str, *, token: str = "a token of the tests", data: Any = None) -> Any:
            headers = {"Authorization": f"Bearer {token}", "x-ms-client-request-id": "mine"} if token else {}
            url = f"{arm.url}{path}?api-version=2024-07-01"
            return session.request(method, url, headers=headers, data=data, timeout=10)

        yield run


@pytest.mark.parametrize(
    ("token", "code"), [("", "AuthenticationFailed"), ("another", "InvalidAuthenticationToken")]
)
def test_request_without_a_good_token_is_challenged(send: Send, token: str, code: str) -> None:
    reply = send("GET", GROUP, token=token)
    assert reply.status_code == 401
    assert reply.json()["error"]["code"] == code
    assert reply.headers["WWW-Authenticate"].startswith('Bearer authorization_uri="https://127.0.0.1:')


def test_reply_has_azures_headers(send: Send) -> None:
    reply = send("GET", GROUP)
    assert reply.headers["Cache-Control"] == "no-cache"
    assert reply.headers["x-ms-client-request-id"] == "mine"
    assert reply.headers["x-ms-request-id"] and reply.headers["x-ms-correlation-request-id"]
    assert send("GET", f"{GROUP}x").headers["x-ms-failure-cause"] == "gateway"


@pytest.mark.parametrize("data", [b"{", b"\xff\xfe", b"[" * 100_000, b'{"location": NaN}', b"7", b""])
def test_body_that_is_no_object_is_refused(send: Send, data: bytes) -> None:
    reply = send("PUT", f"{GROUP}1", data=data)
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "InvalidRequestContent")


def test_body_that_is_too_long_is_refused(send: Send) -> None:
    reply = send("PUT", f"{GROUP}1", data=b" " * (4 * 2**20 + 1))
    assert (reply.status_code, reply.json()["error"]["code"]) == (413, "RequestContentTooLarge")


def test_method_that_is_not_there_is_named(send: Send) -> None:
    reply = send("POST", GROUP)
    assert (reply.status_code, reply.json()["error"]["code"]) == (405, "HttpMethodNotSupported")


def test_existence_is_asked_by_head(send: Send, arm: Any) -> None:
    arm.nic()
    path = f"{GROUP}/providers/Microsoft.Network/networkInterfaces/nic1"
    assert [send("HEAD", p).status_code for p in (path, f"{path}x", GROUP, f"{GROUP}x")] == [
        204,
        404,
        204,
        404,
    ]


def test_providers_and_locations_are_listed(send: Send) -> None:
    scope = f"/subscriptions/{SUBSCRIPTION}"
    assert "westeurope" in [one["name"] for one in send("GET", f"{scope}/locations").json()["value"]]
    names = [one["namespace"] for one in send("GET", f"{scope}/providers").json()["value"]]
    assert {"Microsoft.Authorization", "Microsoft.Compute", "Microsoft.Network", "Microsoft.Storage"} < {
        *names
    }
    compute = send("POST", f"{scope}/providers/microsoft.compute/register").json()
    assert compute["registrationState"] == "Registered"
    assert "images" in [one["resourceType"] for one in compute["resourceTypes"]]
    assert send("GET", "/subscriptions").json()["value"][0]["subscriptionId"] == SUBSCRIPTION


def test_page_is_followed_by_its_next_link(send: Send, arm: Any) -> None:
    for number in range(4):
        arm.nic(f"nic{number}")
    first = send("GET", f"{GROUP}/providers/Microsoft.Network/networkInterfaces").json()
    assert len(first["value"]) == 3 and first["nextLink"].startswith(arm.url)
    token = {"Authorization": "Bearer a token of the tests"}
    second = requests.get(
        first["nextLink"], headers=token, verify=arm.options["connection_verify"], timeout=10
    ).json()
    assert [one["name"] for one in second["value"]] == ["nic3"] and "nextLink" not in second


@pytest.mark.parametrize("secret", ["Short1", ["In-A-List-1"], {"in": "An-Object-1"}, "x" * 80])
def test_refused_secret_is_neither_answered_nor_logged(
    send: Send, arm: Any, caplog: pytest.LogCaptureFixture, secret: Any
) -> None:
    caplog.set_level(logging.DEBUG, logger="vmstamp")
    body = arm.vm_body(arm.image(), arm.nic())
    body["properties"]["osProfile"] |= {"adminPassword": secret, "customData": "bm8gYmFzZTY0%"}
    path = f"{GROUP}/providers/Microsoft.Compute/virtualMachines/vm1"
    reply = send("PUT", path, data=json.dumps(body))
    assert reply.status_code == 400
    said = reply.text + "".join(record.getMessage() for record in caplog.records)
    for word in ("Short1", "In-A-List-1", "An-Object-1", "xxxx", "bm8gYmFzZTY0"):
        assert word not in said


def test_a_poller_of_the_sdk_waits_no_longer_than_it_is_told(arm: Any) -> None:
    """Without Retry-After a poller would look again after thirty seconds."""
    arm.host.held.clear()
    body = arm.vm_body(arm.image(), arm.nic())
    begun = time.monotonic()
    poller = arm.compute.virtual_machines.begin_create_or_update("rg", "vm1", body)
    threading.Timer(1.5, arm.host.held.set).start()
    assert poller.result(60).name == "vm1"
    assert time.monotonic() - begun < 25
