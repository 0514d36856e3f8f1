"""Conditions of a request: ETags, times of modification, sequence numbers. Pure.

If-Match outranks If-Unmodified-Since, and If-None-Match outranks If-Modified-Since. An empty header is
no condition. REST: Specifying conditional headers for Blob service operations; Put Page.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from vmstamp.blob import faults
from vmstamp.blob.request import parse_http_time
from vmstamp.errors import AzureError


@dataclass(frozen=True)
class Conditions:
    """ETags are kept without their quotes; "*" means any."""

    if_match: str = ""
    if_none_match: str = ""
    if_modified_since: datetime | None = None
    if_unmodified_since: datetime | None = None

    @property
    def any(self) -> bool:
        return self != Conditions()


def parse_conditions(headers: Mapping[str, str], prefix: str = "") -> Conditions:
    """The conditions among headers whose names begin with `prefix` ("x-ms-source-" for a copy's source)."""

    def etag(name: str) -> str:
        return headers.get(prefix + name, "").strip().removeprefix("W/").strip('"')

    def time(name: str) -> datetime | None:
        text = headers.get(prefix + name, "")
        return parse_http_time(prefix + name, text) if text else None

    return Conditions(
        etag("if-match"), etag("if-none-match"), time("if-modified-since"), time("if-unmodified-since")
    )


def check(
    conditions: Conditions,
    etag: str | None,
    modified: datetime | None,
    *,
    read: bool,
    code: str = "ConditionNotMet",
) -> None:
    """Raise unless what has this ETag and time of modification (None: does not exist) meets all.

    412 `code`; for a `read` 304 when nothing changed.
    """
    if etag is None or modified is None:
        if conditions.if_match or conditions.if_unmodified_since:
            raise faults.fault(code)
        return
    mine, seconds = etag.strip('"'), modified.replace(microsecond=0)
    if conditions.if_match:
        if conditions.if_match not in ("*", mine):
            raise faults.fault(code)
    elif conditions.if_unmodified_since is not None and seconds > conditions.if_unmodified_since:
        raise faults.fault(code)
    if conditions.if_none_match:
        if conditions.if_none_match in ("*", mine):
            raise _unchanged(etag) if read else faults.fault(code)
    elif conditions.if_modified_since is not None and seconds <= conditions.if_modified_since:
        raise _unchanged(etag) if read else faults.fault(code)


def _unchanged(etag: str) -> AzureError:
    text = "The condition specified using HTTP conditional header(s) is not met."
    return AzureError(304, "ConditionNotMet", text, headers={"etag": etag})


@dataclass(frozen=True)
class SequenceConditions:
    """Put Page's conditions on the blob's sequence number."""

    at_most: int | None = None
    below: int | None = None
    equal: int | None = None

    @property
    def any(self) -> bool:
        return self != SequenceConditions()

    def check(self, number: int) -> None:
        if (
            (self.at_most is not None and number > self.at_most)
            or (self.below is not None and number >= self.below)
            or (self.equal is not None and number != self.equal)
        ):
            raise faults.fault("SequenceNumberConditionNotMet")
