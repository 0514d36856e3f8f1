"""Copy: a page blob becomes another one, moved by the services themselves wherever they can.

    plan_copy   looks at both ends and decides (`copy_plan`); changes nothing
    copy        does that: server-side, or through this machine where the destination's service answers
                CannotVerifyCopySource, that is, cannot reach the source

As with an upload, an unfinished destination carries a mark, the same copy continues it by its own page
ranges, its footer goes last, and its page ranges are compared at the end. A copy of the changes since a
snapshot takes the footer away first, and is done anew when it was ended: it is small.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from azure.core import MatchConditions
from azure.core.exceptions import AzureError
from azure.storage.blob import BlobClient, BlobProperties

from vmstamp.errors import TransferError
from vmstamp.extents import Extent, Extents
from vmstamp.transfer import copy_plan
from vmstamp.transfer.blobs import error_code, explain, page_ranges, parse_blob_url, without_sas
from vmstamp.transfer.copy_plan import CopyPlan
from vmstamp.transfer.copy_source import CopySource
from vmstamp.transfer.destination import (
    MARK,
    check_size,
    create,
    filling,
    is_begun,
    look,
    verify_ranges,
)
from vmstamp.transfer.pool import each
from vmstamp.transfer.progress import Moved, Progress

CONCURRENCY = 8
POLL = 1.0  # seconds between two looks at a Copy Blob that goes on
DOING = "copying to"
UNREACHED = "CannotVerifyCopySource"  # the destination's service cannot read the source there


@dataclass(frozen=True)
class Copied:
    """What a copy did. `way` as in the plan, or `read-and-write` where it had to go through this machine.

    Bytes: `logical` the blob's size, `data` what the source holds, `sent` what was moved, `cleared`,
    `resumed` what an earlier try had moved. `since` is the snapshot after which changes were copied, or ''.
    """

    source: str
    url: str
    way: str
    why: str
    logical: int
    data: int
    sent: int
    cleared: int
    skipped: int
    resumed: int
    requests: int
    seconds: float
    since: str


def plan_copy(
    source: CopySource,
    blob: BlobClient,
    *,
    overwrite: bool = False,
    resume: bool = True,
    into: bool = False,
    container_comes: bool = False,
    account_comes: bool = False,
) -> CopyPlan:
    """Look at both ends and decide; nothing is changed. `into`: `blob` stays, as a managed disk's does.

    `container_comes`: a container that is not there is made before the copy. `account_comes`: so is the whole
    account, and nobody is there yet who could be asked for the blob.
    Raises TransferError when the copy would be refused: the destination exists, the source is unfinished or
    is itself the destination.
    """
    _check_source(source, blob)
    found = None if account_comes else look(blob, DOING, container_comes=container_comes)
    if into:
        return _plan_into(source, blob, found)
    mark = _mark(source)
    base = _base(source, found, mark)
    if found is not None and base and base == source.snapshot and MARK not in (found.metadata or {}):
        return _plan(source, blob, found, "nothing", "it is a copy of this snapshot already, and untouched")
    if source.service == _service(blob) or not source.is_page_blob:
        if found is not None and not base:
            is_begun(found, mark, source.size, _url(blob), overwrite)
        return _plan(source, blob, found, "copy-blob", _why_copy_blob(source))
    if base and (plan := _plan_changes(source, blob, found, base)) is not None:
        return plan
    return _plan_pages(source, blob, found, overwrite, resume)


def plan_new_disk(source: CopySource, destination: str) -> CopyPlan:
    """What filling a managed disk takes that is not there yet; `destination` is its name."""
    ranges = source.ranges()
    pages = copy_plan.whole_pages(ranges, Extents(), source.size)
    why = "a managed disk is made, and its blob written"
    plan = CopyPlan(source.shown, destination, "put-page-from-url", why, source.size, ranges)
    return replace(plan, pages=pages, creates=False, into=True)


def copy(
    source: CopySource,
    blob: BlobClient,
    *,
    overwrite: bool = False,
    resume: bool = True,
    into: bool = False,
    concurrency: int = CONCURRENCY,
    progress: Progress | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Copied:
    """Copy `source` to the blob that `blob` names; blocks until it is verified.

    `progress` is called from worker threads, one at a time. The caller keeps both. Raises TransferError.
    """
    started = time.monotonic()
    plan = plan_copy(source, blob, overwrite=overwrite, resume=resume, into=into)
    mover = _Mover(source, blob, plan, progress)
    if plan.way == "copy-blob" and not _copy_blob(source, blob, plan, progress, sleep):
        plan = _plan_pages(source, blob, look(blob, DOING), overwrite, resume)
        mover = _Mover(source, blob, plan, progress)
    if plan.way == "put-page-from-url":
        _move_pages(source, blob, plan, mover, concurrency, sleep)
    sent = mover.moved.sent
    return Copied(
        source=source.shown,
        url=_url(blob),
        way="read-and-write" if mover.refused else plan.way,
        why=mover.refused or plan.why,
        logical=plan.logical,
        data=plan.ranges.length,
        sent=sent,
        cleared=plan.pages.clears.length,
        skipped=plan.logical - sent - plan.kept,
        resumed=plan.kept,
        requests=sum(step.requests for step in plan.steps()),
        seconds=time.monotonic() - started,
        since=plan.since,
    )


# -- deciding


def _check_source(source: CopySource, blob: BlobClient) -> None:
    if copy_plan.read_marks(source.metadata).unfinished:
        raise TransferError(
            f"{source.shown} is an unfinished upload or copy",
            hint="finish it first: the same command continues",
        )
    if (source.url, source.snapshot) == (_url(blob), ""):
        raise TransferError(f"{source.url} would be copied onto itself", hint="name another destination")
    check_size(source.size, _url(blob))


def _plan(
    source: CopySource, blob: BlobClient, found: BlobProperties | None, way: copy_plan.Way, why: str
) -> CopyPlan:
    etag = "" if found is None else str(found.etag)
    return CopyPlan(source.shown, _url(blob), way, why, source.size, source.ranges(), etag)


def _why_copy_blob(source: CopySource) -> str:
    if source.is_page_blob:
        return "both are in one account or stamp"
    return f"a {source.kind} has no page ranges"


def _plan_changes(
    source: CopySource, blob: BlobClient, found: BlobProperties | None, base: str
) -> CopyPlan | None:
    """Only what changed since the snapshot `base`; None when the source does not have that any more."""
    try:
        written, cleared = source.changes_since(base)
    except AzureError:
        return None
    pages = copy_plan.changed_pages(written, cleared, source.size)
    why = f"the destination is a copy of the snapshot {base}: only what changed since"
    plan = _plan(source, blob, found, "put-page-from-url", why)
    return replace(plan, pages=pages, since=base, creates=False)


def _plan_pages(
    source: CopySource, blob: BlobClient, found: BlobProperties | None, overwrite: bool, resume: bool
) -> CopyPlan:
    if not source.is_page_blob:
        raise TransferError(
            f"{source.shown} is a {source.kind}, which the service of {_url(blob)} cannot read there",
            hint="only page blobs are copied through this machine",
        )
    begun = found is not None and is_begun(found, _mark(source), source.size, _url(blob), overwrite)
    present = _present(blob) if begun and resume else Extents()
    plan = _plan(source, blob, found, "put-page-from-url", "they are in different accounts")
    pages = copy_plan.whole_pages(plan.ranges, present, source.size)
    kept = present.intersect(plan.ranges).subtract(Extents([pages.footer])).length
    return replace(plan, pages=pages, creates=not (begun and resume), kept=kept)


def _plan_into(source: CopySource, blob: BlobClient, found: BlobProperties | None) -> CopyPlan:
    if found is None or found.size != source.size:
        size = "nothing" if found is None else f"{found.size} bytes"
        raise TransferError(f"{_url(blob)} has {size}, but {source.shown} {source.size} bytes")
    if not source.is_page_blob:
        raise TransferError(f"{source.shown} is a {source.kind}, no page blob, and holds no disk")
    why = "the blob of a managed disk stays, and is written"
    plan = _plan(source, blob, found, "put-page-from-url", why)
    pages = copy_plan.whole_pages(plan.ranges, Extents(), source.size)
    return replace(plan, pages=replace(pages, clears=_present(blob)), creates=False, into=True)


def _present(blob: BlobClient) -> Extents:
    try:
        return page_ranges(blob)
    except AzureError as error:
        raise explain(error, "reading", blob.url) from error


def _base(source: CopySource, found: BlobProperties | None, mark: str) -> str:
    """The source's snapshot that the destination is a copy of, '' when it is none or was written to."""
    if found is None or found.size != source.size:
        return ""
    modified = found.last_modified
    assert isinstance(modified, datetime)
    marks = copy_plan.read_marks(found.metadata or {})
    return copy_plan.known_base(marks, source.name, source.snapshot, mark, modified)


