"""The page blob that a transfer fills: looked at before the first byte, created, marked, verified.

An unfinished blob carries the fingerprint of what it is filled with as metadata (MARK); the same transfer
finds it and continues by the blob's own page ranges. The mark is taken away when the blob is whole.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

from azure.core import MatchConditions
from azure.core.exceptions import AzureError, HttpResponseError, ResourceNotFoundError
from azure.storage.blob import BlobClient, BlobProperties, ContentSettings

from vmstamp.errors import TransferError
from vmstamp.extents import Extents
from vmstamp.transfer.blobs import error_code, explain, kind_of, page_ranges, without_sas

MAX_PAGE_BLOB = 8 * 1024**4  # bytes; REST: Put Blob, x-ms-blob-content-length

MARK = "vmstampunfinished"  # the metadata of an unfinished blob: the fingerprint of what fills it
NO_ROOM = "InsufficientStorage"  # what was sent would only be in the way
KEPT_NOTE = "what was sent is kept: the same command continues"


def check_size(size: int, url: str) -> None:
    """TransferError when no page blob takes `size` bytes."""
    if size > MAX_PAGE_BLOB:
        raise TransferError(
            f"{url}: the disk would have {size} bytes there, a page blob holds at most {MAX_PAGE_BLOB}",
            hint="shrink the disk first",
        )


def look(blob: BlobClient, doing: str, *, container_comes: bool = False) -> BlobProperties | None:
    """The blob that is there; refused before the first byte: no container, wrong credential.

    A SAS without the read permission cannot look; then Put Blob's own condition decides. `doing` is what
    errors say ("uploading to"). `container_comes`: a container that is not there will be made.
    """
    try:
        return blob.get_blob_properties()
    except ResourceNotFoundError as error:
        # HEAD has no body; the code comes in x-ms-error-code.
        if error_code(error) == "ContainerNotFound" and not container_comes:
            raise explain(error, doing, blob.url) from error
        return None
    except HttpResponseError as error:
        if error_code(error) == "AuthorizationPermissionMismatch":
            return None
        raise explain(error, doing, blob.url) from error
    except AzureError as error:
        raise explain(error, doing, blob.url) from error


def is_begun(found: BlobProperties, mark: str, size: int, url: str, overwrite: bool) -> bool:
    """Whether the blob is this transfer, unfinished; TransferError when it may not be replaced."""
    unfinished = (found.metadata or {}).get(MARK, "")
    if mark and unfinished == mark and found.size == size:
        return True
    if overwrite:
        refuse_leased(found, url)
        return False
    if unfinished:
        raise TransferError(
            f"{url} is an unfinished upload of another disk, or of this one before it was changed",
            hint="pass --overwrite to begin anew, or name another blob",
        )
    raise TransferError(
        f"{url} exists already ({found.size} bytes, {kind_of(found)})",
        hint="pass --overwrite to replace it, or name another blob",
    )


def refuse_leased(found: BlobProperties, url: str) -> None:
    """TransferError when a lease holds the blob: it would be refused at the first write."""
    if found.lease.state == "leased":
        raise TransferError(
            f"{url}: a lease holds the blob: a virtual machine, an image or another program uses it",
            hint="name another blob, or end the lease first",
        )


def create(
    blob: BlobClient,
    size: int,
    metadata: Mapping[str, str],
    overwrite: bool,
    settings: ContentSettings | None = None,
) -> None:
    """Put an empty page blob; without `overwrite` the service refuses when there is one meanwhile."""
    condition = None if overwrite else MatchConditions.IfMissing
    try:
        blob.create_page_blob(
            size, content_settings=settings, metadata=dict(metadata) or None, match_condition=condition
        )
    except AzureError as error:
        raise explain(error, "creating", blob.url) from error


def verify_ranges(blob: BlobClient, sent: Extents) -> None:
    """Compare the destination's page ranges with what was sent."""
    present = page_ranges(blob)
    missing, foreign = sent.subtract(present), present.subtract(sent)
    if missing or foreign:
        first = next(iter(missing or foreign))
        raise TransferError(
            f"{without_sas(blob.url)}: the service holds other pages than were sent: {missing.length} bytes "
            f"missing, {foreign.length} bytes not from here, the first at byte {first.start}",
            hint="did something else write to this blob? do it again with --overwrite",
        )


def remove_unfinished(blob: BlobClient) -> str:
    """Delete the unfinished blob; a sentence for the error, empty when it is gone."""
    with contextlib.suppress(ResourceNotFoundError):
        try:
            blob.delete_blob()
        except ResourceNotFoundError:
            raise
        except AzureError as error:
            return f"the unfinished blob could not be deleted ({type(error).__name__}); it has no VHD footer"
    return ""


@contextlib.contextmanager
def filling(blob: BlobClient, doing: str, kept: bool) -> Iterator[None]:
    """Around the filling of a blob that was created: errors in our words, with what is left there.

    `kept`: the same command continues, so what was sent stays, but for a service without room; else the
    blob is deleted, after Ctrl-C too.
    """
    try:
        yield
    except BaseException as error:
        full = isinstance(error, AzureError) and error_code(error) == NO_ROOM
        left = KEPT_NOTE if kept and not full else remove_unfinished(blob)
        if isinstance(error, AzureError):
            raise with_note(explain(error, doing, blob.url), left) from error
        if isinstance(error, TransferError):
            raise with_note(error, left) from error
        if left:
            error.add_note(left)  # Ctrl-C
        raise


def with_note(error: TransferError, note: str) -> TransferError:
    """The error, and what else is to be said."""
    return TransferError("; ".join(filter(None, (error.message, note))), hint=error.hint)
