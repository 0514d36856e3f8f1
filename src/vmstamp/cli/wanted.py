"""What a command makes on its way, as values: with what they cost, their tags, and how they are deleted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

TAGS = {"created-by": "vmstamp"}


class Cost(StrEnum):
    """The class of what something costs on Azure."""

    FREE = "free"
    STORAGE = "storage by GiB-month"
    COMPUTE = "compute by hour"
    ADDRESS = "address by hour"
    EGRESS = "egress by GiB"


@dataclass(frozen=True)
class Wanted:
    """A resource that a command needs: `kind` in words, `id` of ARM or a blob's URL, `body` of its PUT."""

    kind: str
    id: str
    body: dict[str, Any] = field(default_factory=dict)
    cost: Cost = Cost.FREE

    @property
    def name(self) -> str:
        return self.id.rsplit("/", 1)[1]


@dataclass(frozen=True)
class Step:
    """One step of a plan: `action` is make, use (it is there), upload, copy, grant, revoke, ..."""

    action: str
    what: str
    cost: Cost = Cost.FREE
    id: str = ""
    detail: str = ""


def tagged(body: dict[str, Any]) -> dict[str, Any]:
    """A body with our tags besides its own."""
    return {**body, "tags": {**TAGS, **body.get("tags", {})}}


def delete_command(wanted: Wanted, cloud: str) -> str:
    """The command that deletes something which was made, in one of Azure's clouds."""
    kind, words = wanted.id.lower().rpartition("/")[0], wanted.id.split("/")
    if wanted.id.startswith("http"):
        return f"az storage blob delete --auth-mode login --blob-url {wanted.id}"
    for collection, command in (("virtualmachines", "vm delete"), ("images", "image delete")):
        if kind.endswith(f"microsoft.compute/{collection}"):
            return f"vmstamp --cloud {cloud} --subscription {words[2]} {command} {wanted.name} -g {words[4]}"
    if kind.endswith("/resourcegroups"):
        return f"az group delete --subscription {words[2]} --name {wanted.name}"
    return f"az resource delete --ids {wanted.id}"


def left_lines(made: Iterable[Wanted], cloud: str) -> list[str]:
    """What was made, stays and costs, each with the command that deletes it."""
    return [
        f"left: {one.kind} {one.name} ({one.cost}); to delete it: {delete_command(one, cloud)}"
        for one in made
        if one.cost is not Cost.FREE
    ]
