"""Platform images: the operator's API that fills the catalogue, Azure's reads of it, and VMs by URN."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from tests.client.arm.parity.row import SUBSCRIPTION, ask
from tests.client.arm.test_arm_galleries import body, create_vm, error_of, first_bytes
from vmstamp.arm.compute.platform_images import aliases

ADMIN = f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Compute.Admin/locations/local/artifactTypes"
DEBIAN = f"{ADMIN}/platformImage/publishers/Debian/offers/debian-12/skus/12-gen2/versions"


def put_image(arm: Any, version: str, mark: bytes = b"debian", path: str = DEBIAN) -> requests.Response:
    disk = {"osType": "Linux", "uri": arm.vhd("account1", f"{version}.vhd", mark=mark)}
    given = {"properties": {"osDisk": disk, "hyperVGeneration": "V2"}}
    return ask(arm, "PUT", f"{path}/{version}", given)


def urn(version: str = "latest") -> dict[str, Any]:
    return {"publisher": "debian", "offer": "debian-12", "sku": "12-gen2", "version": version}


def test_image_that_was_put_is_read_as_azure_reads(arm: Any) -> None:
    for version in ("0.20241004.2", "0.20250101.10", "0.20250101.9"):
        assert put_image(arm, version).status_code == 201
    images = arm.compute.virtual_machine_images
    assert [one.name for one in images.list_publishers("westeurope")] == [
        "Debian",
        "Microsoft.Azure.Extensions",
        "Microsoft.OSTCExtensions",
    ]
    assert [one.name for one in images.list_offers("westeurope", "debian")] == ["debian-12"]
    skus = images.list_skus("westeurope", "Debian", "debian-12")
    assert [one.name for one in skus] == ["12-gen2"]
    assert skus[0].id == (
        f"/Subscriptions/{SUBSCRIPTION}/Providers/Microsoft.Compute/Locations/westeurope/Publishers/Debian/"
        "ArtifactTypes/VMImage/Offers/debian-12/Skus/12-gen2"
    )
    words = ("westeurope", "Debian", "debian-12", "12-gen2")
    listed = images.list(*words)
    assert [one.name for one in listed] == ["0.20241004.2", "0.20250101.9", "0.20250101.10"]
    newest = images.list(*words, top=1, orderby="name desc", expand="properties")
    assert [one.name for one in newest] == ["0.20250101.10"]
    shown = images.get(*words, "0.20241004.2")
    assert shown.properties.hyper_v_generation == "V2" and shown.properties.architecture == "x64"
    assert shown.properties.os_disk_image.operating_system == "Linux"
    assert list(arm.resources.resources.list(filter="name eq '0.20241004.2'")) == []


def test_vm_of_a_urn_says_which_version_it_took(arm: Any) -> None:
    put_image(arm, "0.1.0", b"old")
    put_image(arm, "0.2.0", b"new")
    vm = create_vm(arm, urn())
    reference = vm.properties.storage_profile.image_reference
    assert (reference.version, reference.exact_version, reference.id) == ("latest", "0.2.0", None)
    assert first_bytes(arm, vm) == b"new"
    instance = arm.host.plans[vm.properties.vm_id][-1].instance
    assert (instance.image_reference.sku, instance.image_reference.version) == ("12-gen2", "0.2.0")
    origin = arm.compute.disks.get("rg", vm.properties.storage_profile.os_disk.name)
    link = origin.properties.creation_data.image_reference.id
    assert link.endswith("/Offers/debian-12/Skus/12-gen2/Versions/0.2.0")
    copy = body(creationData={"createOption": "FromImage", "imageReference": {"id": link}})
    disk = arm.compute.disks.begin_create_or_update("rg", "copy", copy).result()
    assert (disk.properties.os_type, disk.properties.hyper_v_generation) == ("Linux", "V2")
    assert ask(arm, "DELETE", f"{DEBIAN}/0.2.0").status_code == 200
    assert create_vm(arm, urn(), "vm2").properties.storage_profile.image_reference.exact_version == "0.1.0"


def test_version_never_changes_and_is_deleted_once(arm: Any) -> None:
    assert put_image(arm, "0.1.0").status_code == 201
    again = ask(arm, "PUT", f"{DEBIAN}/0.1.0", ask(arm, "GET", f"{DEBIAN}/0.1.0").json())
    assert again.status_code == 409 and "exists already" in again.json()["error"]["message"]
    assert ask(arm, "DELETE", f"{DEBIAN}/0.1.0").status_code == 200
    assert ask(arm, "DELETE", f"{DEBIAN}/0.1.0").status_code == 204
    assert ask(arm, "GET", f"{ADMIN}/platformImage").json() == []


@pytest.mark.parametrize(
    ("version", "uri", "status", "code"),
    [
        ("1.0", "", 400, "InvalidParameter"),
        ("1.0.0", "http://127.0.0.1:10000/no/such/blob.vhd", 404, "ImageBlobNotFound"),
    ],
)
def test_wrong_platform_image_is_refused(arm: Any, version: str, uri: str, status: int, code: str) -> None:
    given = {"properties": {"osDisk": {"osType": "Linux", "uri": uri}}}
    reply = ask(arm, "PUT", f"{DEBIAN}/{version}", given)
    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)


def test_image_that_was_never_built_is_told_how_to_be(arm: Any) -> None:
    error = error_of(lambda: create_vm(arm, urn()))
    assert "'vmstamp image build debian-12'" in error.message
    images = arm.compute.virtual_machine_images
    error = error_of(lambda: images.list("westeurope", "Debian", "debian-12", "12-gen2"))
    assert "vmstamp image build debian-12" in error.message


def test_alias_is_there_with_its_image(plane: Any, arm: Any) -> None:
    buildable = {"debian:debian-12:12-gen2": "debian-12", "a:b:c": "other"}
    assert aliases(plane.engine.catalog, buildable)["outputs"]["aliases"]["value"] == {"Linux": {}}
    put_image(arm, "0.1.0")
    assert aliases(plane.engine.catalog, buildable)["outputs"]["aliases"]["value"]["Linux"] == {
        "Debian12": {
            "publisher": "Debian",
            "offer": "debian-12",
            "sku": "12-gen2",
            "version": "latest",
            "architecture": "x64",
        }
    }
