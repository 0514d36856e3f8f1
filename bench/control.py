"""The control plane with 10,000 resources: the start of the server, one GET, and a list page by page."""

from __future__ import annotations

import compileall
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

import vmstamp
from bench.command import VMSTAMP
from bench.figure import Figure, timed
from bench.scale import Scale
from vmstamp.arm.catalog import Catalog
from vmstamp.cli.arm_client import ArmClient
from vmstamp.cli.endpoint import get_endpoint
from vmstamp.db import Database
from vmstamp.identity import load_subscription
from vmstamp.paths import Home
from vmstamp.resource_id import ResourceId
from vmstamp.run import run

GROUPS, EACH = 100, 100
GETS = 1000  # of one resource each, for each run
START_LIMIT, GET_LIMIT, LIST_LIMIT = 1.0, 15.0, 1.0  # s, ms, s


def measure(scale: Scale) -> Iterator[Figure]:
    """Figures of a server whose home has public addresses in it, written beforehand."""
    with tempfile.TemporaryDirectory(prefix="vmstamp-bench-") as name:
        home = Home(Path(name))
        home.make()
        ids = fill(home)
        env = {
            "VMSTAMP_HOME": name,
            "VMSTAMP_ARM_PORT": "0",
            "VMSTAMP_BLOB_PORT": "0",
            "VMSTAMP_WAY_OUT": "0",
        }
        compileall.compile_dir(Path(vmstamp.__file__).parent, quiet=1)  # as an installation has it
        starts = [_start(env) for _ in range(scale.runs)]
        run([VMSTAMP, "up"], env=env)
        try:
            with ArmClient(get_endpoint(home)) as arm:
                yield from _requests(arm, ids, scale.runs)
        finally:
            run([VMSTAMP, "down"], env=env)
    yield Figure(
        "start of a server with 10,000 resources", min(starts), "s", START_LIMIT, "vmstamp up, whole"
    )


def _start(env: dict[str, str]) -> float:
    seconds = timed(lambda: run([VMSTAMP, "up"], env=env))
    run([VMSTAMP, "down"], env=env)
    return seconds


def _requests(arm: ArmClient, ids: list[str], runs: int) -> Iterator[Figure]:
    arm.get(ids[0])  # the connection and the token
    times = sorted(timed(lambda id=id: arm.get(id)) for id in ids[:: len(ids) // GETS])  # type: ignore[misc]
    median, worst = statistics.median(times), times[len(times) * 99 // 100]
    how = f"{len(times)} GETs one after another, one connection"
    yield Figure("GET of one of 10,000 resources, median", median * 1000, "ms", None, how)
    yield Figure("GET of one of 10,000 resources, 99th percentile", worst * 1000, "ms", GET_LIMIT, how)
    scope = f"/subscriptions/{arm.endpoint.subscription}"
    kind = f"{scope}/providers/Microsoft.Network/publicIPAddresses"
    for what, path in (("of one type", kind), ("over all types", f"{scope}/resources")):
        seconds = min(timed(lambda path=path: _count(arm, path, len(ids))) for _ in range(runs))  # type: ignore[misc]
        yield Figure(f"list of 10,000 resources {what}", seconds, "s", LIST_LIMIT, "all pages")


def _count(arm: ArmClient, path: str, expected: int) -> None:
    found = sum(1 for _ in arm.list(path))
    if found != expected:
        raise RuntimeError(f"{path}: {found} of {expected} resources are listed")


def fill(home: Home) -> list[str]:
    """Write the resources into a home's database; their ids."""
    subscription = load_subscription(home).subscription
    database = Database(home.database)
    catalog = Catalog(database)
    ids = []
    with database.write():
        for group in range(GROUPS):
            home_of = ResourceId(subscription, f"group-{group:03}")
            state = {"properties": {"provisioningState": "Succeeded"}}
            catalog.save(catalog.new(home_of, "westeurope", state, {}))
            for number in range(EACH):
                id = home_of.sibling("Microsoft.Network", "publicIPAddresses", f"ip-{number:03}")
                address = f"127.{64 + group}.0.{number + 1}"
                catalog.save(catalog.new(id, "westeurope", _document(number), {"address": address}))
                ids.append(str(id))
    database.close()
    return ids


def _document(number: int) -> dict[str, object]:
    properties = {
        "publicIPAddressVersion": "IPv4",
        "publicIPAllocationMethod": "Static",
        "idleTimeoutInMinutes": 4,
        "provisioningState": "Succeeded",
    }
    return {"tags": {"number": str(number)}, "sku": {"name": "Standard"}, "properties": properties}
