"""Rules of storage accounts, and of the blobs that virtual machines hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import requests

from tests.client.arm.parity.row import STORAGE, SUBSCRIPTION, Row, ask
from tests.client.arm.parity.rows_protocol import WHERE, after

TITLE: Final = "Storage accounts"
ACCOUNT: Final = f"{STORAGE}/storageAccounts/account1"
BODY: Final = {**WHERE, "sku": {"name": "Standard_LRS"}, "kind": "StorageV2"}
CHECK: Final = f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Storage/checkNameAvailability"


def _account(arm: Any) -> requests.Response:
    return ask(arm, "PUT", ACCOUNT, BODY)


def _check(name: str) -> Callable[[Any], requests.Response]:
    return after(_account, "POST", CHECK, {"name": name, "type": "Microsoft.Storage/storageAccounts"})


def _taken(arm: Any) -> requests.Response:
    _account(arm)
    arm.plane.engine.operations.wait()
    ask(arm, "PUT", f"/subscriptions/{SUBSCRIPTION}/resourceGroups/other", WHERE)
    return ask(arm, "PUT", ACCOUNT.replace("/rg/", "/other/"), BODY)


def blob_machine(arm: Any) -> str:
    """A VM whose disk is a blob of account1; the blob's name."""
    url = arm.vhd("account1", "source.vhd")
    disk = {
        "name": "os",
        "createOption": "FromImage",
        "osType": "Linux",
        "image": {"uri": url},
        "vhd": {"uri": url.replace("source", "target")},
    }
    image = type("", (), {"id": ""})
    body = arm.vm_body(image, arm.nic(), storageProfile={"osDisk": disk})
    arm.compute.virtual_machines.begin_create_or_update("rg", "vm1", body).result()
    return "target.vhd"


def _in_use(arm: Any) -> requests.Response:
    blob_machine(arm)
    return ask(arm, "DELETE", ACCOUNT)


def _keys(reply: requests.Response) -> bool:
    keys = reply.json()["keys"]
    named = [(one["keyName"], one["permissions"]) for one in keys]
    told = all(one["value"] and one["creationTime"] for one in keys)
    return named == [("key1", "FULL"), ("key2", "FULL")] and told


def _renewed(arm: Any) -> requests.Response:
    _account(arm)
    arm.plane.engine.operations.wait()
    before = ask(arm, "POST", f"{ACCOUNT}/listKeys").json()["keys"]
    reply = ask(arm, "POST", f"{ACCOUNT}/regenerateKey", {"keyName": "key1"})
    now = reply.json()["keys"]
    assert before[0]["value"] != now[0]["value"] and before[1]["value"] == now[1]["value"]
    return reply


ROWS: Final = (
    Row("listKeys", "R", after(_account, "POST", f"{ACCOUNT}/listKeys"), 200, holds=_keys),
    Row("regenerateKey answers both keys, one of them new", "R", _renewed, 200, holds=_keys),
    Row(
        "primaryEndpoints end with a slash",
        "R",
        after(_account, "GET", ACCOUNT),
        200,
        holds=lambda reply: reply.json()["properties"]["primaryEndpoints"]["blob"].endswith("/"),
    ),
    Row(
        "checkNameAvailability of a free name",
        "R",
        _check("account2"),
        200,
        holds=lambda reply: reply.json() == {"nameAvailable": True},
    ),
    Row(
        "checkNameAvailability of a name that is taken",
        "R",
        _check("account1"),
        200,
        holds=lambda reply: (
            (reply.json()["nameAvailable"], reply.json()["reason"]) == (False, "AlreadyExists")
            and reply.json()["message"] == "The storage account named account1 is already taken."
        ),
    ),
    Row(
        "checkNameAvailability of a name that is none",
        "R",
        _check("No_Good"),
        200,
        holds=lambda reply: (
            (reply.json()["nameAvailable"], reply.json()["reason"]) == (False, "AccountNameInvalid")
        ),
    ),
    Row(
        "PUT with a name that is none",
        "R",
        lambda arm: ask(arm, "PUT", f"{STORAGE}/storageAccounts/No_Good", BODY),
        400,
        "AccountNameInvalid",
        "No_Good is not a valid storage account name. Storage account name must be between 3 and 24 "
        "characters in length and use numbers and lower-case letters only.",
    ),
    Row(
        "PUT with the name of another group's account",
        "R",
        _taken,
        409,
        "StorageAccountAlreadyTaken",
        "The storage account named account1 is already taken.",
    ),
    Row(
        "DELETE of an account that has the disk of a VM",
        "I",
        _in_use,
        409,
        "AccountCannotBeDeleted",
        "The storage account cannot be deleted due to its artifacts being in use. ...",
    ),
    Row("DELETE of an account that is not there", "R", lambda arm: ask(arm, "DELETE", ACCOUNT), 204),
)
