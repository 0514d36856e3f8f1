"""A deployment that is about to run, and the words that deployments share.

REST: Deployments, 2024-11-01.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from vmstamp.arm.template.graph import Graph
from vmstamp.arm.template.opened import Opened
from vmstamp.arm.template.request import Asked
from vmstamp.arm.template.secrets import secrets_of
from vmstamp.errors import AzureError
from vmstamp.resource_id import ResourceId

TYPE_NAME: Final = "Microsoft.Resources/deployments"
API_VERSIONS: Final = ("2020-10-01", "2021-04-01", "2022-09-01", "2024-03-01", "2024-11-01", "2025-04-01")
KIND: Final = "deployment"  # of its row among the operations
ENDED: Final = ("Succeeded", "Failed", "Canceled")
CANCELED: Final = "DeploymentCanceled"


@dataclass(frozen=True)
class Spec:
    """A deployment that is about to run, or runs."""

    id: ResourceId
    asked: Asked
    opened: Opened
    base: str
    correlation: str
    started: datetime
    nesting: int = 0
    url: str = ""  # where its template lies, when it is linked
    outer: tuple[str, ...] = ()  # secrets of the deployment that it is nested in
    above: tuple[Graph, ...] = ()  # of the deployments whose expressions its own see, the nearest first
    refusal: AzureError | None = None  # why it fails before it makes anything

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no error of it may say."""
        own = secrets_of(self.asked.template, self.opened.given.values)
        return tuple(sorted({*own, *self.outer}, key=len, reverse=True))


def gone(id: ResourceId) -> AzureError:
    """The error of a deployment that nobody runs any more."""
    return AzureError(
        500,
        "OperationInterrupted",
        f"The stamp ended while the deployment '{id}' was under way, and it cannot be taken up again.",
    )


def canceled(id: ResourceId) -> AzureError:
    """How a deployment ends that somebody canceled."""
    return AzureError(409, CANCELED, f"The deployment '{id.name}' was canceled.", target=str(id))
