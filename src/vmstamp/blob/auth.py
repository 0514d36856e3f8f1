"""Who asks, and what may they do: Shared Key, bearer token, account SAS, service SAS, public access. Pure.

A signature is right if it fits one of the account's two keys, or, of a user delegation SAS, the key that the
account's own secret makes of the SAS's fields. Bearer tokens are judged by whoever made them; their bearer
may do all.
REST: Authorize with Shared Key; Create an account SAS; Create a service SAS; Create a user delegation SAS.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import unquote, unquote_plus

from vmstamp.blob import faults, sas
from vmstamp.blob.records import AccessPolicy, Account, Container
from vmstamp.blob.request import Grant, Request, http_time, parse_http_time
from vmstamp.errors import AzureError
from vmstamp.identity import Bearer

CLOCK_SKEW: Final = timedelta(minutes=15)
_SIGNED_HEADERS: Final = (
    "content-encoding",
    "content-language",
    "content-length",
    "content-md5",
    "content-type",
    "date",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
)
_LITE_HEADERS: Final = ("content-md5", "content-type", "date")
# The weights of the service's first comparison of header names; "-" has none.
_ORDER: Final = "!#$%*.^_`|~+0123456789abcdefghijklmnopqrstuvwxyz"
_KINDS: Final = ("b", "c", "bs")
_SEE_HEADER: Final = (
    "Server failed to authenticate the request. Please refer to the information in the www-authenticate "
    "header."
)
VerifyToken = Callable[[str], Bearer]


def authenticate(
    request: Request,
    account: Account,
    container: Container | None,
    now: datetime,
    verify_token: VerifyToken | None = None,
) -> Grant:
    """What the request may do. Raises 403 AuthenticationFailed and its relatives, 401 without any proof.

    `container` is the one that the request names, if it exists: it has stored policies and public access.
    `verify_token` raises AzureError unless a bearer token is good; None: no token is.
    """
    authorization = request.header("authorization")
    scheme, _, proof = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return _by_token(proof.strip(), account, verify_token)
    if authorization:
        return _by_key(request, authorization, account, now)
    if "sig" in request.query:
        return _by_sas(request, account, container, now)
    public = container.public_access if container is not None else ""
    if public and not account.allow_public_access:
        raise faults.fault("PublicAccessNotPermitted")
    if public and request.method in ("GET", "HEAD"):
        return Grant("public", "rl" if public == "container" else "r")
    raise faults.fault("NoAuthenticationInformation")


def _by_token(token: str, account: Account, verify_token: VerifyToken | None) -> Grant:
    if verify_token is None:
        raise faults.fault("AuthenticationFailed", "This stamp's Blob service does not take bearer tokens.")
    try:
        bearer = verify_token(token)
    except AzureError as error:
        raise AzureError(401, "InvalidAuthenticationInfo", f"{_SEE_HEADER} {error.message}") from error
    if account.hidden:
        raise faults.fault("AuthorizationFailure", "A managed disk is opened by its SAS alone.")
    return Grant("token", bearer=bearer)


# -- Shared Key


def _by_key(request: Request, authorization: str, account: Account, now: datetime) -> Grant:
    scheme, _, proof = authorization.partition(" ")
    name, _, signature = proof.strip().partition(":")
    if scheme not in ("SharedKey", "SharedKeyLite") or not signature:
        raise faults.fault("InvalidAuthenticationInfo")
    if account.hidden:
        raise faults.fault("KeyBasedAuthenticationNotPermitted")
    _check_date(request, now)
    texts = list(strings_to_sign(request, account.name, lite=scheme == "SharedKeyLite"))
    if name != account.name or not _signed(account, signature, texts):
        raise faults.fault(
            "AuthenticationFailed",
            f"The MAC signature found in the HTTP request '{signature}' is not the same as any computed "
            f"signature. Server used following string to sign: {texts[0]!r}.",
        )
    return Grant("key")


def _check_date(request: Request, now: datetime) -> None:
    name = "x-ms-date" if request.header("x-ms-date") else "date"
    text = request.header(name)
    if not text:
        raise faults.fault("AuthenticationFailed", "The request has neither an x-ms-date nor a Date header.")
    if abs(now - parse_http_time(name, text)) > CLOCK_SKEW:
        raise faults.fault("AuthenticationFailed", f"Request date header too old: '{text}'.")


def strings_to_sign(request: Request, account: str, *, lite: bool = False) -> Iterable[str]:
    """What the client may have signed: clients differ in the order of header names and in decoding "+"."""
    values = [] if lite else [request.header(name) for name in _SIGNED_HEADERS]
    if lite:
        values = [request.header(name) for name in _LITE_HEADERS]
    else:
        values[2] = "" if values[2] == "0" else values[2]
    date = _LITE_HEADERS.index("date") if lite else _SIGNED_HEADERS.index("date")
    if request.header("x-ms-date"):
        values[date] = ""
    head = "\n".join((request.method, *values)) + "\n"
    for order in (_service_order, str.lower):
        names = sorted((name for name in request.headers if name.startswith("x-ms-")), key=order)
        lines = "".join(f"{name.lower()}:{request.headers[name]}\n" for name in names)
        for decode in (unquote, unquote_plus):
            resource = f"/{account}{request.raw_path}"
            yield head + lines + resource + _canonical_query(request.raw_query, decode, lite)


def _canonical_query(raw_query: str, decode: Callable[[str], str], lite: bool) -> str:
    values: dict[str, list[str]] = {}
    for part in filter(None, raw_query.split("&")):
        name, _, value = part.partition("=")
        values.setdefault(decode(name).lower(), []).append(decode(value))
    if lite:
        return f"?comp={values['comp'][0]}" if "comp" in values else ""
    return "".join(f"\n{name}:{','.join(sorted(values[name]))}" for name in sorted(values))


def _service_order(name: str) -> tuple[list[int], list[int]]:
    """The service sorts as if there were no hyphens; among equals, later hyphens come first."""
    weights = [_ORDER.find(letter) for letter in name.lower() if letter != "-"]
    return weights, [-place for place, letter in enumerate(name) if letter == "-"]


def _signed(account: Account, signature: str, texts: Iterable[str]) -> bool:
    given = signature.encode()
    return any(
        hmac.compare_digest(given, sas.sign(key, text).encode())
        for text in texts
        for key in (account.key1, account.key2)
    )


# -- shared access signatures


def _by_sas(request: Request, account: Account, container: Container | None, now: datetime) -> Grant:
    query = request.query
    if query.get("sv", "") < sas.OLDEST_VERSION:
        raise _malformed(f"sv is mandatory and must be {sas.OLDEST_VERSION} or later")
    if "ss" in query or "srt" in query:
        grant, policy = _account_grant(request, account)
    elif "skoid" in query:
        grant, policy = _delegation_grant(request, account, now)
    else:
        grant, policy = _service_grant(request, account, container)
    _check_time(policy, now)
    _check_protocol(request)
    _check_source(request)
    return replace(grant, permissions=policy.permissions)


def _account_grant(request: Request, account: Account) -> tuple[Grant, AccessPolicy]:
    query = request.query
    if not _signed(account, query["sig"], [sas.account_string(query, account.name)]):
        raise _wrong_signature(sas.account_string(query, account.name))
    if "b" not in query.get("ss", ""):
        raise faults.fault("AuthorizationServiceMismatch")
    return Grant("account SAS", resources=query.get("srt", "")), _merged(query, None)


def _service_grant(
    request: Request, account: Account, container: Container | None
) -> tuple[Grant, AccessPolicy]:
    query = request.query
    text = sas.service_string(query, _signed_resource(request, account))
    if not _signed(account, query["sig"], [text]):
        raise _wrong_signature(text)
    _check_resource(request)
    policy = None
    if "si" in query:
        policies = container.policies if container is not None else ()
        policy = next((policy for policy in policies if policy.id == query["si"]), None)
        if policy is None:
            raise faults.fault("AuthenticationFailed", "The specified signed identifier does not exist.")
    return Grant("service SAS"), _merged(query, policy)


def _delegation_grant(request: Request, account: Account, now: datetime) -> tuple[Grant, AccessPolicy]:
    query = request.query
    if "sduoid" in query:
        raise _malformed("sduoid asks for the token of one user, and this stamp has no users")
    fields = [query.get(name, "") for name in sas.DELEGATION_FIELDS]
    key = sas.delegation_key(account.delegation_secret, fields)
    text = sas.delegation_string(query, _signed_resource(request, account), request.headers)
    if not hmac.compare_digest(query["sig"].encode(), sas.sign(key, text).encode()):
        raise _wrong_signature(text)
    _check_resource(request)
    _check_time(AccessPolicy("", "", _parse_time(query, "skt"), _parse_time(query, "ske")), now)
    return Grant("service SAS"), _merged(query, None)


def _signed_resource(request: Request, account: Account) -> str:
    kind = request.query.get("sr", "")
    if kind not in _KINDS:
        raise _malformed(f"sr is {kind!r}; this stamp takes b (a blob), bs (a snapshot) and c (a container)")
    resource = f"/{account.name}/{request.address.container}"
    return resource if kind == "c" else f"{resource}/{request.address.blob}"


def _check_resource(request: Request) -> None:
    """A SAS of a blob opens nothing else, one of a snapshot that snapshot alone."""
    kind = request.query["sr"]
    if (kind != "c" and not request.address.blob) or (kind == "bs" and "snapshot" not in request.query):
        raise faults.fault("AuthorizationFailure")


def _merged(query: Mapping[str, str], policy: AccessPolicy | None) -> AccessPolicy:
    """The SAS's own fields, and those of its policy where it has none; no field may be in both."""
    own = AccessPolicy("", query.get("sp", ""), _parse_time(query, "st"), _parse_time(query, "se"))
    if policy is not None:
        both = (
            (own.permissions and policy.permissions)
            or (own.start and policy.start)
            or (own.expiry and policy.expiry)
        )
        if both:
            raise _malformed("a field is both in the SAS and in its stored access policy")
        own = AccessPolicy(
            policy.id,
            own.permissions or policy.permissions,
            own.start or policy.start,
            own.expiry or policy.expiry,
        )
    if own.expiry is None:
        raise _malformed("se is mandatory")
    if not own.permissions:
        raise _malformed("sp is mandatory")
    return own


