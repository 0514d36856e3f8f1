"""`vm capture` that is killed at every request that changes something, and run again: nothing is half.

The kill is that of the wire: the request at hand is sent or not, and nothing of the client gets through after
it, so what it would tidy up stays as after a kill -9. One test kills the program itself.
"""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from azure.core.pipeline.transport import RequestsTransport

from tests.client.cloud_door import FakeCloud, fake_guests
from vmstamp.cli.arm_client import ArmClient
from vmstamp.cli.capture import capture
from vmstamp.cli.captured_disks import SNAPSHOTS
from vmstamp.cli.cloud import CloudEndpoint
from vmstamp.cli.images import IMAGES, get_image, vhds_of
from vmstamp.cli.names import CONTAINER
from vmstamp.cli.storage import ensure_account
from vmstamp.cli.vms import DISKS, VMS, VmRequest, create_vm, get_vm, stop_vm, vm_id
from vmstamp.errors import VmstampError

pytestmark = pytest.mark.timeout(600)
MIB = 1024 * 1024


class Quiet:
    def say(self, text: str) -> None:
        pass

    @contextmanager
    def bar(self, title: str) -> Iterator[Any]:
        yield lambda done, total: None

    @contextmanager
    def transfer(self, title: str, verb: str = "sent") -> Iterator[Any]:
        yield lambda moved: None


class Killed(BaseException):
    """The client is dead."""


@dataclass
class Wire:
    """The client's way out. It dies at the change number `dies_at`, before or after that was answered."""

    dies_at: int = 0
    answered: bool = False
    changes: list[str] = field(default_factory=list)
    dead: bool = False

    def send(self, real: Any, transport: Any, request: Any, **options: Any) -> Any:
        if self.dead:
            raise Killed
        is_change = request.method in ("PUT", "DELETE") or request.url.split("?")[0].endswith("Access")
        if not is_change:
            return real(transport, request, **options)
        self.changes.append(f"{request.method} {request.url.split('?')[0]}")
        self.dead = len(self.changes) == self.dies_at
        if self.dead and not self.answered:
            raise Killed
        answer = real(transport, request, **options)
        if self.dead:
            raise Killed
        return answer


@contextmanager
def wire(dies_at: int = 0, *, answered: bool = False) -> Iterator[Wire]:
    found, real = Wire(dies_at, answered), RequestsTransport.send
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            RequestsTransport,
            "send",
            lambda transport, request, **more: found.send(real, transport, request, **more),
        )
        with suppress(Killed):
            yield found


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeCloud]:
    with fake_guests(tmp_path_factory.mktemp("cloud-capture")) as found:
        path = found.door.root / "web.raw"
        with path.open("wb") as file:
            file.truncate(4 * MIB)
        url = found.door.json("upload", path)["url"]
        found.door("image", "create", "web", "--source", url, "--generation", "2")
        yield found


@pytest.fixture(scope="module")
def arm(cloud: FakeCloud) -> Iterator[ArmClient]:
    with cloud.door.arm() as found:
        assert isinstance(found.endpoint, CloudEndpoint)
        found.endpoint = replace(found.endpoint, interval=0.05)
        yield found


def new_vm(arm: ArmClient, group: str, name: str, *, generalized: bool) -> None:
    request = VmRequest(name, group, "web", "me", "ssh-ed25519 AAAA me", data_disk_sizes=(1,))
    create_vm(arm, request, Quiet())
    if generalized:
        stop_vm(arm, group, name)
        arm.post(vm_id(arm, group, name), "generalize")


def vhds(arm: ArmClient, group: str, image: str) -> list[str]:
    with ensure_account(arm, group).open() as service:
        container = service.get_container_client(CONTAINER)
        return sorted(str(blob.name) for blob in container.list_blobs(name_starts_with=f"{image}-"))


def names(arm: ArmClient, group: str, kind: str) -> set[str]:
    return {str(one["name"]) for one in arm.list_in_group(group, kind)}


def check_whole(arm: ArmClient, group: str, name: str, image: str) -> None:
    """The image is there with its two VHDs, and nothing beside."""
    document = get_image(arm, group, image)
    assert document["properties"]["provisioningState"] == "Succeeded"
    own = sorted(url.rsplit("/", 1)[1] for url in vhds_of(document))
    assert len(own) == 2
    assert vhds(arm, group, image) == own
    assert names(arm, group, SNAPSHOTS) == set()
    states = {one["name"]: one["properties"]["diskState"] for one in arm.list_in_group(group, DISKS)}
    assert "ActiveSAS" not in states.values(), states


