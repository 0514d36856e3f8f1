"""Galleries, image definitions and versions through the official azure-mgmt-compute."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError
from azure.mgmt.resource.deployments import DeploymentsMgmtClient

MIB = 2**20


def error_of(call: Any) -> Any:
    with pytest.raises(HttpResponseError) as caught:
        call()
    return caught.value.error


def body(**properties: Any) -> dict[str, Any]:
    return {"location": "westeurope", "properties": properties}


def make_definition(arm: Any, name: str = "linux", **properties: Any) -> Any:
    """A definition of generation 2 in the gallery `gallery1`, which is made when it is not there."""
    if "gallery1" not in [one.name for one in arm.compute.galleries.list()]:
        arm.compute.galleries.begin_create_or_update("rg", "gallery1", body()).result()
    given = {
        "osType": "Linux",
        "osState": "Generalized",
        "hyperVGeneration": "V2",
        "identifier": {"publisher": "me", "offer": "linux", "sku": name},
        **properties,
    }
    call = arm.compute.gallery_images.begin_create_or_update
    return call("rg", "gallery1", name, body(**given)).result()


def regions(*names: str, **more: Any) -> dict[str, Any]:
    return {"targetRegions": [{"name": name} for name in names], **more}


def begin_version(arm: Any, version: str, source: Any, definition: str = "linux", **properties: Any) -> Any:
    storage = source if isinstance(source, dict) else {"source": {"id": source}}
    given = {"storageProfile": storage, **properties}
    call = arm.compute.gallery_image_versions.begin_create_or_update
    return call("rg", "gallery1", definition, version, body(**given))


def make_version(arm: Any, version: str, source: Any, definition: str = "linux", **properties: Any) -> Any:
    return begin_version(arm, version, source, definition, **properties).result()


def get_version(arm: Any, version: str, definition: str = "linux", **options: Any) -> Any:
    return arm.compute.gallery_image_versions.get("rg", "gallery1", definition, version, **options)


def create_vm(arm: Any, reference: dict[str, Any], name: str = "vm1", **properties: Any) -> Any:
    key = {"path": "/home/azureuser/.ssh/authorized_keys", "keyData": "ssh-ed25519 AAAA azureuser"}
    linux = {"disablePasswordAuthentication": True, "ssh": {"publicKeys": [key]}}
    given = {
        "hardwareProfile": {"vmSize": "Standard_B1ms"},
        "storageProfile": {"imageReference": reference, "osDisk": {"createOption": "FromImage"}},
        "osProfile": {"computerName": name, "adminUsername": "azureuser", "linuxConfiguration": linux},
        "networkProfile": {"networkInterfaces": [{"id": arm.nic(f"{name}-nic").id}]},
        **properties,
    }
    document = body(**{k: v for k, v in given.items() if v is not None})
    return arm.compute.virtual_machines.begin_create_or_update("rg", name, document).result()


def first_bytes(arm: Any, vm: Any) -> bytes:
    """The first bytes of what the VM's OS disk was when it was started."""
    path = arm.host.plans[vm.properties.vm_id][-1].os_disk.path
    return bytes(path.read_bytes()[:8]).rstrip(b"\0")


def test_gallery_definition_and_version_live_their_life(arm: Any) -> None:
    galleries, images, versions = (
        arm.compute.galleries,
        arm.compute.gallery_images,
        arm.compute.gallery_image_versions,
    )
    made = galleries.begin_create_or_update("rg", "gallery1", body(description="mine")).result()
    assert made.properties.identifier.unique_name == "11111111-2222-3333-4444-555555555555-GALLERY1"
    definition = make_definition(arm)
    assert definition.properties.architecture == "x64"
    version = make_version(arm, "1.0.0", arm.image().id)
    profile = version.properties.publishing_profile
    assert [region.name for region in profile.target_regions] == ["West Europe"]
    assert profile.target_regions[0].regional_replica_count == 1
    assert profile.published_date is not None and profile.exclude_from_latest is False
    assert version.properties.storage_profile.os_disk_image.size_in_gb == 1
    assert [one.name for one in images.list_by_gallery("rg", "gallery1")] == ["linux"]
    assert [one.name for one in versions.list_by_gallery_image("rg", "gallery1", "linux")] == ["1.0.0"]
    assert error_of(lambda: images.begin_delete("rg", "gallery1", "linux")).code == "CannotDeleteResource"
    assert error_of(lambda: galleries.begin_delete("rg", "gallery1")).code == "CannotDeleteResource"
    versions.begin_delete("rg", "gallery1", "linux", "1.0.0").result()
    images.begin_delete("rg", "gallery1", "linux").result()
    galleries.begin_delete("rg", "gallery1").result()
    assert list(galleries.list_by_resource_group("rg")) == []