def _mark(source: CopySource) -> str:
    return copy_plan.copy_mark(source.name, source.snapshot, source.etag, source.size)


def _url(blob: BlobClient) -> str:
    return without_sas(blob.url)


def _service(blob: BlobClient) -> str:
    return parse_blob_url(blob.url).endpoint.split("/")[2]


# -- doing


class _Mover:
    """Moves pieces and counts. Thread-safe: the workers share it."""

    def __init__(
        self, source: CopySource, blob: BlobClient, plan: CopyPlan, progress: Progress | None
    ) -> None:
        self._source = source
        self._blob = blob
        self._progress = progress
        self._lock = threading.Lock()
        self.moved = Moved(plan.logical, plan.ranges.length, plan.total, kept=plan.kept)
        self.refused = ""  # why the service could not do it by itself

    def __call__(self, piece: Extent) -> None:
        if self.refused or not self._by_the_service(piece):
            self._blob.upload_page(self._source.fetch(piece), piece.start, piece.length)
        with self._lock:
            done, sent = self.moved.done + piece.length, self.moved.sent + piece.length
            self.moved = replace(self.moved, done=done, sent=sent)
            if self._progress:
                self._progress(self.moved)

    def _by_the_service(self, piece: Extent) -> bool:
        """Put Page From URL; False when the service cannot read the source."""
        url, authorization = self._source.for_a_service()
        try:
            self._blob.upload_pages_from_url(
                *(url, piece.start, piece.length, piece.start),
                source_etag=self._source.etag,
                source_match_condition=MatchConditions.IfNotModified,
                source_authorization=authorization,
            )
        except AzureError as error:
            if error_code(error) != UNREACHED:
                raise
            self.refused = f"{UNREACHED}: the destination's service cannot read the source itself"
            return False
        return True