@pytest.mark.parametrize("answered", [False, True], ids=["lost", "answered"])
def test_a_classic_capture_that_is_killed_anywhere_goes_on(
    cloud: FakeCloud, arm: ArmClient, answered: bool
) -> None:
    group, step, changes = cloud.door.group, 0, 1
    while step < changes:
        step += 1
        name = f"web-{step}-{answered}".lower()
        image = f"{name}-image"
        new_vm(arm, group, name, generalized=True)
        with wire(step, answered=answered) as at:
            capture(arm, group, name, image, Quiet(), classic=True)
        changes = max(changes, len(at.changes) + (1 if at.dead else 0))
        if arm.find(vm_id(arm, group, name)) is None:
            assert get_image(arm, group, image)["properties"]["provisioningState"] == "Succeeded"
        done = capture(arm, group, name, image, Quiet(), classic=True)
        assert [one.lun for one in done.disks] == [None, 0]
        assert all(one.size for one in done.disks), at.changes
        check_whole(arm, group, name, image)
        assert name not in names(arm, group, VMS)
        assert not {one for one in names(arm, group, "Microsoft.Network/networkInterfaces") if name in one}
        assert not {one for one in names(arm, group, "Microsoft.Network/publicIPAddresses") if name in one}
        assert not {one for one in names(arm, group, DISKS) if name in one}
    assert step > 10, "the steps are counted"


def test_a_capture_of_a_running_vm_that_is_killed_anywhere_begins_anew(
    cloud: FakeCloud, arm: ArmClient
) -> None:
    group, step, changes, name = cloud.door.group, 0, 1, "run"
    new_vm(arm, group, name, generalized=False)
    while step < changes:
        step += 1
        image = f"{name}-{step}"
        with wire(step, answered=True) as at:
            capture(arm, group, name, image, Quiet(), classic=True, os_state="Specialized")
        changes = max(changes, len(at.changes) + (1 if at.dead else 0))
        if arm.find(arm.resource_id(group, IMAGES, image)) is None:
            capture(arm, group, name, image, Quiet(), classic=True, os_state="Specialized")
        check_whole(arm, group, name, image)
        assert get_vm(arm, group, name)["properties"]["provisioningState"] == "Succeeded"
    assert step > 10, "the steps are counted"


def test_another_images_name_is_refused(cloud: FakeCloud, arm: ArmClient) -> None:
    group = cloud.door.group
    new_vm(arm, group, "other", generalized=True)
    with pytest.raises(VmstampError, match="image web exists already"):
        capture(arm, group, "other", "web", Quiet(), classic=True)
    assert "other" in names(arm, group, VMS)
    assert not vhds(arm, group, "other")


def test_a_capture_is_planned(cloud: FakeCloud, arm: ArmClient) -> None:
    group = cloud.door.group
    new_vm(arm, group, "plan", generalized=True)
    planned = cloud.door.json("vm", "capture", "plan", "planned", "--classic", "--plan")
    actions = [step["action"] for step in planned["steps"]]
    assert actions == ["use", *["grant", "copy", "revoke"] * 2, "make", "delete"]
    assert planned["costs"] == ["storage by GiB-month"]
    assert arm.find(arm.resource_id(group, IMAGES, "planned")) is None
    new_vm(arm, group, "plan-2", generalized=False)
    assert cloud.door.error("vm", "capture", "plan-2", "planned", "--plan")["code"] == "OperationNotAllowed"
    special = ("--classic", "--os-state", "specialized", "--storage-account", "elsewhere1", "--plan")
    planned = cloud.door.json("vm", "capture", "plan-2", "planned", *special)
    assert [step["what"] for step in planned["steps"]][:2] == [
        "storage account elsewhere1",
        "snapshot planned-os",
    ]
    assert [step["action"] for step in planned["steps"]][-2:] == ["delete", "make"]


def test_a_vm_that_is_not_there_is_azures_not_found(cloud: FakeCloud) -> None:
    assert cloud.door.error("vm", "capture", "none", "x", "--classic")["code"] == "ResourceNotFound"


def test_the_program_is_killed_and_run_again(cloud: FakeCloud, arm: ArmClient) -> None:
    group = cloud.door.group
    for delay in (0.0, 0.5):
        name = f"killed-{int(delay * 10)}"
        new_vm(arm, group, name, generalized=True)
        said = cloud.door.root / f"{name}.said"
        process = cloud.door.begin("vm", "capture", name, f"{name}-image", "--classic", said=said)
        deadline = time.monotonic() + 60
        while not vhds(arm, group, f"{name}-image") and process.poll() is None:
            assert time.monotonic() < deadline
        deadline = time.monotonic() + delay
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        cloud.door("vm", "capture", name, f"{name}-image", "--classic")
        check_whole(arm, group, name, f"{name}-image")
        assert name not in names(arm, group, VMS)
