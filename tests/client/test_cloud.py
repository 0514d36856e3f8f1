"""The same commands in a cloud: a stamp's HTTPS door by azure-identity; with --azure, Azure itself."""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client.cloud_door import CloudDoor, azure_itself, live_stamp
from vmstamp.cli.images import IMAGES
from vmstamp.cli.managed_disks import DISKS
from vmstamp.cli.names import CONTAINER
from vmstamp.cli.storage import ACCOUNTS, find_account
from vmstamp.transfer.blobs import page_ranges

pytestmark = pytest.mark.timeout(3600)
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def azure(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudDoor]:
    root = tmp_path_factory.mktemp("cloud")
    with (azure_itself if request.config.getoption("--azure") else live_stamp)(root) as door:
        yield door


@pytest.fixture(scope="module")
def disk(azure: CloudDoor) -> Path:
    path = azure.root / "disk.raw"
    with path.open("wb") as file:
        file.truncate(40 * MIB)
        file.seek(8 * MIB)
        file.write(os.urandom(MIB))
    return path


@pytest.fixture(scope="module")
def blob(azure: CloudDoor, disk: Path) -> str:
    """The URL of the disk in the run's own account."""
    return str(azure.json("upload", disk, "web.vhd", "--overwrite")["url"])


def test_a_plan_makes_nothing_and_tells_what_costs(azure: CloudDoor, disk: Path) -> None:
    planned = azure.json("upload", disk, "--plan")
    assert planned["cloud"] == azure.env["VMSTAMP_CLOUD"]
    steps = [(step["action"], step["what"].split()[0], step["cost"]) for step in planned["steps"]]
    assert steps == [
        ("make", "resource", "free"),
        ("make", "storage", "free"),
        ("make", "container", "free"),
        ("upload", "blob", "storage by GiB-month"),
    ]
    planned = azure.json("upload", disk, "--as", "disk", "data", "--plan")
    assert [step["action"] for step in planned["steps"]] == ["make", "make", "grant", "upload", "revoke"]
    assert planned["costs"] == ["storage by GiB-month"]
    assert "nothing was changed" in azure("upload", disk, "--plan").text
    assert azure.find_group() is None


def test_what_is_made_on_the_way_is_tagged_and_lies_in_the_region(azure: CloudDoor, blob: str) -> None:
    group = azure.find_group()
    account = azure.find(ACCOUNTS, azure.env["VMSTAMP_STORAGE_ACCOUNT"])
    assert group is not None and account is not None
    assert account["name"] in blob
    for made in (group, account):
        assert made["tags"] == {"created-by": "vmstamp"}
        assert made["location"] == azure.env["VMSTAMP_LOCATION"]


def test_what_is_made_on_the_way_is_told(azure: CloudDoor, disk: Path, blob: str) -> None:
    said = azure("upload", disk, "--as", "disk", "told").text
    assert "made managed disk told" in said
    planned = azure("upload", disk, "web.vhd", "--plan").text
    assert f"use     storage account {azure.env['VMSTAMP_STORAGE_ACCOUNT']}" in planned
    assert "one is there" in planned


def test_an_image_is_planned_made_shown_and_deleted(azure: CloudDoor, blob: str) -> None:
    words = ("image", "create", "web", "--source", blob, "--generation", "2")
    planned = azure.json(*words, "--plan")
    assert [step["what"] for step in planned["steps"]] == [f"resource group {azure.group}", "image web"]
    assert planned["steps"][1]["cost"] == "storage by GiB-month"
    assert azure.find(IMAGES, "web") is None
    azure(*words)
    assert [one["name"] for one in azure.json("image", "list")] == ["web"]
    found = azure.json("image", "show", "web")
    assert found["tags"]["created-by"] == "vmstamp"
    assert found["location"] == azure.env["VMSTAMP_LOCATION"]
    assert "exists already" in azure.error(*words, "--plan")["message"]
    azure("image", "delete", "web")
    assert azure.find(IMAGES, "web") is None


def test_a_vm_is_planned_by_what_each_of_its_parts_costs(azure: CloudDoor, blob: str) -> None:
    azure("image", "create", "plan", "--source", blob, "--generation", "2")
    planned = azure.json("vm", "create", "web-1", "--image", "plan", "--data-disk-size", "4", "--plan")
    made = {step["what"]: step["cost"] for step in planned["steps"] if step["action"] == "make"}
    assert made == {
        "virtual network vmstamp-vnet": "free",
        "public IP address web-1-ip": "address by hour",
        "network security group web-1-nsg": "free",
        "network interface web-1-nic": "free",
        "VM web-1": "compute by hour",
        "OS disk of VM web-1": "storage by GiB-month",
        "data disk on LUN 0": "storage by GiB-month",
    }
    assert planned["costs"] == ["address by hour", "compute by hour", "storage by GiB-month"]
    assert azure.json("vm", "list") == []
    assert azure.find("Microsoft.Network/virtualNetworks", "vmstamp-vnet") is None
    azure("image", "delete", "plan")


