"""Rules of a group that is being deleted: what is written in it is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import requests

from tests.client.arm.parity.machines import VM, held, settle
from tests.client.arm.parity.row import GROUP, SUBSCRIPTION, Row, ask
from tests.client.arm.parity.rows_deployments import DEPLOYMENT
from tests.client.arm.parity.rows_deployments import body as deployment
from tests.client.arm.parity.rows_protocol import ADDRESS, WHERE, sent

TITLE: Final = "Groups that are being deleted"
OTHER: Final = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/other"
THERE: Final = f"{ADDRESS.replace('/rg/', '/other/')}2"
Send = Callable[[Any], requests.Response]
TAGS: Final = {"tags": {"a": "b"}}
DYING: Final = "The resource group 'rg' is in deprovisioning state and cannot perform this operation."


def _meanwhile(then: Send) -> Send:
    """The answer of `then` while the group is being deleted."""

    def send(arm: Any) -> requests.Response:
        arm.vm()
        ask(arm, "PUT", OTHER, WHERE)
        for address in (ADDRESS, THERE):
            ask(arm, "PUT", address, {**WHERE, "properties": {}})
        settle(arm)
        return held(arm, arm.host, "stop", sent("DELETE", GROUP), lambda accepted: then(arm))

    return send


def _moved(action: str, source: str, resource: str, target: str) -> Send:
    body = {"resources": [resource], "targetResourceGroup": target}
    return lambda arm: _ended(arm, ask(arm, "POST", f"{source}/{action}", body, api="2021-04-01"))


def _ended(arm: Any, reply: requests.Response) -> requests.Response:
    """What validateMoveResources says at its Location; it has ended when it answers."""
    return ask(arm, "GET", reply.headers["Location"]) if reply.status_code == 202 else reply


WRITES: Final = (
    ("PUT of a new resource", sent("PUT", f"{ADDRESS}2", {**WHERE, "properties": {}})),
    ("PUT of a resource that is there", sent("PUT", ADDRESS, {**WHERE, "properties": {}})),
    ("PATCH of a resource", sent("PATCH", ADDRESS, TAGS)),
    ("PUT of the group", sent("PUT", GROUP, WHERE)),
    ("PATCH of the group", sent("PATCH", GROUP, TAGS)),
    ("PUT of a deployment", sent("PUT", DEPLOYMENT, deployment())),
    ("moveResources into the group", _moved("moveResources", OTHER, THERE, GROUP)),
    ("moveResources out of the group", _moved("moveResources", GROUP, ADDRESS, OTHER)),
    ("validateMoveResources into the group", _moved("validateMoveResources", OTHER, THERE, GROUP)),
)

ROWS: Final = (
    *(Row(what, "D", _meanwhile(then), 409, "ResourceGroupBeingDeleted", DYING) for what, then in WRITES),
    Row(
        "GET of the group",
        "D",
        _meanwhile(sent("GET", GROUP)),
        200,
        holds=lambda reply: reply.json()["properties"]["provisioningState"] == "Deleting",
    ),
    Row("GET of a resource", "D", _meanwhile(sent("GET", VM)), 200),
    Row("DELETE of the group once more", "D", _meanwhile(sent("DELETE", GROUP)), 202),
)
