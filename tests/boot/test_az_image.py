"""A platform image that was built here: az makes a VM of it by its URN, and its guest reports Ready."""

import os
import sys
from pathlib import Path

import pytest

from tests.boot.road import stamp_in
from tests.peers.programs import PROGRAMS, find_peer

URN = "vmstamp:tiny:tiny-gen2:latest"


@pytest.mark.boot
@pytest.mark.timeout(900)
def test_az_makes_a_vm_of_what_image_build_built(tmp_path: Path) -> None:
    find_peer("az")
    path = f"{Path(sys.executable).parent}{os.pathsep}{PROGRAMS}{os.pathsep}{os.environ['PATH']}"
    with stamp_in(tmp_path, PATH=path, HOME=str(tmp_path)) as stamp:
        stamp.vmstamp("up")
        built = stamp.json("image build tiny")["urn"]
        assert stamp.json("image build tiny")["urn"] == built
        stamp.shell("ssh-keygen -q -t ed25519 -N '' -f key")
        words = f"vm create -g rg -n web --image {URN} --admin-username someone --ssh-key-values key.pub"
        done = stamp.shell(f"vmstamp az -- group create -n rg -l local && vmstamp az -- {words}")
        assert done.returncode == 0, done.stderr
        shown = stamp.json("vm show web -g rg")["properties"]
        assert shown["provisioningState"] == "Succeeded"
        reference = shown["storageProfile"]["imageReference"]
        assert (reference["version"], reference["exactVersion"]) == ("latest", built.rpartition(":")[2])
