"""What a virtual machine's start needs, put together from the stored resources: `VmPlan` and `Instance`."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

from vmstamp.arm.catalog import Catalog
from vmstamp.arm.compute.host import DiskPlan, NicPlan, SecondaryAddress, VmPlan
from vmstamp.arm.compute.sizes import get_size
from vmstamp.arm.compute.vhds import Vhds
from vmstamp.arm.compute.vm_disk import VmDisk, read_disks
from vmstamp.arm.faults import resource_not_found
from vmstamp.arm.network import interfaces, security_groups, virtual_networks
from vmstamp.arm.resource import Json, Resource
from vmstamp.fabric.instance import DiskFacts, ImageReference, Instance, Nic, PublicKey
from vmstamp.machine.network import NetworkSpec, SubnetSpec
from vmstamp.resource_id import ResourceId, parse_resource_id


class Plans:
    """Makes the plans of virtual machines. Reads the catalog; seals the disks' contents."""

    def __init__(self, catalog: Catalog, vhds: Vhds) -> None:
        self._catalog = catalog
        self._vhds = vhds

    def plan(self, vm: Resource, *, provision: bool) -> VmPlan:
        """The plan of a start; its disks must have been made. Raises AzureError when a part is gone."""
        disks = read_disks(vm.state)
        size = get_size(vm.properties["hardwareProfile"]["vmSize"])
        nics = [self._nic(vm, link) for link in interface_links(vm)]
        networks = {network.properties["resourceGuid"]: network for _, network in nics}
        return VmPlan(
            instance=self._instance(vm, [nic for nic, _ in nics], disks),
            generation=vm.state["generation"],
            vcpus=size.vcpus,
            memory=size.memory,
            os_disk=self.disk(disks[0]),
            data_disks=tuple(self.disk(disk) for disk in disks[1:]),
            nics=tuple(nic for nic, _ in nics),
            networks=tuple(map(network_spec, networks.values())),
            provision=provision,
        )

    def nics(self, vm: Resource) -> tuple[NicPlan, ...]:
        """The interfaces as they would be at a start. Raises AzureError when a part is gone."""
        return tuple(self._nic(vm, link)[0] for link in interface_links(vm))

    def disk(self, disk: VmDisk) -> DiskPlan:
        return DiskPlan(self._vhds.path(disk.ref), disk.size, disk.lun, disk.overlay_name)

    def _find(self, id: str | ResourceId) -> Resource:
        found = self._catalog.find(id)
        if found is None:
            raise resource_not_found(parse_resource_id(str(id)))
        return found

    def _nic(self, vm: Resource, link: Json) -> tuple[NicPlan, Resource]:
        interface = self._find(link["id"])
        properties = interfaces.primary_configuration(interface)
        subnet_id = parse_resource_id(properties["subnet"]["id"])
        network = self._find(subnet_id.parent)
        subnet = virtual_networks.find_subnet(network, subnet_id.name)
        if subnet is None:
            raise resource_not_found(subnet_id)
        groups = [interface.properties, subnet["properties"]]
        links = [group["networkSecurityGroup"]["id"] for group in groups if "networkSecurityGroup" in group]
        public = self._public_address(properties)
        secondary = tuple(
            SecondaryAddress(IPv4Address(one["privateIPAddress"]), self._public_address(one))
            for one in interfaces.secondary_configurations(interface)
        )
        reached = public or any(one.public_address for one in secondary)
        plan = NicPlan(
            resource_id=str(interface.id),
            mac=interface.state["mac"],
            network_id=network.properties["resourceGuid"],
            address=IPv4Address(properties["privateIPAddress"]),
            prefix=IPv4Network(subnet["properties"]["addressPrefix"]),
            public_address=public,
            open_ports=security_groups.open_ports(map(self._find, links)) if reached else (),
            hostname=computer_name(vm),
            secondary=secondary,
        )
        return plan, network

    def _public_address(self, properties: Json) -> IPv4Address | None:
        link = properties.get("publicIPAddress")
        return IPv4Address(self._find(link["id"]).state["address"]) if link else None

    def _instance(self, vm: Resource, nics: list[NicPlan], disks: list[VmDisk]) -> Instance:
        profile, secrets = vm.properties.get("osProfile", {}), vm.state.get("secrets", {})
        linux = profile.get("linuxConfiguration", {})
        key_only = linux.get("disablePasswordAuthentication", False)
        keys = linux.get("ssh", {}).get("publicKeys", [])
        storage = vm.properties["storageProfile"]
        shown = {disk["lun"]: disk for disk in storage["dataDisks"]}
        return Instance(
            vm_id=vm.properties["vmId"],
            name=vm.name,
            resource_group=vm.id.group,
            subscription_id=vm.id.subscription,
            resource_id=str(vm.id),
            location=vm.location,
            vm_size=vm.properties["hardwareProfile"]["vmSize"],
            computer_name=computer_name(vm),
            admin_username=profile.get("adminUsername", ""),
            admin_password=None if key_only else secrets.get("adminPassword"),
            disable_password_authentication=key_only,
            public_keys=tuple(PublicKey(key["path"], key["keyData"].strip()) for key in keys),
            custom_data=secrets.get("customData"),
            user_data=vm.state.get("user data"),
            nics=tuple(_told(nic) for nic in nics),
            image_reference=_image(storage.get("imageReference", {})),
            os_disk=_facts(storage["osDisk"], disks[0]),
            data_disks=tuple(_facts(shown[disk.lun], disk) for disk in disks[1:]),
            tags=vm.document.get("tags", {}),
        )


def _told(nic: NicPlan) -> Nic:
    """An interface as its guest is told of it."""
    secondary = tuple((one.address, one.public_address) for one in nic.secondary)
    return Nic(nic.mac, nic.address, nic.prefix, nic.public_address, secondary)


def _image(reference: Json) -> ImageReference:
    """The image as IMDS tells it: of four words the version that was taken, not `latest`."""
    version = reference.get("exactVersion", "") if "publisher" in reference else ""
    words = {name: reference.get(name, "") for name in ("publisher", "offer", "sku", "id")}
    return ImageReference(**words, version=version)


def _facts(shown: Json, disk: VmDisk) -> DiskFacts:
    """A disk as IMDS shows it, from the VM's document."""
    return DiskFacts(
        name=disk.name,
        size=disk.size,
        lun=disk.lun,
        caching=shown.get("caching", "None"),
        create_option=shown["createOption"],
        managed_disk_id=disk.managed,
        storage_account_type=shown.get("managedDisk", {}).get("storageAccountType", ""),
        vhd_uri=shown.get("vhd", {}).get("uri", ""),
    )


def computer_name(vm: Resource) -> str:
    return str(vm.properties.get("osProfile", {}).get("computerName") or vm.name)


def interface_links(vm: Resource) -> list[Json]:
    """The links to a VM's network interfaces, the primary one first."""
    links: list[Json] = vm.properties["networkProfile"]["networkInterfaces"]
    return sorted(links, key=lambda link: not link["properties"]["primary"])


def network_spec(network: Resource) -> NetworkSpec:
    """A virtual network as the machine room knows it."""
    subnets = [
        SubnetSpec(subnet["name"], IPv4Network(subnet["properties"]["addressPrefix"]))
        for subnet in network.properties["subnets"]
    ]
    return NetworkSpec(network.properties["resourceGuid"], network.name, tuple(subnets))
