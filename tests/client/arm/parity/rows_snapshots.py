"""Rules of full and incremental snapshots, and of their copies to other regions."""

from __future__ import annotations

from typing import Any, Final

import requests

from tests.client.arm.parity.row import COMPUTE, Row, ask
from tests.client.arm.parity.rows_disks import (
    DISK1,
    READ,
    disk_body,
    ended,
    in_state,
    make_disk,
    os_disk,
    post_disk,
    put_disk,
)

TITLE: Final = "Snapshots"


def _sku_without_name(arm: Any) -> requests.Response:
    body = {**disk_body(createOption="Empty", size=1), "sku": {"tier": "Standard"}}
    return put_disk(arm, "snap1", body, "snapshots")


def _no_source(arm: Any) -> requests.Response:
    return put_disk(arm, "snap1", disk_body(createOption="Import"), "snapshots")


def _snapshot(arm: Any, name: str, source: str, option: str = "Copy", **properties: Any) -> requests.Response:
    location, api = properties.pop("location", "westeurope"), properties.pop("api", "2024-07-01")
    body = disk_body(location, createOption=option, sourceResourceId=source)
    body["properties"] |= properties
    return put_disk(arm, name, body, "snapshots", api=api)


def _incremental(arm: Any, name: str = "snap1") -> requests.Response:
    ended(arm, _snapshot(arm, name, DISK1, incremental=True))
    return ask(arm, "GET", f"{COMPUTE}/snapshots/{name}")


def _family(arm: Any) -> requests.Response:
    make_disk(arm)
    first = _incremental(arm).json()["properties"]["incrementalSnapshotFamilyId"]
    reply = _incremental(arm, "snap2")
    assert reply.json()["properties"]["incrementalSnapshotFamilyId"] == first
    return reply


def _of_the_disk(reply: requests.Response) -> bool:
    creation = reply.json()["properties"]["creationData"]
    return bool(creation["sourceResourceId"] == DISK1 and creation["sourceUniqueId"])


def _family_after_recreation(arm: Any) -> requests.Response:
    make_disk(arm)
    first = _incremental(arm).json()["properties"]["creationData"]["sourceUniqueId"]
    ended(arm, ask(arm, "DELETE", DISK1))
    make_disk(arm)
    reply = _incremental(arm, "snap2")
    assert reply.json()["properties"]["creationData"]["sourceUniqueId"] != first
    return reply


def _copy_start(arm: Any) -> requests.Response:
    make_disk(arm)
    _incremental(arm)
    source = f"{COMPUTE}/snapshots/snap1"
    ended(arm, _snapshot(arm, "far", source, "CopyStart", location="eastus", incremental=True))
    while True:
        reply = ask(arm, "GET", f"{COMPUTE}/snapshots/far")
        if reply.json()["properties"]["completionPercent"] == 100:
            return reply


def _copy_start_of_a_disk(arm: Any) -> requests.Response:
    make_disk(arm)
    return _snapshot(arm, "far", DISK1, "CopyStart", location="eastus", incremental=True)


def _copy_start_of_full(arm: Any) -> requests.Response:
    make_disk(arm)
    ended(arm, _snapshot(arm, "snap1", DISK1))
    return _snapshot(arm, "far", f"{COMPUTE}/snapshots/snap1", "CopyStart", location="eastus")


def _copy_start_of_old(arm: Any) -> requests.Response:
    make_disk(arm)
    _incremental(arm)
    source = f"{COMPUTE}/snapshots/snap1"
    return _snapshot(arm, "far", source, "CopyStart", location="eastus", incremental=True, api="2020-09-30")


def _six_accesses(arm: Any) -> requests.Response:
    make_disk(arm)
    for number in range(6):
        _incremental(arm, f"snap{number}")
    for number in range(5):
        ended(arm, post_disk(arm, f"snap{number}", "beginGetAccess", READ, "snapshots"))
    return post_disk(arm, "snap5", "beginGetAccess", READ, "snapshots")


def _of_running(arm: Any) -> requests.Response:
    return ended(arm, _snapshot(arm, "snap1", f"{COMPUTE}/disks/{os_disk(arm)}"))


ROWS: Final = (
    Row(
        "a snapshot without its source",
        "I",
        _no_source,
        400,
        "InvalidParameter",
        "Required parameter 'sourceUri' is missing (null).",
    ),
    Row(
        "a sku without a name",
        "I",
        _sku_without_name,
        400,
        "InvalidRequestContent",
        "The request content was invalid and could not be deserialized: 'Required property 'name' not found "
        "in JSON. Path 'sku''.",
    ),
    Row("incremental snapshots of one disk", "D", _family, 200, holds=_of_the_disk),
    Row("an incremental snapshot of a new disk of the old name", "D", _family_after_recreation, 200),
    Row("a snapshot of a running VM's disk", "D", _of_running, 200),
    Row("CopyStart of an incremental snapshot", "D", _copy_start, 200, holds=in_state("Unattached")),
    Row(
        "CopyStart of a disk",
        "I",
        _copy_start_of_a_disk,
        400,
        "InvalidParameter",
        "Entity not of expected type.",
    ),
    Row("CopyStart of a full snapshot", "D", _copy_start_of_full, 400, "InvalidParameter"),
    Row("CopyStart before api-version 2020-12-01", "D", _copy_start_of_old, 400, "InvalidParameter"),
    Row("a sixth access to an incremental snapshot family", "D", _six_accesses, 409, "OperationNotAllowed"),
)