def _parse_time(query: Mapping[str, str], name: str) -> datetime | None:
    try:
        return sas.parse_sas_time(query.get(name, ""))
    except ValueError:
        raise _malformed(f"{name} is not a time of ISO 8601") from None


def _check_time(policy: AccessPolicy, now: datetime) -> None:
    too_early = policy.start is not None and now < policy.start
    if too_early or policy.expiry is None or now >= policy.expiry:
        start, expiry = (_rfc1123(time) for time in (policy.start, policy.expiry))
        raise faults.fault(
            "AuthenticationFailed",
            f"Signature not valid in the specified time frame: Start [{start}] - Expiry [{expiry}] - "
            f"Current [{_rfc1123(now)}].",
        )


def _rfc1123(time: datetime | None) -> str:
    return "" if time is None else http_time(time)


def _check_protocol(request: Request) -> None:
    allowed = request.query.get("spr", "https,http").split(",")
    if request.scheme not in allowed:
        raise faults.fault("AuthorizationProtocolMismatch")


def _check_source(request: Request) -> None:
    allowed = request.query.get("sip", "")
    if not allowed:
        return
    first, _, last = allowed.partition("-")
    try:
        here = ipaddress.IPv4Address(request.client)
        if ipaddress.IPv4Address(first) <= here <= ipaddress.IPv4Address(last or first):
            return
    except ValueError:
        pass
    raise faults.fault("AuthorizationSourceIPMismatch", request.client)


def _wrong_signature(text: str) -> AzureError:
    return faults.fault("AuthenticationFailed", f"Signature did not match. String to sign used was {text!r}.")


def _malformed(what: str) -> AzureError:
    return faults.fault("AuthenticationFailed", f"Signature fields not well formed: {what}.")
