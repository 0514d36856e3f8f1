"""Requests on every type of resource, and the pairs of them that test_pairs.py sends at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.client.arm.parity.row import COMPUTE, GROUP, NETWORK, STORAGE, SUBSCRIPTION
from tests.client.arm.parity.rows_galleries import KIND
from tests.client.arm.test_two_clients import Call

OTHER = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg2"
WHERE = {"location": "westeurope"}
EMPTY = {"createOption": "Empty"}
SPACE = {"addressSpace": {"addressPrefixes": ["10.0.0.0/16"]}}

One = Callable[[int], Call]  # a request of a round


def path(kind: str, n: int | str) -> str:
    """The id of a round's resource of a kind."""
    known = {
        "vnet": f"{NETWORK}/virtualNetworks/vnet{n}",
        "subnet": f"{NETWORK}/virtualNetworks/vnet{n}/subnets/default",
        "group": f"{NETWORK}/networkSecurityGroups/nsg{n}",
        "rule": f"{NETWORK}/networkSecurityGroups/nsg{n}/securityRules/ssh",
        "address": f"{NETWORK}/publicIPAddresses/ip{n}",
        "nic": f"{NETWORK}/networkInterfaces/nic{n}",
        "set": f"{COMPUTE}/availabilitySets/set{n}",
        "disk": f"{COMPUTE}/disks/disk{n}",
        "snapshot": f"{COMPUTE}/snapshots/snap{n}",
        "image": f"{COMPUTE}/images/image{n}",
        "gallery": f"{COMPUTE}/galleries/gallery{n}",
        "definition": f"{COMPUTE}/galleries/gallery{n}/images/linux",
        "version": f"{COMPUTE}/galleries/gallery{n}/images/linux/versions/1.0.0",
        "vm": f"{COMPUTE}/virtualMachines/vm{n}",
        "account": f"{STORAGE}/storageAccounts/account{n}",
        "service": f"{STORAGE}/storageAccounts/account{n}/blobServices/default",
        "container": f"{STORAGE}/storageAccounts/account{n}/blobServices/default/containers/vhds",
    }
    return known[kind]


def properties(kind: str, n: int) -> dict[str, Any]:
    """What a PUT of that resource says."""
    reference = {"id": path("subnet", n)}
    subnet = {"name": "default", "properties": {"addressPrefix": "10.0.0.0/24"}}
    image = {"osType": "Linux", "osState": "Generalized", "managedDisk": {"id": path("disk", n)}}
    configuration = {"name": "one", "properties": {"subnet": reference}}
    known: dict[str, dict[str, Any]] = {
        "vnet": {**SPACE, "subnets": [subnet]},
        "subnet": {"addressPrefix": "10.0.0.0/24"},
        "group": {},
        "rule": {
            "priority": 100,
            "direction": "Inbound",
            "access": "Allow",
            "protocol": "Tcp",
            "sourceAddressPrefix": "*",
            "sourcePortRange": "*",
            "destinationAddressPrefix": "*",
            "destinationPortRange": "22",
        },
        "address": {},
        "nic": {"ipConfigurations": [configuration]},
        "set": {"platformFaultDomainCount": 2},
        "disk": {"creationData": EMPTY, "diskSizeGB": 1, "osType": "Linux", "hyperVGeneration": "V2"},
        "snapshot": {"creationData": {"createOption": "Copy", "sourceResourceId": path("disk", n)}},
        "image": {"hyperVGeneration": "V2", "storageProfile": {"osDisk": image}},
        "gallery": {},
        "definition": KIND,
        "version": {"storageProfile": {"source": {"id": path("image", n)}}, "publishingProfile": {}},
        "account": {},
        "service": {"deleteRetentionPolicy": {"enabled": True, "days": 3}},
        "container": {},
    }
    return known[kind]


def put(kind: str, **changes: Any) -> One:
    """PUT of a round's resource, with some properties changed."""

    def make(n: int) -> Call:
        body: dict[str, Any] = {**WHERE, "properties": {**properties(kind, n), **_of_round(changes, n)}}
        if kind == "account":
            body |= {"sku": {"name": "Standard_LRS"}, "kind": "StorageV2"}
        if kind == "set":
            body |= {"sku": {"name": "Aligned"}}
        if kind in ("subnet", "rule", "service", "container"):
            del body["location"]
        return "PUT", path(kind, n), body

    return make


