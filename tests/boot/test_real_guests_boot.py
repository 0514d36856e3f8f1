"""Guests that no recipe made report Ready: BIOS and LVM with waagent, UEFI and XFS with cloud-init."""

from pathlib import Path

import pytest

from tests.boot.road import stamp_in
from tests.real_guests import get_disk


@pytest.mark.boot
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("name", "generation"), [("lvm", 1), ("xfs", 2)])
def test_a_generalized_guest_is_provisioned_by_its_own_agent(
    name: str, generation: int, tmp_path: Path
) -> None:
    with stamp_in(tmp_path) as stamp:
        done = stamp.json(f"generalize {get_disk(name)} -o model.vhdx")
        assert done["generalized"]
        tried = stamp.json(f"try model.vhdx --generation {generation} --user someone")
        assert tried["ok"] and tried["login"]["user"] == "someone"
