"""A request to the Blob service and the reply to it, free of any web framework.

An address names account, container and blob either in the path (`http://127.0.0.1:1/ACCOUNT/CONTAINER/BLOB`)
or, with the account in the host, as `http://ACCOUNT.blob.SUFFIX/CONTAINER/BLOB`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Final, NamedTuple
from urllib.parse import unquote

from vmstamp.blob import faults
from vmstamp.blob.body import Body
from vmstamp.blob.records import Blob, BlobRef
from vmstamp.identity import Bearer

_RANGE: Final = re.compile(r"bytes=(\d+)-(\d*)")
ROOT: Final = "$root"


class Address(NamedTuple):
    """What a URL names; an empty part is not named."""

    account: str
    container: str
    blob: str


def parse_address(host: str, raw_path: str) -> Address:
    """The address behind a host (with or without port) and a path as it was sent, still encoded."""
    name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
    path = raw_path.removeprefix("/")
    first, mark, _ = name.partition(".blob.")
    if mark and "." not in first:
        account = first
    else:
        head, _, path = path.partition("/")
        account = unquote(head)
    path = unquote(path)
    container, slash, blob = path.partition("/")
    if container and not slash and account and "." in container:
        return Address(account, ROOT, container)
    return Address(account, container, blob)


@dataclass(frozen=True)
class Grant:
    """What a request may do. `everything`: by an account key or a token. `permissions`: letters, as in `sp`.

    `resources` are the letters of an account SAS's `srt`; "" for a service SAS or public access.
    `by` is "key", "token", "account SAS", "service SAS" or "public". `bearer`: whose the token is.
    """

    by: str
    permissions: str = ""
    resources: str = ""
    bearer: Bearer | None = None

    @property
    def everything(self) -> bool:
        return self.by in ("key", "token")


class Request(NamedTuple):
    """`raw_path` and `raw_query` are as sent; names of `query` and `headers` are in lower case."""

    method: str
    raw_path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    address: Address
    raw_query: str = ""
    scheme: str = "http"
    host: str = ""
    client: str = "127.0.0.1"
    body: Body = Body()
    grant: Grant = Grant("public")

    @property
    def ref(self) -> BlobRef:
        """The blob, or the snapshot of it, that is asked for."""
        return BlobRef(*self.address, self.query.get("snapshot", ""))

    @property
    def url(self) -> str:
        """The URL without its query."""
        return f"{self.scheme}://{self.host}{self.raw_path}"

    @property
    def endpoint(self) -> str:
        """The account's own URL, as the request addressed it."""
        path_style = ".blob." not in self.host
        return f"{self.scheme}://{self.host}/" + (f"{self.address.account}/" if path_style else "")

    def header(self, name: str) -> str:
        return self.headers.get(name, "")

    def required_header(self, name: str) -> str:
        value = self.headers.get(name, "")
        if not value:
            raise faults.missing_header(name)
        return value

    def number(self, name: str) -> int | None:
        """A header's value as a number of 0 or more; None when it is not sent."""
        value = self.headers.get(name, "")
        if not value:
            return None
        if not re.fullmatch(r"\d{1,19}", value):
            raise faults.invalid_header(name, value)
        return int(value)

    def range(self) -> tuple[int, int | None] | None:
        """The half-open range of x-ms-range or Range, its end None when open; None when there is none."""
        name = "x-ms-range" if self.headers.get("x-ms-range") else "range"
        return parse_range(name, self.headers.get(name, ""))

    def metadata(self) -> dict[str, str]:
        start = "x-ms-meta-"
        return {name[len(start) :]: value for name, value in self.headers.items() if name.startswith(start)}


@dataclass(frozen=True)
class Stream:
    """A body that is read while it is sent: [start, end) of a blob."""

    blob: Blob
    start: int
    end: int


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | Stream = b""


@lru_cache(maxsize=256)
def parse_query(raw: str) -> Mapping[str, str]:
    """Query parameters by lower-case name; "+" stays what it is, as in signatures."""
    parts = (part.partition("=") for part in raw.split("&") if part)
    return MappingProxyType({unquote(name).lower(): unquote(value) for name, _, value in parts})


def parse_range(name: str, value: str) -> tuple[int, int | None] | None:
    """The half-open range in a header's value, its end None when open; None for no value."""
    if not value:
        return None
    match = _RANGE.fullmatch(value.strip())
    if match is None:
        raise faults.invalid_header(name, value)
    start, last = int(match[1]), match[2]
    if last and int(last) < start:
        raise faults.invalid_header(name, value)
    return start, int(last) + 1 if last else None


def http_time(time: datetime) -> str:
    """RFC 1123, as all of HTTP: whole seconds, GMT."""
    return _http_second(time.replace(microsecond=0))


@lru_cache(maxsize=64)  # requests of one second say the same
def _http_second(time: datetime) -> str:
    return format_datetime(time.astimezone(UTC), usegmt=True)


def parse_http_time(name: str, text: str) -> datetime:
    try:
        time = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        raise faults.invalid_header(name, text) from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)
