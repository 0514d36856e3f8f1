"""The Instance Metadata Service's instance document. Pure.

Property names and nesting: Microsoft Learn, "Azure Instance Metadata Service for virtual machines". Every
dated version from 2017-08-01 on is taken; a version's newer properties are harmless to older readers.
"""

from __future__ import annotations

from typing import Any

from vmstamp.fabric.instance import DiskFacts, Instance, Nic, bare_mac

# Shown by /metadata/versions and by the refusal of another version.
VERSIONS = (
    "2017-03-01", "2017-04-02", "2017-08-01", "2017-10-01", "2017-12-01", "2018-02-01", "2018-04-02",
    "2018-10-01", "2019-02-01", "2019-03-11", "2019-04-30", "2019-06-01", "2019-06-04", "2019-08-01",
    "2019-08-15", "2019-11-01", "2020-06-01", "2020-07-15", "2020-09-01", "2020-10-01", "2020-12-01",
    "2021-01-01", "2021-02-01", "2021-03-01", "2021-05-01", "2021-10-01", "2021-11-01", "2021-11-15",
    "2021-12-13", "2023-07-01", "2023-11-15", "2024-03-15", "2024-07-17", "2025-04-07",
)  # fmt: skip
# Sent by cloud-init, and taken by Azure though it lists them nowhere.
UNLISTED_VERSIONS = ("2021-08-01",)
GIB = 1 << 30
ENVIRONMENT = "AzurePublicCloud"


def instance_document(instance: Instance, *, extended: bool) -> dict[str, Any]:
    """GET /metadata/instance; `extended` as cloud-init asks for it."""
    document: dict[str, Any] = {"compute": _compute(instance), "network": _network(instance)}
    if extended:
        has_custom_data = instance.custom_data is not None
        document["extended"] = {"compute": {"hasCustomData": has_custom_data, "ppsType": "None"}}
    return document


def _compute(instance: Instance) -> dict[str, Any]:
    image = instance.image_reference
    keys = [{"keyData": key.key_data, "path": key.path} for key in instance.public_keys]
    return {
        "additionalCapabilities": {"hibernationEnabled": "false"},
        "azEnvironment": ENVIRONMENT,
        "customData": "",
        "evictionPolicy": "",
        "extendedLocation": {"name": "", "type": ""},
        "host": {"id": ""},
        "hostGroup": {"id": ""},
        "isHostCompatibilityLayerVm": "false",
        "isVmInStandbyPool": "",
        "licenseType": "",
        "location": instance.location,
        "name": instance.name,
        "offer": image.offer,
        "osProfile": {
            "adminUsername": instance.admin_username,
            "computerName": instance.computer_name,
            "disablePasswordAuthentication": str(instance.disable_password_authentication).lower(),
        },
        "osType": instance.os_type,
        "placementGroupId": "",
        "plan": {"name": "", "product": "", "publisher": ""},
        "platformFaultDomain": "0",
        "platformSubFaultDomain": "",
        "platformUpdateDomain": "0",
        "priority": "",
        "provider": "Microsoft.Compute",
        "publicKeys": keys,
        "publisher": image.publisher,
        "resourceGroupName": instance.resource_group,
        "resourceId": instance.resource_id,
        "securityProfile": {
            "encryptionAtHost": "false",
            "secureBootEnabled": "false",
            "securityType": "",
            "virtualTpmEnabled": "false",
        },
        "sku": image.sku,
        "storageProfile": _storage(instance),
        "subscriptionId": instance.subscription_id,
        "tags": ";".join(f"{name}:{value}" for name, value in instance.tags.items()),
        "tagsList": [{"name": name, "value": value} for name, value in instance.tags.items()],
        "userData": instance.user_data or "",
        "version": image.version,
        "virtualMachineScaleSet": {"id": ""},
        "vmId": instance.vm_id,
        "vmScaleSetName": "",
        "vmSize": instance.vm_size,
        "zone": "",
    }


def _storage(instance: Instance) -> dict[str, Any]:
    image = instance.image_reference
    return {
        "dataDisks": [_data_disk(disk) for disk in instance.data_disks],
        "imageReference": {
            "communityGalleryImageId": "",
            "exactVersion": image.version,
            "id": image.id,
            "offer": image.offer,
            "publisher": image.publisher,
            "sharedGalleryImageId": "",
            "sku": image.sku,
            "version": image.version,
        },
        "osDisk": _os_disk(instance.os_disk, instance.os_type),
        "resourceDisk": {"size": "0"},
    }


def _disk(disk: DiskFacts) -> dict[str, Any]:
    return {
        "caching": disk.caching,
        "createOption": disk.create_option,
        "diskSizeGB": str(-(-disk.size // GIB)),
        "image": {"uri": ""},
        "managedDisk": {"id": disk.managed_disk_id, "storageAccountType": disk.storage_account_type},
        "name": disk.name,
        "vhd": {"uri": disk.vhd_uri},
        "writeAcceleratorEnabled": "false",
    }


def _os_disk(disk: DiskFacts, os_type: str) -> dict[str, Any]:
    return {
        **_disk(disk),
        "diffDiskSettings": {"option": ""},
        "encryptionSettings": {
            "diskEncryptionKey": {"secretUrl": "", "sourceVault": {"id": ""}},
            "enabled": "false",
            "keyEncryptionKey": {"keyUrl": "", "sourceVault": {"id": ""}},
        },
        "osType": os_type,
    }


def _data_disk(disk: DiskFacts) -> dict[str, Any]:
    return {
        **_disk(disk),
        "bytesPerSecondThrottle": "",
        "diskCapacityBytes": str(disk.size),
        "isSharedDisk": "false",
        "isUltraDisk": "false",
        "lun": str(disk.lun),
        "opsPerSecondThrottle": "",
    }


def _network(instance: Instance) -> dict[str, Any]:
    return {"interface": [_interface(nic) for nic in instance.nics]}


def _interface(nic: Nic) -> dict[str, Any]:
    addresses = [
        {"privateIpAddress": str(private), "publicIpAddress": str(public or "")}
        for private, public in ((nic.private_address, nic.public_address), *nic.secondary)
    ]
    subnet = {"address": str(nic.prefix.network_address), "prefix": str(nic.prefix.prefixlen)}
    return {
        "ipv4": {"ipAddress": addresses, "subnet": [subnet]},
        "ipv6": {"ipAddress": []},
        "macAddress": bare_mac(nic.mac),
    }
