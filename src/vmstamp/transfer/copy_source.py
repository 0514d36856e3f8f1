"""A blob, or a snapshot of one, that is copied: read here by its client, elsewhere by a URL of its own.

Where the account's key is held, that URL carries a SAS that reads this blob alone for an hour, signed anew
when half of it is over; a bearer token goes along as x-ms-copy-source-authorization; a SAS of the caller's
stays as it is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from azure.core.exceptions import AzureError
from azure.storage.blob import BlobClient, BlobSasPermissions, BlobType, generate_blob_sas

from vmstamp.extents import Extent, Extents
from vmstamp.transfer.blobs import explain, fetch_range, kind_of, page_ranges, parse_blob_url, without_sas

SAS_LIFE = timedelta(hours=1)
STORAGE_SCOPE = "https://storage.azure.com/.default"


def _utc_now() -> datetime:
    return datetime.now(UTC)


class CopySource:
    """What is copied. Thread-safe; the caller keeps `blob`.

    Its properties are read once, its bytes under its ETag, so a source that changes meanwhile is refused.
    `name` is ACCOUNT/CONTAINER/BLOB; `snapshot` is '' for the blob itself. Raises TransferError.
    """

    def __init__(self, blob: BlobClient, *, now: Callable[[], datetime] = _utc_now) -> None:
        self._blob = blob
        self._now = now
        self._lock = threading.Lock()
        self._signed: tuple[str, datetime] | None = None
        try:
            found = blob.get_blob_properties()
        except AzureError as error:
            raise explain(error, "reading", blob.url) from error
        self.kind = kind_of(found)
        self.is_page_blob = found.blob_type == BlobType.PAGEBLOB
        self.size, self.etag = int(found.size), str(found.etag)
        self.metadata: dict[str, str] = dict(found.metadata or {})
        self.settings = found.content_settings
        self.snapshot = str(blob.snapshot or "")
        self.account = parse_blob_url(blob.url).account
        self.name = f"{self.account}/{blob.container_name}/{blob.blob_name}"
        self.service = urlsplit(blob.url).netloc
        self.url = without_sas(blob.url)

    @property
    def shown(self) -> str:
        """The URL for people: with the snapshot, without a SAS."""
        return f"{self.url}?snapshot={self.snapshot}" if self.snapshot else self.url

    def ranges(self) -> Extents:
        """What holds data: the page ranges, or all of a blob of another kind."""
        if not self.is_page_blob:
            return Extents([(0, self.size)])
        try:
            return page_ranges(self._blob)
        except AzureError as error:
            raise explain(error, "reading", self._blob.url) from error

    def changes_since(self, snapshot: str) -> tuple[Extents, Extents]:
        """The ranges written, and those cleared, since an older snapshot of it. Raises the SDK's AzureError.

        REST: Get Page Ranges, prevsnapshot.
        """
        pages = list(self._blob.list_page_ranges(previous_snapshot=snapshot, results_per_page=10_000))
        spans = [(int(page.start or 0), int(page.end or 0) + 1, page.cleared) for page in pages]
        written = Extents((start, end) for start, end, cleared in spans if not cleared)
        return written, Extents((start, end) for start, end, cleared in spans if cleared)

    def fetch(self, span: Extent) -> bytes:
        """The bytes of `span`, at most 4 MiB, with their digest checked. Raises the SDK's AzureError."""
        return fetch_range(self._blob, span, self.etag)

    def for_a_service(self) -> tuple[str, str | None]:
        """The URL by which another service reads it, and the Authorization to go along, if any."""
        credential: Any = self._blob.credential
        if getattr(credential, "account_key", ""):
            return self._signed_url(credential.account_key), None
        if hasattr(credential, "get_token"):
            return self._blob.url, f"Bearer {credential.get_token(STORAGE_SCOPE).token}"
        return self._blob.url, None

    def _signed_url(self, key: str) -> str:
        with self._lock:
            now = self._now()
            if self._signed is None or self._signed[1] - now < SAS_LIFE / 2:
                self._signed = self._sign(key, now + SAS_LIFE), now + SAS_LIFE
            return self._signed[0]

    def _sign(self, key: str, expiry: datetime) -> str:
        sas = generate_blob_sas(
            self.account,
            self._blob.container_name,
            self._blob.blob_name,
            snapshot=self.snapshot or None,
            account_key=key,
            permission=BlobSasPermissions(read=True),
            expiry=expiry,
        )
        return f"{self.url}?{f'snapshot={self.snapshot}&' if self.snapshot else ''}{sas}"
