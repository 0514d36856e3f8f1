"""What the tests of virtual machines share."""

from __future__ import annotations

import time
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError

MIB, GIB = 2**20, 2**30


def error_of(call: Any) -> Any:
    with pytest.raises(HttpResponseError) as caught:
        call()
    return caught.value.error


def create(arm: Any, body: dict[str, Any], name: str = "vm1") -> Any:
    return arm.compute.virtual_machines.begin_create_or_update("rg", name, body).result()


def plan_of(arm: Any, vm: Any) -> Any:
    return arm.host.plans[vm.properties.vm_id][-1]


def wait_until(holds: Any) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)
