"""Copies between what people name: URLs, blobs of the stamp, snapshots, managed disks (`disk:NAME`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from typing import Any

from azure.storage.blob import BlobClient

from vmstamp.cli.arm_client import ArmClient
from vmstamp.cli.managed_disks import DISKS, UPLOAD_SECONDS, disk_access, ensure_disk_for
from vmstamp.cli.quantities import bytes_text, seconds_text
from vmstamp.cli.render import Reporter
from vmstamp.cli.wanted import Step
from vmstamp.errors import TransferError
from vmstamp.transfer.blobs import open_blob
from vmstamp.transfer.copy import Copied, copy, plan_copy, plan_new_disk
from vmstamp.transfer.copy_plan import CopyPlan
from vmstamp.transfer.copy_source import CopySource
from vmstamp.transfer.page_blob_disk import PageBlobDisk


@contextmanager
def read_disk(arm: ArmClient, group: str, name: str) -> Iterator[BlobClient]:
    """The blob of a managed disk, by an access that is revoked at the end whatever happens."""
    with (
        disk_access(arm, arm.resource_id(group, DISKS, name), "Read", UPLOAD_SECONDS) as url,
        open_blob(url) as blob,
    ):
        yield blob


def run_copy(source: BlobClient, blob: BlobClient, report: Reporter, *, overwrite: bool) -> Copied:
    """Copy, with a bar. Raises TransferError."""
    with report.transfer(f"copy {blob.blob_name}") as progress:
        return copy(CopySource(source), blob, overwrite=overwrite, progress=progress)


def copy_to_disk(arm: ArmClient, group: str, name: str, source: BlobClient, report: Reporter) -> Copied:
    """Make the managed disk `name` of a blob: create, grant, copy, revoke.

    One that still waits for its upload, with the right size, is filled. Raises AzureError, TransferError,
    and VmstampError when there is another disk of that name.
    """
    with ExitStack() as opened:
        held = opened.enter_context(PageBlobDisk(source))
        check_vhd(held, source)
        disk = ensure_disk_for(arm, group, name, held)
        url = opened.enter_context(disk_access(arm, disk, "Write", UPLOAD_SECONDS))
        blob = opened.enter_context(open_blob(url))
        progress = opened.enter_context(report.transfer(f"copy {name}"))
        return copy(CopySource(source), blob, into=True, progress=progress)


def check_vhd(held: PageBlobDisk, source: BlobClient) -> None:
    """TransferError when a page blob is no fixed VHD, of which alone a managed disk can be made."""
    if held.format != "vhd":
        raise TransferError(
            f"{source.container_name}/{source.blob_name} has no VHD footer: it makes no managed disk",
            hint="vmstamp download it as a raw disk, then vmstamp upload --as disk NAME",
        )


def make_plan(
    source: BlobClient, blob: BlobClient | None, name: str, overwrite: bool, *, account_comes: bool = False
) -> CopyPlan:
    """What a copy would do; `blob` None: to the managed disk `name`. Changes nothing.

    `account_comes`: the account of `blob` is not there, and would be made.
    """
    if blob is None:
        with PageBlobDisk(source) as held:
            check_vhd(held, source)
        return plan_new_disk(CopySource(source), name)
    found = CopySource(source)
    return plan_copy(found, blob, overwrite=overwrite, container_comes=True, account_comes=account_comes)


def plan_document(plan: CopyPlan) -> dict[str, Any]:
    """A plan as JSON: the counts, and the steps in order."""
    steps = [asdict(step) for step in plan.steps()]
    return {
        "plan": True,
        "source": plan.source,
        "destination": plan.destination,
        "way": plan.way,
        "why": plan.why,
        "since": plan.since,
        "logical": plan.logical,
        "data": plan.ranges.length,
        "bytes": plan.total,
        "resumed": plan.kept,
        "requests": sum(step["requests"] for step in steps),
        "steps": steps,
    }


def plan_lines(plan: CopyPlan, costs: Sequence[Step] = (), place: Sequence[Step] = ()) -> list[str]:
    """A plan for people; `costs` are what of it Azure bills, `place` what must be there before."""
    made = [one for one in place if one.action == "make"]
    lines = [
        f"from {plan.source}",
        f"to   {plan.destination}",
        f"{plan.way}: {plan.why}",
        *(f"made first: {one.what}" + (f" ({one.detail})" if one.detail else "") for one in made),
        f"{bytes_text(plan.logical)} logical, {bytes_text(plan.ranges.length)} data, "
        f"{bytes_text(plan.total)} to be moved, {bytes_text(plan.kept)} there from before",
    ]
    for step in plan.steps():
        moved = f", {bytes_text(step.bytes)}" if step.bytes else ""
        lines.append(f"{step.requests:6} x  {step.what}{moved}")
    if plan.way == "put-page-from-url":
        lines.append("where the destination's service cannot reach the source, the pieces go through here")
    lines += [f"Azure bills {one.what}: {one.cost}" for one in costs]
    return [*lines, "nothing was changed"]


def copied_text(done: Copied, name: str) -> str:
    """What a copy to `name` did, in one line."""
    counts = [("logical", done.logical), ("data", done.data), ("sent", done.sent), ("skipped", done.skipped)]
    counts += [
        (word, count) for word, count in (("cleared", done.cleared), ("from before", done.resumed)) if count
    ]
    figures = ", ".join(f"{bytes_text(count)} {word}" for word, count in counts)
    return f"{name}: {done.way} ({done.why}): {figures} in {seconds_text(done.seconds)}"
