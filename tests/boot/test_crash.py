"""What a killed server leaves: after `vmstamp up` all that was acknowledged is there, nothing else runs."""

import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.boot.road import Stamp, stamp_in

pytestmark = [pytest.mark.boot, pytest.mark.timeout(600)]

ROUNDS = 6
PATIENCE = 120.0  # seconds


@pytest.fixture(scope="module")
def stamp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stamp]:
    """A stamp with the tiny guest's image."""
    with stamp_in(tmp_path_factory.mktemp("crash")) as made:
        made.vmstamp("image build tiny -o tiny.vhdx")
        made.vmstamp("up")
        made.vmstamp("image create tiny --source tiny.vhdx")
        yield made


def wait_for(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.1)


def kill_and_restart(stamp: Stamp) -> None:
    stamp.kill_server()
    stamp.vmstamp("up")
    assert stamp.processes() == []


def boots_of(stamp: Stamp, name: str) -> int:
    """How often the guest counted its own start, on its root file system."""
    return stamp.vmstamp(f"vm log {name}").count("tiny: boot ")


def test_a_running_vm_is_found_stopped_with_its_disk_as_it_was(stamp: Stamp) -> None:
    stamp.vmstamp("vm create kept --image tiny")
    assert stamp.vm_state("kept") == ("Succeeded", "running")
    kill_and_restart(stamp)
    assert stamp.vm_state("kept") == ("Succeeded", "stopped")
    stamp.vmstamp("vm start kept")
    wait_for(lambda: boots_of(stamp, "kept") == 2)
    assert "tiny: boot 2 of machine" in stamp.vmstamp("vm log kept")
    stamp.vmstamp("vm delete kept")


def turns(stamp: Stamp, name: str) -> bool:
    return stamp.vm_state(name)[1] in ("starting", "stopping", "deallocating")


def test_a_vm_that_was_being_stopped_is_stopped_by_the_next_server(stamp: Stamp) -> None:
    stamp.vmstamp("vm create turning --image tiny")
    command = subprocess.Popen(["vmstamp", "vm", "stop", "turning"], env=stamp.env, stderr=subprocess.PIPE)
    wait_for(lambda: turns(stamp, "turning") or command.poll() is not None)
    stamp.kill_server()
    command.communicate(timeout=PATIENCE)
    stamp.vmstamp("up")
    wait_for(lambda: not turns(stamp, "turning"))
    assert stamp.vm_state("turning") == ("Succeeded", "deallocated")
    assert stamp.processes() == []
    stamp.vmstamp("vm start turning")
    assert stamp.vm_state("turning") == ("Succeeded", "running")
    stamp.vmstamp("vm delete turning")


def test_a_vm_that_was_being_created_is_taken_up_again(stamp: Stamp) -> None:
    stamp.vmstamp("vm create begun --image tiny --no-wait")
    wait_for(lambda: bool(stamp.processes()))
    kill_and_restart_busy(stamp)
    wait_for(lambda: stamp.vm_state("begun")[0] != "Creating")
    assert stamp.vm_state("begun") == ("Succeeded", "running")
    stamp.vmstamp("vm delete begun")
    assert stamp.processes() == []


def kill_and_restart_busy(stamp: Stamp) -> None:
    """The same where the new server has work to take up, so that it soon has processes of its own."""
    before = set(stamp.processes())
    stamp.kill_server()
    stamp.vmstamp("up")
    assert not before & set(stamp.processes())


def test_an_upload_that_lost_its_server_is_continued(stamp: Stamp) -> None:
    disk = stamp.directory / "large.raw"
    piece = random.Random(5).randbytes(1 << 20)
    with disk.open("wb") as file:
        for _ in range(256):
            file.write(piece)
    upload = subprocess.Popen(
        ["vmstamp", "upload", str(disk), "large.vhd"],
        env=stamp.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    content = stamp.home.content
    held = sum(path.stat().st_blocks for path in content.iterdir())
    wait_for(lambda: sum(path.stat().st_blocks for path in content.iterdir()) > held + (16 << 11))
    stamp.kill_server()
    said, _ = upload.communicate(timeout=PATIENCE)
    assert upload.returncode == 1, said
    assert b"error: " in said
    stamp.vmstamp("up")
    assert stamp.json(f"upload {disk} large.vhd")["resumed"] >= 8 << 20
    stamp.vmstamp(f"verify {disk} large.vhd")


def test_whenever_the_server_is_killed_the_next_one_is_sound(stamp: Stamp) -> None:
    """Seeded: kills at arbitrary moments of a VM's life, with every acknowledged VM there afterwards."""
    moments = random.Random(20)
    for number in range(ROUNDS):
        name = f"r{number}"
        life = f"vmstamp vm create {name} --image tiny --no-wait && sleep 1 && vmstamp vm stop {name}"
        command = subprocess.Popen(
            ["bash", "-c", life], env=stamp.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        time.sleep(moments.uniform(0.2, 6.0))
        stamp.kill_server()
        said, _ = command.communicate(timeout=PATIENCE)
        stamp.vmstamp("up")
        names = stamp.names("vm")
        if "is being created" in said or command.returncode == 0:
            assert name in names, said
        if name in names:
            wait_for(lambda name=name: stamp.vm_state(name)[0] in ("Succeeded", "Failed"))  # type: ignore[misc]
            stamp.vmstamp(f"vm delete {name}")
    assert stamp.processes() == []
    assert [path.name for path in stamp.home.machines.iterdir()] == []
    assert stamp.names("image") == {"tiny"}


def test_an_interrupted_command_says_so_and_leaves_a_sound_stamp(stamp: Stamp) -> None:
    command = subprocess.Popen(
        ["vmstamp", "try", "tiny.vhdx"],
        cwd=stamp.directory,
        env=stamp.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    wait_for(lambda: bool(stamp.processes()))
    command.send_signal(signal.SIGINT)
    said, _ = command.communicate(timeout=PATIENCE)
    assert command.returncode == 130, said
    assert stamp.processes() == []
    assert stamp.names("vm") == set()
    assert Path(stamp.home.endpoint).exists(), "a stamp that was there before stays"
