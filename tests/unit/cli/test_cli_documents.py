"""The documents that the flows send and read."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from vmstamp.cli.arm_client import api_version
from vmstamp.cli.capture import disks_of
from vmstamp.cli.captured_disks import pause
from vmstamp.cli.demo import check_distinct
from vmstamp.cli.generalize import require_generalized
from vmstamp.cli.images import VmSource, vhds_of
from vmstamp.cli.platform_images import version_of
from vmstamp.cli.run_commands import parse_told, read_script
from vmstamp.cli.trial import Login
from vmstamp.cli.vms import VmRequest, is_generalized, status_of, timeline_of, timeline_rows, vm_body
from vmstamp.errors import AzureError, VmstampError


def image(*luns: int) -> VmSource:
    return VmSource({"id": "/img"}, luns)


def vm(*statuses: str, stages: tuple[tuple[str, str], ...] = ()) -> dict[str, Any]:
    timeline = {
        "name": "vmstamp.timeline",
        "substatuses": [
            {"code": f"Timeline/{name}", "displayStatus": name, "message": "", "time": at}
            for name, at in stages
        ],
    }
    view = {"statuses": [{"code": code} for code in statuses], "extensions": [timeline]}
    return {"name": "web", "properties": {"instanceView": view}}


def test_a_vm_gets_its_image_user_key_and_interface() -> None:
    body = vm_body("local", VmRequest("web", "g", "img", "me", "ssh-ed25519 A"), image(), "/nic")
    properties = body["properties"]
    assert body["location"] == "local"
    assert properties["storageProfile"]["imageReference"] == {"id": "/img"}
    assert properties["networkProfile"]["networkInterfaces"][0]["id"] == "/nic"
    assert properties["osProfile"]["computerName"] == "web"
    keys = properties["osProfile"]["linuxConfiguration"]["ssh"]["publicKeys"]
    assert keys == [{"path": "/home/me/.ssh/authorized_keys", "keyData": "ssh-ed25519 A"}]


def test_a_vm_of_a_specialized_image_gets_no_provisioning_data() -> None:
    body = vm_body("local", VmRequest("web", "g", "img", "", ""), image(), "/nic")
    assert "osProfile" not in body["properties"]


def test_a_platform_image_has_its_version_of_the_minute_that_it_was_built_in() -> None:
    assert version_of(datetime(2026, 1, 31, 12, 34, 56, tzinfo=UTC)) == "0.20260131.754"


def test_new_data_disks_take_the_luns_that_the_image_leaves_free() -> None:
    request = VmRequest("web", "g", "img", "me", "k", data_disk_sizes=(4, 8))
    disks = vm_body("local", request, image(0, 2), "/nic")["properties"]["storageProfile"]["dataDisks"]
    assert [(one["lun"], one["createOption"], one.get("diskSizeGB")) for one in disks] == [
        (0, "FromImage", None),
        (2, "FromImage", None),
        (1, "Empty", 4),
        (3, "Empty", 8),
    ]


def test_the_instance_view_tells_power_and_generalized() -> None:
    found = vm("ProvisioningState/succeeded", "PowerState/deallocated", "OSState/generalized")
    assert status_of(found, "PowerState") == "deallocated"
    assert is_generalized(found)
    require_generalized(found)


def test_capture_of_a_vm_that_is_not_generalized_is_refused_in_azures_words() -> None:
    with pytest.raises(AzureError, match="to be Generalized") as caught:
        require_generalized(vm("PowerState/running"))
    assert (caught.value.status, caught.value.code) == (409, "OperationNotAllowed")


def test_the_timeline_is_ordered_and_counted_from_its_first_stage() -> None:
    found = vm(stages=(("ready", "2026-01-02T00:01:30.5Z"), ("started", "2026-01-02T00:00:00+00:00")))
    stages = timeline_of(found)
    assert stages[0].at == datetime(2026, 1, 2, tzinfo=UTC)
    assert [row[:2] for row in timeline_rows(stages)] == [["started", "     0.0 s"], ["ready", "    90.5 s"]]


def test_the_disks_of_a_vm_and_of_an_image_come_os_first_then_by_lun() -> None:
    profile = {
        "osDisk": {"managedDisk": {"id": "/os"}},
        "dataDisks": [{"lun": 5, "managedDisk": {"id": "/d5"}}, {"lun": 0, "managedDisk": {"id": "/d0"}}],
    }
    assert disks_of({"properties": {"storageProfile": profile}}) == [(None, "/os"), (0, "/d0"), (5, "/d5")]
    data = [{"lun": 1, "blobUri": "http://h/a/vhds/d1.vhd"}]
    of_blobs = {"osDisk": {"blobUri": "http://h/a/vhds/os.vhd"}, "dataDisks": data}
    assert vhds_of({"properties": {"storageProfile": of_blobs}}) == [
        "http://h/a/vhds/os.vhd",
        "http://h/a/vhds/d1.vhd",
    ]


@pytest.mark.parametrize(
    ("path", "version"),
    [
        ("/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/snapshots/x", "2024-03-02"),
        ("/subscriptions/s/resourceGroups/g", "2024-03-01"),
        (
            "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/disks/d/beginGetAccess",
            "2024-03-02",
        ),
        ("/subscriptions/s/providers/Microsoft.Compute/virtualMachines", "2024-07-01"),
        ("/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/networkInterfaces/n", "2024-05-01"),
    ],
)
def test_each_path_gets_the_api_version_of_its_type(path: str, version: str) -> None:
    assert api_version(path) == version


def login(name: str, machine: str, key: str) -> Login:
    return Login(name, "u", "k", machine, key, "cloud-init", None)


def test_two_machines_with_one_identity_are_noticed() -> None:
    check_distinct([login("a", "1", "x"), login("b", "2", "y")])
    with pytest.raises(VmstampError, match="machine id"):
        check_distinct([login("a", "1", "x"), login("b", "1", "y")])


@pytest.mark.parametrize(
    ("headers", "looks", "seconds"),
    [
        ({}, 0, 0.25),
        ({}, 3, 2.0),
        ({}, 2000, 15.0),
        ({"Retry-After": "7"}, 0, 7.0),
        ({"Retry-After": "x"}, 1, 0.5),
    ],
)
def test_a_copy_is_looked_at_ever_less_often_or_as_its_service_asks(
    headers: dict[str, str], looks: int, seconds: float
) -> None:
    assert pause(headers, looks) == seconds


def test_what_a_run_command_wrote_is_taken_out_of_the_handlers_message() -> None:
    status = {
        "code": "ProvisioningState/succeeded",
        "message": "Enable succeeded: \n[stdout]\na\nb\n\n[stderr]\nc\n",
    }
    told = parse_told({"value": [status]})
    assert (told.stdout, told.stderr, told.statuses) == ("a\nb\n", "c\n", (status,))


def test_an_older_handler_tells_each_output_in_a_status_of_its_own() -> None:
    statuses = [
        {"code": "ComponentStatus/StdOut/succeeded", "message": "out"},
        {"code": "ComponentStatus/StdErr/succeeded", "message": "err"},
    ]
    told = parse_told({"value": statuses})
    assert (told.stdout, told.stderr) == ("out", "err")


def test_a_script_is_given_as_text_or_by_its_file(tmp_path: Path) -> None:
    (tmp_path / "do.sh").write_text("echo file\n")
    assert read_script("echo text") == "echo text"
    assert read_script(f"@{tmp_path / 'do.sh'}") == "echo file\n"
    with pytest.raises(VmstampError, match="the script cannot be read"):
        read_script("@absent.sh")
