"""Rules of the protocol that all providers have in common."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final

import requests

from tests.client.arm.parity.row import COMPUTE, GROUP, NETWORK, SUBSCRIPTION, TIMEOUT, Row, ask

TITLE: Final = "All resource types"
WHERE: Final = {"location": "westeurope"}
ADDRESS: Final = f"{NETWORK}/publicIPAddresses/ip1"
MACHINE: Final = f"{COMPUTE}/virtualMachines/vm1"
DISK: Final = f"{COMPUTE}/disks/disk1"


def sent(
    method: str, path: str, body: Any = None, *, api: str = "2024-07-01", **headers: str
) -> Callable[[Any], requests.Response]:
    """One request in the state of a new stamp."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda arm: ask(arm, method, path, body, api=api, headers=named)


def after(
    first: Callable[[Any], object], method: str, path: str, body: Any = None, **headers: str
) -> Callable[[Any], requests.Response]:
    """One request once `first` was done."""

    def send(arm: Any) -> requests.Response:
        first(arm)
        arm.plane.engine.operations.wait()
        return sent(method, path, body, **headers)(arm)

    return send


def address(arm: Any) -> requests.Response:
    return ask(arm, "PUT", ADDRESS, {**WHERE, "properties": {}})


def disk(arm: Any) -> requests.Response:
    properties = {"creationData": {"createOption": "Empty"}, "diskSizeGB": 1}
    return ask(arm, "PUT", DISK, {**WHERE, "properties": properties})


def _bad_json(arm: Any) -> requests.Response:
    headers = {"Authorization": "Bearer a token of the tests", "Content-Type": "application/json"}
    url = f"{arm.url}{GROUP}?api-version=2024-07-01"
    verify = arm.options["connection_verify"]
    return requests.put(url, data=b'{"location": ', headers=headers, timeout=TIMEOUT, verify=verify)


def _pages(arm: Any) -> requests.Response:
    for number in range(4):
        ask(arm, "PUT", f"{NETWORK}/publicIPAddresses/ip{number}", {**WHERE, "properties": {}})
    return ask(arm, "GET", f"{NETWORK}/publicIPAddresses")


def _last_page(arm: Any) -> requests.Response:
    return ask(arm, "GET", _pages(arm).json()["nextLink"])


def _in_use(arm: Any) -> requests.Response:
    """A change of a VM that is being created."""
    arm.host.held.clear()
    body = arm.vm_body(arm.image(), arm.nic())
    ask(arm, "PUT", MACHINE, body)
    reply = ask(arm, "PUT", MACHINE, body)
    arm.host.held.set()
    arm.plane.engine.operations.wait()
    return reply


def _into_a_dying_group(arm: Any) -> requests.Response:
    arm.vm()
    go, stop = threading.Event(), arm.host.stop

    def late(vm_id: str, *, graceful: bool) -> None:
        go.wait(TIMEOUT)
        stop(vm_id, graceful=graceful)

    arm.host.stop = late
    ask(arm, "DELETE", GROUP)
    reply = address(arm)
    go.set()
    arm.plane.engine.operations.wait()
    return reply


def polled(
    first: Callable[[Any], requests.Response], header: str = "Azure-AsyncOperation"
) -> Callable[[Any], requests.Response]:
    """What stands at the URL that an answer names, once the operation has ended."""

    def send(arm: Any) -> requests.Response:
        reply = first(arm)
        arm.plane.engine.operations.wait()
        return ask(arm, "GET", reply.headers[header])

    return send


def _running(arm: Any, header: str) -> requests.Response:
    """The same of an operation that is under way."""
    arm.host.held.clear()
    first = ask(arm, "PUT", MACHINE, arm.vm_body(arm.image(), arm.nic()))
    reply = ask(arm, "GET", first.headers[header])
    arm.host.held.set()
    arm.plane.engine.operations.wait()
    return reply


def _open_disk(arm: Any) -> requests.Response:
    disk(arm)
    arm.plane.engine.operations.wait()
    return ask(arm, "POST", f"{DISK}/beginGetAccess", {"access": "Read", "durationInSeconds": 60})


def _has_common_headers(reply: requests.Response) -> bool:
    return (
        reply.headers["Cache-Control"] == "no-cache"
        and reply.headers["Pragma"] == "no-cache"
        and reply.headers["Expires"] == "-1"
        and reply.headers["X-Content-Type-Options"] == "nosniff"
        and "max-age=31536000" in reply.headers["Strict-Transport-Security"]
        and "Date" in reply.headers
    )