def test_group_with_a_gallery_is_deleted_from_within(arm: Any) -> None:
    make_definition(arm)
    make_version(arm, "1.0.0", arm.image().id)
    arm.resources.resource_groups.begin_delete("rg").result()
    assert list(arm.compute.galleries.list()) == []


def test_replicas_come_and_go_with_the_target_regions(arm: Any) -> None:
    make_definition(arm)
    source = arm.image().id
    profile = regions("westeurope", "eastus")
    make_version(arm, "1.0.0", source, publishingProfile=profile)
    arm.compute.images.begin_delete("rg", "image1").result()
    status = get_version(arm, "1.0.0", expand="ReplicationStatus").properties.replication_status
    assert status.aggregated_state == "Completed"
    assert {(one.region, one.state, one.progress) for one in status.summary} == {
        ("West Europe", "Completed", 100),
        ("East US", "Completed", 100),
    }
    before = arm.plane.engine.catalog.find(get_version(arm, "1.0.0").id).state["replicas"]
    update = arm.compute.gallery_image_versions.begin_update
    changed = {"properties": {"publishingProfile": regions("westeurope", "japaneast")}}
    after = update("rg", "gallery1", "linux", "1.0.0", changed).result()
    assert [one.name for one in after.properties.publishing_profile.target_regions] == [
        "West Europe",
        "Japan East",
    ]
    status = get_version(arm, "1.0.0", expand="ReplicationStatus").properties.replication_status
    assert {one.region for one in status.summary} == {"West Europe", "Japan East"}
    assert arm.store.find_account(before["eastus"]["os"][0]) is None
    assert arm.store.find_account(before["westeurope"]["os"][0]) is not None
    assert status.aggregated_state == "Completed"


def test_what_versions_do_not_rest_on_may_change(arm: Any) -> None:
    make_definition(arm, description="old")
    update = arm.compute.gallery_images.begin_update
    changed = update("rg", "gallery1", "linux", {"properties": {"description": "new"}}).result()
    assert changed.properties.description == "new"
    assert changed.properties.identifier.sku == "linux"
    whole = arm.compute.gallery_images.get("rg", "gallery1", "linux")
    whole.tags = {"a": "b"}
    put = arm.compute.gallery_images.begin_create_or_update
    assert put("rg", "gallery1", "linux", whole).result().tags == {"a": "b"}


def test_source_is_immutable_and_an_update_that_repeats_it_is_taken(arm: Any) -> None:
    make_definition(arm)
    first, second = arm.image(), arm.image("image2")
    make_version(arm, "1.0.0", first.id)
    again = make_version(arm, "1.0.0", first.id, publishingProfile={"excludeFromLatest": True})
    assert again.properties.publishing_profile.exclude_from_latest is True
    error = error_of(lambda: begin_version(arm, "1.0.0", second.id))
    assert error.code == "PropertyChangeNotAllowed"
    assert error.message == (
        "Changing property 'galleryImageVersion.properties.storageProfile.source.id' is not allowed."
    )


def test_version_of_a_generalized_vm_has_what_the_guest_wrote(arm: Any) -> None:
    make_definition(arm)
    vm = arm.vm()
    machines = arm.compute.virtual_machines
    arm.host.write(arm.host.plans[vm.properties.vm_id][-1], None, 0, b"written")
    assert error_of(lambda: begin_version(arm, "1.0.0", vm.id)).code == "NotSupportedByStamp"
    machines.begin_deallocate("rg", "vm1").result()
    error = error_of(lambda: begin_version(arm, "1.0.0", vm.id))
    assert (error.code, error.message) == (
        "BadRequest",
        f"The resource with id '{vm.id}' has a different OS state ['Specialized'] than the parent gallery "
        "image OS state ['Generalized'].",
    )
    machines.generalize("rg", "vm1")
    version = make_version(arm, "1.0.0", {"source": {"virtualMachineId": vm.id}})
    machines.begin_delete("rg", "vm1").result()
    made = create_vm(arm, {"id": version.id}, "vm2")
    assert first_bytes(arm, made) == b"written"
    copied = make_version(arm, "2.0.0", version.id)
    assert copied.properties.storage_profile.source.id == version.id


