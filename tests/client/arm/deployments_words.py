"""Templates of tests of deployments, and what is done with them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError

SCHEMA = "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#"
SUBSCRIPTION = "11111111-2222-3333-4444-555555555555"
GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg"
BASE = "https://127.0.0.1:1"
DEPLOYMENT = "/providers/Microsoft.Resources/deployments/one"
DEADLINE = 20.0  # seconds


def template(*resources: Any, **sections: Any) -> dict[str, Any]:
    return {"$schema": SCHEMA, "contentVersion": "1.0.0.0", "resources": list(resources), **sections}


def body(whole: dict[str, Any], mode: str = "Incremental", **parameters: Any) -> dict[str, Any]:
    given = {name: {"value": value} for name, value in parameters.items()}
    return {"properties": {"mode": mode, "template": whole, "parameters": given}}


def network(name: str, **members: Any) -> dict[str, Any]:
    space = {"addressSpace": {"addressPrefixes": ["10.0.0.0/16"]}}
    kind = {"type": "Microsoft.Network/virtualNetworks", "apiVersion": "2023-09-01", "location": "westeurope"}
    return {**kind, "name": name, "properties": space, **members}


def group_of_rules(name: str, **members: Any) -> dict[str, Any]:
    kind = {"type": "Microsoft.Network/networkSecurityGroups", "apiVersion": "2023-09-01"}
    return {**kind, "name": name, "location": "westeurope", "properties": {}, **members}


def broken(name: str, **members: Any) -> dict[str, Any]:
    """A network interface in a subnet that is not there."""
    subnet = {"subnet": {"id": f"{GROUP}/providers/Microsoft.Network/virtualNetworks/none/subnets/none"}}
    properties = {"ipConfigurations": [{"name": "a", "properties": subnet}]}
    kind = {
        "type": "Microsoft.Network/networkInterfaces",
        "apiVersion": "2023-09-01",
        "location": "westeurope",
    }
    # The reference keeps what is wrong from being found beforehand.
    waits = {"dependsOn": ["first"]}
    return {**kind, "name": name, "properties": properties, **waits, **members}


def nested(name: str, inner: dict[str, Any], scope: str = "inner", **parameters: Any) -> dict[str, Any]:
    properties = {
        "mode": "Incremental",
        "template": inner,
        "parameters": {key: {"value": value} for key, value in parameters.items()},
        "expressionEvaluationOptions": {"scope": scope},
    }
    kind = {"type": "Microsoft.Resources/deployments", "apiVersion": "2022-09-01"}
    return {**kind, "name": name, "properties": properties}


def deploy(client: Any, whole: dict[str, Any], **parameters: Any) -> Any:
    return client.deployments.begin_create_or_update("rg", "one", body(whole, **parameters)).result()


def failure(client: Any, whole: dict[str, Any], **parameters: Any) -> Any:
    """The error of a deployment as it is shown afterwards."""
    with pytest.raises(HttpResponseError):
        deploy(client, whole, **parameters)
    return client.deployments.get("rg", "one").properties.error


def networks(arm: Any) -> list[str]:
    return sorted(one.name for one in arm.network.virtual_networks.list("rg"))


def until(test: Callable[[], Any]) -> Any:
    end = time.monotonic() + DEADLINE
    while not (found := test()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return found
