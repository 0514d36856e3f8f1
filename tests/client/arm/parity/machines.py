"""What the rows about virtual machines begin with: a VM in a state, and requests to it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import requests

from tests.client.arm.parity.row import COMPUTE, TIMEOUT, ask

VM = f"{COMPUTE}/virtualMachines/vm1"
SETS = f"{COMPUTE}/availabilitySets"
EMPTY = {"createOption": "Empty", "diskSizeGB": 1}


def settle(arm: Any) -> None:
    """Wait until every operation has ended."""
    arm.plane.engine.operations.wait(timeout=20)


def held(
    arm: Any,
    owner: Any,
    method: str,
    first: Callable[[Any], requests.Response],
    then: Callable[[requests.Response], requests.Response],
) -> requests.Response:
    """The answer of `then` while the operation that `first` began waits in a method of the stamp's parts.

    `owner` is the object whose `method` waits: the host, or the store of blobs.
    """
    go, came, real = threading.Event(), threading.Event(), getattr(owner, method)

    def late(*given: Any, **named: Any) -> Any:
        came.set()
        go.wait(TIMEOUT)
        return real(*given, **named)

    setattr(owner, method, late)
    try:
        accepted = first(arm)
        assert accepted.ok and came.wait(TIMEOUT), accepted.text
        return then(accepted)
    finally:
        go.set()
        settle(arm)
        setattr(owner, method, real)


def act(arm: Any, action: str, body: Any = None) -> requests.Response:
    """POST an action on the VM."""
    return ask(arm, "POST", f"{VM}/{action}", body)


def done(arm: Any, *actions: str) -> None:
    """Actions on the VM, each to its end."""
    for action in actions:
        answer = act(arm, action)
        assert answer.ok, answer.text
        settle(arm)


def put(arm: Any, body: Any, name: str = "vm1", **options: Any) -> requests.Response:
    """PUT a VM."""
    return ask(arm, "PUT", f"{COMPUTE}/virtualMachines/{name}", body, **options)


def generalized(arm: Any) -> None:
    """`vm1` with a managed disk, deallocated and generalized."""
    arm.vm()
    done(arm, "deallocate", "generalize")


def blob_storage(arm: Any, os_name: str = "vm1.vhd", **more: Any) -> dict[str, Any]:
    """A storageProfile whose OS disk is a copy of a VHD, in the same container."""
    image = arm.vhd("account1", "source.vhd", mark=b"the os")
    disk = {
        "name": "os",
        "osType": "Linux",
        "createOption": "FromImage",
        "image": {"uri": image},
        "vhd": {"uri": url(os_name)},
    }
    return {"osDisk": {**disk, **more}}


def url(name: str, account: str = "account1") -> str:
    """A blob of an account's container `vhds`."""
    return f"http://127.0.0.1:10000/{account}/vhds/{name}"


def blob_body(arm: Any, **storage: Any) -> dict[str, Any]:
    """The body of a VM with blob-based disks; `storage` is added to its storageProfile."""
    profile = {**blob_storage(arm), **storage}
    body: dict[str, Any] = arm.vm_body(arm.image(), arm.nic(), storageProfile=profile)
    return body


def blob_vm(arm: Any, *, data: bool = False) -> None:
    """`vm1` with blob-based disks, running."""
    disks = [{**EMPTY, "lun": 0, "vhd": {"uri": url("data.vhd")}}] if data else []
    answer = put(arm, blob_body(arm, dataDisks=disks))
    assert answer.ok, answer.text
    settle(arm)


def generalized_blob_vm(arm: Any, *, data: bool = False) -> None:
    blob_vm(arm, data=data)
    done(arm, "deallocate", "generalize")


def codes(answer: requests.Response) -> list[str]:
    """The status codes of an instance view."""
    return [status["code"] for status in answer.json()["statuses"]]


def view(arm: Any) -> requests.Response:
    return ask(arm, "GET", f"{VM}/instanceView")
