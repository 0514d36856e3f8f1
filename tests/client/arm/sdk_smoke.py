"""A program of a user of the management SDKs: each main type created, shown, listed and deleted.

Run by interpreters with SDKs of different ages, so it imports nothing of ours. Its words: the URL of the
control plane, the file of its authority, the subscription, a VHD's URL. It prints a name per line, of what
it made.
"""

import sys
import time
from typing import Any

from azure.core.credentials import AccessToken
from azure.mgmt.compute import ComputeManagementClient
from azure.mgmt.compute import models as compute_models
from azure.mgmt.network import NetworkManagementClient
from azure.mgmt.network import models as network_models
from azure.mgmt.resource.resources import ResourceManagementClient
from azure.mgmt.storage import StorageManagementClient
from azure.mgmt.storage import models as storage_models

URL, AUTHORITY, SUBSCRIPTION, VHD = sys.argv[1:]
c: Any = compute_models
n: Any = network_models
s: Any = storage_models
WHERE: Any = {"location": "westeurope"}


class Token:
    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        return AccessToken("a token of the tests", int(time.time()) + 3600)


def client(kind: Any) -> Any:
    options = {"base_url": URL, "credential_scopes": [f"{URL}/.default"], "connection_verify": AUTHORITY}
    return kind(Token(), SUBSCRIPTION, **options)


def check(made: Any, shown: Any, listed: Any) -> None:
    names = [one.name for one in listed]
    assert shown.name == made.name and made.name in names, (made.name, shown.name, names)
    print(made.name)


resources, network = client(ResourceManagementClient), client(NetworkManagementClient)
compute, storage = client(ComputeManagementClient), client(StorageManagementClient)

groups = resources.resource_groups
check(groups.create_or_update("smoke", WHERE), groups.get("smoke"), groups.list())

accounts = storage.storage_accounts
body = s.StorageAccountCreateParameters(sku=s.Sku(name="Standard_LRS"), kind="StorageV2", **WHERE)
account = accounts.begin_create("smoke", "smokeaccount", body).result()
check(account, accounts.get_properties("smoke", "smokeaccount"), accounts.list_by_resource_group("smoke"))

subnets = [n.Subnet(name="default", address_prefix="10.0.0.0/24")]
space = n.AddressSpace(address_prefixes=["10.0.0.0/16"])
body = n.VirtualNetwork(address_space=space, subnets=subnets, **WHERE)
vnet = network.virtual_networks.begin_create_or_update("smoke", "vnet", body).result()
check(vnet, network.virtual_networks.get("smoke", "vnet"), network.virtual_networks.list("smoke"))

body = n.NetworkSecurityGroup(**WHERE)
nsg = network.network_security_groups.begin_create_or_update("smoke", "nsg", body).result()
check(nsg, network.network_security_groups.get("smoke", "nsg"), network.network_security_groups.list("smoke"))

sku = n.PublicIPAddressSku(name="Standard")
body = n.PublicIPAddress(public_ip_allocation_method="Static", sku=sku, **WHERE)
address = network.public_ip_addresses.begin_create_or_update("smoke", "address", body).result()
check(address, network.public_ip_addresses.get("smoke", "address"), network.public_ip_addresses.list("smoke"))

subnet = network.subnets.get("smoke", "vnet", "default")
configuration = n.NetworkInterfaceIPConfiguration(
    name="a", subnet=n.Subnet(id=subnet.id), public_ip_address=n.PublicIPAddress(id=address.id)
)
group = n.NetworkSecurityGroup(id=nsg.id)
body = n.NetworkInterface(ip_configurations=[configuration], network_security_group=group, **WHERE)
nic = network.network_interfaces.begin_create_or_update("smoke", "nic", body).result()
check(nic, network.network_interfaces.get("smoke", "nic"), network.network_interfaces.list("smoke"))

body = c.SshPublicKeyResource(**WHERE)
key = compute.ssh_public_keys.create("smoke", "key", body)
pair = compute.ssh_public_keys.generate_key_pair("smoke", "key")
assert compute.ssh_public_keys.get("smoke", "key").public_key == pair.public_key
check(
    key, compute.ssh_public_keys.get("smoke", "key"), compute.ssh_public_keys.list_by_resource_group("smoke")
)
compute.ssh_public_keys.delete("smoke", "key")

body = c.Disk(disk_size_gb=1, creation_data=c.CreationData(create_option="Empty"), **WHERE)
disk = compute.disks.begin_create_or_update("smoke", "disk", body).result()
check(disk, compute.disks.get("smoke", "disk"), compute.disks.list_by_resource_group("smoke"))
access = c.GrantAccessData(access="Read", duration_in_seconds=600)
assert "sig=" in compute.disks.begin_grant_access("smoke", "disk", access).result().access_sas
compute.disks.begin_revoke_access("smoke", "disk").result()

os_disk = c.ImageOSDisk(os_type="Linux", os_state="Generalized", blob_uri=VHD)
profile = c.ImageStorageProfile(os_disk=os_disk)
body = c.Image(hyper_v_generation="V2", storage_profile=profile, **WHERE)
image = compute.images.begin_create_or_update("smoke", "image", body).result()
check(image, compute.images.get("smoke", "image"), compute.images.list_by_resource_group("smoke"))

attached = c.DataDisk(
    lun=0, create_option="Attach", managed_disk=c.ManagedDiskParameters(id=disk.id), caching="None"
)
body = c.VirtualMachine(
    hardware_profile=c.HardwareProfile(vm_size="Standard_B1ms"),
    storage_profile=c.StorageProfile(
        image_reference=c.ImageReference(id=image.id),
        os_disk=c.OSDisk(create_option="FromImage", delete_option="Delete"),
        data_disks=[attached],
    ),
    os_profile=c.OSProfile(computer_name="vm", admin_username="someone", admin_password="Abc-123-xyz-789"),
    network_profile=c.NetworkProfile(network_interfaces=[c.NetworkInterfaceReference(id=nic.id)]),
    **WHERE,
)
machines = compute.virtual_machines
vm = machines.begin_create_or_update("smoke", "vm", body).result()
check(vm, machines.get("smoke", "vm", expand="instanceView"), machines.list("smoke"))
for action in (
    machines.begin_power_off,
    machines.begin_start,
    machines.begin_restart,
    machines.begin_deallocate,
):
    action("smoke", "vm").result()
machines.generalize("smoke", "vm")
codes = [status.code for status in machines.instance_view("smoke", "vm").statuses]
assert {"OSState/generalized", "PowerState/deallocated"} <= set(codes), codes

machines.begin_delete("smoke", "vm").result()
compute.images.begin_delete("smoke", "image").result()
compute.disks.begin_delete("smoke", "disk").result()
network.network_interfaces.begin_delete("smoke", "nic").result()
network.public_ip_addresses.begin_delete("smoke", "address").result()
accounts.delete("smoke", "smokeaccount")
groups.begin_delete("smoke").result()
assert not groups.check_existence("smoke")
