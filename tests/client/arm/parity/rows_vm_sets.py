"""Rules of availability sets."""

from __future__ import annotations

from typing import Any, Final

import requests

from tests.client.arm.parity.machines import SETS, VM, put, settle
from tests.client.arm.parity.row import Row, ask

TITLE: Final = "Availability sets"


def _make_set(arm: Any, name: str = "set1", **more: Any) -> requests.Response:
    return ask(arm, "PUT", f"{SETS}/{name}", {"location": "westeurope", **more})


def _in_set(arm: Any) -> requests.Response:
    _make_set(arm, sku={"name": "Aligned"})
    return put(arm, arm.vm_body(arm.image(), arm.nic(), availabilitySet={"id": f"{SETS}/set1"}))


def _managed_in_classic_set(arm: Any) -> requests.Response:
    _make_set(arm)
    return put(arm, arm.vm_body(arm.image(), arm.nic(), availabilitySet={"id": f"{SETS}/set1"}))


def _absent_set(arm: Any) -> requests.Response:
    return put(arm, arm.vm_body(arm.image(), arm.nic(), availabilitySet={"id": f"{SETS}/none"}))


def _delete_used_set(arm: Any) -> requests.Response:
    assert _in_set(arm).ok
    settle(arm)
    return ask(arm, "DELETE", f"{SETS}/set1")


def _classic_again(arm: Any) -> requests.Response:
    _make_set(arm, sku={"name": "Aligned"})
    return _make_set(arm, sku={"name": "Classic"})


def _too_many_domains(arm: Any) -> requests.Response:
    return _make_set(arm, properties={"platformFaultDomainCount": 4})


def _other_set(arm: Any) -> requests.Response:
    assert _in_set(arm).ok
    settle(arm)
    _make_set(arm, "set2", sku={"name": "Aligned"})
    return ask(arm, "PATCH", VM, {"properties": {"availabilitySet": {"id": f"{SETS}/set2"}}})


ROWS: Final = (
    Row(
        "a VM with managed disks in a set of sku Classic",
        "D",
        _managed_in_classic_set,
        400,
        "BadRequest",
        "Addition of a VM with managed disks to non-managed Availability Set or addition of a VM with blob "
        "based disks to managed Availability Set is not supported. Please create an Availability Set with "
        "'managed' property set in order to add a VM with managed disks to it.",
    ),
    Row(
        "a VM in a set that is not there",
        "D",
        _absent_set,
        404,
        "NotFound",
        f"The Availability Set '{SETS}/none' cannot be found.",
    ),
    Row(
        "a VM in a set of sku Aligned",
        "D",
        _in_set,
        201,
        holds=lambda answer: answer.json()["properties"]["availabilitySet"]["id"] == f"{SETS}/set1",
    ),
    Row(
        "another availability set for a VM that exists",
        "D",
        _other_set,
        409,
        "PropertyChangeNotAllowed",
        "Changing property 'availabilitySet.id' is not allowed.",
        "availabilitySet.id",
    ),
    Row(
        "DELETE of an availability set with a VM in it",
        "D",
        _delete_used_set,
        409,
        "OperationNotAllowed",
        "Availability Set 'set1' cannot be deleted. Before deleting an Availability Set please ensure that "
        "it does not contain any VM.",
    ),
    Row(
        "an availability set from Aligned back to Classic",
        "D",
        _classic_again,
        409,
        "OperationNotAllowed",
        "Changing availability set SKU from 'Aligned' to 'Classic' is not allowed.",
    ),
    Row(
        "an availability set of too many fault domains",
        "D",
        _too_many_domains,
        400,
        "InvalidParameter",
        "The specified fault domain count 4 must fall in the range 1 to 3.",
    ),
)