def test_specialized_definition_makes_vms_without_provisioning(arm: Any) -> None:
    make_definition(arm, osState="Specialized")
    vm = arm.vm()
    arm.compute.virtual_machines.begin_deallocate("rg", "vm1").result()
    version = make_version(arm, "1.0.0", vm.id)
    error = error_of(lambda: create_vm(arm, {"id": version.id}, "vm2"))
    assert (error.code, error.message) == ("InvalidParameter", "Parameter 'osProfile' is not allowed.")
    made = create_vm(arm, {"id": version.id}, "vm2", osProfile=None)
    assert arm.host.plans[made.properties.vm_id][-1].provision is False


def test_version_of_disks_and_blobs_keeps_their_luns(arm: Any) -> None:
    make_definition(arm)
    disk = {"creationData": {"createOption": "Empty"}, "diskSizeGB": 2}
    data = arm.compute.disks.begin_create_or_update("rg", "data", body(**disk)).result()
    account = "/subscriptions/x/resourceGroups/rg/providers/Microsoft.Storage/storageAccounts/account1"
    os_disk = {"source": {"uri": arm.vhd("account1", "os.vhd", mark=b"blob"), "storageAccountId": account}}
    profile = {"osDiskImage": os_disk, "dataDiskImages": [{"lun": 3, "source": {"id": data.id}}]}
    version = make_version(arm, "1.0.0", profile)
    shown = version.properties.storage_profile
    assert [(one.lun, one.size_in_gb) for one in shown.data_disk_images] == [(3, 2)]
    made = create_vm(arm, {"id": version.id})
    assert first_bytes(arm, made) == b"blob"
    assert [one.lun for one in made.properties.storage_profile.data_disks] == [3]
    copy = {"createOption": "FromImage", "galleryImageReference": {"id": version.id, "lun": 3}}
    disk_of = arm.compute.disks.begin_create_or_update("rg", "d2", body(creationData=copy)).result()
    assert disk_of.properties.disk_size_gb == 2
    wrong = {"createOption": "FromImage", "galleryImageReference": {"id": version.id, "lun": 4}}
    error = error_of(lambda: arm.compute.disks.begin_create_or_update("rg", "d3", body(creationData=wrong)))
    assert error.message == "The value of parameter imageReference is invalid."


def test_version_of_snapshots_has_their_bytes_and_waits_for_whole_ones(arm: Any) -> None:
    make_definition(arm)
    creation = {"createOption": "Import", "sourceUri": arm.vhd("account1", "os.vhd", mark=b"then")}
    disk = body(creationData=creation, osType="Linux", hyperVGeneration="V2")
    made = arm.compute.disks.begin_create_or_update("rg", "disk1", disk).result()
    copy = {"createOption": "Copy", "sourceResourceId": made.id}
    taken = [
        arm.compute.snapshots.begin_create_or_update("rg", name, body(creationData=copy, **more)).result()
        for name, more in (("full", {}), ("part", {"incremental": True}))
    ]
    upload = {"creationData": {"createOption": "Upload", "uploadSizeBytes": 20 * MIB + 512}}
    coming = arm.compute.snapshots.begin_create_or_update("rg", "coming", body(**upload)).result()
    arm.compute.disks.begin_delete("rg", "disk1").result()

    def profile(data: Any) -> dict[str, Any]:
        data_disks = [{"lun": 0, "source": {"id": data.id}}]
        return {"osDiskImage": {"source": {"id": taken[0].id}}, "dataDiskImages": data_disks}

    error = error_of(lambda: begin_version(arm, "1.0.0", profile(coming)))
    assert error.code == "OperationNotAllowed" and "is being uploaded" in error.message
    version = make_version(arm, "1.0.0", profile(taken[1]))
    vm = create_vm(arm, {"id": version.id})
    assert first_bytes(arm, vm) == b"then"


def test_latest_is_the_highest_version_of_the_region_that_is_not_excluded(arm: Any) -> None:
    definition = make_definition(arm)
    for version, mark in (("1.2.0", b"two"), ("1.10.0", b"ten"), ("2.0.0", b"out")):
        url = arm.vhd("account1", f"{version}.vhd", mark=mark)
        profile = {"excludeFromLatest": version == "2.0.0"}
        storage = {"osDiskImage": {"source": {"uri": url}}}
        make_version(arm, version, storage, publishingProfile=profile)
    made = create_vm(arm, {"id": definition.id})
    reference = made.properties.storage_profile.image_reference
    assert (reference.id, reference.exact_version) == (definition.id, "1.10.0")
    assert first_bytes(arm, made) == b"ten"
    named = create_vm(arm, {"id": f"{definition.id}/versions/2.0.0"}, "vm2")
    assert first_bytes(arm, named) == b"out"
    disk = arm.compute.disks.get("rg", named.properties.storage_profile.os_disk.name)
    origin = disk.properties.creation_data.gallery_image_reference.id
    assert origin == f"{definition.id}/versions/2.0.0"
    whole = arm.compute.virtual_machines.get("rg", "vm1")
    again = arm.compute.virtual_machines.begin_create_or_update("rg", "vm1", whole).result()
    assert again.properties.storage_profile.image_reference.exact_version == "1.10.0"


