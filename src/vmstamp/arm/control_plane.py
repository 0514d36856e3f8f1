"""The control plane put together: the types, the engine, the routes.

plane = build(db, store, host, settings, blob_endpoint)
plane.recover()          once the host and the store are ready
plane.handle(request)    from any thread
plane.close()
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from vmstamp.arm.catalog import Catalog, Clock, utc_now
from vmstamp.arm.engine import Engine, Settings
from vmstamp.arm.groups import Groups
from vmstamp.arm.operations import WORKERS
from vmstamp.arm.routes import Router
from vmstamp.arm.types import Call, Reply, Request, ResourceType
from vmstamp.db import Database


class ControlPlane:
    """One stamp's ARM. `handle` raises AzureError; safe to share between threads."""

    def __init__(
        self,
        db: Database,
        types: Callable[[Catalog], Iterable[ResourceType]],
        settings: Settings,
        *,
        calls: Callable[[Engine], Iterable[Call]] = lambda engine: (),
        clock: Clock = utc_now,
        workers: int = WORKERS,
    ) -> None:
        self.engine = Engine(db, types, settings, clock=clock, workers=workers)
        self._groups = Groups(self.engine)
        self._router = Router(self.engine, self._groups, calls(self.engine))

    def handle(self, request: Request) -> Reply:
        return self._router.handle(request)

    def recover(self) -> None:
        """Take up the operations that the last run left open; call once, before requests come."""
        for operation in list(self.engine.operations.unfinished()):
            if not self._groups.resume(operation):
                self.engine.resume(operation)

    def close(self) -> None:
        """End what runs; what is open is taken up again by the next `recover`."""
        self.engine.close()
