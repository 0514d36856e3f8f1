"""An image without cloud-init, provisioned by WALinuxAgent alone."""

from pathlib import Path

import pytest

from tests.boot.road import stamp_in


@pytest.mark.boot
@pytest.mark.timeout(1200)
def test_an_image_with_walinuxagent_alone_comes_up_and_is_kept_when_asked(tmp_path: Path) -> None:
    with stamp_in(tmp_path) as stamp:
        stamp.vmstamp("image build debian-12-waagent -o waagent.vhdx")
        tried = stamp.json("try waagent.vhdx --user someone --keep")
        assert tried["ok"] and tried["login"]["user"] == "someone"
        assert "WALinuxAgent" in tried["login"]["ready_by"]
        group = tried["resource_group"]
        assert stamp.vmstamp(f"vm ssh -g {group} tried -- id -un").strip() == "someone"
