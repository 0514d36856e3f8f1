"""Upload: any Disk becomes a fixed VHD in a page blob, streaming, holes neither read nor sent.

Order: checks that cost no byte (size, container, credential, what the blob is); Put Blob (refused by the
service itself when the blob appeared meanwhile), with the disk's fingerprint as metadata; the planned pieces
in parallel; the footer last, so an unfinished blob is never a VHD; the destination's own page ranges compared
with what was sent; the fingerprint taken away. An upload that was ended, by whatever, is continued: a blob
with the disk's own fingerprint holds a part of it already, and its page ranges say which. What cannot be
continued (a disk in no file), or had no room, is deleted when it fails, or named when even that fails.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace

from azure.core import MatchConditions
from azure.core.exceptions import AzureError, HttpResponseError, ResourceNotFoundError
from azure.storage.blob import BlobClient, BlobProperties

from vmstamp.disk.base import Disk
from vmstamp.disk.fixed_vhd import FixedVhd
from vmstamp.errors import TransferError
from vmstamp.extents import Extent, Extents
from vmstamp.transfer.blobs import error_code, explain, page_ranges, without_sas
from vmstamp.transfer.fingerprint import fingerprint
from vmstamp.transfer.plan import FOOTER_LENGTH, Plan, make_plan, trim_zeros

# Measured with 0.5 GiB of data to a local service, peak memory of the process: 4 threads 102 MiB, 8 threads
# 137 MiB, 16 threads 201 MiB (and slower) with pieces of 4 MiB; 8 threads with 2 MiB pieces 104 MiB. A page
# blob of Azure takes 60 MiB/s, which 8 pieces of 2 MiB in flight fill at any latency up to 0.25 s.
CONCURRENCY = 8
PIECE = 2 * 1024 * 1024  # bytes; at most MAX_PUT_PAGE
MAX_PAGE_BLOB = 8 * 1024**4  # bytes; REST: Put Blob, x-ms-blob-content-length

MARK = "vmstampunfinished"  # the metadata of an unfinished upload: its disk's fingerprint
NO_ROOM = "InsufficientStorage"  # what was sent would only be in the way
KEPT_NOTE = "what was sent is kept: the same command continues"

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Uploaded:
    """What an upload did. All counts are bytes.

    `logical` is the fixed VHD's size with its footer, `data` what the disk's extents hold, `sent` what went
    over the wire as pages, `skipped` = logical - sent, `seconds` the time it took. `resumed` is what an
    earlier upload had sent already.
    """

    url: str
    logical: int
    data: int
    sent: int
    skipped: int
    requests: int
    seconds: float
    resumed: int = 0


class _Sender:
    """Sends pieces of a Disk and counts. Thread-safe: the workers share it."""

    def __init__(self, disk: Disk, blob: BlobClient, total: int, progress: Progress | None) -> None:
        self._disk = disk
        self._blob = blob
        self._total = total
        self._progress = progress
        self._lock = threading.Lock()
        self._done = 0
        self.sent: list[Extent] = []

    def __call__(self, piece: Extent) -> None:
        data = self._disk.read(piece.start, piece.length)
        start, end = trim_zeros(data)
        if end > start:
            body = data if end - start == len(data) else data[start:end]
            del data
            self._blob.upload_page(body, piece.start + start, end - start)
        with self._lock:
            if end > start:
                self.sent.append(Extent(piece.start + start, piece.start + end))
            self._done += piece.length
            if self._progress:
                self._progress(self._done, self._total)


def upload(
    disk: Disk,
    blob: BlobClient,
    *,
    overwrite: bool = False,
    resume: bool = True,
    concurrency: int = CONCURRENCY,
    progress: Progress | None = None,
) -> Uploaded:
    """Upload `disk` as a fixed VHD to the page blob that `blob` names; blocks until it is verified.

    Where that holds an unfinished upload of the same disk it is continued, unless not `resume`: then it is
    begun anew. `progress(done, total)` is called from worker threads, one at a time, with bytes of the plan.
    The caller keeps `disk` and `blob`. Raises TransferError; DiskError when the disk cannot be read.
    """
    started = time.monotonic()
    vhd = FixedVhd(disk)
    url = without_sas(blob.url)
    _check_size(vhd.size, url)
    mark = fingerprint(disk)
    found = _look(blob)
    begun = found is not None and _is_begun(found, mark, vhd.size, url, overwrite)
    data = Extents(vhd.extents())
    try:
        present = page_ranges(blob) if begun and resume else Extents()
    except AzureError as error:
        raise explain(error, "reading", blob.url) from error
    plan = make_plan(data, present, vhd.size)
    kept = present.subtract(plan.clears.union(Extents([plan.footer])))
    if not (begun and resume):
        _create(blob, vhd.size, mark, overwrite or begun)
    try:
        sent = _fill(vhd, blob, plan, kept, concurrency, progress)
        if mark:
            blob.set_blob_metadata({})
    except BaseException as error:
        full = isinstance(error, AzureError) and error_code(error) == NO_ROOM
        left = KEPT_NOTE if mark and not full else _remove_unfinished(blob)
        if isinstance(error, AzureError):
            raise _with_note(explain(error, "uploading to", blob.url), left) from error
        if isinstance(error, TransferError):
            raise _with_note(error, left) from error
        raise
    return _told(url, vhd, data, sent, kept, started)


def upload_into(
    disk: Disk, blob: BlobClient, *, concurrency: int = CONCURRENCY, progress: Progress | None = None
) -> Uploaded:
    """Upload `disk` as a fixed VHD into a page blob that is there and stays, as a managed disk's.

    What it holds is cleared first, and everything sent: its maker cannot tell whose pages they are. Raises
    TransferError when its size is not the fixed VHD's, or as `upload` does.
    """
    started = time.monotonic()
    vhd = FixedVhd(disk)
    url = without_sas(blob.url)
    data = Extents(vhd.extents())
    try:
        size = blob.get_blob_properties().size
        if size != vhd.size:
            raise TransferError(f"{url} has {size} bytes, but the fixed VHD {vhd.size}")
        plan = replace(make_plan(data, Extents(), vhd.size), clears=page_ranges(blob))
        sent = _fill(vhd, blob, plan, Extents(), concurrency, progress)
    except AzureError as error:
        raise explain(error, "uploading to", blob.url) from error
    return _told(url, vhd, data, sent, Extents(), started)


def _fill(
    vhd: FixedVhd, blob: BlobClient, plan: Plan, kept: Extents, concurrency: int, progress: Progress | None
) -> list[Extent]:
    """Do what is planned; what was sent. `kept`: what is in the blob already, and right."""
    for foreign in plan.clears:
        blob.clear_page(foreign.start, foreign.length)
    sender = _Sender(vhd, blob, plan.writes.length + FOOTER_LENGTH, progress)
    _send_all(plan.pieces(PIECE), sender, concurrency)
    sender(plan.footer)
    _verify(blob, Extents(sender.sent).union(kept))
    return sender.sent


def _told(
    url: str, vhd: FixedVhd, data: Extents, sent: list[Extent], kept: Extents, started: float
) -> Uploaded:
    moved = sum(piece.length for piece in sent)
    return Uploaded(
        url=url,
        logical=vhd.size,
        data=data.length,
        sent=moved,
        skipped=vhd.size - moved - kept.length,
        requests=len(sent),
        seconds=time.monotonic() - started,
        resumed=kept.length,
    )


def _send_all(pieces: Iterable[Extent], send: Callable[[Extent], None], concurrency: int) -> None:
    """Send the pieces with at most `concurrency` in flight; the first error ends it."""
    with ThreadPoolExecutor(concurrency, thread_name_prefix="upload") as pool:
        flying: set[Future[None]] = set()
        for piece in pieces:
            if len(flying) >= concurrency:
                done, flying = wait(flying, return_when=FIRST_COMPLETED)
                for future in done:
                    future.result()
            flying.add(pool.submit(send, piece))
        for future in flying:
            future.result()


def _check_size(size: int, url: str) -> None:
    if size > MAX_PAGE_BLOB:
        raise TransferError(
            f"{url}: the fixed VHD would have {size} bytes, a page blob holds at most {MAX_PAGE_BLOB}",
            hint="shrink the disk first",
        )


def _look(blob: BlobClient) -> BlobProperties | None:
    """The blob that is there; refused before the first byte: no container, wrong credential.

    A SAS without the read permission cannot look; then Put Blob's own condition decides.
    """
    try:
        return blob.get_blob_properties()
    except ResourceNotFoundError as error:
        # HEAD has no body; the code comes in x-ms-error-code.
        if error_code(error) == "ContainerNotFound":
            raise explain(error, "uploading to", blob.url) from error
        return None
    except HttpResponseError as error:
        if error_code(error) == "AuthorizationPermissionMismatch":
            return None
        raise explain(error, "uploading to", blob.url) from error
    except AzureError as error:
        raise explain(error, "uploading to", blob.url) from error


def _is_begun(found: BlobProperties, mark: str, size: int, url: str, overwrite: bool) -> bool:
    """Whether the blob is an unfinished upload of this disk; TransferError when it may not be replaced."""
    unfinished = (found.metadata or {}).get(MARK, "")
    if mark and unfinished == mark and found.size == size:
        return True
    if overwrite:
        return False
    if unfinished:
        raise TransferError(
            f"{url} is an unfinished upload of another disk, or of this one before it was changed",
            hint="pass --overwrite to begin anew, or name another blob",
        )
    raise TransferError(
        f"{url} exists already ({found.size} bytes, {found.blob_type})",
        hint="pass --overwrite to replace it, or name another blob",
    )


def _create(blob: BlobClient, size: int, mark: str, overwrite: bool) -> None:
    metadata = {MARK: mark} if mark else None
    try:
        if overwrite:
            blob.create_page_blob(size, metadata=metadata)
        else:
            blob.create_page_blob(size, metadata=metadata, match_condition=MatchConditions.IfMissing)
    except AzureError as error:
        raise explain(error, "creating", blob.url) from error


def _verify(blob: BlobClient, sent: Extents) -> None:
    """Compare the destination's page ranges with what was sent."""
    present = page_ranges(blob)
    missing, foreign = sent.subtract(present), present.subtract(sent)
    if missing or foreign:
        first = next(iter(missing or foreign))
        raise TransferError(
            f"{without_sas(blob.url)}: the service holds other pages than were sent: {missing.length} bytes "
            f"missing, {foreign.length} bytes not from here, the first at byte {first.start}",
            hint="did something else write to this blob? upload again",
        )


def _remove_unfinished(blob: BlobClient) -> str:
    """Delete the unfinished blob; a sentence for the error, empty when it is gone."""
    with contextlib.suppress(ResourceNotFoundError):
        try:
            blob.delete_blob()
        except ResourceNotFoundError:
            raise
        except AzureError as error:
            return f"the unfinished blob could not be deleted ({type(error).__name__}); it has no VHD footer"
    return ""


def _with_note(error: TransferError, note: str) -> TransferError:
    return TransferError("; ".join(filter(None, (error.message, note))), hint=error.hint)
