"""The control plane put together: the types, the engine, the routes.

plane = build(db, store, host, settings, blob_endpoint)
plane.recover()          once the host and the store are ready
plane.handle(request)    from any thread
plane.close()
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from urllib.parse import urlsplit

from vmstamp.arm.catalog import Catalog, Clock, utc_now
from vmstamp.arm.compute.availability_sets import AvailabilitySets
from vmstamp.arm.compute.calls import compute_calls
from vmstamp.arm.compute.capture import Captures
from vmstamp.arm.compute.disks import Disks
from vmstamp.arm.compute.extensions import Extensions
from vmstamp.arm.compute.galleries import Galleries
from vmstamp.arm.compute.gallery_sources import GallerySources
from vmstamp.arm.compute.gallery_versions import GalleryVersions
from vmstamp.arm.compute.guest_agent import PATIENCE, GuestAgents, Patience
from vmstamp.arm.compute.host import Host
from vmstamp.arm.compute.image_references import ImageReferences
from vmstamp.arm.compute.images import Images
from vmstamp.arm.compute.managed_commands import ManagedCommands
from vmstamp.arm.compute.platform_images import PlatformImages
from vmstamp.arm.compute.run_command import RunCommands
from vmstamp.arm.compute.snapshots import Snapshots
from vmstamp.arm.compute.ssh_public_keys import SshPublicKeys
from vmstamp.arm.compute.turns import Turns, places
from vmstamp.arm.compute.vhds import Vhds
from vmstamp.arm.compute.virtual_machines import VirtualMachines
from vmstamp.arm.compute.vm_convert import Conversions
from vmstamp.arm.compute.vm_disks import StorageProfiles
from vmstamp.arm.compute.vm_doors import Doors
from vmstamp.arm.compute.vm_life import Life
from vmstamp.arm.compute.vm_plan import Plans
from vmstamp.arm.engine import Engine, Settings
from vmstamp.arm.groups import Groups
from vmstamp.arm.network.interfaces import Interfaces
from vmstamp.arm.network.public_addresses import PublicAddresses
from vmstamp.arm.network.security_groups import SecurityGroups
from vmstamp.arm.network.virtual_networks import VirtualNetworks
from vmstamp.arm.operations import WORKERS
from vmstamp.arm.proxy_types import ProxyType
from vmstamp.arm.routes import Router
from vmstamp.arm.storage import StorageAccounts
from vmstamp.arm.storage_blob_services import BlobServices
from vmstamp.arm.storage_containers import BlobContainers
from vmstamp.arm.template.deployments import Deployments
from vmstamp.arm.template.links import BlobLinks, no_links
from vmstamp.arm.template.request import Fetch
from vmstamp.arm.template.routes import DeploymentRoutes
from vmstamp.arm.types import Call, Reply, Request, ResourceType
from vmstamp.blob.store import BlobStore
from vmstamp.db import Database


class ControlPlane:
    """One stamp's ARM. `handle` raises AzureError; safe to share between threads."""

    def __init__(
        self,
        db: Database,
        types: Callable[[Catalog], Iterable[ResourceType]],
        settings: Settings,
        *,
        proxies: Callable[[Catalog], Iterable[ProxyType]] = lambda catalog: (),
        calls: Callable[[Engine], Iterable[Call]] = lambda engine: (),
        fetch: Fetch = no_links,
        storage_suffix: str = "",
        clock: Clock = utc_now,
        workers: int = WORKERS,
    ) -> None:
        self.engine = Engine(db, types, settings, proxies=proxies, clock=clock, workers=workers)
        self._groups = Groups(self.engine)
        self._deployments = Deployments(self.engine, clock, fetch, storage_suffix)
        kind = self._deployments.resource_type()
        self.engine.types[kind.key] = kind
        routes = DeploymentRoutes(self._deployments, self.engine)
        self._router = Router(self.engine, self._groups, routes, calls(self.engine))
        self._deployments.connect(self._router.handle, self._router.describe_provider)

    def handle(self, request: Request) -> Reply:
        return self._router.handle(request)

    def tenants(self) -> list[str]:
        """The tenants that have a subscription, the stamp's own first."""
        return self.engine.subscriptions.tenants()

    def recover(self) -> None:
        """Take up the operations that the last run left open; call once, before requests come."""
        self._deployments.kept.close_orphans()
        for operation in list(self.engine.operations.unfinished()):
            if not (self._groups.resume(operation) or self._deployments.resume(operation)):
                self.engine.recovery.resume(operation)

    def close(self) -> None:
        """End what runs; what is open is taken up again by the next `recover`."""
        self._deployments.close()
        self.engine.close()


