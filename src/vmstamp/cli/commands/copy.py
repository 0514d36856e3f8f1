"""copy: between accounts, containers, snapshots, managed disks, stamps and Azure."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import click

from vmstamp.cli.commands.transfer import (
    key_option,
    note_blob,
    open_blob_named,
    open_destination,
    open_readable,
)
from vmstamp.cli.names import DISK
from vmstamp.cli.options import arm_client, examples, group_option, json_option, location_option, plan_option
from vmstamp.cli.render import Console

if TYPE_CHECKING:
    from azure.storage.blob import BlobClient

    from vmstamp.cli.wanted import Step


@click.command(
    short_help="Copy a page blob, a snapshot or a managed disk.",
    epilog=examples(
        "vmstamp copy web.vhd backup/web.vhd",
        "vmstamp copy 'images/web.vhd?snapshot=2026-01-02T03:04:05.0000000Z' backup/web.vhd",
        "vmstamp copy --plan web.vhd 'https://ACCOUNT.blob.core.windows.net/vhds/web.vhd?SAS'",
        "vmstamp copy 'https://ACCOUNT.blob.core.windows.net/vhds/web.vhd?SAS' web.vhd",
        "vmstamp copy disk:data-1 backup/data-1.vhd",
        "vmstamp copy backup/data-1.vhd disk:data-2",
        "vmstamp --cloud azure copy web.vhd backup/web.vhd --plan",
    ),
)
@click.argument("source")
@click.argument("destination")
@click.option("--overwrite", is_flag=True, help="Replace the destination when it exists.")
@plan_option
@location_option
@click.option("--source-key", help="Key of the account that SOURCE names.")
@key_option
@group_option
@json_option
def copy(
    source: str,
    destination: str,
    overwrite: bool,
    plan: bool,
    source_key: str | None,
    account_key: str | None,
    group: str,
    console: Console,
) -> None:
    """Copy a page blob, a snapshot or a managed disk, by the services themselves wherever they can.

    Each is a URL, CONTAINER/BLOB, or a name in the container `vhds` of the stamp's own account, with
    `?snapshot=TIME` for a snapshot; or disk:NAME. In one account or stamp that is one request, else only the
    page ranges that hold data are moved, from service to service; through this machine where the
    destination's cannot reach the source. Where the destination is a copy of an older snapshot of the same
    source, only what changed since is written.

    A copy that was ended is continued by the same command; until it is whole it has no VHD footer.
    """
    from vmstamp.cli import copies, plans

    to_disk = destination.removeprefix(DISK) if destination.startswith(DISK) else ""
    if to_disk and overwrite:
        raise click.UsageError("a managed disk that is there is not replaced: no --overwrite")
    with ExitStack() as opened:
        if plan and source.startswith(DISK):
            arm = opened.enter_context(arm_client(read_only=True))
            plans.tell(plans.of_disk_copy(arm, group, source.removeprefix(DISK), destination), console)
            return
        found = opened.enter_context(open_readable(source, source_key, group, opened))
        if plan:
            target = _look_at(destination, account_key, group, found.url, opened)
            planned = copies.make_plan(
                found, target.blob, destination, overwrite, account_comes=target.account_comes
            )
            costs = plans.of_copy(planned, to_disk, target.blob, found)
            document = copies.plan_document(planned)
            document["place"] = [asdict(one) for one in target.place]
            document["costs"] = [asdict(one) for one in costs]
            console.result(document, copies.plan_lines(planned, costs, target.place))
            return
        if to_disk:
            done = copies.copy_to_disk(opened.enter_context(arm_client()), group, to_disk, found, console)
        else:
            blob = opened.enter_context(open_destination(destination, account_key, group))
            note_blob(blob)
            done = copies.run_copy(found, blob, console, overwrite=overwrite)
    console.result(done, copies.copied_text(done, f"disk {to_disk}" if to_disk else done.url))


@dataclass(frozen=True)
class _Target:
    """A destination as it is: its blob (None of a managed disk), what must be there for it, what is not."""

    blob: BlobClient | None
    place: tuple[Step, ...] = ()
    account_comes: bool = False


def _look_at(wanted: str, key: str | None, group: str, source: str, opened: ExitStack) -> _Target:
    """The destination; nothing is made. `source`: the URL of what is copied."""
    from vmstamp.cli import plans, storage

    if "://" in wanted:
        return _Target(opened.enter_context(open_blob_named(wanted, key)))
    with arm_client(read_only=True) as arm:
        place = plans.of_place(arm, group, wanted)
        if wanted.startswith(DISK):
            return _Target(None, place)
        there = storage.find_account(arm, storage.own_account_name(arm)) is not None
        blob = storage.open_existing(arm, wanted) if there else storage.open_future(arm, wanted, source)
    return _Target(opened.enter_context(blob), place, not there)
