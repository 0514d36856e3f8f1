"""upload, download and verify: disk files and page blobs."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vmstamp.cli.commands.disk_make import overwrite_option, refuse_unknown_end, to_option
from vmstamp.cli.names import DISK
from vmstamp.cli.options import (
    FAILED,
    answering,
    arm_client,
    chosen,
    examples,
    follow_option,
    group_option,
    json_option,
    location_option,
    made_so_far,
    plan_option,
)
from vmstamp.cli.quantities import bytes_text, seconds_text
from vmstamp.cli.render import Console, Tally

if TYPE_CHECKING:
    from collections.abc import Iterator

    from azure.storage.blob import BlobClient

    from vmstamp.transfer.page_blob_disk import PageBlobDisk

FILE = click.Path(path_type=Path, dir_okay=False)

key_option = click.option(
    "--account-key", envvar="AZURE_STORAGE_KEY", help="Key of the account that a URL names."
)


@click.command(
    short_help="Upload a disk file to a page blob, as a fixed VHD.",
    epilog=examples(
        "vmstamp upload disk.vhdx",
        "vmstamp upload disk.vhdx images/web.vhd --overwrite",
        "vmstamp upload disk.qcow2 http://127.0.0.1:10000/ACCOUNT/vhds/web.vhd",
        "vmstamp upload disk.vhdx 'https://ACCOUNT.blob.core.windows.net/vhds/web.vhd?SAS'",
        "vmstamp upload data.vhdx --as disk data-1",
        "vmstamp upload data.vhdx --raw images/data.raw",
        "vmstamp upload disk.vhdx --cloud azure --location westeurope --plan",
    ),
)
@click.argument("file", type=FILE)
@click.argument("destination", required=False, default="")
@click.option("--overwrite", is_flag=True, help="Replace the blob when it exists.")
@click.option(
    "--resume/--no-resume", default=True, help="Continue an unfinished upload of the same disk (default)."
)
@click.option(
    "--as",
    "made",
    type=(click.Choice(["disk"]), str),
    metavar="disk NAME",
    help="Make a managed disk: create, grant, upload, revoke.",
)
@click.option("--raw", is_flag=True, help="Send the disk's bytes alone, without a VHD's padding and footer.")
@plan_option
@location_option
@key_option
@follow_option
@group_option
@json_option
def upload(
    file: Path,
    destination: str,
    overwrite: bool,
    resume: bool,
    made: tuple[str, str] | None,
    raw: bool,
    plan: bool,
    account_key: str | None,
    follow: bool,
    group: str,
    console: Console,
) -> None:
    """Upload a disk file to a page blob as the fixed VHD that Azure takes, or raw.

    Converted while streaming; holes are neither read nor sent. An archive is unpacked first. DESTINATION is a
    blob name, CONTAINER/BLOB or a URL; by default the stem of FILE and .vhd (.raw) in the container
    `vhds` of the stamp's own account.

    An upload that was ended is continued by the same command: the blob's own page ranges say what is there.
    Until it is whole it has no VHD footer, so nothing takes it for a disk.
    """
    from vmstamp.cli.names import blob_name
    from vmstamp.cli.sources import open_source
    from vmstamp.cli.storage import upload_disk

    if made is not None:
        if destination or overwrite or account_key:
            raise click.UsageError("--as disk NAME says where it goes: no destination, key or --overwrite")
        if raw:
            raise click.UsageError("--raw: a managed disk is made of a fixed VHD")
        _upload_as_disk(file, made[1], plan, follow, group, console)
        return
    if destination.startswith(DISK):
        name = destination.removeprefix(DISK)
        raise click.UsageError(f"a managed disk is made by --as: vmstamp upload {file} --as disk {name}")
    named = destination and not destination.endswith("/")
    wanted = destination if named else destination + blob_name(file.name, ".raw" if raw else ".vhd")
    if plan:
        from vmstamp.cli import plans

        with open_source(file, console, follow=follow) as source:
            if "://" in wanted:
                plans.tell(plans.of_upload_to(wanted, source, raw=raw), console)
                return
            with arm_client(read_only=True) as arm:
                plans.tell(plans.of_upload(arm, group, wanted, source, raw=raw), console)
        return
    with (
        open_source(file, console, follow=follow) as source,  # a bad file is told before anything is made
        open_destination(wanted, account_key, group) as blob,
    ):
        note_blob(blob)
        done = upload_disk(source, blob, overwrite=overwrite, resume=resume, raw=raw, report=console)
    console.result(asdict(done), done.url)


def note_blob(blob: BlobClient) -> None:
    """Count a blob that is written as made: it stays and costs when the command fails."""
    from vmstamp.cli.wanted import Cost, Wanted
    from vmstamp.transfer.blobs import without_sas

    url = without_sas(blob.url)
    made_so_far()[url] = Wanted("blob", url, cost=Cost.STORAGE)


def _upload_as_disk(file: Path, name: str, plan: bool, follow: bool, group: str, console: Console) -> None:
    from vmstamp.cli import plans
    from vmstamp.cli.managed_disks import create_disk_of
    from vmstamp.cli.sources import open_source

    with open_source(file, console, follow=follow) as source, arm_client(read_only=plan) as arm:
        if plan:
            plans.tell(plans.of_disk(arm, group, name, source), console)
            return
        done = create_disk_of(arm, group, name, source, console)
    console.result(done.to_json(), f"disk {name} is there: {done.disk['id']}")


@click.command(
    short_help="Download a page blob into a disk file.",
    epilog=examples(
        "vmstamp download web.vhd web.vhdx",
        "vmstamp download images/web.vhd web.raw --overwrite",
        "vmstamp download 'https://ACCOUNT.blob.core.windows.net/vhds/web.vhd?SAS' web.vhd",
        "vmstamp download disk:data-1 data-1.vhd",
    ),
)
@click.argument("blob")
@click.argument("file", type=FILE)
@to_option
@overwrite_option
@click.option("--resume/--no-resume", default=True, help="Continue a download that was ended (default).")
@key_option
@group_option
@json_option
def download(
    blob: str,
    file: Path,
    to: str | None,
    overwrite: bool,
    resume: bool,
    account_key: str | None,
    group: str,
    console: Console,
) -> None:
    """Download a page blob into a disk file of any format that is written here.

    BLOB is a URL, CONTAINER/BLOB, or a name in the container `vhds` of the stamp's own account; or disk:NAME,
    a managed disk, to which access is granted for the time and then revoked. Only the blob's page ranges are
    moved, each with its digest; holes stay holes. FILE appears whole or not at all.

    A raw disk or fixed VHD that was ended is continued by the same command; until then it lies beside FILE as
    .FILE.partial. Other formats, and a blob that has changed, begin anew.
    """
    from vmstamp.transfer.download import download as fetch

    refuse_unknown_end(file, to)
    with (
        _open_source(blob, account_key, group) as source,
        console.transfer(f"download {file.name}", "received") as progress,
    ):
        done = fetch(source, file, to, overwrite=overwrite, resume=resume, progress=progress)
    kept = f", {bytes_text(done.resumed)} there from before" if done.resumed else ""
    rate = f" ({bytes_text(int(done.received / done.seconds))}/s)" if done.received else ""
    console.result(
        asdict(done),
        f"{file}: {bytes_text(done.logical)} logical, {bytes_text(done.data)} data, "
        f"{bytes_text(done.received)} received{kept} in {seconds_text(done.seconds)}{rate}",
    )


@click.command(
    short_help="Whether a page blob holds the disk that is in a file.",
    epilog=examples(
        "vmstamp verify web.vhdx web.vhd",
        "vmstamp verify web.raw 'https://ACCOUNT.blob.core.windows.net/vhds/web.vhd?SAS'",
        "vmstamp verify data.vhdx disk:data-1",
    ),
)
@click.argument("file", type=FILE)
@click.argument("blob")
@key_option
@follow_option
@group_option
@json_option
@click.pass_context
def verify(
    context: click.Context,
    file: Path,
    blob: str,
    account_key: str | None,
    follow: bool,
    group: str,
    console: Console,
) -> None:
    """Whether a page blob holds the disk that is in a file, whatever the file's format.

    BLOB is named as for `vmstamp download`. Only what one of the two has stored is read. Exit status 0 the
    same, 1 not, 2 they cannot be compared.
    """
    from vmstamp.cli.sources import open_source
    from vmstamp.transfer.download import verify as first_difference

    with (
        answering(),
        open_source(file, console, follow=follow) as local,
        _open_source(blob, account_key, group) as source,
        console.bar(f"verify {file.name}") as bar,
    ):
        total = sum(extent.length for extent in source.extents())
        difference = first_difference(local, source, progress=Tally(bar, total))
        sizes = (local.data_size, source.size)
    lines = [f"the same data, {bytes_text(total)} of it in the blob"]
    if difference is not None:
        at, one, other = difference.offset, difference.left, difference.right
        lines = [f"they differ first at byte {at}: {one:#04x} in the file, {other:#04x} in the blob"]
    if sizes[0] != sizes[1]:
        lines.append(f"sizes differ: {sizes[0]} bytes in the file, {sizes[1]} in the blob")
    console.result({"same": difference is None, "sizes": sizes, "difference": difference}, lines)
    context.exit(0 if difference is None else FAILED)


@contextmanager
def _open_source(wanted: str, key: str | None, group: str) -> Iterator[PageBlobDisk]:
    from vmstamp.transfer.page_blob_disk import PageBlobDisk

    with ExitStack() as opened:
        client = opened.enter_context(open_readable(wanted, key, group, opened))
        yield opened.enter_context(PageBlobDisk(client))


def open_readable(wanted: str, key: str | None, group: str, opened: ExitStack) -> BlobClient:
    """A blob that is there, or a managed disk (disk:NAME), whose access is revoked when `opened` ends."""
    if not wanted.startswith(DISK):
        return open_blob_named(wanted, key)
    from vmstamp.cli.copies import read_disk

    arm = opened.enter_context(arm_client())
    return opened.enter_context(read_disk(arm, group, wanted.removeprefix(DISK)))


def open_blob_named(wanted: str, key: str | None) -> BlobClient:
    """A blob that is there; a URL with a SAS or key, or of Azure, needs no running stamp."""
    from vmstamp.cli import storage

    if (client := _open_url(wanted, key)) is not None:
        return client
    with arm_client() as arm:
        return storage.open_existing(arm, wanted)


def open_destination(destination: str, key: str | None, group: str) -> BlobClient:
    """The destination's client; a URL with a SAS or key, or of Azure, needs no running stamp."""
    from vmstamp.cli import storage

    if (client := _open_url(destination, key)) is not None:
        return client
    with arm_client() as arm:
        return storage.destination(arm, group, destination)


def _open_url(wanted: str, key: str | None) -> BlobClient | None:
    """A client for a URL that needs no ARM; in a cloud, ARM knows the keys of the subscription's accounts."""
    from vmstamp.cli import storage
    from vmstamp.transfer.blobs import has_sas

    if "://" not in wanted or not (key or has_sas(wanted) or chosen().is_stamp):
        return None
    return storage.open_url(wanted, key)
