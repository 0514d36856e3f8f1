"""Opening blobs with the official SDK, and its errors in our words.

A blob is named by its URL, host style (`https://ACCOUNT.blob.core.windows.net/CONTAINER/BLOB`) or path style
(`http://127.0.0.1:10000/ACCOUNT/CONTAINER/BLOB`); a SAS may follow after `?`. Messages never repeat the SAS.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import md5
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit, urlunsplit

from awscrt import checksums
from azure.core import MatchConditions
from azure.core.credentials import AzureNamedKeyCredential, TokenCredential
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ServiceRequestError,
    ServiceResponseError,
)
from azure.storage.blob import BlobClient, BlobProperties, BlobServiceClient

from vmstamp.errors import TransferError
from vmstamp.extents import Extent, Extents
from vmstamp.transfer.pace import Pace, PacedRetry
from vmstamp.transfer.refusals import no_answer, refusal

IDLE_TIMEOUT = 60.0  # seconds without a byte from the service before a try counts as failed


@dataclass(frozen=True)
class BlobAddress:
    """The parts of a blob's URL: `endpoint` is the account's own, without a trailing slash."""

    endpoint: str
    account: str
    container: str
    name: str

    @property
    def url(self) -> str:
        return f"{self.endpoint}/{self.container}/{self.name}"


def without_sas(url: str) -> str:
    """The URL without its query, fit to be shown."""
    return urlunsplit(urlsplit(url)._replace(query="", fragment=""))


def parse_blob_url(url: str) -> BlobAddress:
    """Take a blob URL apart. Raises TransferError when it does not name a container and a blob."""
    parts = urlsplit(url)
    words = parts.path.lstrip("/").split("/")
    host = parts.hostname or ""
    host_style = ".blob." in host
    account = host.split(".", 1)[0] if host_style else words[0]
    rest = words if host_style else words[1:]
    if parts.scheme not in ("http", "https") or len(rest) < 2 or not all((account, rest[0], rest[1])):
        raise TransferError(
            f"{without_sas(url)} is not a blob URL",
            hint="expected https://ACCOUNT.blob.HOST/CONTAINER/BLOB or http://127.0.0.1:PORT/ACCOUNT/CONTAINER/BLOB",
        )
    base = f"{parts.scheme}://{parts.netloc}"
    endpoint = base if host_style else f"{base}/{account}"
    return BlobAddress(endpoint, account, rest[0], "/".join(rest[1:]))


def open_account(
    endpoint: str, account: str, key: str, token: TokenCredential | None = None
) -> BlobServiceClient:
    """A client of one storage account, by its key (either one), else by a token. Nothing is sent yet."""
    named = AzureNamedKeyCredential(account, key) if key else None
    return BlobServiceClient(endpoint, credential=named or token, **_options(endpoint, Pace()))


def open_blob(
    url: str, *, key: str | None = None, token: TokenCredential | None = None, pace: Pace | None = None
) -> BlobClient:
    """A client of one blob, or of the snapshot that its URL names. Nothing is sent yet.

    By the account's `key`, a `token` of Microsoft Entra, its URL's SAS, or anonymous. `pace`: by default its
    own.
    """
    address = parse_blob_url(url)
    named = AzureNamedKeyCredential(address.account, key) if key else None
    return BlobClient.from_blob_url(url, credential=named or token, **_options(url, pace or Pace()))


def _options(url: str, pace: Pace) -> dict[str, Any]:
    """How the SDK sends: the SDK's own retries would wait 15, 18, 24 s, and know no Retry-After.

    To this machine itself there is no proxy, and requests looks for proxies and ~/.netrc each time.
    """
    parts = urlsplit(url)
    near = parts.scheme == "http" and (parts.hostname or "").startswith("127.")
    return {
        "retry_policy": PacedRetry(pace),
        "read_timeout": IDLE_TIMEOUT,
        "use_env_settings": not near,
    }


def has_sas(url: str) -> bool:
    """Whether the URL carries a SAS; one with `?snapshot=` alone does not."""
    return "sig" in parse_qs(urlsplit(url).query)


def default_token(authority: str = "") -> TokenCredential:
    """azure-identity's DefaultAzureCredential: environment, workload or managed identity, az, azd, ...

    `authority` is that of the cloud (empty: AZURE_AUTHORITY_HOST, else Azure's public one). Imported when it
    is needed: it is heavy, and an extra. Raises TransferError when it is not installed.
    """
    try:
        from azure.identity import DefaultAzureCredential
    except ImportError as error:
        raise TransferError(
            "signing in to Azure needs azure-identity, which is not installed",
            hint="pip install 'vmstamp[azure]'; or append a SAS to the URL, or pass --account-key",
        ) from error
    return DefaultAzureCredential(**({"authority": authority} if authority else {}))


def explain(error: AzureError, doing: str, url: str) -> TransferError:
    """An SDK error as a TransferError: what was being done, to which blob, what is wrong, and the mend.

    `url` may carry its SAS, which tells what is wrong with it; the message does not repeat it.
    """
    where = without_sas(url)
    if isinstance(error, ServiceRequestError | ServiceResponseError):
        found = no_answer(str(error.message), url)
        return TransferError(f"{doing} {where}: {found.said}", hint=found.hint)
    code = error_code(error)
    status = error.status_code if isinstance(error, HttpResponseError) else None
    if status is None and isinstance(error, ClientAuthenticationError):
        return TransferError(
            f"{doing} {where}: nobody is signed in to Azure here",
            hint="az login; or append a SAS to the URL, or pass --account-key",
        )
    found = refusal(code, url, datetime.now(UTC))
    said = found.said or next(iter((error.message or "").splitlines()), "")
    answer = " ".join(filter(None, (str(status or ""), code))) or type(error).__name__
    return TransferError(f"{doing} {where}: {answer}: {said}", hint=found.hint)


def error_code(error: AzureError) -> str:
    """The service's own code (`BlobNotFound`), '' when it gave none."""
    code = getattr(error, "error_code", None) or ""
    return str(getattr(code, "value", code))


def kind_of(found: BlobProperties) -> str:
    """The type of a blob as the service names it: PageBlob, BlockBlob or AppendBlob."""
    return str(getattr(found.blob_type, "value", found.blob_type))


def page_ranges(blob: BlobClient) -> Extents:
    """The ranges of a page blob that hold data."""
    pages = blob.list_page_ranges(results_per_page=10_000)
    return Extents((int(page.start or 0), int(page.end or 0) + 1) for page in pages if not page.cleared)


def fetch_range(blob: BlobClient, span: Extent, etag: str | None) -> bytes:
    """The bytes of `span`, at most 4 MiB, while the blob has that ETag, checked by a digest of the service's.

    It is the CRC64; the MD5 where a service does not know the other. Bytes that do not fit are asked for
    again. Raises the SDK's AzureError, and TransferError when they never fit.
    Spec: REST, Get Blob, x-ms-range-get-content-crc64.
    """
    where, found = without_sas(blob.url), "the service sends no digest of what is read"
    for digest in (_CRC64, _MD5, _MD5):
        data, sent = _get(blob, span, etag, digest)
        if not sent:
            continue
        computed = b64encode(digest.compute(data)).decode()
        if sent == computed:
            return data
        found = (
            f"the bytes at {span.start} arrived with the {digest.sent} {computed}, the service sent {sent}"
        )
    raise TransferError(
        f"reading {where}: {found}",
        hint="try again; if it stays, something between here and the service changes the data",
    )


class _Digest(NamedTuple):
    """A digest of a range: the headers by which it is asked for and sent, and what computes it."""

    asked: str
    sent: str
    compute: Callable[[bytes], bytes]


_CRC64 = _Digest(
    "x-ms-range-get-content-crc64",
    "x-ms-content-crc64",
    lambda data: checksums.crc64nvme(data).to_bytes(8, "little"),
)
_MD5 = _Digest(
    "x-ms-range-get-content-md5", "Content-MD5", lambda data: md5(data, usedforsecurity=False).digest()
)


def _get(blob: BlobClient, span: Extent, etag: str | None, digest: _Digest) -> tuple[bytes, str]:
    """The bytes, and the digest that came with them ("": none)."""
    sent = ""

    def look(reply: Any) -> None:
        nonlocal sent
        headers = reply.http_response.headers
        sent = headers.get(digest.sent, "")
        # Of what it takes for a page blob, the SDK asks all page ranges with each piece.
        headers.pop("x-ms-blob-type", None)

    # Not validate_content: with it the SDK reads in pieces of 10 KiB and digests thrice.
    data: bytes = blob.download_blob(
        span.start,
        span.length,
        max_concurrency=1,
        headers={digest.asked: "true"},
        raw_response_hook=look,
        etag=etag,
        match_condition=MatchConditions.IfNotModified,
    ).readall()
    return data, sent
