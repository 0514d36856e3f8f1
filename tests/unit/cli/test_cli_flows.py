"""Flows against an ARM in memory: what is made, what is undone, in which order."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from vmstamp.cli.arm_client import ArmClient, Document
from vmstamp.cli.endpoint import Endpoint
from vmstamp.cli.image_upload import refuse_other_region
from vmstamp.cli.images import ImageRequest, VmSource, vm_source
from vmstamp.cli.managed_disks import disk_access
from vmstamp.cli.process import check_port, full_hint
from vmstamp.cli.render import Progress
from vmstamp.cli.vms import VmRequest, create_vm, delete_vm, deletion_plan
from vmstamp.errors import AzureError, StampError, VmstampError
from vmstamp.transfer.progress import Moved

ENDPOINT = Endpoint(
    0,
    datetime.now(UTC),
    "https://h",
    "http://h",
    "https://h",
    Path("ca"),
    "s",
    "t",
    "c",
    "x",
    "local",
    "tcg",
    "",
    "0",
)
REQUEST = VmRequest("web", "g", "img", "me", "ssh-ed25519 A")


class Poller:
    """An operation that ends, or raises, when it is waited for."""

    def __init__(self, end: BaseException | None = None) -> None:
        self._end = end

    def done(self) -> bool:
        return self._end is None

    def wait(self, timeout: float | None = None) -> None:
        if self._end:
            raise self._end

    def result(self) -> Document:
        return {}


class MemoryArm(ArmClient):
    """Resources in a dict; `fail` maps the end of an id to what its PUT, or its operation, raises."""

    def __init__(self, **fail: BaseException) -> None:
        self.endpoint = ENDPOINT
        self.made = {}
        self.resources: dict[str, Document] = {}
        self.deleted: list[str] = []
        self.actions: list[str] = []
        self.fail = fail

    def get(self, resource: str, **query: str) -> Document:
        if resource not in self.resources:
            raise AzureError(404, "ResourceNotFound", resource)
        return self.resources[resource]

    def put(self, resource: str, body: Document) -> Document:
        self.resources[resource] = {"id": resource, "name": resource.rsplit("/", 1)[1], **body}
        return self.resources[resource]

    def begin_put(self, resource: str, body: Document) -> Any:
        if "refuse" in self.fail:
            raise self.fail["refuse"]
        self.put(resource, body)
        return Poller(self.fail.get("operation"))

    def delete(self, resource: str) -> bool:
        self.deleted.append(resource.rsplit("/", 1)[1])
        return self.resources.pop(resource, None) is not None

    def act(self, resource: str, action: str, body: Document | None = None) -> Document:
        self.actions.append(action)
        return {"accessSAS": "http://h/md-1/disk/abcd?sig=x"}


class Quiet:
    def say(self, text: str) -> None:
        pass

    @contextmanager
    def bar(self, title: str) -> Iterator[Progress]:
        yield lambda done, total: None

    @contextmanager
    def transfer(self, title: str, verb: str = "sent") -> Iterator[Callable[[Moved], None]]:
        yield lambda moved: None


def with_image(arm: MemoryArm) -> MemoryArm:
    profile = {"osDisk": {"blobUri": "http://h/a/vhds/os.vhd"}, "dataDisks": []}
    arm.put(
        arm.resource_id("g", "Microsoft.Compute/images", "img"), {"properties": {"storageProfile": profile}}
    )
    return arm


def test_a_vm_is_made_of_an_image_a_version_of_a_gallery_or_a_urn() -> None:
    arm = MemoryArm()
    image = arm.resource_id("g", "Microsoft.Compute/images", "img")
    version = arm.resource_id("g", "Microsoft.Compute/galleries", "one/images/linux/versions/1.0.0")
    arm.put(image, {"properties": {"storageProfile": {"osDisk": {}, "dataDisks": [{"lun": 2}, {"lun": 0}]}}})
    arm.put(version, {"properties": {"storageProfile": {"dataDiskImages": [{"lun": 1}]}}})
    assert vm_source(arm, "g", "img") == VmSource({"id": image}, (0, 2))
    assert vm_source(arm, "g", version) == VmSource({"id": version}, (1,))
    assert vm_source(arm, "g", "Debian:debian-12:12-gen2:latest").reference == {
        "publisher": "Debian",
        "offer": "debian-12",
        "sku": "12-gen2",
        "version": "latest",
    }


def names(arm: MemoryArm) -> set[str]:
    return {resource.rsplit("/", 1)[1] for resource in arm.resources}


def test_a_vm_gets_a_network_of_derived_names() -> None:
    arm = with_image(MemoryArm())
    create_vm(arm, REQUEST, Quiet())
    assert names(arm) == {"img", "g", "vmstamp-vnet", "web-ip", "web-nsg", "web-nic", "web"}


def test_a_vm_that_is_refused_leaves_nothing_of_its_own() -> None:
    arm = with_image(MemoryArm(refuse=AzureError(400, "InvalidParameter", "no")))
    with pytest.raises(AzureError, match="no"):
        create_vm(arm, REQUEST, Quiet())
    assert arm.deleted == ["web", "web-nic", "web-nsg", "web-ip"]


def test_ctrl_c_while_waiting_deletes_the_vm_and_what_was_made_for_it() -> None:
    arm = with_image(MemoryArm(operation=KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        create_vm(arm, REQUEST, Quiet())
    assert arm.deleted == ["web", "web-nic", "web-nsg", "web-ip"]
    assert names(arm) == {"img", "g", "vmstamp-vnet"}


def test_a_vm_that_never_got_ready_stays_to_be_looked_at() -> None:
    arm = with_image(MemoryArm(operation=AzureError(409, "OSProvisioningTimedOut", "late")))
    with pytest.raises(AzureError, match="late") as caught:
        create_vm(arm, REQUEST, Quiet())
    assert "web" in names(arm)
    assert "vmstamp vm log web" in caught.value.hint


def test_a_vm_that_exists_is_not_touched() -> None:
    arm = with_image(MemoryArm())
    create_vm(arm, REQUEST, Quiet())
    with pytest.raises(VmstampError, match="exists already"):
        create_vm(arm, REQUEST, Quiet())
    assert arm.deleted == []


def test_a_vm_goes_with_its_disks_before_its_network() -> None:
    arm = with_image(MemoryArm())
    create_vm(arm, REQUEST, Quiet())
    profile = arm.get(arm.resource_id("g", "Microsoft.Compute/virtualMachines", "web"))["properties"]
    profile["storageProfile"]["osDisk"]["managedDisk"] = {"id": "/x/os-disk"}
    profile["storageProfile"]["dataDisks"] = [{"lun": 0, "managedDisk": {"id": "/x/data-disk"}}]
    plan = deletion_plan(arm, "g", "web")
    assert arm.deleted == []
    assert delete_vm(arm, "g", "web", Quiet()) == plan
    assert arm.deleted == ["web", "os-disk", "data-disk", "web-nic", "web-ip", "web-nsg"]


def test_access_to_a_disk_is_revoked_when_reading_it_fails() -> None:
    arm = MemoryArm()
    with pytest.raises(RuntimeError), disk_access(arm, "/disk"):
        raise RuntimeError
    assert arm.actions == ["beginGetAccess", "endGetAccess"]


def test_a_port_that_is_taken_is_named_with_its_setting() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(StampError, match=f"port {port} on 127.0.0.1 is taken") as caught:
            check_port(port, "VMSTAMP_ARM_PORT")
    assert "VMSTAMP_ARM_PORT" in caught.value.hint
    check_port(0, "VMSTAMP_ARM_PORT")


def test_a_full_file_system_is_named_when_a_server_cannot_begin(tmp_path: Path) -> None:
    assert full_hint(tmp_path) == ""
    assert full_hint(tmp_path, least=1 << 62).startswith(
        f"the file system of {tmp_path} is full: free some space"
    )


@pytest.mark.parametrize(("region", "refused"), [("westeurope", False), ("North Europe", True)])
def test_an_image_is_refused_before_the_upload_where_the_account_lies_elsewhere(
    region: str, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VMSTAMP_STORAGE_ACCOUNT", "mine")
    arm = MemoryArm()
    monkeypatch.setattr(arm, "list", lambda collection: iter([{"name": "mine", "location": "West Europe"}]))
    arm.endpoint = replace(ENDPOINT, location=region)
    request = ImageRequest("web", "g", 2)
    if not refused:
        refuse_other_region(arm, request)
        return
    with pytest.raises(VmstampError, match="storage account mine is in West Europe") as error:
        refuse_other_region(arm, request)
    assert "--location West Europe" in error.value.hint
