"""Copies of incremental snapshots to other regions while they are under way, and what changed between two."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from unittest.mock import patch

import requests

from tests.client.arm.parity.row import COMPUTE, TIMEOUT, Row, ask
from tests.client.arm.parity.rows_disks import (
    DISK1,
    ENDPOINT,
    READ,
    disk_body,
    ended,
    in_state,
    make_disk,
    post_disk,
    put_disk,
)
from tests.client.blob_service import at_a_door
from vmstamp.arm.compute import snapshot_copies

TITLE: Final = "Snapshots: copies to other regions, changes"
FAR: Final = f"{COMPUTE}/snapshots/far"
Then = Callable[[Any], requests.Response]


def _taken(arm: Any, *names: str) -> None:
    """Incremental snapshots of one disk, of a VHD."""
    make_disk(arm, createOption="Import", sourceUri=arm.vhd("account1", "a.vhd", mark=b"the disk"))
    for name in names:
        assert ended(arm, _snapshot(arm, name, DISK1)).ok


def _snapshot(arm: Any, name: str, source: str, **more: Any) -> requests.Response:
    body = disk_body(more.pop("location", "westeurope"), createOption="Copy", sourceResourceId=source)
    body["properties"] |= {"incremental": True, **more}
    return put_disk(arm, name, body, "snapshots")


def _copy(arm: Any, name: str = "far", source: str = "snap1") -> requests.Response:
    source = f"{COMPUTE}/snapshots/{source}"
    body = disk_body("eastus", createOption="CopyStart", sourceResourceId=source)
    body["properties"]["incremental"] = True
    return put_disk(arm, name, body, "snapshots")


def _meanwhile(then: Then, *more: str) -> Then:
    """The answer of `then` while a copy of `snap1`, the oldest, is under way."""

    def send(arm: Any) -> requests.Response:
        _taken(arm, "snap1", *more)
        with patch.object(snapshot_copies, "COPY_SPEED", 1):  # bytes per second
            assert ended(arm, _copy(arm)).ok
            return then(arm)

    return send


def _far(arm: Any) -> requests.Response:
    return ask(arm, "GET", FAR)


def _grown(arm: Any) -> requests.Response:
    """A copy that comes forward: how far it is grows from one GET to another."""
    _taken(arm, "snap1")
    with patch.object(snapshot_copies, "COPY_SPEED", 64):
        ended(arm, _copy(arm))
        first = _far(arm).json()["properties"]["completionPercent"]
        answer = _far(arm)
        while answer.json()["properties"]["completionPercent"] == first:
            answer = _far(arm)
    assert answer.json()["properties"]["completionPercent"] > first
    return answer


def _used(arm: Any) -> requests.Response:
    body = disk_body("eastus", createOption="Copy", sourceResourceId=FAR)
    return put_disk(arm, "d2", body)


def _opened(arm: Any) -> requests.Response:
    return post_disk(arm, "far", "beginGetAccess", READ, "snapshots")


def _second(arm: Any) -> requests.Response:
    return _copy(arm, "far2", "snap2")


def _source_deleted(arm: Any) -> requests.Response:
    ended(arm, ask(arm, "DELETE", f"{COMPUTE}/snapshots/snap1"))
    return _far(arm)


def _once_complete(arm: Any) -> requests.Response:
    _taken(arm, "snap1")
    assert ended(arm, _copy(arm)).ok
    while _far(arm).json()["properties"]["completionPercent"] != 100:
        pass
    assert ended(arm, _used(arm)).ok
    return ask(arm, "GET", f"{COMPUTE}/disks/d2")


def _out_of_order(arm: Any) -> requests.Response:
    _taken(arm, "snap1", "snap2")
    assert ended(arm, _copy(arm, "newer", "snap2")).ok
    while ask(arm, "GET", f"{COMPUTE}/snapshots/newer").json()["properties"]["completionPercent"] != 100:
        pass
    return _copy(arm)


def _begun(answer: requests.Response) -> bool:
    properties = answer.json()["properties"]
    assert properties["provisioningState"] == "Succeeded"
    return bool(properties["completionPercent"] < 100)


def _failed(answer: requests.Response) -> bool:
    error = answer.json()["properties"]["copyCompletionError"]
    return bool(error["errorCode"] == "CopySourceNotFound" and error["errorMessage"])


# -- accesses, changes


def _grant(arm: Any, name: str) -> str:
    answer = ended(arm, post_disk(arm, name, "beginGetAccess", READ, "snapshots"))
    return str(answer.json()["accessSAS"])


def _active(arm: Any) -> requests.Response:
    _taken(arm, "snap1", "snap2")
    assert _grant(arm, "snap1") != _grant(arm, "snap2")
    return ask(arm, "GET", f"{COMPUTE}/snapshots/snap2")


def _changes(arm: Any) -> requests.Response:
    """Get Page Ranges of the second snapshot since the first, each by a SAS of its own."""
    _taken(arm, "snap1", "snap2")
    with at_a_door(arm.store) as door, requests.Session() as session:
        first, second = (_grant(arm, name).replace(ENDPOINT, door) for name in ("snap1", "snap2"))
        session.trust_env = False
        headers = {"x-ms-version": "2021-12-02", "x-ms-previous-snapshot-url": first}
        return session.get(f"{second}&comp=pagelist", headers=headers, timeout=TIMEOUT)


def _shared_family(arm: Any) -> requests.Response:
    _taken(arm, "snap1", "snap2")
    first, second = (ask(arm, "GET", f"{COMPUTE}/snapshots/{name}") for name in ("snap1", "snap2"))
    names = [one.json()["properties"]["incrementalSnapshotFamilyId"] for one in (first, second)]
    assert names[0] == names[1]
    return second


ROWS: Final = (
    Row("CopyStart answers before the bytes are there", "D", _meanwhile(_far), 200, holds=_begun),
    Row("completionPercent of a copy grows", "D", _grown, 200),
    Row("a disk of a copy that is complete", "D", _once_complete, 200, holds=in_state("Unattached")),
    Row("a disk of a copy that is not complete", "D", _meanwhile(_used), 409, "OperationNotAllowed"),
    Row(
        "beginGetAccess of a copy that is not complete", "D", _meanwhile(_opened), 409, "OperationNotAllowed"
    ),
    Row(
        "a second copy of one disk's snapshots at a time",
        "D",
        _meanwhile(_second, "snap2"),
        409,
        "OperationNotAllowed",
    ),
    Row("a copy of an older snapshot after that of a newer", "D", _out_of_order, 409, "OperationNotAllowed"),
    Row("a copy whose source was deleted meanwhile", "D", _meanwhile(_source_deleted), 200, holds=_failed),
    Row("an incremental snapshot has an access of its own", "D", _active, 200, holds=in_state("ActiveSAS")),
    Row(
        "what changed from one incremental snapshot to the next",
        "D",
        _changes,
        200,
        holds=lambda answer: "<PageList" in answer.text and "<PageRange>" not in answer.text,
    ),
    Row(
        "incremental snapshots of one disk share a family",
        "D",
        _shared_family,
        200,
        holds=lambda answer: answer.json()["properties"]["incremental"] is True,
    ),
)
