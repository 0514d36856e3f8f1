"""`vmstamp demo`: the whole road, once, with its own proofs."""

from pathlib import Path

import pytest

from tests.boot.road import stamp_in


@pytest.mark.boot
@pytest.mark.timeout(1800)
def test_the_demo_proves_every_step_and_leaves_nothing_running(tmp_path: Path) -> None:
    with stamp_in(tmp_path) as stamp:
        story = stamp.json("demo")
        assert story["ok"]
        assert all(step["proved"] for step in story["steps"])
        upload = story["upload"]
        assert 0 < upload["sent"] <= upload["data"] < upload["logical"]
        assert not stamp.home.endpoint.exists(), "the stamp that the demo started is down"
        assert stamp.processes() == []
        assert list(stamp.home.machines.iterdir()) == []