def machine(*, name: str = "", **changes: Any) -> One:
    """PUT of a VM of the image `base` with the round's interface; `name` tells two of one round apart."""

    def make(n: int) -> Call:
        key = {"path": "/home/azureuser/.ssh/authorized_keys", "keyData": "ssh-ed25519 AAAA azureuser"}
        linux = {"disablePasswordAuthentication": True, "ssh": {"publicKeys": [key]}}
        interfaces = [{"id": path("nic", f"{n}{name}"), "properties": {"primary": True}}]
        whole = {
            "hardwareProfile": {"vmSize": "Standard_B1ms"},
            "storageProfile": {
                "imageReference": {"id": f"{COMPUTE}/images/base"},
                "osDisk": {"createOption": "FromImage"},
            },
            "osProfile": {"computerName": "vm", "adminUsername": "azureuser", "linuxConfiguration": linux},
            "networkProfile": {"networkInterfaces": interfaces},
        }
        given = _of_round(changes, n)
        whole["storageProfile"] |= given.pop("storage", {})
        return "PUT", path("vm", f"{n}{name}"), {**WHERE, "properties": {**whole, **given}}

    return make


def _of_round(value: Any, n: int) -> Any:
    """Texts such as `<disk>` stand for the id of the round's disk."""
    if isinstance(value, dict):
        return {name: _of_round(item, n) for name, item in value.items()}
    if isinstance(value, list):
        return [_of_round(item, n) for item in value]
    if isinstance(value, str) and value.startswith("<"):
        return path(value[1:-1], n)
    return value


def delete(kind: str) -> One:
    return lambda n: ("DELETE", path(kind, n), None)


def post(kind: str, action: str, body: Any = None) -> One:
    return lambda n: ("POST", f"{path(kind, n)}/{action}", _of_round(body, n))


def patch(kind: str, body: Any) -> One:
    return lambda n: ("PATCH", path(kind, n), _of_round(body, n))


def move(*kinds: str) -> One:
    def make(n: int) -> Call:
        body = {"resources": [path(kind, n) for kind in kinds], "targetResourceGroup": OTHER}
        return "POST", f"{GROUP}/moveResources", body

    return make


def nic(name: str) -> One:
    """PUT of another interface of the round."""
    return lambda n: ("PUT", path("nic", f"{n}{name}"), {**WHERE, "properties": properties("nic", n)})


def nic_with(name: str, **more: Any) -> One:
    """PUT of an interface with something more in its configuration."""

    def make(n: int) -> Call:
        inner = {"subnet": {"id": path("subnet", n)}, **_of_round(more, n)}
        configurations = [{"name": "one", "properties": inner}]
        return "PUT", path("nic", f"{n}{name}"), {**WHERE, "properties": {"ipConfigurations": configurations}}

    return make


DATA = {"dataDisks": [{"lun": 0, "createOption": "Attach", "managedDisk": {"id": "<disk>"}}]}
ATTACH = patch("vm", {"properties": {"storageProfile": DATA}})
DETACH = patch("vm", {"properties": {"storageProfile": {"dataDisks": []}}})
OPEN = post("disk", "beginGetAccess", {"access": "Read", "durationInSeconds": 600})
NIC = (put("vnet"), put("nic"))
VM = (*NIC, machine())
WITH_DISK = (*VM, put("disk"))
TWO = (*NIC, nic("b"), put("disk"))
IMAGE = (put("disk"), put("image"))
DEFINITION = (*IMAGE, put("gallery"), put("definition"))
FROM_IMAGE = {"imageReference": {"id": "<image>"}, "osDisk": {"createOption": "FromImage"}}
FROM_VERSION = {"imageReference": {"id": "<version>"}, "osDisk": {"createOption": "FromImage"}}

# A kind that clients put -> what there is before.
BEFORE: dict[str, tuple[One, ...]] = {
    "vnet": (),
    "subnet": (put("vnet"),),
    "group": (),
    "rule": (put("group"),),
    "address": (),
    "nic": (put("vnet"),),
    "set": (),
    "disk": (),
    "snapshot": (put("disk"),),
    "image": (put("disk"),),
    "gallery": (),
    "definition": (put("gallery"),),
    "version": DEFINITION,
    "account": (),
    "service": (put("account"),),
    "container": (put("account"),),
}
UNDELETABLE = ("service",)

