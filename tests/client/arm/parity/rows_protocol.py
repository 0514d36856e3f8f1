"""Rules of the protocol that all providers have in common."""

from __future__ import annotations

from typing import Any, Final

import requests

from tests.client.arm.parity.row import COMPUTE, GROUP, SUBSCRIPTION, Row, ask

TITLE: Final = "All resource types"


def _no_version(arm: Any) -> requests.Response:
    return ask(arm, "GET", GROUP, api="")


def _absent(arm: Any) -> requests.Response:
    return ask(arm, "GET", f"{COMPUTE}/images/none")


def _absent_group(arm: Any) -> requests.Response:
    return ask(arm, "GET", f"/subscriptions/{SUBSCRIPTION}/resourceGroups/none")


def _delete_absent(arm: Any) -> requests.Response:
    return ask(arm, "DELETE", f"{COMPUTE}/images/none")


ROWS: Final = (
    Row(
        "a request without an api-version",
        "I",
        _no_version,
        400,
        "MissingApiVersionParameter",
        "The api-version query parameter (?api-version=) is required for all requests.",
    ),
    Row(
        "GET of a resource that is not there",
        "R",
        _absent,
        404,
        "ResourceNotFound",
        "The Resource 'Microsoft.Compute/images/none' under resource group 'rg' was not found. For more "
        "details please go to https://aka.ms/ARMResourceNotFoundFix",
    ),
    Row(
        "GET of a group that is not there",
        "R",
        _absent_group,
        404,
        "ResourceGroupNotFound",
        "Resource group 'none' could not be found.",
    ),
    Row("DELETE of a resource that is not there", "R", _delete_absent, 204),
)
