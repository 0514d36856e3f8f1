"""Microsoft.Compute/virtualMachines: the type, and what a PUT of one decides.

    state of a VM (never shown)
    power        creating, running, stopped, deallocated: what was asked for last; a guest may have
                 powered itself off meanwhile, which `vm_view.power_state` sees
    turning      starting, stopping, deallocating while an operation does that; shown, never decided on
    generalized  said by the client; cannot be undone
    provision    it takes provisioning data; provisioned: an agent reported Ready (or none was due)
    secrets      adminPassword and customData, until the guest has them; then they are gone
    disks        see `vm_disks.VmDisk`

What is done with a VM is in `vm_life`, what is shown in `vm_view`, its disks are decided in `vm_disks`.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any, Final

from vmstamp.arm.catalog import Catalog
from vmstamp.arm.compute import availability_sets
from vmstamp.arm.compute.capture import Captures
from vmstamp.arm.compute.delete_options import check_delete_options
from vmstamp.arm.compute.extensions import NAME as EXTENSIONS
from vmstamp.arm.compute.extensions import extension_view
from vmstamp.arm.compute.image_references import used_images
from vmstamp.arm.compute.naming import API_VERSIONS, VM_STYLE, check_name
from vmstamp.arm.compute.run_command import RunCommands
from vmstamp.arm.compute.sizes import DEFAULT, Size, check_generation, get_size, vm_sizes
from vmstamp.arm.compute.vm_body import SHAPE, check_os_profile, check_user_data
from vmstamp.arm.compute.vm_convert import Conversions
from vmstamp.arm.compute.vm_data_disks import DataDisks, exchanged
from vmstamp.arm.compute.vm_disk import blob_key, read_disks, write_disks
from vmstamp.arm.compute.vm_disks import Storage, StorageProfiles
from vmstamp.arm.compute.vm_life import Life
from vmstamp.arm.compute.vm_view import instance_view, power_state
from vmstamp.arm.faults import (
    change_not_allowed,
    invalid_parameter,
    missing_parameter,
    not_allowed,
    unsupported,
)
from vmstamp.arm.links import linked
from vmstamp.arm.network.interfaces import NAME as INTERFACES
from vmstamp.arm.resource import Json, Reference, Resource
from vmstamp.arm.shape import clean
from vmstamp.arm.types import Action, Change, Put, Request, ResourceType, Work
from vmstamp.errors import AzureError
from vmstamp.resource_id import ResourceId, parse_resource_id

NAME: Final = "Microsoft.Compute/virtualMachines"
SECRETS: Final = ("adminPassword", "customData")


class VirtualMachines:
    """The type."""

    def __init__(
        self,
        catalog: Catalog,
        profiles: StorageProfiles,
        life: Life,
        captures: Captures,
        conversions: Conversions,
        commands: RunCommands,
    ) -> None:
        self._catalog = catalog
        self._profiles = profiles
        self._life = life
        self._captures = captures
        self._conversions = conversions
        self._commands = commands

    def type(self) -> ResourceType:
        life = self._life
        return ResourceType(
            name=NAME,
            api_versions=API_VERSIONS,
            style=VM_STYLE,
            parse=self.parse,
            apply=life.apply,
            remove=life.remove,
            abandoned=lambda vm: vm.with_state(turning=""),
            view=self.view,
            references=references,
            patch="all",
            etag_in_body=True,
            preemptible=True,
            delete_rank=1,
            reads={"instanceView": self.instance_view, "vmSizes": lambda vm: vm_sizes()},
            actions=(
                Action("start", life.start, check=life.check_start),
                Action("restart", life.restart, check=life.check_restart),
                Action("redeploy", life.redeploy, check=life.check_restart),
                Action("reapply", life.reapply),
                Action("powerOff", life.power_off, check=life.check_power_off),
                Action("deallocate", life.deallocate, check=life.check_deallocate),
                Action("generalize", life.generalize, check=life.check_generalize, synchronous=True),
                Action("capture", self._captures.run, check=self._captures.check),
                self._commands.action(),
                Action("convertToManagedDisks", self._conversions.run, check=self._conversions.check),
                DataDisks(self._catalog, self._profiles, life).action(),
                Action("reimage", never, check=check_reimage),
                Action("performMaintenance", never, check=check_maintenance),
                Action(
                    "retrieveBootDiagnosticsData",
                    life.boot_diagnostics,
                    check=life.check_boot_diagnostics,
                    synchronous=True,
                    beside=True,
                ),
                Action(
                    "instanceView",
                    lambda vm, work: self.instance_view(vm),
                    synchronous=True,
                    beside=True,
                ),
            ),
        )

    # -- GET

    def view(self, vm: Resource, expand: str) -> Json:
        if expand and expand.lower() not in ("instanceview", "userdata"):
            raise unsupported(f"The value '{expand}' of query parameter '$expand'")
        shown = vm
        if expand.lower() == "instanceview":
            shown = shown.with_properties(instanceView=self.instance_view(vm))
        if expand.lower() == "userdata" and vm.state.get("user data"):
            shown = shown.with_properties(userData=vm.state["user data"])
        if found := self._catalog.select(type=EXTENSIONS, scope=str(vm.id)):
            return {**shown.document, "resources": [self._show_extension(one) for one in found]}
        return shown.document

    @staticmethod
    def _show_extension(extension: Resource) -> Json:
        head = {"name": extension.name, "id": str(extension.id), "type": EXTENSIONS}
        return {**head, "location": extension.location, **extension.document}

    def instance_view(self, vm: Resource) -> Json:
        extensions = self._catalog.select(type=EXTENSIONS, scope=str(vm.id))
        shown = [extension_view(one) for one in extensions]
        return instance_view(vm, self._life.host, self._life.turns, shown)

    # -- PUT

    def parse(self, put: Put) -> Change:
        check_name(put.id.name, "vmName")
        body = clean(put.body, SHAPE)
        properties = body.get("properties", {})
        check_delete_options(put, properties)
        if put.existing:
            return self._update(put, put.existing, body, properties)
        size = get_size(properties.get("hardwareProfile", {}).get("vmSize", DEFAULT))
        storage = self._profiles.create(put, properties.get("storageProfile", {}), size)
        check_generation(size, storage.generation)
        profile = properties.get("osProfile")
        self._check_provisioning(profile, storage)
        network = self._network(put, properties.get("networkProfile", {}))
        user_data = properties.pop("userData", None)
        if user_data is not None:
            check_user_data(user_data)
        shown = {
            **properties,
            "vmId": str(uuid.uuid4()),
            "hardwareProfile": {"vmSize": size.name},
            "storageProfile": storage.document,
            "networkProfile": network,
            "timeCreated": self._catalog.now(),
        }
        if profile:
            shown["osProfile"] = shown_profile(profile)
        domains: Json = {}
        if link := properties.get("availabilitySet"):
            managed = "vhd" not in storage.document["osDisk"]
            member_of = availability_sets.check_member(put, link, managed=managed)
            domains = availability_sets.next_domains(self._catalog, member_of)
        state = {
            "power": "creating",
            "domains": domains,
            "generalized": False,
            "generation": storage.generation,
            "specialized": storage.specialized,
            "provision": profile is not None,
            "wait": profile is not None and profile.get("requireGuestProvisionSignal", True),
            "provisioned": False,
            "secrets": {name: profile[name] for name in SECRETS if name in profile} if profile else {},
            "disks": write_disks(storage.disks),
            "user data": user_data,
        }
        return Change({**body, "properties": shown}, state, storage.companions)

    @staticmethod
    def _check_provisioning(profile: Json | None, storage: Storage) -> None:
        if storage.specialized and profile is not None:
            raise invalid_parameter("Parameter 'osProfile' is not allowed.", "osProfile")
        if not storage.specialized and profile is None:
            raise missing_parameter("osProfile")
        if profile is not None:
            check_os_profile(profile)

    def _network(self, put: Put, profile: Json) -> Json:
        links = profile.get("networkInterfaces", [])
        if not links:
            raise missing_parameter("networkProfile.networkInterfaces")
        networks: set[str] = set()
        shown: list[Json] = []
        for link in links:
            interface = linked(put, link, "properties.networkProfile.networkInterfaces", INTERFACES)
            for user in self._catalog.referrers(interface.id, "interface"):
                if user.source.key != put.id.key:
                    raise AzureError(
                        400,
                        "NicInUse",
                        f"Network Interface {interface.id} is used by existing VM {user.source}.",
                    )
            subnet = interface.properties["ipConfigurations"][0]["properties"]["subnet"]["id"]
            networks.add(parse_resource_id(subnet).parent.key)
            given = {**link, **link.get("properties", {})}
            primary = given.get("primary", len(links) == 1)
            option = given.get("deleteOption", "Detach")
            shown.append(
                {"id": str(interface.id), "properties": {"primary": primary, "deleteOption": option}}
            )
        if sum(link["properties"]["primary"] for link in shown) != 1:
            raise invalid_parameter(
                "Virtual machine must have one network interface set as the primary.", "networkProfile"
            )
        if len({link["id"].lower() for link in shown}) != len(shown) or len(networks) != 1:
            raise invalid_parameter(
                "All network interfaces of a virtual machine must be different and belong to the same "
                "virtual network.",
                "networkProfile",
            )
        return {"networkInterfaces": shown}

    def _update(self, put: Put, existing: Resource, body: Json, properties: Json) -> Change:
        old = existing.properties
        size = self._new_size(existing, properties)
        storage = self._profiles.update(put, existing, properties.get("storageProfile", {}), size)
        network = old["networkProfile"]
        if "networkProfile" in properties:
            network = self._network(put, properties["networkProfile"])
        secrets = existing.state.get("secrets", {})
        _check_profile_unchanged(old.get("osProfile"), properties.pop("osProfile", None), secrets)
        user_data = properties.pop("userData", existing.state.get("user data"))
        if user_data is not None:
            check_user_data(user_data)
        if "availabilitySet" in properties and not _same_set(old, properties):
            raise change_not_allowed("availabilitySet.id")
        self._check_hot_changes(put.id, existing, storage, network)
        shown = {
            **old,
            **properties,
            "hardwareProfile": {"vmSize": size.name},
            "storageProfile": storage.document,
            "networkProfile": network,
        }
        state = {
            **existing.state,
            **exchanged(existing, storage),
            "user data": user_data,
            "again": existing.provisioning_state == "Failed"
            and not existing.state["provisioned"]
            and not put.partial,
            "resized": size.name != old["hardwareProfile"]["vmSize"],
        }
        return Change({**existing.document, **body, "properties": shown}, state, storage.companions)

    @staticmethod
    def _new_size(existing: Resource, properties: Json) -> Size:
        name = properties.get("hardwareProfile", {}).get("vmSize")
        size = get_size(name or existing.properties["hardwareProfile"]["vmSize"])
        check_generation(size, existing.state["generation"])
        return size

    def _check_hot_changes(self, id: ResourceId, existing: Resource, storage: Storage, network: Json) -> None:
        """Data disks come and go at any time, interfaces only while the VM does not run."""
        before = [disk.place for disk in read_disks(existing.state)]
        links = _ids(network) == _ids(existing.properties["networkProfile"])
        same = links and before == [disk.place for disk in storage.disks]
        if not links and power_state(existing, self._life.host) not in ("stopped", "deallocated"):
            raise AzureError(
                400,
                "AddingOrDeletingNetworkInterfacesOnARunningVirtualMachineNotSupported",
                f"Virtual machine {id} with a single network interface must be stop-deallocated before it "
                "can be updated to have multiple network interfaces and vice-versa.",
            )
        if not same and existing.state["generalized"]:
            raise not_allowed(
                f"Operation 'update' is not allowed on VM '{existing.name}' since the VM is generalized."
            )


def _same_set(old: Json, new: Json) -> bool:
    """Whether a change leaves the VM in its availability set."""
    was, now = old.get("availabilitySet", {}), new["availabilitySet"]
    return str(was.get("id", "")).lower() == str(now.get("id", "")).lower()


def check_reimage(vm: Resource, request: Request) -> Json:
    """Azure takes it for VMs that it upgrades by itself, and there are none of these here."""
    raise not_allowed(
        "The Reimage and OSUpgrade Virtual Machine actions require that the virtual machine has Automatic OS "
        "Upgrades enabled."
    )


def check_maintenance(vm: Resource, request: Request) -> Json:
    """No maintenance is ever planned here, and Azure's answer to that is this."""
    raise not_allowed(
        f"Operation 'performMaintenance' is not allowed on VM '{vm.name}' since the Subscription of this VM "
        "is not eligible."
    )