# A name -> what there is before, and the two requests.
PAIRS: dict[str, tuple[tuple[One, ...], One, One]] = {
    **{f"{kind}: PUT and PUT": (before, put(kind), put(kind)) for kind, before in BEFORE.items()},
    **{
        f"{kind}: PUT and DELETE": ((*before, put(kind)), put(kind), delete(kind))
        for kind, before in BEFORE.items()
        if kind not in UNDELETABLE
    },
    "vm: PUT and PUT": (NIC, machine(), machine()),
    "vm: PUT and DELETE": (VM, machine(), delete("vm")),
    "vm: deallocate and DELETE": (VM, post("vm", "deallocate"), delete("vm")),
    "vm: restart and deallocate": (VM, post("vm", "restart"), post("vm", "deallocate")),
    "vm: PATCH and DELETE": (VM, patch("vm", {"tags": {"a": "b"}}), delete("vm")),
    "vm: PATCH and move": ((*VM,), patch("vm", {"tags": {"a": "b"}}), move("vm")),
    # What two want, or one wants and another takes away
    "an interface in two machines": (
        (*NIC,),
        machine(),
        lambda n: ("PUT", path("vm", f"{n}b"), machine()(n)[2]),
    ),
    "a disk in two machines": (
        (*TWO, machine(), machine(name="b")),
        ATTACH,
        lambda n: ("PATCH", path("vm", f"{n}b"), ATTACH(n)[2]),
    ),
    "a disk attached and deleted": (WITH_DISK, ATTACH, delete("disk")),
    "a disk attached and opened": (WITH_DISK, ATTACH, OPEN),
    "a disk attached and grown": (
        WITH_DISK,
        ATTACH,
        patch("disk", {"properties": {"diskSizeGB": 2}}),
    ),
    "a disk attached and moved": (WITH_DISK, ATTACH, move("disk")),
    "a disk detached and deleted": ((*WITH_DISK, ATTACH), DETACH, delete("disk")),
    "a disk detached and opened": ((*WITH_DISK, ATTACH), DETACH, OPEN),
    "a disk opened and deleted": ((put("disk"),), OPEN, delete("disk")),
    "a disk closed and deleted": ((put("disk"), OPEN), post("disk", "endGetAccess"), delete("disk")),
    "a snapshot of a disk that is deleted": ((put("disk"),), put("snapshot"), delete("disk")),
    "a snapshot of a disk that is grown": (
        (put("disk"),),
        put("snapshot"),
        patch("disk", {"properties": {"diskSizeGB": 2}}),
    ),
    "an image of a disk that is deleted": ((put("disk"),), put("image"), delete("disk")),
    "a version of an image that is deleted": (DEFINITION, put("version"), delete("image")),
    "a version in a definition that is deleted": (DEFINITION, put("version"), delete("definition")),
    "a definition in a gallery that is deleted": ((put("gallery"),), put("definition"), delete("gallery")),
    "a machine of an image that is deleted": (
        (*NIC, *IMAGE),
        machine(storage=FROM_IMAGE),
        delete("image"),
    ),
    "a machine of a version that is deleted": (
        (*NIC, *DEFINITION, put("version")),
        machine(storage=FROM_VERSION),
        delete("version"),
    ),
    "a machine on an interface that is deleted": (NIC, machine(), delete("nic")),
    "a machine in a set that is deleted": (
        (*NIC, put("set")),
        machine(availabilitySet={"id": "<set>"}),
        delete("set"),
    ),
    "an interface in a subnet that is deleted": ((put("vnet"),), put("nic"), delete("subnet")),
    "an interface in a network that is deleted": ((put("vnet"),), put("nic"), delete("vnet")),
    "an interface in a network that is moved": ((put("vnet"),), put("nic"), move("vnet")),
    "two interfaces get addresses": ((put("vnet"),), nic("a"), nic("b")),
    "a public address of two interfaces": (
        (put("vnet"), put("address")),
        nic_with("a", publicIPAddress={"id": "<address>"}),
        nic_with("b", publicIPAddress={"id": "<address>"}),
    ),
    "a public address that is deleted": (
        (put("vnet"), put("address")),
        nic_with("", publicIPAddress={"id": "<address>"}),
        delete("address"),
    ),
    "a private address of two interfaces": (
        (put("vnet"),),
        nic_with("a", privateIPAllocationMethod="Static", privateIPAddress="10.0.0.9"),
        nic_with("b", privateIPAllocationMethod="Static", privateIPAddress="10.0.0.9"),
    ),
    "a group on an interface that is deleted": (
        (put("vnet"), put("group")),
        put("nic", networkSecurityGroup={"id": "<group>"}),
        delete("group"),
    ),
    "a group on a subnet that is deleted": (
        (put("vnet"), put("group")),
        put("subnet", networkSecurityGroup={"id": "<group>"}),
        delete("group"),
    ),
    "a container in an account that is deleted": ((put("account"),), put("container"), delete("account")),
    "a container that is deleted twice": (
        (put("account"), put("container")),
        delete("container"),
        delete("container"),
    ),
    "a service of an account that is deleted": ((put("account"),), put("service"), delete("account")),
    "a container in an account that is moved": ((put("account"),), put("container"), move("account")),
    "a lease on a container that is deleted": (
        (put("account"), put("container")),
        post("container", "lease", {"action": "Acquire", "leaseDuration": -1}),
        delete("container"),
    ),
    "keys made anew in an account that is deleted": (
        (put("account"),),
        post("account", "regenerateKey", {"keyName": "key1"}),
        delete("account"),
    ),
}
