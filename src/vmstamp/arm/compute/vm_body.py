"""The body of a virtual machine's PUT: its shape, and the checks that need no other resource."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

from vmstamp.arm.faults import invalid_parameter, missing_parameter, unsupported
from vmstamp.arm.links import DELETE_OPTION, Link
from vmstamp.arm.resource import Json
from vmstamp.arm.shape import KEEP, READ_ONLY, OneOf, Only, Url
from vmstamp.guest.provisioning.user_names import DISALLOWED_USERS

CACHING: Final = OneOf("None", "ReadOnly", "ReadWrite")
CREATE_OPTION: Final = OneOf("FromImage", "Attach", "Empty")
VHD: Final = {"uri": Url()}

DISK_SHAPE: Final = {
    "caching": CACHING,
    "createOption": CREATE_OPTION,
    "deleteOption": OneOf("Delete", "Detach"),
    "diskSizeGB": int,
    "image": VHD,
    "managedDisk": {"id": str, "storageAccountType": KEEP, "resourceGroup": READ_ONLY},
    "name": str,
    "vhd": VHD,
    "writeAcceleratorEnabled": Only(False),
}

SHAPE: Final = {
    "location": str,
    "tags": KEEP,
    "zones": KEEP,
    "managedBy": READ_ONLY,
    "resources": READ_ONLY,
    "etag": READ_ONLY,
    "properties": {
        "hardwareProfile": {"vmSize": str},
        "storageProfile": {
            "imageReference": {
                "id": str,
                "publisher": str,
                "offer": str,
                "sku": str,
                "version": str,
                "exactVersion": READ_ONLY,
            },
            "osDisk": {**DISK_SHAPE, "osType": Only("Linux")},
            "dataDisks": [
                {
                    **DISK_SHAPE,
                    "lun": int,
                    "toBeDetached": bool,
                    "detachOption": Only("ForceDetach"),
                    "diskIOPSReadWrite": READ_ONLY,
                    "diskMBpsReadWrite": READ_ONLY,
                }
            ],
            "diskControllerType": Only("SCSI"),
        },
        "osProfile": {
            "adminPassword": str,
            "adminUsername": str,
            "allowExtensionOperations": KEEP,
            "computerName": str,
            "customData": str,
            "linuxConfiguration": {
                "disablePasswordAuthentication": bool,
                "enableVMAgentPlatformUpdates": KEEP,
                "patchSettings": {
                    "patchMode": Only("ImageDefault"),
                    "assessmentMode": Only("ImageDefault"),
                },
                "provisionVMAgent": bool,
                "ssh": {"publicKeys": [{"path": str, "keyData": str}]},
            },
            "requireGuestProvisionSignal": bool,
            "secrets": [Only()],
        },
        "networkProfile": {
            "networkApiVersion": KEEP,
            "networkInterfaces": [
                Link(
                    primary=bool,
                    deleteOption=OneOf("Delete", "Detach"),
                    properties=Link(primary=bool, **DELETE_OPTION),
                )
            ],
        },
        "diagnosticsProfile": {"bootDiagnostics": {"enabled": KEEP, "storageUri": KEEP}},
        "additionalCapabilities": {"hibernationEnabled": Only(False), "ultraSSDEnabled": Only(False)},
        "availabilitySet": Link(),
        "priority": Only("Regular"),
        "securityProfile": {"encryptionAtHost": Only(False), "securityType": Only("Standard")},
        "extensionsTimeBudget": KEEP,
        "licenseType": KEEP,
        "userData": str,
        "vmId": READ_ONLY,
        "timeCreated": READ_ONLY,
        "provisioningState": READ_ONLY,
        "instanceView": READ_ONLY,
    },
}

USER: Final = re.compile(r"[a-z_][a-z0-9_-]{0,63}", re.IGNORECASE)
COMPUTER_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,62}[A-Za-z0-9])?")
KEY_DATA: Final = re.compile(r"(ssh-rsa|ssh-ed25519) [A-Za-z0-9+/=]+( .*)?", re.DOTALL)
LARGEST_CUSTOM_DATA: Final = 65535  # bytes, decoded
PASSWORD_CLASSES: Final = (r"[A-Z]", r"[a-z]", r"[0-9]", r"[^A-Za-z0-9]")


def check_os_profile(profile: Json) -> None:
    """All that osProfile must keep to by itself. Raises AzureError; never repeats a secret."""
    name = profile.get("computerName")
    if not name:
        raise missing_parameter("osProfile.computerName")
    if not COMPUTER_NAME.fullmatch(name):
        raise invalid_parameter(
            "Linux host name cannot exceed 64 characters in length or contain the following characters: "
            "` ~ ! @ # $ % ^ & * ( ) = + _ [ ] { } \\ | ; : ' \" , < > / ?.",
            "computerName",
        )
    user = profile.get("adminUsername")
    if not user:
        raise missing_parameter("osProfile.adminUsername")
    if user.lower() in DISALLOWED_USERS or not USER.fullmatch(user):
        raise invalid_parameter("The Admin Username specified is not allowed.", "adminUsername")
    _check_access(profile, user)
    _check_base64(profile.get("customData", ""), "customData")
    if profile.get("linuxConfiguration", {}).get("provisionVMAgent") is False:
        raise unsupported("The value 'false' of property 'osProfile.linuxConfiguration.provisionVMAgent'")


def _check_access(profile: Json, user: str) -> None:
    linux = profile.get("linuxConfiguration", {})
    keys = linux.get("ssh", {}).get("publicKeys", [])
    password = profile.get("adminPassword")
    if linux.get("disablePasswordAuthentication"):
        password = None  # Azure's quickstarts send the key as the password too: it is taken and not used
        if not keys:
            raise invalid_parameter(
                "Authentication using either SSH or by user name and password must be enabled in Linux "
                "profile.",
                "linuxConfiguration",
            )
    elif password is None:
        raise missing_parameter("adminPassword")
    if password is not None:
        check_password(password)
    for key in keys:
        _check_key(key, user)


def check_password(password: str) -> None:
    classes = sum(bool(re.search(pattern, password)) for pattern in PASSWORD_CLASSES)
    if not 6 <= len(password) <= 72 or classes < 3 or re.search(r"[\x00-\x1f\x7f]", password):
        raise invalid_parameter(
            "The supplied password must be between 6-72 characters long and must satisfy at least 3 of "
            "password complexity requirements from the following: 1) Contains an uppercase character 2) "
            "Contains a lowercase character 3) Contains a numeric digit 4) Contains a special character 5) "
            "Control characters are not allowed",
            "adminPassword",
        )


def _check_key(key: Json, user: str) -> None:
    expected = f"/home/{user}/.ssh/authorized_keys"
    if key.get("path") != expected:
        raise invalid_parameter(
            f"Destination path for SSH public keys is currently limited to its default value {expected}  "
            "due to a known issue in Linux provisioning agent.",
            "linuxConfiguration.ssh.publicKeys.path",
        )
    if not KEY_DATA.fullmatch(key.get("keyData", "").strip()):
        raise invalid_parameter(
            "The value of parameter linuxConfiguration.ssh.publicKeys.keyData is invalid: it must be an "
            "SSH public key of type ssh-rsa or ssh-ed25519.",
            "linuxConfiguration.ssh.publicKeys.keyData",
        )


def _check_base64(text: str, name: str) -> None:
    try:
        size = len(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError) as error:
        raise invalid_parameter(
            f"Custom data in OSProfile must be in Base64 encoding ({name}).", name
        ) from error
    if size > LARGEST_CUSTOM_DATA:
        raise invalid_parameter(
            f"The {name} of {size} bytes is longer than {LARGEST_CUSTOM_DATA} bytes.", name
        )


def check_user_data(text: str) -> None:
    _check_base64(text, "userData")
