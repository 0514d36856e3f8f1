"""kill -9 at every step of what is done with a virtual machine: none turns for ever, and all goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.client.arm.deaths import Story, gone, live_through, request, rest, shown, succeeded
from tests.client.arm.parity.machines import VM, blob_vm, done, settle
from tests.client.arm.parity.row import COMPUTE, NETWORK, ask
from vmstamp.arm.compute.host import Outcome
from vmstamp.arm.control_plane import ControlPlane
from vmstamp.blob.store import BlobStore

WHERE = {"location": "westeurope"}
SCRIPT = f"{VM}/extensions/script"
COMMAND = f"{VM}/runCommands/command"
DISK = f"{COMPUTE}/disks/d1"
Holds = Callable[[ControlPlane, BlobStore], bool]


# -- what there is before


def a_vm(*actions: str) -> Callable[[Any], None]:
    """A VM that ran, and these actions on it."""

    def before(arm: Any) -> None:
        arm.vm()
        done(arm, *actions)

    return before


def parts_of_a_vm(arm: Any) -> None:
    arm.image()
    arm.nic()


def a_failed_vm(arm: Any) -> None:
    parts_of_a_vm(arm)
    arm.host.outcome = Outcome(False, "OSProvisioningTimedOut", "the guest said nothing")
    ask(arm, "PUT", VM, WITH_PASSWORD)
    settle(arm)
    arm.host.outcome = Outcome(True)


def a_vm_and_a_disk(arm: Any) -> None:
    arm.vm()
    properties = {"creationData": {"createOption": "Empty"}, "diskSizeGB": 1}
    ask(arm, "PUT", DISK, {**WHERE, "properties": properties})
    settle(arm)


def a_vm_that_has_the_disk(arm: Any) -> None:
    a_vm_and_a_disk(arm)
    ask(arm, "POST", f"{VM}/attachDetachDataDisks", ATTACH)
    settle(arm)


def a_vm_with(path: str, body: Any) -> Callable[[Any], None]:
    def before(arm: Any) -> None:
        arm.vm()
        assert ask(arm, "PUT", path, body).ok
        settle(arm)

    return before


def start(plane: ControlPlane) -> None:
    """What an agent does, it does in a VM that runs."""
    plane.handle(request("POST", f"{VM}/start", None))
    rest(plane)


# -- what is done


def power(wanted: str) -> Holds:
    """What the stamp keeps of the VM's power, which is what its guest does."""

    def holds(plane: ControlPlane, store: BlobStore) -> bool:
        found = plane.engine.catalog.find(VM)
        assert found is not None
        (said,) = [one["code"] for one in statuses(plane) if one["code"].startswith("PowerState/")]
        return (found.state["power"], said) == (wanted, f"PowerState/{wanted}")

    return holds


def statuses(plane: ControlPlane) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = plane.handle(request("GET", f"{VM}/instanceView", None)).body["statuses"]
    return found


def made(plane: ControlPlane, store: BlobStore) -> bool:
    return succeeded(VM)(plane, store) and power("running")(plane, store)


def generalized(plane: ControlPlane, store: BlobStore) -> bool:
    return "OSState/generalized" in [one["code"] for one in statuses(plane)]


def resized(plane: ControlPlane, store: BlobStore) -> bool:
    properties = shown(plane, VM)["properties"]
    size, state = properties["hardwareProfile"]["vmSize"], properties["provisioningState"]
    return (size, state) == ("Standard_B2s", "Succeeded")


def data_disks(*names: str) -> Holds:
    def holds(plane: ControlPlane, store: BlobStore) -> bool:
        properties = shown(plane, VM)["properties"]
        disks = [disk["managedDisk"]["id"] for disk in properties["storageProfile"]["dataDisks"]]
        has = [id.rsplit("/", 1)[1] for id in disks] == list(names)
        return has and properties["provisioningState"] == "Succeeded" and open_ended(plane) == set()

    return holds


def open_ended(plane: ControlPlane) -> set[str]:
    """The managed disks whose state is not what their VM says of them."""
    attached = shown(plane, VM)["properties"]["storageProfile"]
    ids = {attached["osDisk"]["managedDisk"]["id"].lower()}
    ids |= {disk["managedDisk"]["id"].lower() for disk in attached["dataDisks"]}
    disks = shown(plane, f"{COMPUTE}/disks")["value"]
    return {
        disk["name"]
        for disk in disks
        if (disk["properties"]["diskState"] == "Unattached") == (disk["id"].lower() in ids)
    }


def ran(plane: ControlPlane, store: BlobStore) -> bool:
    """Whether the last run command succeeded, and none of them is open."""
    query = "SELECT status FROM operation WHERE kind = 'runCommand' ORDER BY rowid DESC LIMIT 1"
    with plane.engine.db.read() as connection:
        found = connection.execute(query).fetchone()
    return found is not None and found["status"] == "Succeeded"


