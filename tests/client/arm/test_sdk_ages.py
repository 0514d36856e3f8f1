"""The management SDKs of today and of three years ago, each by one program that uses every main type."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from vmstamp.run import run

PROGRAM = Path(__file__).with_name("sdk_smoke.py")
PEERS = Path(__file__).parents[3] / ".peers"
PYTHONS = {"today": Path(sys.executable), "2023": PEERS / "azure-sdk-2023" / "bin" / "python"}
MADE = ["smoke", "smokeaccount", "vnet", "nsg", "address", "nic", "key", "disk", "image", "vm"]
TIMEOUT = 120.0  # seconds


@pytest.mark.parametrize("age", PYTHONS)
def test_every_main_type_lives_its_life(arm: Any, age: str) -> None:
    if not PYTHONS[age].exists():
        pytest.skip(f"{PYTHONS[age]} is missing: make peers")
    url = arm.vhd("account1", "disk.vhd")
    subscription = arm.plane.engine.settings.subscription
    words = [PROGRAM, arm.url, arm.options["connection_verify"], subscription, url]
    done = run([PYTHONS[age], *words], check=False, timeout=TIMEOUT)
    assert done.text.splitlines() == MADE, done.stderr.decode()
    assert done.status == 0, done.stderr.decode()
    assert [one.name for one in arm.resources.resource_groups.list()] == ["rg"]
