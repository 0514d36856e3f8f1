"""Two clients at once on one resource: each is answered as if the other had come before or after it."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from tests.client.arm.invariants import violations
from tests.client.arm.parity.machines import settle
from tests.client.arm.parity.row import COMPUTE, GROUP, SUBSCRIPTION, ask
from vmstamp.arm.types import Request
from vmstamp.errors import AzureError

DISK = f"{COMPUTE}/disks/d1"
OTHER = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg2"
LOCK = f"{DISK}/providers/Microsoft.Authorization/locks/l1"
WHERE = {"location": "westeurope"}
ROUNDS = 12

Call = tuple[str, str, Any]


def put(size: int) -> Call:
    properties = {"creationData": {"createOption": "Empty"}, "diskSizeGB": size}
    return ("PUT", DISK, {**WHERE, "properties": properties, "tags": {"size": str(size)}})


DELETE: Call = ("DELETE", DISK, None)
OPEN: Call = ("POST", f"{DISK}/beginGetAccess", {"access": "Read", "durationInSeconds": 600})
MOVE: Call = ("POST", f"{GROUP}/moveResources", {"resources": [DISK], "targetResourceGroup": OTHER})
KEEP: Call = ("PUT", LOCK, {"properties": {"level": "CanNotDelete"}})

PAIRS = {
    "PUT and PUT": (put(2), put(3)),
    "PUT and DELETE": (put(2), DELETE),
    "DELETE and DELETE": (DELETE, DELETE),
    "move and PUT": (MOVE, put(2)),
    "move and DELETE": (MOVE, DELETE),
    "lock and DELETE": (KEEP, DELETE),
    "beginGetAccess and DELETE": (OPEN, DELETE),
    "beginGetAccess and PUT": (OPEN, put(2)),
}
# What the one who comes second may be told.
REFUSALS = {
    404: {"ResourceNotFound"},
    409: {"Conflict", "OperationNotAllowed", "ResourceGroupBeingMoved", "ScopeLocked"},
}


def answer(plane: Any, call: Call) -> tuple[int, str]:
    """The status of an answer, and the code of an error."""
    method, path, body = call
    try:
        request = Request(method, path, {"api-version": "2024-07-01"}, {}, body, "https://stamp")
        return plane.handle(request).status, ""
    except AzureError as error:
        return error.status, error.code


def at_once(plane: Any, calls: tuple[Call, Call]) -> list[tuple[int, str]]:
    """The answers to two requests that begin at the same time."""
    ready, found = threading.Barrier(2), [(0, ""), (0, "")]

    def send(number: int) -> None:
        ready.wait(10)
        found[number] = answer(plane, calls[number])

    threads = [threading.Thread(target=send, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def clear(arm: Any) -> None:
    """Take away what a round left, wherever it is."""
    for call in (("DELETE", LOCK, None), ("POST", f"{DISK}/endGetAccess", None), DELETE):
        answer(arm.plane, call)
        settle(arm)
    answer(arm.plane, ("DELETE", DISK.replace("/rg/", "/rg2/"), None))
    settle(arm)


@pytest.mark.parametrize("name", PAIRS)
def test_two_clients_at_once_are_one_after_the_other(arm: Any, name: str) -> None:
    ask(arm, "PUT", OTHER, WHERE)
    for round in range(ROUNDS):
        clear(arm)
        assert answer(arm.plane, put(1))[0] == 202
        settle(arm)
        calls = PAIRS[name] if round % 2 else (PAIRS[name][1], PAIRS[name][0])
        answers = at_once(arm.plane, calls)
        settle(arm)
        assert any(not code for _, code in answers), answers
        assert all(not code or code in REFUSALS.get(status, ()) for status, code in answers), answers
        assert violations(arm.plane, arm.store, arm.host) == []
        for found in filter(None, map(arm.plane.engine.catalog.find, (DISK, DISK.replace("/rg/", "/rg2/")))):
            assert found.document["tags"] == {"size": str(found.properties["diskSizeGB"])}


@pytest.mark.parametrize("kept", ["If-Match", "If-None-Match"])
def test_of_two_writes_on_one_condition_one_is_refused(arm: Any, kept: str) -> None:
    address = f"{GROUP}/providers/Microsoft.Network/publicIPAddresses/ip1"
    body = {**WHERE, "properties": {}}
    for _ in range(ROUNDS):
        ask(arm, "DELETE", address)
        settle(arm)
        condition = "*"
        if kept == "If-Match":
            condition = ask(arm, "PUT", address, body).headers["ETag"]
        found: list[int] = []
        ready = threading.Barrier(2)

        def send(ready: threading.Barrier, found: list[int], condition: str) -> None:
            headers = {kept.lower(): condition}
            ready.wait(10)
            try:
                request = Request("PUT", address, {"api-version": "2024-07-01"}, headers, body, "https://s")
                found.append(arm.plane.handle(request).status)
            except AzureError as error:
                found.append(error.status)

        threads = [threading.Thread(target=send, args=(ready, found, condition)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(found) == [200 if kept == "If-Match" else 201, 412]