def network_types(catalog: Catalog, doors: Doors) -> list[ResourceType]:
    """The types of Microsoft.Network."""
    return [
        replace(VirtualNetworks(catalog).type(), changed=doors.network_changed),
        replace(SecurityGroups(catalog).type(), changed=doors.group_changed),
        PublicAddresses(catalog).type(),
        replace(Interfaces(catalog).type(), changed=doors.interface_changed),
    ]


def build(
    db: Database,
    store: BlobStore,
    host: Host,
    settings: Settings,
    blob_endpoint: str,
    *,
    patience: Patience = PATIENCE,
    clock: Clock = utc_now,
    workers: int = WORKERS,
    buildable: Mapping[str, str] | None = None,
) -> ControlPlane:
    """The control plane of a stamp. `blob_endpoint` is the path-style URL of the blob door, no slash.

    `buildable`: `publisher:offer:sku` in lower case -> the name by which `vmstamp image build` builds it.
    """

    def types(catalog: Catalog) -> list[ResourceType]:
        vhds = Vhds(store, blob_endpoint, clock)
        plans = Plans(catalog, vhds)
        life = Life(catalog, vhds, host, plans, Turns(places()))
        references = ImageReferences(catalog, vhds, PlatformImages(catalog, vhds, buildable))
        disks = Disks(catalog, vhds, references, life.fold_disk, life.settle, clock)
        profiles = StorageProfiles(catalog, vhds, disks, references)
        sources = GallerySources(
            catalog, vhds, disks.state_of, lambda vm: host.running(vm.properties["vmId"]), clock
        )
        captures = Captures(catalog, vhds, life)
        agents = GuestAgents(catalog, host, patience)
        return [
            *network_types(catalog, Doors(catalog, plans, host)),
            StorageAccounts(catalog, store, blob_endpoint).type(),
            disks.type(),
            Snapshots(catalog, vhds, life.settle, clock).type(),
            Images(catalog, vhds, disks, life.fold_disk, life.fold_all, clock).type(),
            *Galleries(catalog, clock).types(),
            GalleryVersions(catalog, vhds, sources, life.fold_disk, life.fold_all, clock).type(),
            AvailabilitySets(catalog).type(),
            SshPublicKeys(catalog).type(),
            VirtualMachines(
                catalog, profiles, life, captures, Conversions(catalog, vhds, life), RunCommands(agents)
            ).type(),
            Extensions(catalog, agents).type(),
            ManagedCommands(catalog, agents).type(),
        ]

    def calls(engine: Engine) -> list[Call]:
        accounts = StorageAccounts(engine.catalog, store, blob_endpoint)
        platform = PlatformImages(engine.catalog, Vhds(store, blob_endpoint, clock), buildable)
        return [*accounts.calls(engine), *compute_calls(engine), *platform.calls(engine)]

    return ControlPlane(
        db,
        types,
        settings,
        proxies=lambda catalog: (BlobServices(store).type(), BlobContainers(catalog, store).type()),
        calls=calls,
        fetch=BlobLinks(store, blob_endpoint),
        storage_suffix=f"localhost:{urlsplit(blob_endpoint).port}",
        clock=clock,
        workers=workers,
    )
