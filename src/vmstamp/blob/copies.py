"""Copy Blob from a foreign source: it goes on after it was answered, shows how far it is, and can be aborted.

The destination is there at once: a page blob of full size, a block or append blob without bytes. It takes no
other writes until the copy has ended. An aborted or failed copy leaves it empty. A copy that the end of the
server interrupts has failed when the server is back.
REST: Copy Blob; Abort Copy Blob.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Final

from vmstamp.blob import faults
from vmstamp.blob.blobs import Check
from vmstamp.blob.records import Blob, BlobRef, CopyState, CopyStatus
from vmstamp.blob.sources import Source
from vmstamp.blob.store import BlobStore
from vmstamp.errors import AzureError
from vmstamp.extents import Extents

log = logging.getLogger("vmstamp.blob")

COPIES: Final = 4  # at once; others wait
PIECE: Final = 4 * 2**20  # bytes of one request to the source


class Copies:
    """The copies that are under way. Thread-safe."""

    def __init__(self, store: BlobStore) -> None:
        self._store = store
        self._pool = ThreadPoolExecutor(COPIES, thread_name_prefix="copy")
        self._closing = threading.Event()

    def start(self, source: Source, ref: BlobRef, change: Callable[[Blob], Blob], check: Check) -> Blob:
        """Make the destination and begin; does not wait for the bytes."""
        copy = CopyState(str(uuid.uuid4()), source.url, 0, source.size, None, "pending")
        blob = self._store.begin_copy(ref, source, copy, change, check)
        self._pool.submit(self._run, source, blob)
        return blob

    def abort(self, ref: BlobRef, copy_id: str, check: Check) -> None:
        """End a copy; its destination is empty then. Raises 409 NoPendingCopyOperation, CopyIdMismatch."""

        def change(blob: Blob) -> Blob:
            if blob.copy is None or blob.copy.status != "pending":
                raise faults.fault("NoPendingCopyOperation")
            if blob.copy.id != copy_id:
                raise faults.fault("CopyIdMismatch")
            ended = replace(blob.copy, status="aborted", completed=self._store.now())
            return replace(blob, copy=ended)

        self._store.update_blob(ref, change, check=check)
        self._store.empty(ref, copy_id)

    def close(self) -> None:
        """Stop all copies at their next piece, and wait for that."""
        self._closing.set()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _run(self, source: Source, blob: Blob) -> None:
        try:
            self._move(source, blob)
        except _Ended:
            return
        except AzureError as error:
            self._end(blob, "failed", f"{error.status} {error.code} {error.message}")
        except Exception as error:
            log.exception("the copy of %s failed", source.url)
            self._end(blob, "failed", f"500 InternalError {type(error).__name__}")

    def _move(self, source: Source, blob: Blob) -> None:
        copied = 0
        for start, end in Extents(source.ranges()).split(PIECE):
            if self._closing.is_set():
                raise _Ended
            self._store.write_copied(blob, start, source.read(start, end - start))
            copied = end
            self._progress(blob, copied)
        self._end(blob, "success", "")

    def _progress(self, blob: Blob, copied: int) -> None:
        self._change(blob, lambda found, copy: replace(found, copy=replace(copy, copied=copied)), touch=False)

    def _end(self, blob: Blob, status: CopyStatus, why: str) -> None:
        now = self._store.now()

        def ended(found: Blob, copy: CopyState) -> Blob:
            whole = status == "success"
            copied, size = (copy.total, copy.total) if whole else (copy.copied, found.size)
            state = replace(copy, status=status, description=why, completed=now, copied=copied)
            return replace(found, size=size, copy=state)

        try:
            self._change(blob, ended)
            if status == "failed" and blob.copy is not None:
                self._store.empty(blob.ref, blob.copy.id)
        except (_Ended, AzureError):
            return

    def _change(self, blob: Blob, change: Callable[[Blob, CopyState], Blob], *, touch: bool = True) -> None:
        """Change the destination of this copy; _Ended when the blob is that no longer."""

        def apply(found: Blob) -> Blob:
            if not found.awaits(blob) or found.copy is None:
                raise _Ended
            return change(found, found.copy)

        self._store.update_blob(blob.ref, apply, touch=touch)


class _Ended(Exception):
    """The copy has nothing to write to any more."""
