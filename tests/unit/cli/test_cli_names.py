"""Derived names."""

from datetime import date

import pytest

from vmstamp.cli.names import (
    account_name,
    blob_name,
    captured_vhd_name,
    check_account,
    check_name,
    computer_name,
    parse_blob_name,
)
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


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("web.vhd", ("vhds", "web.vhd")),
        ("images/web.vhd", ("images", "web.vhd")),
        ("images/2026/web.vhd", ("images", "2026/web.vhd")),
        ("$root/web.vhd", ("$root", "web.vhd")),
    ],
)
def test_a_blob_is_named_by_its_container_and_its_path(wanted: str, expected: tuple[str, str]) -> None:
    assert parse_blob_name(wanted) == expected


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("/tmp/web.vhd", "a path on this computer"),
        ("./web.vhd", "a path on this computer"),
        ("b/web.vhd", "'b' is not a name that Azure takes for a container"),
        ("My-Images/web.vhd", "'My-Images' is not a name"),
        ("a--b/web.vhd", "'a--b' is not a name"),
        ("abc-/web.vhd", "'abc-' is not a name"),
        (f"{'a' * 64}/web.vhd", "is not a name"),
        ("/web.vhd", "a path on this computer"),
        ("images/", "a blob's name has 0 characters"),
        (f"images/{'x' * 1025}", "a blob's name has 1025 characters"),
    ],
)
def test_a_name_that_azure_does_not_take_is_told_before_anything_is_made(wanted: str, said: str) -> None:
    with pytest.raises(VmstampError) as error:
        parse_blob_name(wanted)
    assert said in error.value.message


@pytest.mark.parametrize("name", ["ab", "my-account", "Upper", "x" * 25, ""])
def test_a_storage_account_is_named_as_azure_takes_it(name: str) -> None:
    with pytest.raises(VmstampError, match="storage account"):
        check_account(name)
