"""Rules of deployments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import requests

from tests.client.arm.parity.row import GROUP, SUBSCRIPTION, Row, ask
from tests.client.arm.parity.rows_protocol import WHERE

TITLE: Final = "Deployments"
DEPLOYMENT: Final = f"{GROUP}/providers/Microsoft.Resources/deployments/one"
SCHEMA: Final = "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#"
ADDRESS: Final = {
    "type": "Microsoft.Network/publicIPAddresses",
    "apiVersion": "2023-09-01",
    "name": "ip1",
    "properties": {},
    **WHERE,
}
# A body that its type refuses; that it waits keeps this from being found beforehand.
REFUSED: Final = {
    **ADDRESS,
    "name": "ip2",
    "dependsOn": ["ip1"],
    "properties": {"dnsSettings": {"domainNameLabel": "No Good"}},
}
STATUS: Final = f"{DEPLOYMENT}/operationStatuses/"


def body(*resources: Any, **sections: Any) -> dict[str, Any]:
    template = {
        "$schema": SCHEMA,
        "contentVersion": "1.0.0.0",
        "resources": list(resources),
        **sections,
    }
    return {"properties": {"mode": "Incremental", "template": template}}


def rest(arm: Any) -> None:
    arm.plane.engine.operations.wait()
    arm.plane._deployments.operations.wait()


def put(*resources: Any, **sections: Any) -> Callable[[Any], requests.Response]:
    def send(arm: Any) -> requests.Response:
        reply = ask(arm, "PUT", DEPLOYMENT, body(*resources, **sections))
        rest(arm)
        return reply

    return send


def posted(action: str, *resources: Any, **sections: Any) -> Callable[[Any], requests.Response]:
    return lambda arm: ask(arm, "POST", f"{DEPLOYMENT}/{action}", body(*resources, **sections))


def deployed(method: str, path: str, *resources: Any, **sections: Any) -> Callable[[Any], requests.Response]:
    """A request once a deployment has ended."""

    def send(arm: Any) -> requests.Response:
        put(*resources, **sections)(arm)
        return ask(arm, method, path)

    return send


def status(*resources: Any) -> Callable[[Any], requests.Response]:
    """The status document of a deployment that has ended."""
    return lambda arm: ask(arm, "GET", put(*resources)(arm).headers["Azure-AsyncOperation"])


def _what_if(arm: Any) -> requests.Response:
    return ask(arm, "GET", posted("whatIf", ADDRESS)(arm).headers["Location"])


def _forgotten(arm: Any) -> requests.Response:
    reply = deployed("DELETE", DEPLOYMENT, ADDRESS)(arm)
    return ask(arm, "GET", reply.headers["Location"])


def _canceled_late(arm: Any) -> requests.Response:
    put(ADDRESS)(arm)
    return ask(arm, "POST", f"{DEPLOYMENT}/cancel")


def _canceled(arm: Any) -> requests.Response:
    machine = arm.vm_body(arm.image(), arm.nic())
    kind = {"type": "Microsoft.Compute/virtualMachines", "apiVersion": "2024-07-01", "name": "vm1"}
    arm.host.held.clear()
    ask(arm, "PUT", DEPLOYMENT, body({**kind, **machine}))
    reply = ask(arm, "POST", f"{DEPLOYMENT}/cancel")
    arm.host.held.set()
    rest(arm)
    return reply


def _machine_with_options(arm: Any) -> requests.Response:
    """A VM without deleteOption is deleted; what is left of it."""
    arm.vm()
    arm.compute.virtual_machines.begin_delete("rg", "vm1").result()
    return ask(arm, "GET", f"{GROUP}/resources")


def _violation(reply: requests.Response) -> bool:
    info: dict[str, Any]
    (info,) = reply.json()["error"]["additionalInfo"]
    names = {"lineNumber", "linePosition", "path"}
    return bool(info["type"] == "TemplateViolation" and info["info"].keys() == names)


def _operations(reply: requests.Response) -> bool:
    first, last = (one["properties"] for one in reply.json()["value"])
    told = {"provisioningState", "timestamp", "duration", "statusCode"} <= first.keys()
    made = (first["provisioningOperation"], first["targetResource"]["resourceName"])
    ends = last["provisioningOperation"] == "EvaluateDeploymentOutput"
    return bool(told and made == ("Create", "ip1") and ends)


def _failed(reply: requests.Response) -> bool:
    error = reply.json()["error"]
    text = (
        "At least one resource deployment operation failed. Please list deployment operations for details. "
        "Please see https://aka.ms/arm-deployment-operations for usage details."
    )
    return (
        (reply.json()["status"], error["code"]) == ("Failed", "DeploymentFailed")
        and error["message"] == text
        and [one["code"] for one in error["details"]] == ["InvalidDomainNameLabel"]
    )


FUNCTION: Final = {**ADDRESS, "name": "[nothing()]"}
LABEL: Final = {**ADDRESS, "properties": REFUSED["properties"]}
OUTPUT: Final = {"a": {"type": "string", "value": "b"}}

ROWS: Final = (
    Row(
        "PUT of a new deployment",
        "R",
        put(ADDRESS),
        201,
        holds=lambda reply: (
            reply.json()["properties"]["provisioningState"] == "Accepted"
            and STATUS in reply.headers["Azure-AsyncOperation"]
        ),
    ),
    Row(
        "the status of a deployment that has succeeded",
        "R",
        status(ADDRESS),
        200,
        holds=lambda reply: reply.json()["status"] == "Succeeded",
    ),
    Row("the status of a deployment that has failed", "IR", status(ADDRESS, REFUSED), 200, holds=_failed),
    Row(
        "PUT of a template with a function that is none",
        "R",
        put(FUNCTION),
        400,
        "InvalidTemplate",
        "Deployment template validation failed: '...'.",
        holds=_violation,
    ),
    Row(
        "PUT of a template with a body that its type refuses",
        "R",
        put(LABEL),
        400,
        "InvalidTemplateDeployment",
        "The template deployment 'one' is not valid according to the validation procedure. ...",
        holds=lambda reply: (
            [one["code"] for one in reply.json()["error"]["details"]] == ["InvalidDomainNameLabel"]
        ),
    ),
    Row(
        "validate of a good template",
        "R",
        posted("validate", ADDRESS),
        200,
        holds=lambda reply: reply.json()["properties"]["provisioningState"] == "Succeeded",
    ),
    Row(
        "validate of a template with a function that is none",
        "R",
        posted("validate", FUNCTION),
        400,
        "InvalidTemplate",
        holds=_violation,
    ),
    Row(
        "whatIf",
        "R",
        posted("whatIf", ADDRESS),
        202,
        holds=lambda reply: reply.content == b"" and "Location" in reply.headers,
    ),
    Row(
        "the Location of a whatIf",
        "R",
        _what_if,
        200,
        holds=lambda reply: (
            reply.json()["status"] == "Succeeded"
            and [one["changeType"] for one in reply.json()["properties"]["changes"]] == ["Create"]
        ),
    ),
    Row("cancel of a deployment under way", "R", _canceled, 204),
    Row("cancel of a deployment that has ended", "R", _canceled_late, 409, "DeploymentCannotBeCancelled"),
    Row("HEAD of a deployment", "R", deployed("HEAD", DEPLOYMENT, ADDRESS), 204),
    Row("HEAD of a deployment that is not there", "R", lambda arm: ask(arm, "HEAD", DEPLOYMENT), 404),
    Row(
        "exportTemplate of a deployment",
        "R",
        deployed("POST", f"{DEPLOYMENT}/exportTemplate", ADDRESS),
        200,
        holds=lambda reply: reply.json()["template"]["resources"] == [ADDRESS],
    ),
    Row(
        "the operations of a deployment, its outputs last",
        "I",
        deployed("GET", f"{GROUP}/deployments/one/operations", ADDRESS, outputs=OUTPUT),
        200,
        holds=_operations,
    ),
    Row(
        "DELETE of a deployment",
        "R",
        deployed("DELETE", DEPLOYMENT, ADDRESS),
        202,
        holds=lambda reply: reply.content == b"" and "/operationresults/" in reply.headers["Location"],
    ),
    Row(
        "the Location of a deployment's DELETE, once it is gone",
        "R",
        _forgotten,
        204,
    ),
    Row(
        "GET of a provider",
        "R",
        lambda arm: ask(arm, "GET", f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Compute"),
        200,
        holds=lambda reply: (
            (reply.json()["namespace"], reply.json()["registrationState"])
            == ("Microsoft.Compute", "Registered")
            and {"resourceType", "locations", "apiVersions"} <= reply.json()["resourceTypes"][0].keys()
        ),
    ),
    Row(
        "DELETE of a VM leaves its disk and its interface",
        "D",
        _machine_with_options,
        200,
        holds=lambda reply: (
            {"Microsoft.Compute/disks", "Microsoft.Network/networkInterfaces"}
            <= {one["type"] for one in reply.json()["value"]}
        ),
    ),
)
