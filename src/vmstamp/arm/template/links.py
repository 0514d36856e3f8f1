"""Linked templates: read from the stamp's own Blob service, from nowhere else."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

from vmstamp.blob.records import BlobRef
from vmstamp.blob.store import BlobStore
from vmstamp.errors import AzureError

MAXIMUM_LENGTH = 4 * 2**20  # bytes, as of a template


class BlobLinks:
    """Reads blobs by their URLs. `endpoint` is the path-style URL of the Blob door, no slash at its end."""

    def __init__(self, store: BlobStore, endpoint: str) -> None:
        self._store = store
        self._endpoint = endpoint

    def __call__(self, url: str) -> str:
        """The text of a linked file. Raises AzureError that names the link."""
        ref = self._find(url)
        blob = self._store.find_blob(ref.account, ref.container, ref.name) if ref else None
        if ref is None or blob is None:
            raise not_downloaded(url, "It is no blob of this stamp")
        if blob.size > MAXIMUM_LENGTH:
            raise not_downloaded(url, f"Its size of {blob.size} bytes exceeds the limit of {MAXIMUM_LENGTH}")
        try:
            return self._store.read(ref, 0, blob.size).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise not_downloaded(url, "It is no text in UTF-8") from error

    def _find(self, url: str) -> BlobRef | None:
        parts, own = urlsplit(url), urlsplit(self._endpoint)
        host = parts.hostname or ""
        words = unquote(parts.path).lstrip("/").split("/", 2)
        if ".blob." in host and host.endswith("localhost"):
            words = [host.split(".", 1)[0], *unquote(parts.path).lstrip("/").split("/", 1)]
        elif host not in (own.hostname, "localhost", "127.0.0.1"):
            return None
        return BlobRef(words[0], words[1], words[2]) if len(words) == 3 and all(words) else None


def no_links(url: str) -> str:
    """For a control plane without a Blob service."""
    raise not_downloaded(url, "There is no Blob service")


def not_downloaded(url: str, why: str) -> AzureError:
    """400 in Azure's words; without the query, which may be a signature."""
    shown = url.split("?", 1)[0]
    return AzureError(
        400,
        "InvalidContentLink",
        f"Unable to download deployment content from '{shown}'. The tracking Id is not available. {why}: "
        "this stamp reads "
        "linked templates from its own Blob service only.",
    )