KEYS = {
    "disablePasswordAuthentication": True,
    "ssh": {"publicKeys": [{"path": "/home/someone/.ssh/authorized_keys", "keyData": "ssh-ed25519 AAAA x"}]},
}
CREATION: Any = {
    **WHERE,
    "properties": {
        "hardwareProfile": {"vmSize": "Standard_B1ms"},
        "storageProfile": {
            "imageReference": {"id": f"{COMPUTE}/images/image1"},
            "osDisk": {"createOption": "FromImage", "name": "os1"},
            "dataDisks": [{"lun": 0, "createOption": "Empty", "diskSizeGB": 1, "name": "new"}],
        },
        "osProfile": {"computerName": "vm1", "adminUsername": "someone", "linuxConfiguration": KEYS},
        "networkProfile": {"networkInterfaces": [{"id": f"{NETWORK}/networkInterfaces/nic1"}]},
    },
}
PASSWORD = {"computerName": "vm1", "adminUsername": "someone", "adminPassword": "Correct-horse-1"}
WITH_PASSWORD: Any = {**WHERE, "properties": {**CREATION["properties"], "osProfile": PASSWORD}}
ATTACH = {"dataDisksToAttach": [{"diskId": DISK, "lun": 0}]}
DETACH = {"dataDisksToDetach": [{"diskId": DISK}]}
NEW_DISK = {"lun": 1, "createOption": "Empty", "diskSizeGB": 1, "name": "new"}
RUN = {"commandId": "RunShellScript", "script": ["id"]}


def of_vm(**properties: Any) -> Any:
    return {"properties": properties}


def extension(**settings: Any) -> Any:
    kind = {"publisher": "Microsoft.Azure.Extensions", "type": "CustomScript", "typeHandlerVersion": "2.1"}
    return {**WHERE, "properties": {**kind, **settings}}


def command(**more: Any) -> Any:
    return {**WHERE, "properties": {"source": {"script": "id"}, **more}}


PLAIN = extension(settings={"commandToExecute": "id"})
SECRET = extension(protectedSettings={"commandToExecute": "id"})
SECRET_COMMAND = command(protectedParameters=[{"name": "secret", "value": "planted"}])

STORIES = (
    Story("creation", parts_of_a_vm, "PUT", VM, CREATION, succeeded(VM), twice=True),
    Story("creation again", a_failed_vm, "PUT", VM, WITH_PASSWORD, succeeded(VM)),
    Story("start", a_vm("deallocate"), "POST", f"{VM}/start", None, power("running"), twice=True),
    Story("powerOff", a_vm(), "POST", f"{VM}/powerOff", None, power("stopped"), twice=True),
    Story("deallocate", a_vm(), "POST", f"{VM}/deallocate", None, power("deallocated"), twice=True),
    Story(
        "deallocate with blobs",
        lambda arm: blob_vm(arm, data=True),
        "POST",
        f"{VM}/deallocate",
        None,
        power("deallocated"),
        twice=True,
    ),
    Story("restart", a_vm(), "POST", f"{VM}/restart", None, power("running"), start, twice=True),
    Story("redeploy", a_vm(), "POST", f"{VM}/redeploy", None, power("running"), start, twice=True),
    Story("reapply", a_vm(), "POST", f"{VM}/reapply", None, succeeded(VM), twice=True),
    Story("reapply of a failed VM", a_failed_vm, "POST", f"{VM}/reapply", None, made, start, twice=True),
    Story("generalize", a_vm("deallocate"), "POST", f"{VM}/generalize", None, generalized, twice=True),
    Story(
        "resize", a_vm(), "PATCH", VM, of_vm(hardwareProfile={"vmSize": "Standard_B2s"}), resized, twice=True
    ),
    Story("attach", a_vm_and_a_disk, "POST", f"{VM}/attachDetachDataDisks", ATTACH, data_disks("d1")),
    Story("detach", a_vm_that_has_the_disk, "POST", f"{VM}/attachDetachDataDisks", DETACH, data_disks()),
    Story(
        "attach of a new disk",
        a_vm(),
        "PATCH",
        VM,
        of_vm(storageProfile={"dataDisks": [NEW_DISK]}),
        data_disks("new"),
        twice=True,
    ),
    Story(
        "detach by the list",
        a_vm_that_has_the_disk,
        "PATCH",
        VM,
        of_vm(storageProfile={"dataDisks": []}),
        data_disks(),
        twice=True,
    ),
    Story("runCommand", a_vm(), "POST", f"{VM}/runCommand", RUN, ran, start),
    Story("extension", a_vm(), "PUT", SCRIPT, PLAIN, succeeded(SCRIPT), start),
    Story("extension with a secret", a_vm(), "PUT", SCRIPT, SECRET, succeeded(SCRIPT), start),
    Story("deletion of an extension", a_vm_with(SCRIPT, PLAIN), "DELETE", SCRIPT, None, gone(SCRIPT), start),
    Story("run command", a_vm(), "PUT", COMMAND, command(), succeeded(COMMAND), start),
    Story("run command with a secret", a_vm(), "PUT", COMMAND, SECRET_COMMAND, succeeded(COMMAND), start),
    Story(
        "deletion of a run command",
        a_vm_with(COMMAND, command()),
        "DELETE",
        COMMAND,
        None,
        gone(COMMAND),
        start,
    ),
)


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_the_next_server_ends_what_a_death_interrupted(arm: Any, story: Story, tmp_path: Path) -> None:
    live_through(arm, story, tmp_path)
