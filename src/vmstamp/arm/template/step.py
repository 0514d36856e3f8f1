"""A resource of a template as a step, and how templates name steps.

Document: Define the order for deploying resources.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from vmstamp.arm.resource import Json
from vmstamp.arm.template.reader import Place
from vmstamp.arm.template.scope import Scope
from vmstamp.arm.template.values import get_member
from vmstamp.resource_id import ResourceId

DEPLOYMENTS = "microsoft.resources/deployments"
GROUPS = "microsoft.resources/resourcegroups"
# What may lie on a subscription, a group or a resource.
EXTENSIONS = ("microsoft.authorization/locks", "microsoft.resources/tags")
# Members of a declared resource that say how it is deployed; the rest is the resource's own.
DEPLOYING = (
    "apiversion",
    "asserts",
    "comments",
    "condition",
    "copy",
    "dependson",
    "existing",
    "metadata",
    "name",
    "resourcegroup",
    "scope",
    "subscriptionid",
    "type",
)


@dataclass(frozen=True)
class Step:
    """One resource to be made. `body` holds expressions, `preview` what is known of them beforehand."""

    key: str  # its id in lower case
    id: ResourceId
    kind: str  # as the template spells it
    api_version: str
    body: Json
    scope: Scope
    place: Place
    path: str
    symbol: str = ""
    loop: str = ""
    index: int = 0
    existing: bool = False
    deployed: bool = True  # its condition holds
    depends_on: tuple[str, ...] = ()
    preview: Json | None = None
    waits: frozenset[str] = frozenset()

    @property
    def is_deployment(self) -> bool:
        return self.kind.lower() == DEPLOYMENTS

    def information(self) -> Json:
        """What `resourceInfo` gives."""
        return {"id": str(self.id), "name": self.id.name, "type": self.kind, "apiVersion": self.api_version}


def find_steps(steps: Iterable[Step], text: str) -> list[Step]:
    """The steps that a text names: the first of these readings that finds any."""
    wanted = text.lower().rstrip("/")
    if wanted.startswith("/"):
        return [step for step in steps if step.key == wanted]
    readings: tuple[Callable[[Step], Iterable[str]], ...] = (
        lambda step: (step.symbol, f"{step.symbol}[{step.index}]" if step.loop else ""),
        lambda step: (step.loop,),
        _typed_names,
        lambda step: ("/".join(step.id.names), step.id.name),
    )
    known = list(steps)
    for reading in readings:
        found = [step for step in known if wanted in (word.lower() for word in reading(step))]
        if found:
            return found
    return []


def _typed_names(step: Step) -> Iterator[str]:
    """`Namespace/type/name/child/name`, and `Namespace/type/child/name/name`."""
    pairs = [word for pair in zip(step.id.types, step.id.names, strict=True) for word in pair]
    yield "/".join((step.id.provider, *pairs))
    yield "/".join((step.kind, *step.id.names))


def is_inner(properties: Mapping[str, Any]) -> bool:
    """Whether a nested deployment's expressions see the nested template alone. A linked one's always do."""
    options = get_member(properties, "expressionEvaluationOptions") or {}
    inner = str(get_member(options, "scope") or "outer").lower() == "inner"
    return inner or get_member(properties, "template") is None