def test_a_plan_refuses_a_size_and_a_region_that_are_not_there(azure: CloudDoor, blob: str) -> None:
    azure("image", "create", "refused", "--source", blob, "--generation", "2")
    words = ("vm", "create", "web-1", "--image", "refused", "--plan")
    error = azure.error(*words, "--size", "Standard_B1mss")
    assert "there is no VM size 'Standard_B1mss'" in error["message"]
    assert "Standard_B1ms" in error["hint"]
    error = azure.error(*words, "--location", "westeurop")
    assert "there is no region 'westeurop'" in error["message"] and "westeurope" in error["hint"]
    assert "there is no resource group no-such-group" in azure("vm", "list", "-g", "no-such-group").text
    azure("image", "delete", "refused")


def test_disks_are_filled_copied_and_come_back(azure: CloudDoor, disk: Path) -> None:
    done = azure.json("upload", disk, "--as", "disk", "data-1")
    assert done["disk"]["properties"]["diskState"] == "Unattached"
    planned = azure.json("copy", "disk:data-1", "backup/one.vhd", "--plan")
    assert [step["action"] for step in planned["steps"]] == ["use", "make", "grant", "copy", "revoke"]
    azure("copy", "disk:data-1", "backup/one.vhd")
    found = azure.find(DISKS, "data-1")
    assert found is not None and found["properties"]["diskState"] == "Unattached"
    azure("verify", disk, "backup/one.vhd")
    costs = azure.json("copy", "backup/one.vhd", "backup/two.vhd", "--plan")["costs"]
    assert [one["cost"] for one in costs] == ["storage by GiB-month"]
    azure("download", "backup/one.vhd", azure.root / "back.vhdx")
    azure("disk", "compare", disk, azure.root / "back.vhdx")


def test_an_interrupted_upload_tells_what_stays_and_costs_and_continues(azure: CloudDoor, blob: str) -> None:
    large, said = azure.root / "large.raw", azure.root / "large.said"
    large.write_bytes(os.urandom(MIB) * 600)
    with azure.arm() as arm:
        account = find_account(arm, azure.env["VMSTAMP_STORAGE_ACCOUNT"])
    assert account is not None
    process = azure.begin("upload", large, said=said)
    deadline = time.monotonic() + 600
    with account.blob(CONTAINER, "large.vhd") as begun:
        while not (begun.exists() and page_ranges(begun).length > 20 * MIB):
            assert process.poll() is None, "it was too quick to be interrupted"
            assert time.monotonic() < deadline
            time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    told = said.read_text()
    assert "the same command continues" in told
    assert "left: blob large.vhd (storage by GiB-month); to delete it: az storage blob delete" in told
    assert azure.json("upload", large)["resumed"] > 0


def test_a_copy_to_an_account_that_is_not_there_is_planned_as_it_is_done(azure: CloudDoor, blob: str) -> None:
    new = f"new{azure.env['VMSTAMP_STORAGE_ACCOUNT'].removeprefix('vmstamptest')}"
    planned = json.loads(
        azure("copy", blob, "bbb/new.vhd", "--plan", "--json", VMSTAMP_STORAGE_ACCOUNT=new).stdout
    )
    assert [(step["action"], step["what"]) for step in planned["place"]] == [
        ("use", f"resource group {azure.group}"),
        ("make", f"storage account {new}"),
        ("make", "container bbb"),
    ]
    assert planned["costs"][0]["cost"] == "storage by GiB-month"
    assert azure.find(ACCOUNTS, new) is None
    done = json.loads(azure("copy", blob, "bbb/new.vhd", "--json", VMSTAMP_STORAGE_ACCOUNT=new).stdout)
    assert (done["way"], done["url"]) == (planned["way"], planned["destination"])


@pytest.mark.parametrize(
    "words",
    [("up",), ("down",), ("demo",), ("try", "disk.raw"), ("env",), ("az", "--", "vm", "list")],
    ids=" ".join,
)
def test_what_only_a_stamp_has_is_refused_by_name(azure: CloudDoor, words: tuple[str, ...]) -> None:
    said = azure(*words, status=1).stderr.decode()
    assert said.startswith(f"error: vmstamp {words[0]}") and "is of a stamp only" in said
    assert "hint: " in said
    assert not (azure.root / "none").exists(), "nothing is made in a home"


def test_status_tells_where_commands_act(azure: CloudDoor) -> None:
    found = azure.json("status")
    assert found["cloud"] == azure.env["VMSTAMP_CLOUD"] and found["arm"].startswith("https://")
    assert azure.env.get("AZURE_CLIENT_SECRET", "no secret") not in azure("status").text


def test_an_unknown_subscription_is_azures_not_found(azure: CloudDoor) -> None:
    error = azure.error("vm", "list", "--subscription", "11111111-2222-3333-4444-555555555555")
    assert error["code"] in ("SubscriptionNotFound", "InvalidSubscriptionId")
    error = azure.error("vm", "list", "--subscription", "no such name")
    assert (error["code"], error["message"]) == ("CloudError", "no subscription is named 'no such name'")
    assert error["hint"].startswith("there are: ")


def test_nobody_signed_in_is_said_with_the_mend(azure: CloudDoor) -> None:
    error = azure.error("vm", "list", AZURE_TENANT_ID="adfs", AZURE_CLIENT_ID="x", AZURE_CLIENT_SECRET="no")
    assert error["code"] == "CloudError"
    assert error["message"].startswith("nobody is signed in to https://")
    assert "az login" in error["hint"]
