"""Rules of storage accounts, and of the blobs that virtual machines hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import requests

from tests.client.arm.parity.row import STORAGE, SUBSCRIPTION, TIMEOUT, Row, ask
from tests.client.arm.parity.rows_protocol import WHERE, after
from tests.client.blob_service import at_a_door

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


SIGNED: Final = {
    "signedServices": "b",
    "signedResourceTypes": "sco",
    "signedPermission": "rl",
    "signedProtocol": "https,http",
    "signedExpiry": "2099-01-01T00:00:00Z",
    "keyToSign": "key1",
}
SIGNED_BLOB: Final = {
    "canonicalizedResource": "/blob/account1/vhds/a.vhd",
    "signedResource": "b",
    "signedPermission": "r",
    "signedExpiry": "2099-01-01T00:00:00Z",
}


def _signed(action: str, body: Any, **changes: Any) -> Callable[[Any], requests.Response]:
    """A SAS of an account that has the blob vhds/a.vhd."""

    def send(arm: Any) -> requests.Response:
        arm.vhd("account1", "a.vhd")
        return ask(arm, "POST", f"{ACCOUNT}/{action}", {**body, **changes})

    return send


def _reaches(arm: Any, body: Any, action: str, key: str, what: str) -> requests.Response:
    """What the Blob service answers to a SAS."""
    token = _signed(action, body)(arm).json()[key]
    return at_the_blob_service(arm, "GET", f"{what}{'&' if '?' in what else '?'}{token}")


def at_the_blob_service(arm: Any, method: str, path: str) -> requests.Response:
    """One request to the Blob service of a control plane's accounts."""
    with at_a_door(arm.store) as url, requests.Session() as session:
        session.trust_env = False
        headers = {"x-ms-version": "2021-12-02"}
        return session.request(method, f"{url}{path}", headers=headers, timeout=TIMEOUT)


def _delete_leased_disk(arm: Any) -> requests.Response:
    """DELETE of the blob that is a VM's disk, with a SAS that allows it."""
    name = blob_machine(arm)
    body = {**SIGNED, "signedPermission": "rd"}
    token = ask(arm, "POST", f"{ACCOUNT}/listAccountSas", body).json()["accountSasToken"]
    return at_the_blob_service(arm, "DELETE", f"/account1/vhds/{name}?{token}")


ROWS: Final = (
    Row(
        "listAccountSas",
        "R",
        _signed("listAccountSas", SIGNED),
        200,
        holds=lambda reply: (
            reply.json().keys() == {"accountSasToken"}
            and "&ss=b&srt=sco&sp=rl&" in reply.json()["accountSasToken"]
            and "&sig=" in reply.json()["accountSasToken"]
        ),
    ),
    Row(
        "listServiceSas",
        "R",
        _signed("listServiceSas", SIGNED_BLOB),
        200,
        holds=lambda reply: (
            reply.json().keys() == {"serviceSasToken"} and "&sr=b&" in reply.json()["serviceSasToken"]
        ),
    ),
    Row(
        "the SAS of listAccountSas lists the containers",
        "D",
        lambda arm: _reaches(arm, SIGNED, "listAccountSas", "accountSasToken", "/account1?comp=list"),
        200,
        holds=lambda reply: b"<Name>vhds</Name>" in reply.content,
    ),
    Row(
        "the SAS of listServiceSas reads the blob",
        "D",
        lambda arm: _reaches(arm, SIGNED_BLOB, "listServiceSas", "serviceSasToken", "/account1/vhds/a.vhd"),
        200,
    ),
    Row(
        "the SAS of listServiceSas does not reach another blob",
        "D",
        lambda arm: _reaches(arm, SIGNED_BLOB, "listServiceSas", "serviceSasToken", "/account1/vhds/b.vhd"),
        403,
        holds=lambda reply: reply.headers["x-ms-error-code"] == "AuthenticationFailed",
    ),
    Row(
        "listAccountSas without its expiry",
        "D",
        _signed("listAccountSas", SIGNED, signedExpiry=None),
        400,
    ),
    Row(
        "Delete Blob of the page blob that is a VM's disk",
        "D",
        _delete_leased_disk,
        412,
        holds=lambda reply: reply.headers["x-ms-error-code"] == "LeaseIdMissing",
    ),
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
