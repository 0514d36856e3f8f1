"""The REST operations on an account's Blob service: properties, CORS, information, delegation keys."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from vmstamp.blob import documents, faults, sas
from vmstamp.blob.records import CorsRule
from vmstamp.blob.request import Reply, Request
from vmstamp.blob.store import BlobStore

MAXIMUM_KEY_LIFETIME: Final = timedelta(days=7)


def get_properties(store: BlobStore, request: Request) -> Reply:
    """Get Blob Service Properties."""
    found = store.get_account(request.address.account).properties
    return Reply(200, {"content-type": documents.CONTENT_TYPE}, documents.service_properties(found))


def set_properties(store: BlobStore, request: Request) -> Reply:
    """Set Blob Service Properties: what the body leaves out stays as it is."""
    change = documents.parse_service_properties(request.body)
    store.update_account(
        request.address.account, lambda account: replace(account, properties=change(account.properties))
    )
    return Reply(202)


def get_account_information(store: BlobStore, request: Request) -> Reply:
    """Get Account Information."""
    account = store.get_account(request.address.account)
    return Reply(
        200,
        {
            "x-ms-sku-name": account.sku,
            "x-ms-account-kind": account.kind,
            "x-ms-is-hns-enabled": "false",
        },
    )


def get_user_delegation_key(store: BlobStore, request: Request) -> Reply:
    """Get User Delegation Key: for who shows a token, at most seven days."""
    bearer = request.grant.bearer
    if bearer is None:
        raise faults.fault("AuthenticationFailed", "Only authentication scheme Bearer is supported.")
    start, expiry = documents.parse_key_info(request.body)
    now = store.now()
    start = start or now
    if expiry <= max(start, now) or expiry - now > MAXIMUM_KEY_LIFETIME:
        raise faults.fault("InvalidXmlNodeValue", f"Expiry is {_time(expiry)}.")
    values = {
        "SignedOid": bearer.oid,
        "SignedTid": bearer.tid,
        "SignedStart": _time(start),
        "SignedExpiry": _time(expiry),
        "SignedService": "b",
        "SignedVersion": request.header("x-ms-version") or sas.SIGNED_VERSION,
    }
    secret = store.get_account(request.address.account).delegation_secret
    value = sas.delegation_key(secret, (*values.values(), ""))
    body = documents.user_delegation_key({**values, "Value": value})
    return Reply(200, {"content-type": documents.CONTENT_TYPE}, body)


def _time(time: datetime) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%SZ}"


# -- CORS


def preflight(store: BlobStore, request: Request) -> Reply:
    """Preflight Blob Request: which rule of the account lets this origin ask so. Raises 403."""
    origin = request.required_header("origin")
    method = request.required_header("access-control-request-method")
    asked = request.header("access-control-request-headers")
    wanted = [name.strip().lower() for name in asked.split(",") if name.strip()]
    account = store.find_account(request.address.account)
    for rule in account.properties.cors if account is not None else ():
        if _allows(rule, origin, method) and all(_is_listed(name, rule.allowed_headers) for name in wanted):
            headers = _answer(rule, origin) | {
                "access-control-allow-methods": method,
                "access-control-max-age": str(rule.max_age),
            }
            return Reply(200, headers | ({"access-control-allow-headers": asked} if asked else {}))
    raise faults.fault("CorsPreflightFailure")


def cors_headers(store: BlobStore, request: Request) -> dict[str, str]:
    """What lets a web page of another origin read the reply to its request."""
    origin = request.header("origin")
    account = store.find_account(request.address.account) if origin else None
    for rule in account.properties.cors if account is not None else ():
        if _allows(rule, origin, request.method):
            exposed = ",".join(rule.exposed_headers)
            return _answer(rule, origin) | ({"access-control-expose-headers": exposed} if exposed else {})
    return {}


def _allows(rule: CorsRule, origin: str, method: str) -> bool:
    return ("*" in rule.origins or origin in rule.origins) and method in rule.methods


def _answer(rule: CorsRule, origin: str) -> dict[str, str]:
    if "*" in rule.origins:
        return {"access-control-allow-origin": "*"}
    return {
        "access-control-allow-origin": origin,
        "access-control-allow-credentials": "true",
        "vary": "Origin",
    }


def _is_listed(name: str, allowed: tuple[str, ...]) -> bool:
    """Whether a header's name is among those of a rule, of which some end in "*"."""
    return any(
        name == each.lower() or (each.endswith("*") and name.startswith(each[:-1].lower()))
        for each in allowed
    )
