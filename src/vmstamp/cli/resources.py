"""What a command makes on its way: made when not there, tagged and told.

The values that it goes by (`wanted.py`) are a plan as well: what of them is there, and what would be made.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from vmstamp.cli.arm_client import ArmClient
from vmstamp.cli.wanted import Cost, Step, Wanted, tagged
from vmstamp.errors import AzureError, VmstampError


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
