"""ovf-env.xml on the provisioning DVD: what the guest is to become. Pure.

Elements and their readers: WALinuxAgent `common/protocol/ovfenv.py`, cloud-init `sources/helpers/azure.py`.
A repeated element makes cloud-init refuse the document; an ecdsa key makes WALinuxAgent refuse to provision.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from vmstamp.fabric.instance import Instance

OVF = "http://schemas.dmtf.org/ovf/environment/1"
WA = "http://schemas.microsoft.com/windowsazure"
XSI = "http://www.w3.org/2001/XMLSchema-instance"
# XML 1.0, 2.2; a carriage return would come out as a line feed (2.11).
_NOT_XML = re.compile("[^\\t\\n\\x20-\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]")


def build_ovf_env(instance: Instance) -> bytes:
    """The document for a Linux VM, in UTF-8. Holds the password and custom data: for the DVD alone.

    Raises ValueError, naming the element, for a character that XML 1.0 cannot carry.
    """
    root = ET.Element(f"{{{OVF}}}Environment")
    provisioning = _add(root, "ProvisioningSection")
    _add(provisioning, "Version", "1.0")
    _linux(_add(provisioning, "LinuxProvisioningConfigurationSet"), instance)
    platform = _add(root, "PlatformSettingsSection")
    _add(platform, "Version", "1.0")
    settings = _add(platform, "PlatformSettings")
    _add(settings, "KmsServerHostname", "kms.core.windows.net")
    _add(settings, "ProvisionGuestAgent", _boolean(instance.provision_vm_agent))
    _add(settings, "GuestAgentPackageName").set(f"{{{XSI}}}nil", "true")
    _add(settings, "PreprovisionedVm", "false")
    document: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return document


def _linux(parent: ET.Element, instance: Instance) -> None:
    _add(parent, "ConfigurationSetType", "LinuxProvisioningConfiguration")
    _add(parent, "HostName", instance.computer_name)
    _add(parent, "UserName", instance.admin_username)
    if instance.admin_password is not None:
        _add(parent, "UserPassword", instance.admin_password)
    _add(parent, "DisableSshPasswordAuthentication", _boolean(instance.disable_password_authentication))
    if instance.public_keys:
        keys = _add(_add(parent, "SSH"), "PublicKeys")
        for key in instance.public_keys:
            element = _add(keys, "PublicKey")
            _add(element, "Path", key.path)
            _add(element, "Value", key.key_data.strip())
    if instance.custom_data is not None:
        _add(parent, "CustomData", "".join(instance.custom_data.split()))


def _add(parent: ET.Element, name: str, text: str | None = None) -> ET.Element:
    unfit = _NOT_XML.search(text or "")
    if unfit:
        raise ValueError(f"{name} holds U+{ord(unfit[0]):04X}, which XML cannot carry")
    element = ET.SubElement(parent, f"{{{WA}}}{name}")
    element.text = text
    return element


def _boolean(value: bool) -> str:
    return "true" if value else "false"
