"""What a command makes on its way: values with what they cost, made when not there, tagged and told.

The same values are a plan: what of them is there, and what would be made.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from vmstamp.errors import AzureError, VmstampError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vmstamp.cli.arm_client import ArmClient

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


def ensure(arm: ArmClient, wanted: Wanted) -> bool:
    """Make a resource unless it is there; True when it was made."""
    if arm.find(wanted.id) is not None:
        return False
    make(arm, wanted)
    return True


def make(arm: ArmClient, wanted: Wanted) -> dict[str, Any]:
    """PUT a resource and wait; its document. It counts as made from the request on, unless it is refused."""
    arm.made[wanted.id] = wanted
    try:
        found = arm.put(wanted.id, tagged(wanted.body))
    except AzureError:
        with suppress(VmstampError):
            if arm.find(wanted.id) is None:
                del arm.made[wanted.id]
        raise
    arm.say(f"made {wanted.kind} {wanted.name}")
    return found


def step_of(arm: ArmClient, wanted: Wanted, detail: str = "") -> Step:
    """What `ensure` would do."""
    there = arm.find(wanted.id) is not None
    return Step(
        "use" if there else "make",
        f"{wanted.kind} {wanted.name}",
        Cost.FREE if there else wanted.cost,
        wanted.id,
        detail,
    )


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


def group_wanted(arm: ArmClient, group: str, location: str = "") -> Wanted:
    """A resource group. Raises VmstampError when it is not there and no region is named for it."""
    return Wanted("resource group", arm.group_id(group), {"location": arm.region(group, location)})


def none_in(arm: ArmClient, what: str, group: str) -> str:
    """That a group has no VMs, images, ...; or that it is itself not there, as when it is mistyped."""
    if arm.find(arm.group_id(group)) is None:
        return f"no {what}: there is no resource group {group}"
    return f"no {what} in resource group {group}"


def ensure_group(arm: ArmClient, group: str, location: str = "") -> None:
    """The resource group, made when it is not there."""
    ensure(arm, group_wanted(arm, group, location))