ROWS: Final = (
    Row(
        "a request without an api-version",
        "I",
        sent("GET", GROUP, api=""),
        400,
        "MissingApiVersionParameter",
        "The api-version query parameter (?api-version=) is required for all requests.",
    ),
    Row(
        "an api-version that the type does not have",
        "D",
        sent("GET", f"{COMPUTE}/images/none", api="latest"),
        400,
        "NoRegisteredProviderFound",
        "No registered resource provider found for location 'westeurope' and API version 'latest' for type "
        "'images'. The supported api-versions are '...'. The supported locations are '...'.",
    ),
    Row(
        "headers of each reply",
        "R",
        sent("GET", GROUP),
        200,
        holds=_has_common_headers,
    ),
    Row(
        "a request gets an id, and keeps the client's",
        "I",
        sent("GET", GROUP, x_ms_client_request_id="mine"),
        200,
        holds=lambda reply: (
            reply.headers["x-ms-client-request-id"] == "mine"
            and all(reply.headers[f"x-ms-{name}request-id"] for name in ("", "correlation-", "routing-"))
        ),
    ),
    Row(
        "an error that no provider made says so",
        "I",
        sent("GET", f"/subscriptions/{SUBSCRIPTION}/resourceGroups/none"),
        404,
        "ResourceGroupNotFound",
        holds=lambda reply: reply.headers["x-ms-failure-cause"] == "gateway",
    ),
    Row(
        "GET of a resource that is not there",
        "R",
        sent("GET", f"{COMPUTE}/images/none"),
        404,
        "ResourceNotFound",
        "The Resource 'Microsoft.Compute/images/none' under resource group 'rg' was not found. For more "
        "details please go to https://aka.ms/ARMResourceNotFoundFix",
    ),
    Row(
        "GET of a group that is not there",
        "R",
        sent("GET", f"/subscriptions/{SUBSCRIPTION}/resourceGroups/none"),
        404,
        "ResourceGroupNotFound",
        "Resource group 'none' could not be found.",
    ),
    Row(
        "GET below a VM that is not there",
        "R",
        sent("GET", f"{COMPUTE}/virtualMachines/none/instanceView"),
        404,
        "NotFound",
        "The entity was not found in this Azure location.",
    ),
    Row("DELETE of a resource that is not there", "R", sent("DELETE", f"{COMPUTE}/images/none"), 204),
    Row(
        "a body that is no JSON",
        "I",
        _bad_json,
        400,
        "InvalidRequestContent",
        "The request content was invalid and could not be deserialized: ...",
    ),
    Row(
        "a resource of the same name in another region",
        "I",
        after(address, "PUT", ADDRESS, {"location": "eastus", "properties": {}}),
        409,
        "InvalidResourceLocation",
        "The resource 'ip1' already exists in location 'westeurope' in resource group 'rg'. A resource with "
        "the same name cannot be created in location 'eastus'. Please select a new resource name.",
    ),
    Row(
        "a group of the same name in another region",
        "I",
        sent("PUT", GROUP, {"location": "eastus"}),
        409,
        "InvalidResourceGroupLocation",
        "Invalid resource group location 'eastus'. The Resource group already exists in location "
        "'westeurope'.",
    ),
    Row(
        "a write in a group that is being deleted",
        "D",
        _into_a_dying_group,
        409,
        "ResourceGroupBeingDeleted",
        "The resource group 'rg' is in deprovisioning state and cannot perform this operation.",
    ),
    Row(
        "a change of a resource on which an operation is under way",
        "I",
        _in_use,
        409,
        "Conflict",
        "The request failed due to conflict with a concurrent request.",
    ),
    Row(
        "If-Match that does not hold",
        "R",
        after(address, "PUT", ADDRESS, {**WHERE, "properties": {}}, If_Match='W/"another"'),
        412,
        "PreconditionFailed",
    ),
    Row(
        "If-None-Match: * of a resource that is there",
        "R",
        after(address, "PUT", ADDRESS, {**WHERE, "properties": {}}, If_None_Match="*"),
        412,
        "PreconditionFailed",
    ),
    Row(
        "a network resource has its ETag in the header and in the body",
        "R",
        after(address, "GET", ADDRESS),
        200,
        holds=lambda reply: (
            reply.headers["ETag"] == reply.json()["etag"] and reply.json()["etag"].startswith('W/"')
        ),
    ),
    Row(
        "a list that goes on has an absolute nextLink",
        "R",
        _pages,
        200,
        holds=lambda reply: "$skiptoken" in reply.json()["nextLink"].replace("%24", "$"),
    ),
    Row(
        "the last page of a list has no nextLink",
        "R",
        _last_page,
        200,
        holds=lambda reply: len(reply.json()["value"]) == 1 and "nextLink" not in reply.json(),
    ),
    Row(
        "the status document of an operation under way",
        "R",
        lambda arm: _running(arm, "Azure-AsyncOperation"),
        200,
        holds=lambda reply: (
            reply.json()["status"] == "InProgress"
            and {"startTime", "name"} <= reply.json().keys()
            and "endTime" not in reply.json()
            and int(reply.headers["Retry-After"]) == 1
        ),
    ),
    Row(
        "the status document of an operation that has ended",
        "R",
        polled(disk),
        200,
        holds=lambda reply: (
            reply.json()["status"] == "Succeeded" and {"startTime", "endTime", "name"} <= reply.json().keys()
        ),
    ),
    Row(
        "the Location of an action with a result gives it bare",
        "R",
        polled(_open_disk, "Location"),
        200,
        holds=lambda reply: reply.json().keys() == {"accessSAS"},
    ),
    Row(
        "the status document of an action with a result has it in properties.output",
        "R",
        polled(_open_disk),
        200,
        holds=lambda reply: reply.json()["properties"]["output"].keys() == {"accessSAS"},
    ),
)
