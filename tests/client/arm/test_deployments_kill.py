"""What a kill leaves of deployments."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.client.arm.deployments_words import (
    BASE,
    DEADLINE,
    DEPLOYMENT,
    GROUP,
    body,
    network,
    template,
    until,
)
from vmstamp.arm.control_plane import ControlPlane
from vmstamp.arm.types import Request
from vmstamp.errors import AzureError


def begun(arm: Any, **parameters: Any) -> None:
    """A deployment of a VM whose guest does not report yet, with a network before and one after it."""
    machine = arm.vm_body(arm.image(), arm.nic())
    kind = {"type": "Microsoft.Compute/virtualMachines", "apiVersion": "2024-07-01", "name": "vm1"}
    whole = template(
        network("before", tags={"made": "[parameters('made')]"}),
        {**kind, **machine, "dependsOn": ["before"]},
        network("after", dependsOn=["vm1"]),
        parameters={
            "made": {"type": "string", "defaultValue": "[newGuid()]"},
            "secret": {"type": "securestring", "defaultValue": ""},
            "plain": {"type": "string", "defaultValue": ""},
        },
    )
    if "secret" not in parameters:
        del whole["parameters"]["secret"]
    arm.host.held.clear()
    arm.plane.handle(request("PUT", GROUP + DEPLOYMENT, body(whole, **parameters)))
    assert arm.host.started.wait(DEADLINE)


def request(method: str, path: str, content: Any = None) -> Request:
    return Request(method, path, {"api-version": "2024-07-01"}, {}, content, BASE)


def shown(plane: ControlPlane) -> Any:
    return plane.handle(request("GET", GROUP + DEPLOYMENT)).body["properties"]


def test_a_deployment_goes_on_after_a_kill(arm: Any, restart: Callable[[], ControlPlane]) -> None:
    begun(arm)
    tags = arm.network.virtual_networks.get("rg", "before").tags
    plane = restart()
    arm.host.held.set()
    until(lambda: shown(plane)["provisioningState"] in ("Succeeded", "Failed"))
    assert shown(plane)["provisioningState"] == "Succeeded", shown(plane)
    found = plane.handle(request("GET", f"{GROUP}/providers/Microsoft.Network/virtualNetworks")).body["value"]
    assert [one["name"] for one in found] == ["after", "before", "vnet1"]
    assert tags == found[1]["tags"]


def test_a_deployment_with_secrets_fails_after_a_kill_and_says_why(
    arm: Any, restart: Callable[[], ControlPlane], tmp_path: Path
) -> None:
    begun(arm, secret="a very secret word")
    plane = restart()
    found = shown(plane)
    assert found["provisioningState"] == "Failed" and found["error"]["code"] == "OperationInterrupted"
    assert "secure parameters are not kept" in found["error"]["message"]
    arm.host.held.set()
    kept = b"".join(path.read_bytes() for path in tmp_path.glob("stamp.db*"))
    assert b"a very secret word" not in kept


def test_an_unknown_deployment_is_named(arm: Any) -> None:
    for path in ("deployments/none", "deployments/none/operations"):
        with pytest.raises(AzureError, match="Deployment 'none' could not be found"):
            arm.plane.handle(request("GET", f"{GROUP}/{path}"))