def never(vm: Resource, work: Work) -> None:
    """What is always refused before it is run."""


def _ids(network: Json) -> set[str]:
    return {link["id"].lower() for link in network["networkInterfaces"]}


def shown_profile(profile: Json) -> Json:
    """osProfile as it is stored and shown: without its secrets, with Azure's defaults."""
    linux = {"provisionVMAgent": True, **profile.get("linuxConfiguration", {})}
    linux.setdefault("disablePasswordAuthentication", False)
    linux.setdefault("patchSettings", {"patchMode": "ImageDefault", "assessmentMode": "ImageDefault"})
    kept = {name: value for name, value in profile.items() if name not in SECRETS}
    return {
        "secrets": [],
        "allowExtensionOperations": True,
        "requireGuestProvisionSignal": True,
        **kept,
        "linuxConfiguration": linux,
    }


def _check_profile_unchanged(old: Json | None, new: Json | None, secrets: Json) -> None:
    """Raises AzureError for a change. `secrets` are those that are still kept: until its guest has them."""
    if new is None:
        return
    if old is None:
        raise change_not_allowed("osProfile")
    for secret in SECRETS:
        if secret in new and new[secret] != secrets.get(secret):
            raise change_not_allowed(f"osProfile.{secret}")
    for name, value in shown_profile(new).items():
        if name in new and value != old.get(name):
            raise change_not_allowed(f"osProfile.{name}")


def references(vm: Resource) -> Iterator[Reference]:
    """Interfaces, managed disks, blobs with their accounts, and the image that it came from."""
    for link in vm.properties["networkProfile"]["networkInterfaces"]:
        mark = "#primary" if link["properties"]["primary"] else ""
        yield Reference("interface", link["id"], f"{vm.id}{mark}")
    for disk in read_disks(vm.state):
        if disk.managed:
            yield Reference("disk", disk.managed, str(vm.id))
        else:
            yield Reference("blob", blob_key(disk.ref), str(vm.id))
            yield Reference("account", f"account:{disk.ref.account}", str(vm.id))
    for record in vm.state.get("dropped", []):
        if record["managed"]:
            yield Reference("detaching disk", record["managed"], str(vm.id))
    reference: Any = vm.properties["storageProfile"].get("imageReference", {})
    for image in used_images(reference, vm.id.subscription):
        yield Reference("image", image, str(vm.id))
    if found := vm.properties.get("availabilitySet"):
        yield Reference("availability set", found["id"], str(vm.id))
