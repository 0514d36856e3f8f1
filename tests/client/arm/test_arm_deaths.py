"""kill -9 at every step of a long operation: before and after each of its transactions, one after another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.client.arm.deaths import Story, gone, live_through, shown, succeeded
from tests.client.arm.parity.machines import VM, blob_vm, done, generalized, generalized_blob_vm, settle
from tests.client.arm.parity.row import COMPUTE, GROUP, NETWORK, SUBSCRIPTION, ask
from vmstamp.arm.control_plane import ControlPlane
from vmstamp.blob.store import BlobStore

WHERE = {"location": "westeurope"}
OTHER = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg2"


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


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_the_next_server_ends_what_a_death_interrupted(arm: Any, story: Story, tmp_path: Path) -> None:
    live_through(arm, story, tmp_path)
