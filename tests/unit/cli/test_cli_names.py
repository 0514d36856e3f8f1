"""Derived names."""

from datetime import date

import pytest

from vmstamp.cli.names import account_name, blob_name, captured_vhd_name, check_name, computer_name
from vmstamp.errors import VmstampError

DAY = date(2026, 3, 9)


@pytest.mark.parametrize(
    ("lun", "taken", "expected"),
    [
        (None, [], "web-os-2026-03-09.vhd"),
        (3, [], "web-datadisk-3-2026-03-09.vhd"),
        (None, ["web-os-2026-03-09.vhd"], "web-os-2026-03-09-1.vhd"),
        (None, ["web-os-2026-03-09.vhd", "web-os-2026-03-09-1.vhd"], "web-os-2026-03-09-2.vhd"),
        (None, ["web-os-2026-03-09-1.vhd"], "web-os-2026-03-09.vhd"),
        (0, ["web-os-2026-03-09.vhd"], "web-datadisk-0-2026-03-09.vhd"),
    ],
)
def test_captured_vhds_are_numbered_on_collision_only(
    lun: int | None, taken: list[str], expected: str
) -> None:
    assert captured_vhd_name("web", lun, DAY, taken) == expected


def test_the_derived_account_is_a_storage_account_name() -> None:
    name = account_name("1C2D3E4F-0000-0000-0000-000000000000")
    assert name == "vmstamp1c2d3e4f"
    assert 3 <= len(name) <= 24 and name.isalnum() and name.islower()


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("a.vhdx", "a.vhd"),
        ("a.b.qcow2", "a.b.vhd"),
        ("plain", "plain.vhd"),
        ("web.qcow2.xz", "web.vhd"),
        ("web.v1.tar.gz", "web.v1.vhd"),
        ("w.tgz", "w.vhd"),
        ("web.v1.tar", "web.v1.vhd"),
    ],
)
def test_an_uploaded_file_becomes_a_vhd_by_name(file: str, expected: str) -> None:
    assert blob_name(file) == expected


@pytest.mark.parametrize("name", ["web", "a", "_x", "web-1.2_3"])
def test_names_that_azure_takes_pass(name: str) -> None:
    assert check_name("VM", name) == name


@pytest.mark.parametrize("name", ["", "-web", "web-", "web.", "a/b", "a b", "x" * 65])
def test_names_that_azure_refuses_are_told_before_anything_is_made(name: str) -> None:
    with pytest.raises(VmstampError, match="not a name that Azure takes"):
        check_name("VM", name)


def test_a_host_name_has_letters_digits_and_hyphens_only() -> None:
    assert computer_name("web_1.prod") == "web-1-prod"
