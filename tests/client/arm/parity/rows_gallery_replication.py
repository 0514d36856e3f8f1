"""Rules of the regions that a version of a gallery image is replicated to."""

from __future__ import annotations

import threading
from typing import Any, Final

import requests

from tests.client.arm.parity.row import COMPUTE, TIMEOUT, Row, ask
from tests.client.arm.parity.rows_galleries import VERSION, body, definition, publish, version

TITLE: Final = "Replication of gallery image versions"


def _replicated(arm: Any) -> requests.Response:
    version(arm, "westeurope", "eastus")
    return ask(arm, "GET", f"{VERSION}?$expand=ReplicationStatus")


def _without_home(arm: Any) -> requests.Response:
    definition(arm)
    return publish(arm, VERSION, "eastus")


def _home_removed(arm: Any) -> requests.Response:
    version(arm, "westeurope", "eastus")
    return publish(arm, VERSION, "eastus")


def _region_twice(arm: Any) -> requests.Response:
    definition(arm)
    return publish(arm, VERSION, "westeurope", "West Europe")


def _too_many_replicas(arm: Any) -> requests.Response:
    definition(arm)
    return publish(arm, replicaCount=101)


def _replicating(arm: Any) -> requests.Response:
    """A version whose replicas are not there yet."""
    definition(arm)
    arm.image()
    go, real = threading.Event(), arm.store.share

    def late(*given: Any, **named: Any) -> Any:
        go.wait(TIMEOUT)
        return real(*given, **named)

    arm.store.share = late
    source = {"source": {"id": f"{COMPUTE}/images/image1"}}
    regions = {"targetRegions": [{"name": name} for name in ("westeurope", "eastus")]}
    ask(arm, "PUT", VERSION, body(storageProfile=source, publishingProfile=regions))
    reply = ask(arm, "GET", f"{VERSION}?$expand=ReplicationStatus")
    go.set()
    arm.plane.engine.operations.wait()
    arm.store.share = real
    return reply


def _is_replicating(reply: requests.Response) -> bool:
    properties = reply.json()["properties"]
    status = properties["replicationStatus"]
    regions = [(one["region"], one["state"], one["progress"]) for one in status["summary"]]
    assert (properties["provisioningState"], status["aggregatedState"]) == ("Creating", "InProgress")
    return regions == [("West Europe", "Replicating", 0), ("East US", "Replicating", 0)]


def _unexpanded(arm: Any) -> requests.Response:
    version(arm)
    return ask(arm, "GET", VERSION)


def _source_deleted(arm: Any) -> requests.Response:
    version(arm)
    ask(arm, "DELETE", f"{COMPUTE}/images/image1")
    arm.plane.engine.operations.wait()
    return publish(arm, VERSION, "westeurope", "eastus")


def _status(reply: requests.Response) -> bool:
    status = reply.json()["properties"]["replicationStatus"]
    regions = [(one["region"], one["state"], one["progress"]) for one in status["summary"]]
    return status["aggregatedState"] == "Completed" and regions == [
        ("West Europe", "Completed", 100),
        ("East US", "Completed", 100),
    ]


ROWS: Final = (
    Row("replication status under way", "R", _replicating, 200, holds=_is_replicating),
    Row(
        "no replication status unless it is asked for",
        "R",
        _unexpanded,
        200,
        holds=lambda reply: "replicationStatus" not in reply.json()["properties"],
    ),
    Row("replication status on request, region by region", "R", _replicated, 200, holds=_status),
    Row(
        "target regions without the version's own",
        "D",
        _without_home,
        400,
        "InvalidParameter",
        "Gallery image version publishing profile regions 'East US' must contain the location of image "
        "version 'West Europe'.",
    ),
    Row(
        "taking the version's own region away",
        "D",
        _home_removed,
        400,
        "InvalidParameter",
        "Gallery image version publishing profile regions ... must contain the location of image version ...",
    ),
    Row(
        "a target region twice",
        "DI",
        _region_twice,
        400,
        "InvalidParameter",
        "Duplicate regions are not allowed in target publishing regions.",
    ),
    Row(
        "too many replicas",
        "D",
        _too_many_replicas,
        400,
        "InvalidParameter",
        "The value '101' of parameter 'replicaCount' is out of range. The value must be between '1' and "
        "'100', inclusive.",
    ),
    Row(
        "a replica in another region, when the source is gone",
        "D",
        _source_deleted,
        200,
        holds=lambda reply: reply.json()["properties"]["provisioningState"] == "Updating",
    ),
)
