"""VMs in a cloud, by the commands: made, watched, shown, interrupted, deleted. Guests boot at once here."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client.cloud_door import FakeCloud, fake_guests
from vmstamp.cli.vms import VMS

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeCloud]:
    with fake_guests(tmp_path_factory.mktemp("cloud-vm")) as found:
        path = found.door.root / "web.raw"
        path.write_bytes(b"")
        with path.open("wb") as file:
            file.truncate(4 * MIB)
        url = found.door.json("upload", path)["url"]
        found.door("image", "create", "web", "--source", url, "--generation", "2")
        yield found


def test_a_vm_is_made_in_its_images_region_and_told(cloud: FakeCloud) -> None:
    said = cloud.door("vm", "create", "web-1", "--image", "web", VMSTAMP_LOCATION="").text
    for word in ("virtual network vmstamp-vnet", "public IP address web-1-ip", "network interface web-1-nic"):
        assert f"made {word}" in said
    vm = cloud.door.find(VMS, "web-1")
    assert vm is not None and vm["location"] == "westeurope"
    assert vm["tags"] == {"created-by": "vmstamp"}
    shown = cloud.door("vm", "show", "web-1").text
    assert "power         running" in shown and "ready         no" not in shown
    assert [one["power"] for one in cloud.door.json("status")["vms"]] == ["running"]
    assert len(cloud.door.json("vm", "generalize", "web-1", "--plan")["plan"]) == 6
    cloud.door("vm", "stop", "web-1")
    assert "deallocated: its guest" in cloud.door.error("vm", "generalize", "web-1", "--plan")["message"]
    assert cloud.door.error("vm", "generalize", "web-9", "--plan")["code"] == "ResourceNotFound"
    deleted = cloud.door.json("vm", "delete", "web-1")["deleted"]
    assert [one.rsplit("/", 1)[1] for one in deleted if "Microsoft.Network" in one] == [
        "web-1-nic",
        "web-1-ip",
        "web-1-nsg",
    ]


def test_ctrl_c_deletes_the_vm_and_what_was_made_for_it(cloud: FakeCloud, tmp_path: Path) -> None:
    cloud.host.held.clear()
    cloud.host.started.clear()
    said = tmp_path / "said"
    process = cloud.door.begin("vm", "create", "web-2", "--image", "web", said=said)
    try:
        assert cloud.host.started.wait(120)
        process.send_signal(signal.SIGINT)
        deadline = time.monotonic() + 120
        while "interrupted: deleting" not in said.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        cloud.host.held.set()
    assert process.wait(120) == 130
    assert cloud.door.find(VMS, "web-2") is None
    assert cloud.door.find("Microsoft.Network/publicIPAddresses", "web-2-ip") is None
    assert "left:" not in said.read_text()


def test_a_vm_that_never_got_ready_is_told_with_what_it_costs(cloud: FakeCloud) -> None:
    from vmstamp.arm.compute.host import Outcome

    cloud.host.outcome = Outcome(False, "OSProvisioningTimedOut", "it was silent")
    try:
        error = cloud.door.error("vm", "create", "web-3", "--image", "web")
    finally:
        cloud.host.outcome = Outcome(True)
    assert error["code"] == "OSProvisioningTimedOut"
    left = "\n".join(error["left"])
    assert (
        "left: public IP address web-3-ip (address by hour); to delete it: az resource delete --ids" in left
    )
    assert "left: VM web-3 (compute by hour); to delete it: vmstamp --cloud azure --subscription" in left
    command = next(line for line in error["left"] if "VM web-3" in line).partition("delete it: vmstamp ")[2]
    cloud.door(*command.split())
    assert cloud.door.find(VMS, "web-3") is None
