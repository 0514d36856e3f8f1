"""inspect and upload: a disk file before it becomes an image."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vmstamp.cli.options import FAILED, arm_client, examples, follow_option, group_option, json_option
from vmstamp.cli.render import Console, bytes_text, shown

if TYPE_CHECKING:
    from azure.storage.blob import BlobClient

    from vmstamp.cli.look import Look
    from vmstamp.guest.inspect import PartitionReport

FILE = click.Path(path_type=Path, dir_okay=False)


@click.command(epilog=examples("vmstamp inspect disk.vhdx", "vmstamp inspect --json disk.vhdx"))
@click.argument("file", type=FILE)
@follow_option
@json_option
@click.pass_context
def inspect(context: click.Context, file: Path, follow: bool, console: Console) -> None:
    """Look at a disk file without booting it: format, system, agent, what would fail on Azure.

    Any format, told by content: raw, VHD, VHDX, qcow2, VMDK, VDI, or one of these in a .gz, .xz, .zst, .bz2
    or .tar. Exit status 1 when something would fail that `vmstamp upload` does not mend by itself.
    """
    from vmstamp.cli.look import look_at
    from vmstamp.cli.sources import open_source

    with open_source(file, console, follow=follow) as source:
        look = look_at(source)
    document = {**look.report.to_json(), "mended_by_upload": sorted(look.mended)}
    console.result(document, look_lines(look))
    context.exit(FAILED if look.problems else 0)


def look_lines(look: Look) -> list[str]:
    """An inspection for people."""
    report = look.report
    sizes = report.sizes
    size = f"{bytes_text(sizes.virtual)} virtual"
    if sizes.file is not None and sizes.allocated is not None:
        size += f", file {bytes_text(sizes.file)}, {bytes_text(sizes.allocated)} allocated"
    os = report.os.pretty_name if report.os else "none that this version reads"
    agents = [
        *([f"cloud-init {report.cloud_init.version}"] if report.cloud_init else []),
        *([f"WALinuxAgent {report.waagent.version}"] if report.waagent else []),
    ]
    lines = [
        f"{report.path}",
        f"  format      {report.subformat} {report.format}".rstrip(),
        f"  size        {size}",
        f"  partitions  {report.table or 'no table'}",
        *(f"    {_partition_text(part)}" for part in report.partitions),
        f"  generation  {' and '.join(map(str, report.generations)) or 'boots in none'}",
        f"  system      {os}",
        f"  kernels     {', '.join(report.kernels) or 'none'}",
        f"  agents      {', '.join(agents) or 'none'}",
        f"  provisioner {report.provisioner or 'none'}",
        *(f"  note        {note}" for note in report.notes),
    ]
    told = [finding for finding in report.findings if finding.status in ("fail", "warning")]
    passed = sum(finding.status == "pass" for finding in report.findings)
    lines += ["", f"{passed} checks passed, {len(told)} to look at"]
    for finding in told:
        word = "MENDED" if finding.id in look.mended else finding.status.upper()
        lines.append(f"  {word:8} {finding.id}: {finding.found}")
        lines += [f"           {text}" for text in (finding.where, finding.why, finding.mend) if text]
    return lines


def _partition_text(part: PartitionReport) -> str:
    size = bytes_text(part.end - part.start)
    return f"{part.number}: {size} {part.content or 'unknown'} {shown(part.name)}".rstrip()


@click.command(
    epilog=examples(
        "vmstamp upload disk.vhdx",
        "vmstamp upload disk.vhdx images/web.vhd --overwrite",
        "vmstamp upload disk.qcow2 http://127.0.0.1:10000/ACCOUNT/vhds/web.vhd",
        "vmstamp upload disk.vhdx 'https://ACCOUNT.blob.core.windows.net/vhds/web.vhd?SAS'",
    )
)
@click.argument("file", type=FILE)
@click.argument("destination", required=False, default="")
@click.option("--overwrite", is_flag=True, help="Replace the blob when it exists.")
@click.option("--account-key", envvar="AZURE_STORAGE_KEY", help="Key of the account that a URL names.")
@follow_option
@group_option
@json_option
def upload(
    file: Path,
    destination: str,
    overwrite: bool,
    account_key: str | None,
    follow: bool,
    group: str,
    console: Console,
) -> None:
    """Upload a disk file to a page blob as the fixed VHD that Azure takes.

    Converted while streaming; holes are neither read nor sent. An archive is unpacked first. DESTINATION is a
    blob name, CONTAINER/BLOB or a URL; by default the stem of FILE and .vhd in the container `vhds` of the
    stamp's own account.
    """
    from vmstamp.cli.names import blob_name
    from vmstamp.cli.sources import open_source
    from vmstamp.cli.storage import upload_disk

    named = destination and not destination.endswith("/")
    wanted = destination if named else destination + blob_name(file.name)
    with (
        open_source(file, console, follow=follow) as source,  # a bad file is told before anything is made
        _open_destination(wanted, account_key, group) as blob,
    ):
        done = upload_disk(source, blob, overwrite=overwrite, report=console)
    console.result(asdict(done), done.url)


def _open_destination(destination: str, key: str | None, group: str) -> BlobClient:
    """The destination's client; a URL with a SAS or key needs no running stamp."""
    from vmstamp.cli import storage
    from vmstamp.transfer.blobs import open_blob

    if "://" in destination and (key or "?" in destination):
        return open_blob(destination, key=key if "?" not in destination else None)
    with arm_client() as arm:
        return storage.destination(arm, group, destination)
