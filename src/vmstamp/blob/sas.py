"""Shared access signatures: the strings that are signed, for every version of the service since 2015-04-05.

Pure functions over a SAS's own parameters. The layout of the string depends on `sv`.
REST: Create a service SAS; Create an account SAS; Create a user delegation SAS.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final
from urllib.parse import quote

SIGNED_VERSION: Final = "2021-12-02"  # of the signatures that we make ourselves
OLDEST_VERSION: Final = "2015-04-05"
_WITH_RESOURCE: Final = "2018-11-09"  # since then sr and the snapshot time are signed
_WITH_SCOPE: Final = "2020-12-06"  # since then the encryption scope is signed
_TIME: Final = re.compile(r"(\d{4}-\d{2}-\d{2})(?:T(\d{2}:\d{2})(:\d{2})?(?:\.\d{1,7})?Z)?")
_WITH_AGENTS: Final = "2020-02-10"  # of a user delegation SAS
_WITH_USER: Final = "2025-07-05"
_WITH_REQUEST: Final = "2026-04-06"
DELEGATION_FIELDS: Final = ("skoid", "sktid", "skt", "ske", "sks", "skv", "skdutid")
_OVERRIDES: Final = ("rscc", "rscd", "rsce", "rscl", "rsct")


@lru_cache(maxsize=1024)
def sign(key: str, text: str) -> str:
    """The HMAC-SHA256 of `text` with an account key, both in base64; "" when `key` is not base64."""
    try:
        secret = base64.b64decode(key, validate=True)
    except (binascii.Error, ValueError):
        return ""
    return base64.b64encode(hmac.new(secret, text.encode(), hashlib.sha256).digest()).decode()


def service_string(query: Mapping[str, str], resource: str) -> str:
    """What a service SAS signs. `resource` is /ACCOUNT/CONTAINER or /ACCOUNT/CONTAINER/BLOB, decoded."""
    version = query.get("sv", "")
    head = [query.get(name, "") for name in ("sp", "st", "se")]
    names = ["si", "sip", "spr", "sv"]
    if version >= _WITH_RESOURCE:
        names += ["sr", "sst"]
    if version >= _WITH_SCOPE:
        names += ["ses"]
    values = _with_snapshot(query)
    return "\n".join([*head, f"/blob{resource}", *(values.get(name, "") for name in (*names, *_OVERRIDES))])


def delegation_string(query: Mapping[str, str], resource: str, headers: Mapping[str, str]) -> str:
    """What a user delegation SAS signs; `headers` are the request's, of which it may sign some."""
    version = query.get("sv", "")
    names = ["skoid", "sktid", "skt", "ske", "sks", "skv"]
    if version >= _WITH_AGENTS:
        names += ["saoid", "suoid", "scid"]
    if version >= _WITH_USER:
        names += ["skdutid", "sduoid"]
    names += ["sip", "spr", "sv", "sr", "sst"]
    if version >= _WITH_SCOPE:
        names += ["ses"]
    values = _with_snapshot(query)
    signed = [values.get(name, "") for name in names]
    if version >= _WITH_REQUEST:
        asked = [name for name in query.get("srh", "").split(",") if name]
        signed.append("".join(f"{name}:{headers.get(name.lower(), '')}\n" for name in asked))
        asked = [name for name in query.get("srq", "").split(",") if name]
        signed.append("".join(f"\n{name}:{query.get(name.lower(), '')}" for name in asked))
    head = [query.get(name, "") for name in ("sp", "st", "se")]
    overrides = [values.get(name, "") for name in _OVERRIDES]
    return "\n".join([*head, f"/blob{resource}", *signed, *overrides])


def _with_snapshot(query: Mapping[str, str]) -> dict[str, str]:
    """The parameters; `sst` is the time of the snapshot, for a SAS that opens one."""
    return {**query, "sst": query.get("snapshot", "") if query.get("sr") == "bs" else ""}


def delegation_key(secret: str, fields: Iterable[str]) -> str:
    """A user delegation key (base64): of an account's secret, and of all that is said of the key."""
    return sign(secret, "\n".join(fields))


def account_string(query: Mapping[str, str], account: str) -> str:
    """What an account SAS signs."""
    names = ["sp", "ss", "srt", "st", "se", "sip", "spr", "sv"]
    if query.get("sv", "") >= _WITH_SCOPE:
        names += ["ses"]
    return "".join(f"{value}\n" for value in (account, *(query.get(name, "") for name in names)))


def make_service_sas(
    key: str,
    resource: str,
    kind: str,
    *,
    permissions: str,
    start: datetime | None,
    expiry: datetime | None,
    policy: str | None,
    snapshot: str = "",
) -> str:
    """The query string of a new service SAS; `kind` is sr: "b" blob, "bs" `snapshot` of it, "c" container."""
    query = {
        "snapshot": snapshot,
        "sv": SIGNED_VERSION,
        "st": _time(start),
        "se": _time(expiry),
        "sr": kind,
        "si": policy or "",
        "sp": permissions,
    }
    query["sig"] = sign(key, service_string(query, resource))
    return "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items() if value)


def _time(time: datetime | None) -> str:
    return "" if time is None else time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@lru_cache(maxsize=1024)
def parse_sas_time(text: str) -> datetime | None:
    """A time as SAS and stored access policies write it, in whole seconds; None for "". Raises ValueError."""
    if not text:
        return None
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError(f"{text} is not a time of ISO 8601 in UTC")
    day, minute, second = match[1], match[2] or "00:00", match[3] or ":00"
    return datetime.fromisoformat(f"{day}T{minute}{second}").replace(tzinfo=UTC)