def _move_pages(
    source: CopySource,
    blob: BlobClient,
    plan: CopyPlan,
    mover: _Mover,
    concurrency: int,
    sleep: Callable[[float], None],
) -> None:
    own = copy_plan.without_marks(source.metadata)
    if plan.creates:
        begun = {**own, MARK: _mark(source)}
        create(blob, plan.logical, begun, bool(plan.etag), source.settings)
    with filling(blob, DOING, kept=True):
        if plan.since:
            _open_again(source, blob, plan, own)
        for foreign in plan.pages.clears:
            blob.clear_page(foreign.start, foreign.length)
        each(plan.pieces(), mover, concurrency, "copy")
        if plan.has_footer:
            mover(plan.pages.footer)
        verify_ranges(blob, plan.ranges)
        if not plan.into:
            _finish(source, blob, own, sleep)


def _open_again(source: CopySource, blob: BlobClient, plan: CopyPlan, own: Mapping[str, str]) -> None:
    """Mark a whole copy as unfinished, and take its footer away."""
    blob.set_blob_metadata({**own, **_origin(source, plan.since), MARK: _mark(source)})
    if plan.pages.footer.length:
        blob.clear_page(plan.pages.footer.start, plan.pages.footer.length)


def _origin(source: CopySource, snapshot: str) -> dict[str, str]:
    return {copy_plan.COPY_OF: copy_plan.source_mark(source.name), copy_plan.COPY_SNAPSHOT: snapshot}


def _finish(
    source: CopySource, blob: BlobClient, own: dict[str, str], sleep: Callable[[float], None]
) -> None:
    """Take the mark of the unfinished away; a copy of a snapshot says of which, and when it was finished.

    Setting that time may itself change it, so it is set until it holds. A service tells whole seconds: only
    what is written after this one shows, so it is waited for.
    """
    answer = blob.set_blob_metadata(own)
    if not source.snapshot:
        return
    for _ in range(4):
        modified = answer["last_modified"]
        assert isinstance(modified, datetime)
        at = copy_plan.time_mark(modified)
        answer = blob.set_blob_metadata({**own, **_origin(source, source.snapshot), copy_plan.COPY_TIME: at})
        if answer["last_modified"] == modified:
            sleep(1.0)
            return
    blob.set_blob_metadata(own)


def _copy_blob(
    source: CopySource,
    blob: BlobClient,
    plan: CopyPlan,
    progress: Progress | None,
    sleep: Callable[[float], None],
) -> bool:
    """Copy Blob, and wait for it; False when the service cannot read the source.

    One that is ended is aborted; a blob that was not there before is then deleted.
    """
    own = copy_plan.without_marks(source.metadata)
    url, _ = source.for_a_service()
    try:
        answer = blob.start_copy_from_url(
            url,
            metadata={**own, MARK: _mark(source)},
            source_etag=source.etag,
            source_match_condition=MatchConditions.IfNotModified,
            **_as_it_was(plan.etag),
        )
    except AzureError as error:
        if error_code(error) == UNREACHED:
            return False
        raise explain(error, DOING, blob.url) from error
    try:
        if answer["copy_status"] != "success":
            _await_copy(source, blob, progress, sleep)
        if source.is_page_blob:
            verify_ranges(blob, source.ranges())
        _finish(source, blob, own, sleep)
    except BaseException as error:
        _abort(blob, str(answer["copy_id"]), remove=not plan.etag)
        if isinstance(error, AzureError):
            raise explain(error, DOING, blob.url) from error
        raise
    return True


def _as_it_was(etag: str) -> dict[str, Any]:
    """The SDK's condition that a blob still has this ETag, or is still not there (''): it takes no None."""
    if etag:
        return {"etag": etag, "match_condition": MatchConditions.IfNotModified}
    return {"match_condition": MatchConditions.IfMissing}


def _await_copy(
    source: CopySource, blob: BlobClient, progress: Progress | None, sleep: Callable[[float], None]
) -> None:
    while (state := blob.get_blob_properties().copy).status == "pending":
        done = int((state.progress or "0").split("/")[0])
        if progress:
            progress(Moved(source.size, source.size, source.size, done=done, sent=done))
        sleep(POLL)
    if state.status != "success":
        raise TransferError(
            f"{DOING} {_url(blob)}: the service's own copy {state.status}: {state.status_description}",
            hint="the same command begins it anew",
        )


def _abort(blob: BlobClient, copy_id: str, *, remove: bool) -> None:
    with suppress(AzureError):  # it may have ended already
        blob.abort_copy(copy_id)
    if remove:
        with suppress(AzureError):
            blob.delete_blob()
