"""ARM ids."""

from __future__ import annotations

import pytest

from vmstamp.resource_id import ResourceId, parse_resource_id

VM = "/subscriptions/S/resourceGroups/Rg/providers/Microsoft.Compute/virtualMachines/Vm"


@pytest.mark.parametrize(
    "text",
    [
        "/subscriptions/S",
        "/subscriptions/S/resourceGroups/Rg",
        VM,
        "/subscriptions/S/resourceGroups/Rg/providers/Microsoft.Network/virtualNetworks/v/subnets/s",
        "/subscriptions/S/providers/Microsoft.Compute/locations/westeurope",
    ],
)
def test_id_comes_back_as_it_was_written(text: str) -> None:
    assert str(parse_resource_id(text)) == text


def test_ids_are_compared_without_case_and_slashes() -> None:
    other = "/SUBSCRIPTIONS/s//resourcegroups/RG/providers/microsoft.compute/virtualmachines/VM/"
    assert parse_resource_id(other).key == parse_resource_id(VM).key


@pytest.mark.parametrize(
    "text", ["", "/", "x", "/subscriptions", VM + "/extensions", "/subscriptions/S/other/x"]
)
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_resource_id(text)


def test_parts_of_an_id() -> None:
    subnet = parse_resource_id(VM).sibling("Microsoft.Network", "virtualNetworks", "v").child("subnets", "s")
    assert (subnet.type, subnet.name) == ("Microsoft.Network/virtualNetworks/subnets", "s")
    assert subnet.parent.type == "Microsoft.Network/virtualNetworks"
    assert subnet.parent.parent == ResourceId("S", "Rg")
    assert subnet.group_key == "/subscriptions/s/resourcegroups/rg"
    assert ResourceId("S", "Rg").group_key == ""
