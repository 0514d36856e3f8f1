"""One local Azure, put together: its database, its blobs, its computer, its control plane."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from vmstamp.arm.compute.guest_agent import PATIENCE, Patience
from vmstamp.arm.compute.platform_images import aliases
from vmstamp.arm.control_plane import ControlPlane, build
from vmstamp.arm.engine import Settings
from vmstamp.blob.store import BlobStore
from vmstamp.db import Database
from vmstamp.fabric.fabric import Fabric
from vmstamp.host import VmHost
from vmstamp.identity import Subscription
from vmstamp.machine.accelerator import Accelerator, probe_accelerator
from vmstamp.machine.leftovers import end_leftovers
from vmstamp.paths import Home
from vmstamp.recipes.catalogue import RECIPES

log = logging.getLogger("vmstamp")

# Which platform images can be built here, and by which recipe.
BUILDABLE: Final[Mapping[str, str]] = {
    f"{recipe.publisher}:{recipe.offer}:{recipe.sku}".lower(): recipe.name for recipe in RECIPES
}


class Stamp:
    """A stamp whose home is locked by this process. Close it: that stops its VMs."""

    def __init__(
        self,
        db: Database,
        blobs: BlobStore,
        fabric: Fabric,
        host: VmHost,
        control_plane: ControlPlane,
        location: str,
        accelerator: Accelerator,
    ) -> None:
        self.blobs = blobs
        self.control_plane = control_plane
        self.location = location
        self.accelerator = accelerator
        self._db = db
        self._fabric = fabric
        self._host = host

    @classmethod
    def open(
        cls,
        home: Home,
        subscription: Subscription,
        blob_endpoint: str,
        *,
        ready_timeout: float,
        way_out: bool,
        patience: Patience = PATIENCE,
    ) -> Stamp:
        """Put a stamp together, ending and mending first what a killed server left.

        `blob_endpoint` is the path-style URL of the Blob door; `ready_timeout` in seconds, under KVM.
        `patience` is for extensions and their agents.
        """
        for pid in end_leftovers(home.machines, home.networks):
            log.info("ended process %d, left by an earlier server", pid)
        db = Database(home.database)
        blobs = BlobStore(db, home.content)
        blobs.recover()
        accelerator = probe_accelerator()
        log.info("accelerator %s: %s", accelerator.name, accelerator.reason)
        fabric = Fabric()
        host = VmHost(
            home,
            fabric,
            probe_accelerator,
            lambda: datetime.now(UTC),
            ready_timeout=ready_timeout,
            way_out=way_out,
        )
        settings = Settings(subscription.subscription, subscription.tenant, subscription.client_id)
        control_plane = build(
            db, blobs, host, settings, blob_endpoint, patience=patience, buildable=BUILDABLE
        )
        stamp = cls(db, blobs, fabric, host, control_plane, settings.default_location, accelerator)
        try:
            control_plane.recover()
        except BaseException:
            stamp.close()
            raise
        return stamp

    def image_aliases(self) -> dict[str, Any]:
        """The document of aliases of platform images that az reads."""
        return aliases(self.control_plane.engine.catalog, BUILDABLE)

    def hurry(self) -> None:
        """Let `close` pull the plugs of the VMs, now or later. For a signal's handler: does not block."""
        self._host.hurry()

    def close(self) -> None:
        """Stop the VMs by their power buttons, then everything else.

        The control plane goes first: what it was doing is taken up by the next start, not called failed.
        """
        self.control_plane.close()
        self._host.close()
        self._fabric.close()
        self.blobs.flush_all()
        self._db.close()
