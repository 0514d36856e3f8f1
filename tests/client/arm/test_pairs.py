"""Pairs of requests at once, on every type of resource: Azure's refusals, and no state that is half of two.

A pair is sent by two threads that begin together, in some rounds the first before the second and in others
after it, each on resources of its own that the round makes. Whatever was answered, `invariants` must hold.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.client.arm.invariants import violations
from tests.client.arm.pairs import OTHER, PAIRS, WHERE, machine, path
from tests.client.arm.parity.machines import settle
from tests.client.arm.parity.row import ask
from tests.client.arm.test_two_clients import Call, answer, at_once
from vmstamp.arm.operations import WORKERS
from vmstamp.resource_id import parse_resource_id

ROUNDS = 4
# What the one who comes second may be told, by status.
REFUSALS = (400, 404, 409, 412)


@pytest.fixture
def close_together() -> Iterator[None]:
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def slowed(host: Any) -> None:
    """Starting and stopping take a moment, as guests do: the second request comes while the first works."""
    start, stop = host.start, host.stop

    def slow_start(plan: Any) -> None:
        time.sleep(0.01)
        start(plan)

    def slow_stop(vm_id: str, *, graceful: bool) -> None:
        time.sleep(0.01)
        stop(vm_id, graceful=graceful)

    host.start, host.stop = slow_start, slow_stop


@pytest.mark.parametrize("name", PAIRS)
def test_a_pair_at_once_is_one_after_the_other(arm: Any, close_together: None, name: str) -> None:
    before, one, other = PAIRS[name]
    ask(arm, "PUT", OTHER, WHERE)
    if any("machine" in made.__qualname__ for made in (*before, one, other)):
        arm.image("base")
    slowed(arm.host)
    for n in range(ROUNDS):
        for made in before:
            status, code = answer(arm.plane, made(n))
            assert status < 300, (made(n), status, code)
            settle(arm)
        calls = (one(n), other(n)) if n % 2 else (other(n), one(n))
        answers = at_once(arm.plane, calls)
        settle(arm)
        assert any(not code for _, code in answers), answers
        assert all(not code or status in REFUSALS for status, code in answers), answers
        assert failures(arm) == []
        assert violations(arm.plane, arm.store, arm.host) == []


# What is said of a resource that is still there while its deletion waits for its turn.
GONE = {
    **{
        f"{kind}: PUT and DELETE": (409, "Conflict")
        for kind in (
            "vnet",
            "group",
            "address",
            "nic",
            "set",
            "disk",
            "snapshot",
            "image",
            "gallery",
            "account",
        )
    },
    "a disk attached and deleted": (404, "NotFound"),
    "a disk opened and deleted": (409, "Conflict"),
    "a snapshot of a disk that is deleted": (404, "NotFound"),
    "an image of a disk that is deleted": (409, "Conflict"),
    "a version of an image that is deleted": (404, "NotFound"),
    "a version in a definition that is deleted": (404, "ParentResourceNotFound"),
    "a definition in a gallery that is deleted": (404, "ParentResourceNotFound"),
    "a machine of an image that is deleted": (404, "NotFound"),
    "a machine of a version that is deleted": (404, "GalleryImageNotFound"),
    "a machine on an interface that is deleted": (400, "InvalidResourceReference"),
    "a machine in a set that is deleted": (404, "NotFound"),
    "an interface in a network that is deleted": (400, "InvalidResourceReference"),
    "a public address that is deleted": (400, "InvalidResourceReference"),
    "a group on an interface that is deleted": (400, "InvalidResourceReference"),
    "a group on a subnet that is deleted": (400, "InvalidResourceReference"),
    "a container in an account that is deleted": (409, "Conflict"),
    "a service of an account that is deleted": (409, "Conflict"),
    "keys made anew in an account that is deleted": (409, "Conflict"),
}


@contextmanager
def busy(arm: Any) -> Iterator[None]:
    """Every worker of the control plane is at work on something else: operations wait for their turn."""
    gate, operations = threading.Event(), arm.plane.engine.operations

    def work(work: Any) -> None:
        gate.wait(30)

    for number in range(WORKERS):
        elsewhere = parse_resource_id(f"{OTHER}/providers/Microsoft.Compute/disks/busy{number}")
        operations.submit(operations.record(elsewhere, "put"), work, lambda error: None)
    try:
        yield
    finally:
        gate.set()
        settle(arm)


def while_deleted(arm: Any, deletion: Call, request: Call) -> tuple[int, str]:
    """The answer to a request while the deletion waits."""
    with busy(arm):
        thread = threading.Thread(target=answer, args=(arm.plane, deletion))  # of an account it waits
        thread.start()
        end = time.monotonic() + 10
        while arm.plane.engine.catalog.find(deletion[1]).provisioning_state != "Deleting":
            assert time.monotonic() < end, deletion
            time.sleep(0.01)
        found = answer(arm.plane, request)
    thread.join()
    settle(arm)
    return found


@pytest.mark.parametrize("name", GONE)
def test_what_is_being_deleted_is_not_begun_to_be_used(arm: Any, name: str) -> None:
    before, one, deletion = PAIRS[name]
    arm.image("base")
    for made in before:
        assert answer(arm.plane, made(0))[0] < 300
        settle(arm)
    assert while_deleted(arm, deletion(0), one(0)) == GONE[name]
    assert arm.plane.engine.catalog.find(deletion(0)[1]) is None
    assert violations(arm.plane, arm.store, arm.host) == []


def test_no_disk_is_made_in_an_account_that_is_being_deleted(arm: Any) -> None:
    arm.nic("nic0")
    url = arm.vhd("account0", "a.vhd")
    disk = {"name": "os", "createOption": "FromImage", "osType": "Linux", "image": {"uri": url}}
    _, vm, body = machine()(0)
    body["properties"]["storageProfile"] = {"osDisk": {**disk, "vhd": {"uri": url.replace("a.vhd", "b.vhd")}}}
    status, _ = while_deleted(arm, ("DELETE", path("account", 0), None), ("PUT", vm, body))
    assert status in (400, 404, 409)
    assert arm.plane.engine.catalog.find(vm) is None
    assert arm.store.find_account("account0") is None


def failures(arm: Any) -> list[str]:
    """Operations that ended by a fault of the stamp's own, not by a refusal."""
    with arm.plane.engine.db.read() as connection:
        rows = connection.execute("SELECT kind, resource, document FROM operation").fetchall()
    return [f"{kind} {id}: {text}" for kind, id, text in map(tuple, rows) if "Internal" in text]
