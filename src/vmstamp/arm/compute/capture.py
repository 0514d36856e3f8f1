"""Capture of a virtual machine with blob-based disks: copies of its VHDs, and a template that deploys them.

The copies lie in the account of each disk, in the container `system`, as
`Microsoft.Compute/Images/<container>/<prefix>-osDisk.<vmId>.vhd`, and the template beside that of the OS disk
as `<prefix>-vmTemplate.<vmId>.json`. With managed disks Azure refuses; an image resource is what does it
there.

Source: azure-mgmt-compute's recording of `test_virtual_machine_capture`; Packer's artifacts of azure-arm.
"""

from __future__ import annotations

import json
import re
import uuid
from typing import Final

from vmstamp.arm.catalog import Catalog
from vmstamp.arm.compute.vhds import Vhds
from vmstamp.arm.compute.vm_disk import VmDisk, read_disks
from vmstamp.arm.compute.vm_life import Life
from vmstamp.arm.faults import invalid_parameter, missing_parameter, not_allowed
from vmstamp.arm.resource import Json, Resource
from vmstamp.arm.shape import clean
from vmstamp.arm.types import Request, Work
from vmstamp.blob.records import BlobRef
from vmstamp.errors import AzureError

CONTAINER: Final = "system"
PREFIX: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,78}")
CONTAINER_NAME: Final = re.compile(r"(?!.*--)[a-z0-9](?:[a-z0-9-]{1,61}[a-z0-9])")
SCHEMA: Final = "https://schema.management.azure.com/schemas/2014-04-01-preview/VM_IP.json"


class Captures:
    """The capture action."""

    def __init__(self, catalog: Catalog, vhds: Vhds, life: Life) -> None:
        self._catalog = catalog
        self._vhds = vhds
        self._life = life

    def check(self, vm: Resource, request: Request) -> Json:
        body = clean(request.json, {"vhdPrefix": str, "destinationContainerName": str, "overwriteVhds": bool})
        for name in ("vhdPrefix", "destinationContainerName", "overwriteVhds"):
            if name not in body:
                raise missing_parameter(name)
        if not PREFIX.fullmatch(body["vhdPrefix"]):
            raise invalid_parameter(
                f"'{body['vhdPrefix']}' is not a valid captured VHD blob name prefix. A valid prefix matches "
                f"regex '^{PREFIX.pattern}$'.",
                "vhdPrefix",
            )
        if not CONTAINER_NAME.fullmatch(body["destinationContainerName"]):
            raise invalid_parameter(
                f"Container name {body['destinationContainerName']} is invalid. Container names must be 3-63 "
                "characters in length and may contain only lower-case alphanumeric characters and hyphen. "
                "Hyphen must be preceded and followed by an alphanumeric character.",
                "destinationContainerName",
            )
        disks = read_disks(vm.state)
        if disks[0].managed:
            raise not_allowed(
                "The Capture action is only supported on a Virtual Machine with blob based disks. Please "
                "use the 'Image' resource APIs to create an Image from a managed Virtual Machine."
            )
        if not vm.state["generalized"]:
            raise not_allowed("Capture operation cannot be completed because the VM is not generalized.")
        for disk in disks:
            self._check_target(_target(vm, disk, body), overwrite=body["overwriteVhds"])
        return body

    def _check_target(self, target: BlobRef, *, overwrite: bool) -> None:
        leased = self._vhds.exists(target) and self._vhds.is_leased(target)
        if self._vhds.exists(target) and (leased or not overwrite):
            url = self._vhds.url(target)
            why = (
                f"{url} has an active lease on it."
                if leased
                else f"{url} already exists and the flag to overwrite VHD blobs is not set. Either delete "
                "the blob or set the flag to overwrite VHD blobs and retry."
            )
            raise AzureError(
                409,
                "TargetDiskBlobAlreadyExists",
                f"Capture operation cannot continue because target image blob {why}",
            )

    def run(self, vm: Resource, work: Work) -> Json:
        """Copy the VHDs; the template is the operation's output, and lies beside them. Idempotent."""
        self._life.fold_all(vm)
        disks = read_disks(vm.state)
        for disk in disks:
            self._vhds.overwrite(disk.ref, _target(vm, disk, work.input))
        template = self._template(vm, disks, work.input)
        place = _place(vm, disks[0], work.input, "vmTemplate", "json")
        self._vhds.write_json(place, json.dumps(template, indent=2).encode())
        return template

    def _template(self, vm: Resource, disks: list[VmDisk], body: Json) -> Json:
        parameters: Json = {
            "vmName": {"type": "string"},
            "vmSize": {"type": "string", "defaultValue": vm.properties["hardwareProfile"]["vmSize"]},
            "adminUserName": {"type": "string"},
            "adminPassword": {"type": "securestring"},
            "networkInterfaceId": {"type": "string"},
        }
        place = f"vmcontainer{uuid.uuid4()}"
        storage: Json = {"osDisk": self._template_disk(vm, disks[0], body, place)}
        storage["dataDisks"] = [
            {"lun": disk.lun, **self._template_disk(vm, disk, body, place)} for disk in disks[1:]
        ]
        resource = {
            "apiVersion": "2015-06-15",
            "properties": {
                "hardwareProfile": {"vmSize": "[parameters('vmSize')]"},
                "storageProfile": storage,
                "osProfile": {
                    "computerName": "[parameters('vmName')]",
                    "adminUsername": "[parameters('adminUsername')]",
                    "adminPassword": "[parameters('adminPassword')]",
                },
                "networkProfile": {"networkInterfaces": [{"id": "[parameters('networkInterfaceId')]"}]},
                "diagnosticsProfile": {"bootDiagnostics": {"enabled": False}},
                "provisioningState": 0,
            },
            "type": "Microsoft.Compute/virtualMachines",
            "location": vm.location,
            "name": "[parameters('vmName')]",
        }
        return {
            "$schema": SCHEMA,
            "contentVersion": "1.0.0.0",
            "parameters": parameters,
            "resources": [resource],
        }

    def _template_disk(self, vm: Resource, disk: VmDisk, body: Json, place: str) -> Json:
        target = _target(vm, disk, body)
        role = "osDisk" if disk.lun is None else f"dataDisk-{disk.lun}"
        guid = place.removeprefix("vmcontainer")
        system = {"osType": "Linux"} if disk.lun is None else {}
        return {
            **system,
            "name": target.name.rsplit("/", 1)[-1],
            "createOption": "FromImage",
            "image": {"uri": self._vhds.url(target)},
            "vhd": {"uri": self._vhds.url(BlobRef(target.account, place, f"{role}.{guid}.vhd"))},
            "caching": "ReadWrite" if disk.lun is None else "None",
        }


def _target(vm: Resource, disk: VmDisk, body: Json) -> BlobRef:
    """Where a disk's copy goes. Azure's own guid is the VM's id, so a second capture of it collides."""
    return _place(vm, disk, body, "osDisk" if disk.lun is None else f"dataDisk-{disk.lun}", "vhd")


def _place(vm: Resource, disk: VmDisk, body: Json, role: str, kind: str) -> BlobRef:
    folder = f"Microsoft.Compute/Images/{body['destinationContainerName']}"
    name = f"{folder}/{body['vhdPrefix']}-{role}.{vm.properties['vmId']}.{kind}"
    return BlobRef(disk.ref.account, CONTAINER, name)
