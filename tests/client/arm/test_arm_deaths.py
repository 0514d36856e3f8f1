"""kill -9 at every step of a long operation: before and after each of its transactions, one after another.

A stamp's home is brought back to what it was before the request, the request is sent, and the server dies at
the first step, then at the second, until it lives to the end. After each death the next server takes up
what is open; the request, sent again where it had not been done, must lead to what it leads to otherwise.
"""

from __future__ import annotations

import copy
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.client.arm.invariants import violations
from tests.client.arm.parity.machines import VM, blob_vm, done, generalized, generalized_blob_vm, settle
from tests.client.arm.parity.row import COMPUTE, GROUP, NETWORK, SUBSCRIPTION, ask
from vmstamp.arm.control_plane import ControlPlane, build
from vmstamp.arm.engine import Settings
from vmstamp.arm.types import Request
from vmstamp.blob.store import BlobStore
from vmstamp.db import Connection, Database
from vmstamp.errors import AzureError
from vmstamp.run import run

ENDPOINT = "http://127.0.0.1:10000"
WHERE = {"location": "westeurope"}
OF_HOST = ("plans", "up", "written", "backing")
STOPPED = "is said to be running; its guest runs: False"
MOST = 200  # steps that an operation may have
OTHER = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg2"


class Dead(BaseException):
    """Ends a thread as kill -9 ends the server."""


class MortalDatabase(Database):
    """A database whose server dies at a step: odd ones are before a commit, even ones after it."""

    def __init__(self, path: Path) -> None:
        self.lives: int | None = None
        super().__init__(path)

    @property
    def dead(self) -> bool:
        return self.lives is not None and self.lives <= 0

    def _step(self) -> None:
        if self.lives is None:
            return
        self.lives -= 1
        if self.lives <= 0:
            raise Dead

    @contextmanager
    def write(self) -> Iterator[Connection]:
        with self._writer:
            outermost = not self._connection().in_transaction
            if outermost and self.dead:
                raise Dead
            with super().write() as connection:
                yield connection
                if outermost:
                    self._step()
            if outermost:
                self._step()


@dataclass(frozen=True)
class Story:
    """`before` makes what there is; the request is sent; `holds` tells whether it has done its work."""

    name: str
    before: Callable[[Any], object]
    method: str
    path: str
    body: Any
    holds: Callable[[ControlPlane, BlobStore], bool]

    def shows(self, plane: ControlPlane) -> Any:
        return shown(plane, self.path) if self.method == "PUT" else None


def shown(plane: ControlPlane, path: str, **query: str) -> Any:
    """What a GET gives; None when there is nothing."""
    try:
        return plane.handle(request("GET", path, None, **query)).body
    except AzureError as error:
        assert error.status == 404, error
        return None


def request(method: str, path: str, body: Any, **query: str) -> Request:
    return Request(method, path, {"api-version": "2024-07-01", **query}, {}, body, "https://stamp")


def succeeded(path: str) -> Callable[[ControlPlane, BlobStore], bool]:
    def holds(plane: ControlPlane, store: BlobStore) -> bool:
        found = shown(plane, path)
        return found is not None and found["properties"]["provisioningState"] == "Succeeded"

    return holds


def gone(path: str) -> Callable[[ControlPlane, BlobStore], bool]:
    return lambda plane, store: shown(plane, path) is None


# -- what there is before


def a_disk(arm: Any) -> None:
    properties = {"creationData": {"createOption": "Empty"}, "diskSizeGB": 1}
    ask(arm, "PUT", f"{COMPUTE}/disks/d1", {**WHERE, "properties": properties})


def a_snapshot(arm: Any) -> None:
    a_disk(arm)
    settle(arm)
    creation = {"createOption": "Copy", "sourceResourceId": f"{COMPUTE}/disks/d1"}
    body = {**WHERE, "properties": {"creationData": creation, "incremental": True}}
    ask(arm, "PUT", f"{COMPUTE}/snapshots/s1", body)


def a_definition(arm: Any) -> None:
    arm.image()
    ask(arm, "PUT", f"{COMPUTE}/galleries/one", {**WHERE, "properties": {}})
    settle(arm)
    identifier = {"publisher": "a", "offer": "b", "sku": "c"}
    kind = {"osType": "Linux", "osState": "Generalized", "hyperVGeneration": "V2", "identifier": identifier}
    ask(arm, "PUT", f"{COMPUTE}/galleries/one/images/linux", {**WHERE, "properties": kind})


def a_vm_and_a_group(arm: Any) -> None:
    arm.vm(storageProfile=named_disk(arm))
    ask(arm, "PUT", OTHER, WHERE)


