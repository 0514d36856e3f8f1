"""Rules of what goes along with a virtual machine and with a group, and what stays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import requests

from tests.client.arm.parity.machines import EMPTY, VM, put, settle
from tests.client.arm.parity.row import COMPUTE, GROUP, NETWORK, Row, ask

TITLE: Final = "Virtual machines: deletion"

ADDRESS: Final = f"{NETWORK}/publicIPAddresses/ip1"
OLD: Final = "2020-12-01"  # the last api-version without deleteOption
KINDS: Final = {
    "Microsoft.Compute/disks",
    "Microsoft.Network/networkInterfaces",
    "Microsoft.Network/publicIPAddresses",
}


def _body(arm: Any, option: str = "", disk: str = "", interface: str = "", address: str = "") -> Any:
    """A VM with a data disk `d0` and a public address; the options of each part, or of all of them."""
    standard = {"sku": {"name": "Standard"}, "properties": {"publicIPAllocationMethod": "Static"}}
    assert ask(arm, "PUT", ADDRESS, {"location": "westeurope", **standard}).ok
    properties = _option(address or option)
    public = {"id": ADDRESS, **({"properties": properties} if properties else {})}
    body = arm.vm_body(arm.image(), arm.nic(publicIPAddress=public))
    storage = body["properties"]["storageProfile"]
    storage["osDisk"] |= _option(option)
    storage["dataDisks"] = [{**EMPTY, "lun": 0, "name": "d0", **_option(disk or option)}]
    (link,) = body["properties"]["networkProfile"]["networkInterfaces"]
    link["properties"] |= _option(interface or option)
    return body


def _option(option: str) -> dict[str, str]:
    return {"deleteOption": option} if option else {}


def _deleted(*leaves: str, **options: str) -> Callable[[Any], requests.Response]:
    """The answer to the DELETE of a VM of which these are left."""

    def send(arm: Any) -> requests.Response:
        assert put(arm, _body(arm, **options)).ok
        settle(arm)
        return _delete(arm, *leaves)

    return send


def _delete(arm: Any, *leaves: str) -> requests.Response:
    answer = ask(arm, "DELETE", VM)
    settle(arm)
    found = [one.name for one in arm.resources.resources.list_by_resource_group("rg") if one.type in KINDS]
    assert {"os" if "_OsDisk_" in name else name for name in found} == set(leaves)
    return answer


def _by_an_old_version(change: Callable[[Any], None]) -> Callable[[Any], requests.Response]:
    """A PUT with an option, at an api-version that did not have it."""

    def send(arm: Any) -> requests.Response:
        body = _body(arm)
        change(body["properties"])
        return put(arm, body, api=OLD)

    return send


def _of_the_data_disk(properties: Any) -> None:
    properties["storageProfile"]["dataDisks"][0]["deleteOption"] = "Delete"


def _of_the_os_disk(properties: Any) -> None:
    properties["storageProfile"]["osDisk"]["deleteOption"] = "Delete"


def _of_the_interface(properties: Any) -> None:
    properties["networkProfile"]["networkInterfaces"][0]["properties"]["deleteOption"] = "Delete"


def _changed_option(arm: Any) -> requests.Response:
    assert put(arm, _body(arm)).ok
    settle(arm)
    disk = {"osDisk": {"deleteOption": "Delete", "createOption": "FromImage"}}
    assert ask(arm, "PATCH", VM, {"properties": {"storageProfile": disk}}).ok
    settle(arm)
    return _delete(arm, "d0", "nic1", "ip1")


def _unknown_option(arm: Any) -> requests.Response:
    return put(arm, _body(arm, disk="Keep"))


def _whole_group(arm: Any) -> requests.Response:
    assert put(arm, _body(arm)).ok
    settle(arm)
    accepted = ask(arm, "DELETE", GROUP)
    settle(arm)
    assert ask(arm, "GET", accepted.headers["Location"]).status_code == 200
    assert not arm.host.up
    return ask(arm, "GET", GROUP)


def _group_with_an_open_access(arm: Any) -> requests.Response:
    disk = {"location": "westeurope", "properties": {"creationData": {"createOption": "Empty"}}}
    disk["properties"]["diskSizeGB"] = 1  # type: ignore[index]
    ask(arm, "PUT", f"{COMPUTE}/disks/d1", disk)
    settle(arm)
    ask(arm, "POST", f"{COMPUTE}/disks/d1/beginGetAccess", {"access": "Read", "durationInSeconds": 600})
    settle(arm)
    accepted = ask(arm, "DELETE", GROUP)
    settle(arm)
    assert ask(arm, "GET", accepted.headers["Location"]).status_code == 409
    return ask(arm, "GET", f"{COMPUTE}/disks/d1")


MEMBER: Final = "Could not find member 'deleteOption' on object of type"

ROWS: Final = (
    Row("no deleteOption: all stay", "D", _deleted("os", "d0", "nic1", "ip1"), 202),
    Row("deleteOption Detach: all stay", "D", _deleted("os", "d0", "nic1", "ip1", option="Detach"), 202),
    Row("deleteOption Delete: all go", "D", _deleted(option="Delete"), 202),
    Row(
        "deleteOption Delete of all but a data disk", "D", _deleted("d0", option="Delete", disk="Detach"), 202
    ),
    Row(
        "deleteOption Delete of an interface whose address is Detach",
        "D",
        _deleted("os", "d0", "ip1", interface="Delete", address="Detach"),
        202,
    ),
    Row("a deleteOption that is changed later", "D", _changed_option, 202),
    Row("a deleteOption that there is not", "D", _unknown_option, 400),
    Row(
        "deleteOption of a data disk before api-version 2021-03-01",
        "DI",
        _by_an_old_version(_of_the_data_disk),
        400,
        "BadRequest",
        f"{MEMBER} 'DataDisk'. Path 'properties.storageProfile.dataDisks[0].deleteOption'...",
        "vm.properties.storageProfile.dataDisks[0].deleteOption",
    ),
    Row(
        "deleteOption of the OS disk before api-version 2021-03-01",
        "D",
        _by_an_old_version(_of_the_os_disk),
        400,
        "BadRequest",
        f"{MEMBER} 'OSDisk'. Path 'properties.storageProfile.osDisk.deleteOption'...",
    ),
    Row(
        "deleteOption of an interface before api-version 2021-03-01",
        "D",
        _by_an_old_version(_of_the_interface),
        400,
        "BadRequest",
        f"{MEMBER} ...",
    ),
    Row(
        "DELETE of a group: a running VM, its disks, interfaces and networks go in this order",
        "I",
        _whole_group,
        404,
        "ResourceGroupNotFound",
    ),
    Row(
        "DELETE of a group keeps a disk with an open access",
        "I",
        _group_with_an_open_access,
        200,
        holds=lambda reply: reply.json()["properties"]["diskState"] == "ActiveSAS",
    ),
)
