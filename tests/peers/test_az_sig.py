"""Galleries, managed images and platform images by an unmodified az on a running stamp. No guest boots."""

import json
from collections.abc import Iterator

import pytest

from tests.peers.programs import find_peer
from tests.peers.shell import Shell


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A stamp with a group `rg` and a generalized image `image1` of a disk of zeros."""
    find_peer("az")
    shell = Shell(tmp_path_factory.mktemp("shell"))
    shell.run("vmstamp up")
    try:
        shell.az("group create -n rg -l local")
        shell.run("truncate -s 1M disk.raw; vmstamp upload disk.raw os.vhd -g rg")
        shell.run("ssh-keygen -q -t ed25519 -N '' -f key")
        yield shell
    finally:
        shell.run("vmstamp down")


def blob_url(shell: Shell) -> str:
    account = shell.az("storage account list")[0]
    return f"{account['primaryEndpoints']['blob']}vhds/os.vhd"


CREATE = "vm create -g rg --size Standard_B1s --admin-username someone --ssh-key-values key.pub"


def test_an_image_is_made_listed_updated_and_deleted(shell: Shell) -> None:
    made = shell.az(
        f"image create -g rg -n image1 --os-type Linux --hyper-v-generation V2 --source {blob_url(shell)}"
    )
    assert (made["hyperVGeneration"], made["provisioningState"]) == ("V2", "Succeeded")
    assert [one["name"] for one in shell.az("image list -g rg")] == ["image1"]
    assert shell.az("image update -g rg -n image1 --tags a=b")["tags"] == {"a": "b"}
    shell.az(f"image create -g rg -n image2 --os-type Linux --source {blob_url(shell)}")
    shell.az("image delete -g rg -n image2")
    assert [one["name"] for one in shell.az("image list")] == ["image1"]


def test_a_gallery_lives_its_life(shell: Shell) -> None:
    gallery = shell.az("sig create -g rg --gallery-name one --description mine")
    assert gallery["identifier"]["uniqueName"].endswith("-ONE")
    assert [one["name"] for one in shell.az("sig list")] == ["one"]
    assert shell.az("sig update -g rg --gallery-name one --set tags.a=b")["tags"] == {"a": "b"}
    named = "-g rg --gallery-name one --gallery-image-definition linux"
    words = "--publisher me --offer linux --sku gen2 --os-type Linux --hyper-v-generation V2"
    definition = shell.az(f"sig image-definition create {named} {words}")
    assert (definition["osState"], definition["hyperVGeneration"]) == ("Generalized", "V2")
    listed = shell.az("sig image-definition list -g rg --gallery-name one")
    assert [one["name"] for one in listed] == ["linux"]

    version = f"{named} --gallery-image-version"
    made = shell.az(
        f"sig image-version create {version} 1.0.0 --managed-image image1 --target-regions local westeurope=2"
    )
    regions = made["publishingProfile"]["targetRegions"]
    assert [(one["name"], one["regionalReplicaCount"]) for one in regions] == [
        ("Local", 1),
        ("West Europe", 2),
    ]
    shown = shell.az(f"sig image-version show {version} 1.0.0 --expand ReplicationStatus")
    assert shown["replicationStatus"]["aggregatedState"] == "Completed"
    account = shell.az("storage account list")[0]["name"]
    of_blob = f"--os-vhd-uri {blob_url(shell)} --os-vhd-storage-account {account}"
    shell.az(f"sig image-version create {version} 1.1.0 {of_blob} --exclude-from-latest")
    changed = shell.az(
        f"sig image-version update {version} 1.0.0 --add publishingProfile.targetRegions name=eastus"
    )
    assert len(changed["publishingProfile"]["targetRegions"]) == 3
    assert [one["name"] for one in shell.az(f"sig image-version list {named}")] == ["1.0.0", "1.1.0"]

    checked = shell.az(f"{CREATE} --validate -n vm1 --image {definition['id']}")
    assert checked["properties"]["provisioningState"] == "Succeeded"
    said = shell.refused(f"{CREATE} -n vm1 --image {made['id']} -l japaneast")
    assert "GalleryImageNotFound" in said and "is not available in japaneast region" in said
    assert "CannotDeleteResource" in shell.refused("sig delete -g rg --gallery-name one")
    shell.run(
        f"vmstamp az -- sig image-version delete {version} 1.0.0;"
        f" vmstamp az -- sig image-version delete {version} 1.1.0;"
        f" vmstamp az -- sig image-definition delete {named};"
        " vmstamp az -- sig delete -g rg --gallery-name one"
    )
    assert shell.az("sig list -g rg") == []


def test_a_platform_image_is_found_and_taken_by_its_urn(shell: Shell) -> None:
    urn = "Debian:debian-12:12-gen2:latest"
    assert "vmstamp image build debian-12" in shell.refused(f"{CREATE} -n vm1 --image {urn}", status=2)
    words = "publishers/Debian/offers/debian-12/skus/12-gen2/versions/0.20260131.754"
    given = {
        "properties": {"hyperVGeneration": "V2", "osDisk": {"osType": "Linux", "uri": blob_url(shell)}},
    }
    (shell.directory / "image.json").write_text(json.dumps(given))
    scope = "/subscriptions/{subscriptionId}/providers/Microsoft.Compute.Admin/locations/local/artifactTypes"
    url = f"{scope}/platformImage/{words}?api-version=2015-12-01-preview"
    shell.az(f"rest --method put --url '{url}' --body @image.json")

    publishers = shell.az("vm image list-publishers -l westeurope")
    handlers = ["Microsoft.Azure.Extensions", "Microsoft.OSTCExtensions"]
    assert [one["name"] for one in publishers] == ["Debian", *handlers]
    chosen = "-l westeurope -p Debian"
    assert [one["name"] for one in shell.az(f"vm image list-offers {chosen}")] == ["debian-12"]
    assert [one["name"] for one in shell.az(f"vm image list-skus {chosen} -f debian-12")] == ["12-gen2"]
    listed = shell.az("vm image list --all -p Debian -l westeurope")
    assert [one["urn"] for one in listed] == ["Debian:debian-12:12-gen2:0.20260131.754"]
    assert [one["urnAlias"] for one in shell.az("vm image list")] == ["Debian12"]
    assert shell.az(f"vm image show --urn {urn}")["hyperVGeneration"] == "V2"
    for name in (urn, "Debian12"):
        checked = shell.az(f"{CREATE} --validate -n vm1 --image {name}")
        assert checked["properties"]["provisioningState"] == "Succeeded"