def named_disk(arm: Any) -> Any:
    disk = {"createOption": "FromImage", "name": "os1", "caching": "ReadWrite"}
    return {"imageReference": {"id": arm.image("image1").id}, "osDisk": disk}


def a_deallocated_blob_vm(arm: Any) -> None:
    blob_vm(arm, data=True)
    done(arm, "deallocate")


# -- what is done


def captured(plane: ControlPlane, store: BlobStore) -> bool:
    guid = shown(plane, VM)["properties"]["vmId"]
    names = [f"Microsoft.Compute/Images/captured/pre-{role}.{guid}.vhd" for role in ("osDisk", "dataDisk-0")]
    return all(store.find_blob("account1", "system", name) is not None for name in names)


def converted(plane: ControlPlane, store: BlobStore) -> bool:
    storage = shown(plane, VM)["properties"]["storageProfile"]
    blobs = [store.find_blob("account1", "vhds", name) for name in ("vm1.vhd", "data.vhd")]
    return (
        all("managedDisk" in disk for disk in (storage["osDisk"], *storage["dataDisks"]))
        and all(blob is not None and blob.lease is None for blob in blobs)
        and len(shown(plane, f"{COMPUTE}/disks")["value"]) == 2
    )


def replicated(plane: ControlPlane, store: BlobStore) -> bool:
    found = shown(plane, VERSION, **{"$expand": "ReplicationStatus"})
    if found is None or found["properties"]["provisioningState"] != "Succeeded":
        return False
    return bool(found["properties"]["replicationStatus"]["aggregatedState"] == "Completed")


def moved(plane: ControlPlane, store: BlobStore) -> bool:
    here, there = VM, VM.replace("/rg/", "/rg2/")
    disk = f"{OTHER}/providers/Microsoft.Compute/disks/os1"
    found = shown(plane, there)
    if found is None:
        return False
    same = found["properties"]["storageProfile"]["osDisk"]["managedDisk"]["id"] == disk
    return same and shown(plane, here) is None and shown(plane, disk) is not None


def deployed(plane: ControlPlane, store: BlobStore) -> bool:
    deployment = shown(plane, DEPLOYMENT)
    if deployment is None or deployment["properties"]["provisioningState"] != "Succeeded":
        return False
    return all(shown(plane, f"{NETWORK}/publicIPAddresses/{name}") for name in ("ip1", "ip2"))


SNAPSHOT = f"{COMPUTE}/snapshots/s1"
VERSION = f"{COMPUTE}/galleries/one/images/linux/versions/1.0.0"
DEPLOYMENT = f"{GROUP}/providers/Microsoft.Resources/deployments/main"
REGIONS = {"targetRegions": [{"name": "westeurope"}, {"name": "eastus"}]}


def of_disk(source: str, option: str = "Copy", **more: Any) -> Any:
    creation = {"createOption": option, "sourceResourceId": f"{COMPUTE}/{source}"}
    return {**WHERE, "properties": {"creationData": creation}, **more}


def template(*names: str) -> Any:
    one = {
        "type": "Microsoft.Network/publicIPAddresses",
        "apiVersion": "2024-05-01",
        "location": "westeurope",
    }
    resources: list[Any] = [{**one, "name": name, "properties": {}} for name in names]
    resources[-1]["dependsOn"] = [names[0]]
    schema = "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#"
    whole = {"$schema": schema, "contentVersion": "1.0.0.0", "resources": resources}
    return {"properties": {"mode": "Incremental", "template": whole}}


