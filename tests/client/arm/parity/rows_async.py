"""How each provider speaks of its asynchronous operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import requests

from tests.client.arm.parity.row import COMPUTE, GROUP, STORAGE, SUBSCRIPTION, Row, ask
from tests.client.arm.parity.rows_protocol import (
    ADDRESS,
    DISK,
    MACHINE,
    WHERE,
    address,
    after,
    disk,
    polled,
    sent,
)

TITLE: Final = "Asynchronous operations, by provider"
ACCOUNT: Final = f"{STORAGE}/storageAccounts/account1"
ACCOUNT_BODY: Final = {**WHERE, "sku": {"name": "Standard_LRS"}, "kind": "StorageV2"}
IMAGE: Final = f"{COMPUTE}/images/image1"
OTHER: Final = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/other"
Says = Callable[[requests.Response], bool]


def says(*wanted: str, provider: str = "", segment: str = "", state: str = "") -> Says:
    """Exactly these of the headers of an operation, its URL, and the state that the body shows."""
    names = ("Azure-AsyncOperation", "Location", "Azure-AsyncNotification")

    def holds(reply: requests.Response) -> bool:
        given = {name for name in names if name in reply.headers}
        url = reply.headers.get("Azure-AsyncOperation") or reply.headers.get("Location", "")
        found = reply.json()["properties"]["provisioningState"] if state else ""
        place = f"/subscriptions/{SUBSCRIPTION}/providers/{provider}/locations/westeurope/{segment}/"
        return given == set(wanted) and (not provider or place in url) and found == state

    return holds


def _account(arm: Any) -> requests.Response:
    return ask(arm, "PUT", ACCOUNT, ACCOUNT_BODY)


def _machine(arm: Any) -> requests.Response:
    return ask(arm, "PUT", MACHINE, arm.vm_body(arm.image(), arm.nic()))


def _image(arm: Any) -> requests.Response:
    url = arm.vhd("account1", "image1.vhd")
    os_disk = {"osType": "Linux", "osState": "Generalized", "blobUri": url}
    properties = {"storageProfile": {"osDisk": os_disk}, "hyperVGeneration": "V2"}
    return ask(arm, "PUT", IMAGE, {**WHERE, "properties": properties})


def _deallocated(arm: Any) -> None:
    _machine(arm)
    arm.plane.engine.operations.wait()
    ask(arm, "POST", f"{MACHINE}/deallocate")


def _other(arm: Any) -> requests.Response:
    return ask(arm, "PUT", OTHER, WHERE)


def _empty(reply: requests.Response) -> bool:
    return reply.content == b""


def _without_identity(reply: requests.Response) -> bool:
    document = reply.json()
    return not {"id", "type"} & document.keys() and document["properties"]["isArmResource"] is True


BOTH: Final = ("Azure-AsyncOperation", "Location")
NOTIFIED: Final = ("Azure-AsyncOperation", "Azure-AsyncNotification")

ROWS: Final = (
    Row(
        "PUT of a new VM",
        "R",
        _machine,
        201,
        holds=says(*NOTIFIED, provider="Microsoft.Compute", segment="operations", state="Creating"),
    ),
    Row(
        "PATCH of a VM",
        "R",
        after(_machine, "PATCH", MACHINE, {"tags": {"a": "b"}}),
        200,
        holds=says(*NOTIFIED, provider="Microsoft.Compute", segment="operations", state="Updating"),
    ),
    Row(
        "deallocate of a VM",
        "R",
        after(_machine, "POST", f"{MACHINE}/deallocate"),
        202,
        holds=lambda reply: (
            _empty(reply)
            and says(*BOTH, *NOTIFIED, provider="Microsoft.Compute", segment="operations")(reply)
            and reply.headers["Location"] == f"{reply.headers['Azure-AsyncOperation']}&monitor=true"
        ),
    ),
    Row("DELETE of a VM", "R", after(_machine, "DELETE", MACHINE), 202, holds=_empty),
    Row("generalize of a VM", "R", after(_deallocated, "POST", f"{MACHINE}/generalize"), 200, holds=_empty),
    Row(
        "retrieveBootDiagnosticsData of a VM",
        "R",
        after(_machine, "POST", f"{MACHINE}/retrieveBootDiagnosticsData"),
        200,
        holds=lambda reply: "serialConsoleLogBlobUri" in reply.json(),
    ),
    Row(
        "instanceView of a VM",
        "R",
        after(_machine, "GET", f"{MACHINE}/instanceView"),
        200,
        holds=lambda reply: "PowerState/running" in [one["code"] for one in reply.json()["statuses"]],
    ),
    Row(
        "vmSizes of a VM",
        "R",
        after(_machine, "GET", f"{MACHINE}/vmSizes"),
        200,
        holds=lambda reply: "Standard_B1ms" in [one["name"] for one in reply.json()["value"]],
    ),
    Row(
        "PUT of a new image",
        "R",
        _image,
        201,
        holds=says(
            "Azure-AsyncOperation", provider="Microsoft.Compute", segment="operations", state="Creating"
        ),
    ),
    Row(
        "PATCH of an image",
        "R",
        after(_image, "PATCH", IMAGE, {"tags": {"a": "b"}}),
        200,
        holds=says("Azure-AsyncOperation", provider="Microsoft.Compute", segment="operations"),
    ),
    Row(
        "DELETE of an image",
        "R",
        after(_image, "DELETE", IMAGE),
        202,
        holds=lambda reply: (
            says(*BOTH, provider="Microsoft.Compute", segment="operations")(reply)
            and reply.headers["Location"] == f"{reply.headers['Azure-AsyncOperation']}&monitor=true"
        ),
    ),
    Row(
        "PUT of a new disk",
        "R",
        disk,
        202,
        holds=says(*BOTH, provider="Microsoft.Compute", segment="DiskOperations", state="Updating"),
    ),
    Row("the answer to the PUT of a disk has neither id nor type", "R", disk, 202, holds=_without_identity),
    Row(
        "DELETE of a disk",
        "R",
        after(disk, "DELETE", DISK),
        202,
        holds=says(*BOTH, provider="Microsoft.Compute", segment="DiskOperations"),
    ),
    Row(
        "PUT of a new network resource",
        "R",
        address,
        201,
        holds=says(
            "Azure-AsyncOperation", provider="Microsoft.Network", segment="operations", state="Updating"
        ),
    ),
    Row(
        "DELETE of a network resource",
        "R",
        after(address, "DELETE", ADDRESS),
        202,
        holds=lambda reply: says(*BOTH)(reply) and "/operationResults/" in reply.headers["Location"],
    ),
    Row(
        "PUT of a new storage account",
        "R",
        _account,
        202,
        holds=lambda reply: (
            _empty(reply)
            and says("Location", provider="Microsoft.Storage", segment="asyncoperations")(reply)
            and "monitor=true" in reply.headers["Location"]
        ),
    ),
    Row(
        "the Location of a storage account's PUT gives the account",
        "R",
        polled(_account, "Location"),
        200,
        holds=lambda reply: reply.json()["name"] == "account1",
    ),
    Row(
        "PUT of a storage account that is there",
        "R",
        after(_account, "PUT", ACCOUNT, ACCOUNT_BODY),
        200,
        holds=lambda reply: reply.json()["name"] == "account1" and says()(reply),
    ),
    Row("DELETE of a storage account", "R", after(_account, "DELETE", ACCOUNT), 200, holds=_empty),
    Row("PUT of a new group", "R", _other, 201, holds=says()),
    Row("PUT of a group that is there", "R", sent("PUT", GROUP, WHERE), 200, holds=says()),
    Row("HEAD of a group", "R", sent("HEAD", GROUP), 204, holds=_empty),
    Row("HEAD of a group that is not there", "R", sent("HEAD", OTHER), 404, holds=_empty),
    Row(
        "DELETE of a group",
        "R",
        after(_other, "DELETE", OTHER),
        202,
        holds=lambda reply: says("Location")(reply) and "/operationresults/" in reply.headers["Location"],
    ),
    Row(
        "the Location of a group's DELETE, once it is gone",
        "R",
        polled(after(_other, "DELETE", OTHER), "Location"),
        200,
        holds=_empty,
    ),
)
