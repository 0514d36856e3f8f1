"""The facts that a VM may learn about itself, and nothing else.

Whoever starts a VM makes its `Instance`; the fabric's documents are functions of it.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network

_MAC = re.compile(r"(?:[0-9A-F]{12}|[0-9A-F]{2}(?:-[0-9A-F]{2}){5}|[0-9A-F]{2}(?::[0-9A-F]{2}){5})", re.ASCII)


def bare_mac(mac: str) -> str:
    """A MAC address as IMDS and SharedConfig write it, `000D3A010203`, from that, `-` or `:` form.

    Raises ValueError for anything else.
    """
    upper = mac.upper()
    if not _MAC.fullmatch(upper):
        raise ValueError(f"not a MAC address: {mac!r}")
    return upper.replace("-", "").replace(":", "")


@dataclass(frozen=True)
class PublicKey:
    """An SSH public key and the file in the guest that it goes to."""

    path: str
    key_data: str


@dataclass(frozen=True)
class Nic:
    """A network interface; the first of an instance is the primary one. Raises ValueError for a bad MAC."""

    mac: str
    private_address: IPv4Address
    prefix: IPv4Network
    public_address: IPv4Address | None = None
    secondary: tuple[tuple[IPv4Address, IPv4Address | None], ...] = ()  # further ones, private and public

    def __post_init__(self) -> None:
        bare_mac(self.mac)


@dataclass(frozen=True)
class ImageReference:
    """Where the OS came from: a marketplace image's four words, or a resource id; all empty: no image."""

    publisher: str = ""
    offer: str = ""
    sku: str = ""
    version: str = ""
    id: str = ""


@dataclass(frozen=True)
class DiskFacts:
    """A disk as IMDS shows it, in ARM's words; `size` in bytes, `lun` of data disks alone."""

    name: str
    size: int
    lun: int | None = None
    caching: str = "None"
    create_option: str = "FromImage"
    managed_disk_id: str = ""
    storage_account_type: str = ""
    vhd_uri: str = ""


@dataclass(frozen=True)
class Instance:
    """One VM. `vm_id` is the GUID of its SMBIOS; `custom_data` and `user_data` are base64 text.

    A key list may be empty. Secrets (`admin_password`, `custom_data`, `user_data`) stay out of `repr`.
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
    os_disk: DiskFacts
    data_disks: tuple[DiskFacts, ...] = ()
    admin_password: str | None = field(default=None, repr=False)
    disable_password_authentication: bool = True
    public_keys: tuple[PublicKey, ...] = ()
    custom_data: str | None = field(default=None, repr=False)
    user_data: str | None = field(default=None, repr=False)
    image_reference: ImageReference = ImageReference()
    os_type: str = "Linux"
    tags: Mapping[str, str] = field(default_factory=dict)
    provision_vm_agent: bool = True

    @property
    def container_id(self) -> str:
        """The fabric's name of the VM's container: a GUID derived from the VM id."""
        return str(uuid.uuid5(uuid.UUID(self.vm_id), "container"))

    @property
    def deployment_id(self) -> str:
        """The fabric's name of the VM's deployment: a GUID derived from the VM id."""
        return str(uuid.uuid5(uuid.UUID(self.vm_id), "deployment"))

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
