"""What a copy reads: a blob of this stamp, or whatever a URL answers.

A foreign source is read by plain HTTP: HEAD tells its type, size and ETag, ranged GETs with that ETag as a
condition bring the bytes, and a page blob's ranges come from its own page list, so holes are not moved.
REST: Copy Blob; Put Page From URL; Put Block From URL; Append Block From URL; Put Blob From URL.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Final, cast
from urllib.parse import urlsplit

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import ParseError, fromstring

from vmstamp.blob.records import BLOCK_BLOB, HTTP_HEADERS, PAGE_BLOB, BlobRef, BlobType, HttpHeaders
from vmstamp.errors import AzureError
from vmstamp.extents import Extent

TIMEOUT: Final = 60.0  # seconds for one answer of a foreign service
VERSION: Final = "2021-12-02"  # of the Blob service, asked of a foreign one
_TYPES: Final = ("PageBlob", "BlockBlob", "AppendBlob")
_SHOWN: Final = 200  # characters of a foreign service's message


@dataclass(frozen=True)
class Source:
    """What is known of a source before its bytes are read. `ref`: its name, if it is a blob of this stamp.

    `url` has no SAS. `read(offset, length)` and `ranges()` block; they raise AzureError
    CannotVerifyCopySource.
    """

    url: str
    ref: BlobRef | None
    type: BlobType
    size: int
    etag: str
    last_modified: datetime | None
    read: Callable[[int, int], bytes]
    ranges: Callable[[], Iterable[Extent]]
    headers: HttpHeaders = field(default_factory=HttpHeaders)
    metadata: dict[str, str] = field(default_factory=dict)
    sequence_number: int = 0


def open_foreign(url: str, authorization: str = "") -> Source:
    """A source behind a URL that is not this stamp's; `authorization` is sent along (a bearer token)."""
    parts = urlsplit(url)
    more = {"Authorization": authorization} if authorization else {}
    status, headers, _ = _ask("HEAD", url, more)
    if status != 200:
        raise _refused(url, status, headers.get("x-ms-error-code", ""))
    length = headers.get("content-length", "")
    if not length.isdigit():
        raise _refused(url, status, "it does not say its length")
    size, etag = int(length), headers.get("etag", "")
    kind = headers.get("x-ms-blob-type", BLOCK_BLOB)
    page_blob = kind == PAGE_BLOB

    def read(offset: int, count: int) -> bytes:
        return _read(url, offset, count, more | ({"If-Match": etag} if etag else {}))

    def ranges() -> Iterable[Extent]:
        return _page_ranges(url, more) if page_blob else [Extent(0, size)] if size else []

    return Source(
        parts._replace(query="", fragment="").geturl(),
        None,
        cast(BlobType, kind if kind in _TYPES else BLOCK_BLOB),
        size,
        etag,
        _time(headers.get("last-modified", "")),
        read,
        ranges,
        HttpHeaders(**{name: headers.get(header, "") for name, header in HTTP_HEADERS.items()}),
        {name[10:]: value for name, value in headers.items() if name.startswith("x-ms-meta-")},
        int(headers.get("x-ms-blob-sequence-number", "0")),
    )


def _read(url: str, offset: int, length: int, more: dict[str, str]) -> bytes:
    asked = more | {"Range": f"bytes={offset}-{offset + length - 1}"}
    status, headers, body = _ask("GET", url, asked, length)
    if status == 200 and offset == 0 and headers.get("content-length") == str(length):
        status = 206  # a server without ranges, asked for everything
    if status != 206 or len(body) != length:
        code = headers.get("x-ms-error-code", f"{len(body)} bytes instead of {length}")
        raise _refused(url, status, code)
    return body


def _page_ranges(url: str, more: dict[str, str]) -> Iterator[Extent]:
    marker = ""
    while True:
        query = "comp=pagelist" + (f"&marker={marker}" if marker else "")
        joined = f"{url}{'&' if urlsplit(url).query else '?'}{query}"
        status, headers, body = _ask("GET", joined, more, 2**27)
        if status != 200:
            raise _refused(url, status, headers.get("x-ms-error-code", ""))
        try:
            root = fromstring(body)
        except (ParseError, DefusedXmlException) as error:
            raise _refused(url, status, f"its page list is no XML ({error})") from error
        for entry in root.findall("PageRange"):
            yield Extent(int(entry.findtext("Start") or 0), int(entry.findtext("End") or 0) + 1)
        marker = root.findtext("NextMarker") or ""
        if not re.fullmatch(r"[\w=%+/-]+", marker):
            return


def _ask(method: str, url: str, more: Mapping[str, str], limit: int = 0) -> tuple[int, dict[str, str], bytes]:
    """One request; the status, the headers by lower-case name, and at most `limit` bytes of the body."""
    parts = urlsplit(url)
    connect = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    try:
        with closing(connect(parts.netloc, timeout=TIMEOUT)) as connection:
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request(method, target, headers={"x-ms-version": VERSION, **more})
            response: HTTPResponse = connection.getresponse()
            body = response.read(limit) if limit and method != "HEAD" else b""
            headers = {name.lower(): value for name, value in response.getheaders()}
            return response.status, headers, body
    except (OSError, HTTPException, ValueError) as error:
        raise _refused(url, 404, f"no answer: {error}") from error


def _refused(url: str, status: int, what: str) -> AzureError:
    """In Azure's words, with the source's own status where it is a refusal."""
    shown = url.partition("?")[0]
    status = status if 400 <= status < 500 else 500
    headers = {"x-ms-copy-source-status-code": str(status)}
    if re.fullmatch(r"[A-Za-z]+", what):
        headers["x-ms-copy-source-error-code"] = what
    return AzureError(
        status, "CannotVerifyCopySource", f"{shown}: {what[:_SHOWN] or status}.", headers=headers
    )


def _time(text: str) -> datetime | None:
    try:
        return parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