STORIES = (
    Story(
        "capture",
        lambda arm: generalized_blob_vm(arm, data=True),
        "POST",
        f"{VM}/capture",
        {"vhdPrefix": "pre", "destinationContainerName": "captured", "overwriteVhds": True},
        captured,
    ),
    Story(
        "convertToManagedDisks", a_deallocated_blob_vm, "POST", f"{VM}/convertToManagedDisks", None, converted
    ),
    Story(
        "image of a VM",
        generalized,
        "PUT",
        f"{COMPUTE}/images/image2",
        {**WHERE, "properties": {"sourceVirtualMachine": {"id": VM}, "hyperVGeneration": "V2"}},
        succeeded(f"{COMPUTE}/images/image2"),
    ),
    Story(
        "disk copy",
        a_disk,
        "PUT",
        f"{COMPUTE}/disks/d2",
        of_disk("disks/d1"),
        succeeded(f"{COMPUTE}/disks/d2"),
    ),
    Story(
        "snapshot",
        a_disk,
        "PUT",
        f"{COMPUTE}/snapshots/s1",
        of_disk("disks/d1"),
        succeeded(f"{COMPUTE}/snapshots/s1"),
    ),
    Story(
        "CopyStart",
        a_snapshot,
        "PUT",
        f"{COMPUTE}/snapshots/s2",
        {
            "location": "eastus",
            "properties": {**of_disk("snapshots/s1", "CopyStart")["properties"], "incremental": True},
        },
        succeeded(f"{COMPUTE}/snapshots/s2"),
    ),
    Story(
        "replication",
        a_definition,
        "PUT",
        VERSION,
        {
            **WHERE,
            "properties": {
                "storageProfile": {"source": {"id": f"{COMPUTE}/images/image1"}},
                "publishingProfile": REGIONS,
            },
        },
        replicated,
    ),
    Story(
        "move",
        a_vm_and_a_group,
        "POST",
        f"{GROUP}/moveResources",
        {"resources": [VM, f"{COMPUTE}/disks/os1"], "targetResourceGroup": OTHER},
        moved,
    ),
    Story("deployment", lambda arm: None, "PUT", DEPLOYMENT, template("ip1", "ip2"), deployed),
    Story("deletion of a VM", lambda arm: arm.vm(), "DELETE", VM, None, gone(VM)),
    Story(
        "deletion of a snapshot",
        a_snapshot,
        "DELETE",
        f"{COMPUTE}/snapshots/s1",
        None,
        gone(f"{COMPUTE}/snapshots/s1"),
    ),
    Story("deletion of a group", lambda arm: arm.vm(), "DELETE", GROUP, None, gone(GROUP)),
)


def _copy(files: list[Path], to: Path) -> None:
    run(["cp", "-a", "--sparse=auto", *map(str, files), str(to)])


class Home:
    """A stamp's home as it was before the request, and its host."""

    def __init__(self, directory: Path, host: Any) -> None:
        self._directory = directory
        self._host = host
        self._kept = directory / "kept"
        self._kept.mkdir()
        _copy(self._files(), self._kept)
        self._known = {
            name: copy.deepcopy(getattr(host, name)) for name in ("plans", "up", "written", "backing")
        }

    def _files(self) -> list[Path]:
        return [*self._directory.glob("stamp.db*"), self._directory / "content"]

    def restore(self) -> None:
        for path in self._files():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        _copy(list(self._kept.iterdir()), self._directory)
        for name, value in self._known.items():
            setattr(self._host, name, copy.deepcopy(value))

    @contextmanager
    def server(self, kind: type[Database]) -> Iterator[tuple[ControlPlane, BlobStore]]:
        db = kind(self._directory / "stamp.db")
        store = BlobStore(db, self._directory / "content")
        store.recover()
        plane = build(db, store, self._host, Settings(SUBSCRIPTION, "t"), ENDPOINT)
        plane.recover()
        try:
            yield plane, store
        finally:
            with suppress(Dead):
                plane.close()
            db.close()


def dies(home: Home, story: Story, step: int) -> bool:
    """Send the request to a server that dies at a step; whether it came to that."""
    with home.server(MortalDatabase) as (plane, _):
        database = plane.engine.db
        assert isinstance(database, MortalDatabase)
        database.lives = step
        with suppress(Dead):
            plane.handle(request(story.method, story.path, story.body))
        rest(plane, lambda: database.dead)
        return database.dead


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_the_next_server_ends_what_a_death_interrupted(arm: Any, story: Story, tmp_path: Path) -> None:
    story.before(arm)
    settle(arm)
    arm.plane.close()
    arm.plane.engine.db.close()
    home = Home(tmp_path, arm.host)
    for step in range(1, MOST):
        home.restore()
        if not dies(home, story, step):
            assert step > 3, "nothing was killed"
            return
        arm.host.up.clear()  # a guest ends with its server
        with home.server(Database) as (plane, store):
            rest(plane)
            assert amiss(plane, store, arm.host) == [], step
            if not story.holds(plane, store):
                again(plane, story)
            assert story.holds(plane, store), (step, story.shows(plane))
            assert amiss(plane, store, arm.host) == [], step
    raise AssertionError("it never came to its end")


def amiss(plane: ControlPlane, store: BlobStore, host: Any) -> list[str]:
    """The violations, but for this: a guest ended with its server, and a view tells so, not the state."""
    return [said for said in violations(plane, store, host) if not said.endswith(STOPPED)]


def rest(plane: ControlPlane, dead: Callable[[], bool] = lambda: False) -> None:
    """Wait until no operation is open, or its server is dead."""
    deadline = time.monotonic() + 30
    while not dead() and any(plane.engine.operations.unfinished()):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    plane.engine.operations.wait(timeout=20)


def again(plane: ControlPlane, story: Story) -> None:
    """Send the request a second time."""
    plane.handle(request(story.method, story.path, story.body))
    rest(plane)
