"""What every reply has: headers, the envelope of an error; and what a DELETE or GET of nothing gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import requests

from tests.client.arm.parity.machines import generalized
from tests.client.arm.parity.row import COMPUTE, GROUP, NETWORK, SUBSCRIPTION, Row, ask
from tests.client.arm.parity.rows_protocol import ADDRESS, DISK, MACHINE, WHERE, after, disk, sent

TITLE: Final = "Replies and errors"
ABSENT: Final = "The entity was not found in this Azure location."
LIMIT: Final = "x-ms-ratelimit-remaining-subscription-"
Holds = Callable[[requests.Response], bool]

# A DELETE of one that is not there.
NOTHING: Final = (
    f"{COMPUTE}/virtualMachines/none",
    f"{COMPUTE}/disks/none",
    f"{COMPUTE}/snapshots/none",
    f"{COMPUTE}/galleries/none",
    f"{COMPUTE}/availabilitySets/none",
    f"{NETWORK}/networkInterfaces/none",
    f"{NETWORK}/virtualNetworks/none",
    f"{NETWORK}/publicIPAddresses/none",
    f"{NETWORK}/networkSecurityGroups/none",
)


def _common(reply: requests.Response) -> bool:
    wanted = {
        "Cache-Control": "no-cache",
        "Pragma": "no-cache",
        "Expires": "-1",
        "X-Content-Type-Options": "nosniff",
    }
    return (
        wanted.items() <= {name: reply.headers.get(name) for name in wanted}.items()
        and "max-age=31536000" in reply.headers["Strict-Transport-Security"]
        and "Date" in reply.headers
    )


def _left(kind: str) -> Holds:
    """Exactly this limit is told, and that something is left of it."""

    def holds(reply: requests.Response) -> bool:
        told = {name.lower() for name in reply.headers if name.lower().startswith(LIMIT)}
        return told == {f"{LIMIT}{kind}"} and int(reply.headers[f"{LIMIT}{kind}"]) > 0

    return holds


def _of_the_gateway(reply: requests.Response) -> bool:
    return reply.headers.get("x-ms-failure-cause") == "gateway"


def _of_a_provider(reply: requests.Response) -> bool:
    return "x-ms-failure-cause" not in reply.headers


def _enveloped(reply: requests.Response) -> bool:
    error = reply.json()["error"]
    return (
        reply.json().keys() == {"error"}
        and {"code", "message", "target"} == error.keys()
        and reply.headers["Content-Type"].startswith("application/json")
    )


def _start_generalized(arm: Any) -> requests.Response:
    generalized(arm)
    return ask(arm, "POST", f"{MACHINE}/start")


def _no_size(arm: Any) -> requests.Response:
    body = {**WHERE, "properties": {"creationData": {"createOption": "Empty"}}}
    return ask(arm, "PUT", DISK, body)


def _without(name: str) -> Callable[[Any], requests.Response]:
    """A deployment whose body lacks a member that must be there."""

    def send(arm: Any) -> requests.Response:
        template = {"$schema": "x", "contentVersion": "1.0.0.0", "resources": []}
        properties = {"mode": "Incremental", "template": template}
        given = {"properties": {k: v for k, v in properties.items() if k != name}} if name != "body" else {}
        return ask(arm, "PUT", f"{GROUP}/providers/Microsoft.Resources/deployments/one", given)

    return send


ROWS: Final = (
    Row("headers of an error", "R", sent("GET", DISK), 404, "ResourceNotFound", holds=_common),
    Row("headers of a reply without a body", "R", sent("HEAD", GROUP), 204, holds=_common),
    Row("headers of an accepted operation", "R", after(disk, "DELETE", DISK), 202, holds=_common),
    Row("what is left of the limit of reads", "R", sent("GET", GROUP), 200, holds=_left("reads")),
    Row("what is left of the limit of writes", "R", sent("PUT", GROUP, WHERE), 200, holds=_left("writes")),
    Row(
        "what is left of the limit of deletions",
        "R",
        after(disk, "DELETE", DISK),
        202,
        holds=_left("deletes"),
    ),
    Row(
        "an error lies in an envelope",
        "RI",
        _no_size,
        400,
        "InvalidParameter",
        "Required parameter 'disk.diskSizeGB' is missing (null).",
        "disk.diskSizeGB",
        holds=_enveloped,
    ),
    Row(
        "an error of a provider does not name the gateway",
        "R",
        _start_generalized,
        409,
        "OperationNotAllowed",
        holds=_of_a_provider,
    ),
    *(
        Row(f"the gateway's own error names it: {code}", "R", send, status, code, holds=_of_the_gateway)
        for code, status, send in (
            ("MissingApiVersionParameter", 400, sent("GET", GROUP, api="")),
            ("NoRegisteredProviderFound", 400, sent("GET", DISK, api="latest")),
            ("ResourceNotFound", 404, sent("GET", DISK)),
            ("LocationRequired", 400, sent("PUT", ADDRESS, {"properties": {}})),
            ("InvalidResourceType", 404, sent("GET", f"{COMPUTE}/nothings/one")),
            ("InvalidResourceGroupLocation", 409, sent("PUT", GROUP, {"location": "eastus"})),
        )
    ),
    *(
        Row(
            f"a deployment whose body lacks {what}",
            "I",
            _without(name),
            400,
            "InvalidRequestContent",
            "The request content was invalid and could not be deserialized: '...'.",
        )
        for what, name in (("its properties", "body"), ("its mode", "mode"))
    ),
    *(
        Row(
            f"DELETE of one of {path.split('/')[-2]} that is not there",
            "R",
            sent("DELETE", path),
            204,
            holds=lambda reply: reply.content == b"",
        )
        for path in NOTHING
    ),
    Row(
        "DELETE of a group that is not there",
        "R",
        sent("DELETE", f"/subscriptions/{SUBSCRIPTION}/resourceGroups/none"),
        404,
        "ResourceGroupNotFound",
        "Resource group 'none' could not be found.",
    ),
    Row(
        "GET in a group that is not there",
        "R",
        sent("GET", DISK.replace("/rg/", "/none/")),
        404,
        "ResourceGroupNotFound",
        "Resource group 'none' could not be found.",
    ),
    Row("vmSizes of a VM that is not there", "R", sent("GET", f"{MACHINE}/vmSizes"), 404, "NotFound", ABSENT),
)
