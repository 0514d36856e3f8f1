"""subscription create, list, delete: more than the one that a stamp has from the start."""

from __future__ import annotations

from typing import Any

import click

from vmstamp.cli.options import Group, arm_client, chosen, examples, json_option, only_stamp, place_options
from vmstamp.cli.render import Console, table

ALIASES = "/providers/Microsoft.Subscription/aliases"
BILLED = "there a subscription is a contract and billed: az account alias, or the portal"


@click.group(cls=Group, short_help="Subscriptions of the stamp.")
def subscription() -> None:
    """Subscriptions of the stamp: each has its own resource groups; names of storage accounts are common."""


@subscription.command(
    short_help="Make a subscription.",
    epilog=examples("vmstamp subscription create dev", "vmstamp az -- account set -s dev"),
)
@click.argument("name")
@click.option("--tenant", default="", metavar="GUID", help="The tenant that it belongs to; the stamp's own.")
@json_option
def create(name: str, tenant: str, console: Console) -> None:
    """Make a subscription, named by an alias; one of that name is left as it is.

    `vmstamp env` and `vmstamp az` show it to az from then on.
    """
    only_stamp("subscription create", BILLED)
    more = {"subscriptionTenantId": tenant} if tenant else {}
    properties = {"displayName": name, "workload": "Production", "additionalProperties": more}
    with arm_client() as arm:
        made = arm.put(f"{ALIASES}/{name}", {"properties": properties})["properties"]
    console.result(made, f"{made['subscriptionId']}  {made['displayName']}")


@subscription.command(
    "list",
    short_help="List the subscriptions.",
    epilog=examples("vmstamp subscription list", "vmstamp subscription list --cloud azure"),
)
@place_options
@json_option
def list_(console: Console) -> None:
    """List the subscriptions of the stamp's own tenant; in a cloud, those that who is signed in sees."""
    with arm_client(any_subscription=True) as arm:
        found = list(arm.subscriptions())
        first = arm.endpoint.subscription if chosen().is_stamp else ""
    rows = [[one["displayName"], one["subscriptionId"], one["state"], _mark(one, first)] for one in found]
    console.result(found, table(["NAME", "ID", "STATE", ""], rows))


def _mark(one: dict[str, Any], first: str) -> str:
    return "the stamp's own" if one["subscriptionId"] == first else ""


@subscription.command(epilog=examples("vmstamp subscription delete dev"))
@click.argument("name")
@json_option
def delete(name: str, console: Console) -> None:
    """Delete a subscription, by name or id. It must have no resource groups any more."""
    only_stamp("subscription delete", BILLED)
    with arm_client() as arm:
        found = [
            one for one in arm.list("/subscriptions") if name in (one["displayName"], one["subscriptionId"])
        ]
        if len(found) != 1:
            raise click.UsageError(
                f"{len(found)} subscriptions are named '{name}'; vmstamp subscription list"
            )
        id = str(found[0]["subscriptionId"])
        arm.post(f"/subscriptions/{id}/providers/Microsoft.Subscription", "cancel")
    console.result({"subscriptionId": id}, f"{id} deleted")
