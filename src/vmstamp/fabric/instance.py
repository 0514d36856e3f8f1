"""The facts that a VM may learn about itself, and nothing else."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network


def bare_mac(mac: str) -> str:
    """A MAC address as IMDS and SharedConfig write it: `000D3A010203`."""
    return mac.replace("-", "").replace(":", "").upper()


@dataclass(frozen=True)
class PublicKey:
    """An SSH public key and the file in the guest that it goes to."""

    path: str
    key_data: str


@dataclass(frozen=True)
class Nic:
    mac: str
    private_address: IPv4Address
    prefix: IPv4Network
    public_address: IPv4Address | None = None


@dataclass(frozen=True)
class ImageReference:
    """Where the OS came from: a marketplace image's four words, or a resource id."""

    publisher: str = ""
    offer: str = ""
    sku: str = ""
    version: str = ""
    id: str = ""


@dataclass(frozen=True)
class DataDisk:
    """A data disk as IMDS shows it; `size` in bytes."""

    lun: int
    name: str
    size: int
    caching: str = "None"


@dataclass(frozen=True)
class Instance:
    """One VM. `vm_id` is the GUID of its SMBIOS; `custom_data` and `user_data` are base64 text.

    Secrets (`admin_password`, `custom_data`) stay out of `repr`.
    """

    vm_id: str
    name: str
    resource_group: str
    subscription_id: str
    resource_id: str
    location: str
    vm_size: str
    computer_name: str
    admin_username: str
    nics: tuple[Nic, ...]
    generation: int = 2
    admin_password: str | None = field(default=None, repr=False)
    disable_password_authentication: bool = True
    public_keys: tuple[PublicKey, ...] = ()
    custom_data: str | None = field(default=None, repr=False)
    user_data: str | None = field(default=None, repr=False)
    image: ImageReference = ImageReference()
    os_type: str = "Linux"
    os_disk_name: str = ""
    os_disk_size: int = 0
    data_disks: tuple[DataDisk, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    provision_vm_agent: bool = True

    @property
    def container_id(self) -> str:
        """The fabric's name of the VM's container: a GUID derived from the VM id."""
        return str(uuid.uuid5(uuid.UUID(self.vm_id), "container"))

    @property
    def deployment_id(self) -> str:
        return uuid.uuid5(uuid.UUID(self.vm_id), "deployment").hex

    @property
    def role_name(self) -> str:
        """The role's name in goal state and configuration documents: `_` and the VM's name."""
        return f"_{self.name}"

    @property
    def role_instance_id(self) -> str:
        return f"{self.deployment_id}.{self.role_name}"

    @property
    def config_name(self) -> str:
        return f"{self.deployment_id}.0.{self.deployment_id}.0.{self.role_name}.1.xml"