def test_version_with_an_end_of_life_is_kept_until_then(arm: Any) -> None:
    make_definition(arm)
    ends = (datetime.now(UTC) + timedelta(days=2)).isoformat()
    profile = {"endOfLifeDate": ends}
    safety = {"blockDeletionBeforeEndOfLife": True, "allowDeletionOfReplicatedLocations": False}
    whole = regions("westeurope", "eastus", **profile)
    make_version(arm, "1.0.0", arm.image().id, publishingProfile=whole, safetyProfile=safety)
    versions = arm.compute.gallery_image_versions
    error = error_of(lambda: versions.begin_delete("rg", "gallery1", "linux", "1.0.0"))
    assert error.code == "DeleteGalleryImageVersionBlockedBeforeEndOfLife"
    fewer = {"properties": {"publishingProfile": regions("westeurope")}}
    error = error_of(lambda: versions.begin_update("rg", "gallery1", "linux", "1.0.0", fewer))
    assert error.code == "OperationNotAllowed" and "'East US'" in error.message


def test_version_under_way_shows_replicas_that_are_not_there(plane: Any, arm: Any) -> None:
    make_definition(arm)
    make_version(arm, "1.0.0", arm.image().id)
    version = plane.engine.catalog.find(get_version(arm, "1.0.0").id)
    kind = plane.engine.types[version.type]
    missing = {"eastus": {"os": ["md-none", "disk", "abcd"]}}
    replicas = {**version.state["replicas"], **missing}
    shown = kind.view(version.with_state(replicas=replicas), "ReplicationStatus")
    status = shown["properties"]["replicationStatus"]
    assert status["aggregatedState"] == "InProgress"
    assert [(one["state"], one["progress"]) for one in status["summary"]] == [
        ("Completed", 100),
        ("Replicating", 0),
    ]


def test_version_is_not_deleted_while_a_vm_is_provisioned_from_it(arm: Any) -> None:
    definition = make_definition(arm)
    make_version(arm, "1.0.0", arm.image().id)
    body_of_vm = arm.vm_body(definition, arm.nic())
    arm.host.held.clear()
    poller = arm.compute.virtual_machines.begin_create_or_update("rg", "vm1", body_of_vm)
    delete = arm.compute.gallery_image_versions.begin_delete
    error = error_of(lambda: delete("rg", "gallery1", "linux", "1.0.0"))
    assert error.code == "OperationNotAllowed" and "'vm1'" in error.message
    arm.host.held.set()
    poller.result()
    delete("rg", "gallery1", "linux", "1.0.0").result()


def test_gallery_definition_and_version_come_of_one_template(arm: Any) -> None:
    kind = {"apiVersion": "2024-03-03", "location": "westeurope"}
    root = "Microsoft.Compute/galleries"
    identifier = {"publisher": "me", "offer": "linux", "sku": "gen2"}
    definition = {"osType": "Linux", "osState": "Generalized", "hyperVGeneration": "V2"}
    source = {"storageProfile": {"source": {"id": arm.image().id}}}
    resources = [
        {**kind, "type": root, "name": "one", "properties": {}},
        {
            **kind,
            "type": f"{root}/images",
            "name": "one/linux",
            "dependsOn": ["one"],
            "properties": {**definition, "identifier": identifier},
        },
        {
            **kind,
            "type": f"{root}/images/versions",
            "name": "one/linux/1.0.0",
            "dependsOn": [f"[resourceId('{root}/images', 'one', 'linux')]"],
            "properties": source,
        },
    ]
    schema = "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#"
    template = {"$schema": schema, "contentVersion": "1.0.0.0", "resources": resources}
    deploy = arm.client(DeploymentsMgmtClient).deployments.begin_create_or_update
    deploy("rg", "one", {"properties": {"mode": "Incremental", "template": template}}).result()
    listed = [one.name for one in arm.resources.resources.list_by_resource_group("rg")]
    assert {"one", "one/linux", "one/linux/1.0.0"} <= set(listed)
    nothing = {**template, "resources": []}
    deploy("rg", "one", {"properties": {"mode": "Complete", "template": nothing}}).result()
    assert list(arm.compute.galleries.list()) == []
