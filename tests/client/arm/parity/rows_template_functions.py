"""Rules of the functions of templates, as Azure's pages tell their results, and of canceled deployments."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

import requests

from tests.client.arm.parity.row import GROUP, SUBSCRIPTION, Row, ask
from tests.client.arm.parity.rows_deployments import ADDRESS, DEPLOYMENT, body, rest
from tests.client.arm.parity.rows_template_values import ended
from tests.client.arm.parity.rows_templates import failed, invalid, template

TITLE: Final = "Functions of templates; cancel and regions of deployments"
DEPLOYMENTS: Final = f"{GROUP}/providers/Microsoft.Resources/deployments"


def gives(rule: str, kind: str, expression: str, expected: Any) -> Row:
    """A row of the value that an expression has as a deployment's output."""
    output = json.dumps({"told": {"type": kind, "value": f"[{expression}]"}})

    def holds(reply: requests.Response) -> bool:
        properties = reply.json()["properties"]
        return bool(properties["outputs"]["told"]["value"] == expected)

    return Row(rule, "D", ended(template('  "resources": [],', f'  "outputs": {output}')), 200, holds=holds)


def _full(arm: Any) -> requests.Response:
    """A deployment whose output is the whole of an address that it makes."""
    told = {"type": "object", "value": "[reference('ip1', '2023-09-01', 'Full')]"}
    ask(arm, "PUT", DEPLOYMENT, body(ADDRESS, outputs={"told": told}))
    rest(arm)
    return ask(arm, "GET", DEPLOYMENT)


def _in_parts(reply: requests.Response) -> bool:
    full = reply.json()["properties"]["outputs"]["told"]["value"]
    return (
        full["resourceId"] == "Microsoft.Network/publicIPAddresses/ip1"
        and full["resourceGroupName"] == "rg"
        and full["apiVersion"] == "2023-09-01"
        and not {"id", "name", "type"} & full.keys()
    )


def _held(arm: Any) -> None:
    """A deployment whose VM is under way."""
    machine = arm.vm_body(arm.image(), arm.nic())
    kind = {"type": "Microsoft.Compute/virtualMachines", "apiVersion": "2024-07-01", "name": "vm1"}
    arm.host.held.clear()
    ask(arm, "PUT", DEPLOYMENT, body({**kind, **machine}, {**ADDRESS, "dependsOn": ["vm1"]}))
    assert arm.host.started.wait(20)


def canceled(path: str, method: str = "GET") -> Callable[[Any], requests.Response]:
    """A request once a deployment was canceled and has ended."""

    def send(arm: Any) -> requests.Response:
        _held(arm)
        ask(arm, "POST", f"{DEPLOYMENT}/cancel")
        arm.plane._deployments.operations.wait()
        reply = ask(arm, method, path)
        arm.host.held.set()
        rest(arm)
        return reply

    return send


def _steps(reply: requests.Response) -> bool:
    steps = [one["properties"] for one in reply.json()["value"]]
    found = [(one["targetResource"]["resourceName"], one["provisioningState"]) for one in steps]
    return found == [("vm1", "Canceled")]


def _to_the_subscription(location: str) -> Callable[[Any], requests.Response]:
    path = f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Resources/deployments/one"
    place = {"location": location} if location else {}
    return lambda arm: ask(arm, "PUT", path, {**body(), **place})


def _nested_in_no_region(arm: Any) -> requests.Response:
    inner = {**body(), "type": "Microsoft.Resources/deployments", "apiVersion": "2022-09-01", "name": "two"}
    return ask(arm, "PUT", DEPLOYMENT, body({**inner, "subscriptionId": SUBSCRIPTION}))


NO_REGION: Final = (
    "The 'location' property must be specified for '{}'. Please see "
    "https://aka.ms/arm-deployment-subscription for usage details."
)

ROWS: Final = (
    Row(
        "a deployment to a subscription without a region",
        "I",
        _to_the_subscription(""),
        400,
        "InvalidDeployment",
        NO_REGION.format("one"),
    ),
    Row(
        "a deployment nested in another, to a subscription and without a region",
        "I",
        _nested_in_no_region,
        400,
        "InvalidDeployment",
        NO_REGION.format("two"),
    ),
    Row(
        "a deployment to a subscription in a region that is not there",
        "I",
        _to_the_subscription("nowhere"),
        400,
        "LocationNotAvailableForDeployment",
    ),
    gives("greater of texts: a capital is greater", "bool", "greater('A', 'a')", True),
    gives("less of texts: a capital is not less", "bool", "less('A', 'a')", False),
    gives(
        "parseCidr of IPv6: all addresses are usable",
        "string",
        "parseCidr('fdad:3236:5555::/48').lastUsable",
        "fdad:3236:5555:ffff:ffff:ffff:ffff:ffff",
    ),
    gives(
        "cidrHost of IPv6 counts from the address after the network's",
        "string",
        "cidrHost('fdad:3236:5555:3000::/52', 0)",
        "fdad:3236:5555:3000::1",
    ),
    gives(
        "base64ToJson of JSON in single quotes",
        "object",
        "base64ToJson(base64('{''one'': ''a'', ''two'': ''b''}'))",
        {"one": "a", "two": "b"},
    ),
    gives(
        "buildUri of a URI's parts",
        "string",
        "buildUri(createObject('scheme', 'https', 'host', 'a', 'port', 8080, 'path', '/b', 'query', '?c=1'))",
        "https://a:8080/b?c=1",
    ),
    gives(
        "dateTimeAdd of a month counts 30 days",
        "string",
        "dateTimeAdd('2023-01-31 00:00:00Z', 'P1M')",
        "2023-03-02T00:00:00Z",
    ),
    gives("pickZones in a region without zones", "array", "pickZones('A.B', 'c', 'northcentralus')", []),
    gives(
        "union of objects takes the later array",
        "array",
        "union(json('{\"a\":[1]}'), json('{\"a\":[2]}')).a",
        [2],
    ),
    Row("reference of the whole of a resource gives its id in parts", "D", _full, 200, holds=_in_parts),
    invalid(
        "substring beyond the end of a text",
        "D",
        template(
            '  "variables": { "v": "[substring(\'1234567890\', 0, 11)]" },',
            '  "resources": [ { "type": "Microsoft.Network/networkSecurityGroups", "apiVersion": '
            '"2023-09-01", "name": "[variables(\'v\')]" } ]',
        ),
        failed(
            "The template variable 'v' is not valid: ...The index and length parameters must refer to a "
            "location within the string. The index parameter: '0', the length parameter: '11', the length of "
            "the string parameter: '10'...."
        ),
        (4, 56, "properties.template.variables.v"),
    ),
    Row(
        "a deployment that was canceled",
        "D",
        canceled(DEPLOYMENT),
        200,
        holds=lambda reply: reply.json()["properties"]["provisioningState"] == "Canceled",
    ),
    Row(
        "the steps of a deployment that was canceled",
        "D",
        canceled(f"{DEPLOYMENT}/operations"),
        200,
        holds=_steps,
    ),
    Row(
        "cancel of a deployment that was canceled",
        "R",
        canceled(f"{DEPLOYMENT}/cancel", "POST"),
        409,
        "DeploymentCannotBeCancelled",
    ),
    Row(
        "cancel of a deployment that is not there",
        "R",
        lambda arm: ask(arm, "POST", f"{DEPLOYMENTS}/none/cancel"),
        404,
        "DeploymentNotFound",
        "Deployment 'none' could not be found.",
    ),
)
