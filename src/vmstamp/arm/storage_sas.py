"""listAccountSas and listServiceSas: shared access signatures that ARM makes with an account's keys.

A signature is good at the Blob service of the stamp; those for files, queues and tables are refused, as
there are none. Nothing of one is kept: it rests on the key alone.
REST: Storage Accounts - List Account SAS, List Service SAS, 2023-01-01.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote

from vmstamp.arm.faults import invalid_parameter, missing_parameter, unsupported
from vmstamp.arm.resource import Json, Resource
from vmstamp.arm.shape import OneOf, clean
from vmstamp.arm.types import Request, Work
from vmstamp.blob.sas import SIGNED_VERSION, account_string, service_string, sign
from vmstamp.blob.store import BlobStore

KEYS: Final = OneOf("key1", "key2")
PROTOCOLS: Final = OneOf("https,http", "https")
COMMON: Final = {
    "signedPermission": str,
    "signedIp": str,
    "signedProtocol": PROTOCOLS,
    "signedStart": str,
    "signedExpiry": str,
    "keyToSign": KEYS,
}
ACCOUNT_SHAPE: Final = {**COMMON, "signedServices": str, "signedResourceTypes": str}
OVERRIDES: Final = ("rscc", "rscd", "rsce", "rscl", "rsct")
SERVICE_SHAPE: Final = {
    **COMMON,
    "canonicalizedResource": str,
    "signedResource": str,
    "signedIdentifier": str,
    **dict.fromkeys(OVERRIDES, str),
}
BLOB: Final = "/blob/"  # what a canonicalizedResource of the Blob service begins with


class Signatures:
    """The two actions of a storage account."""

    def __init__(self, store: BlobStore) -> None:
        self._store = store

    def check_account(self, account: Resource, request: Request) -> Json:
        """What is asked of listAccountSas, as the parameters of the SAS. Raises AzureError (400)."""
        body = clean(request.json, ACCOUNT_SHAPE)
        for name in ("signedServices", "signedResourceTypes", "signedPermission", "signedExpiry"):
            _demand(body, name)
        _check_letters(body, "signedServices", "bqtf")
        _check_letters(body, "signedResourceTypes", "sco")
        if "b" not in body["signedServices"]:
            raise unsupported(f"A SAS for the services '{body['signedServices']}'", target="signedServices")
        query = {
            "sv": SIGNED_VERSION,
            "ss": body["signedServices"],
            "srt": body["signedResourceTypes"],
            **_common(body),
        }
        return {"query": query, "key": body.get("keyToSign", "key1")}

    def check_service(self, account: Resource, request: Request) -> Json:
        """What is asked of listServiceSas, as the parameters of the SAS. Raises AzureError (400)."""
        body = clean(request.json, SERVICE_SHAPE)
        for name in ("canonicalizedResource", "signedResource"):
            _demand(body, name)
        if "signedIdentifier" not in body:
            _demand(body, "signedPermission")
            _demand(body, "signedExpiry")
        path, kind = body["canonicalizedResource"], body["signedResource"]
        if kind not in ("b", "c"):
            raise unsupported(f"A SAS for the resource '{kind}'", target="signedResource")
        words = path.removeprefix(BLOB).split("/")
        right = (
            words[0] == account.name and all(words) and (len(words) == 2 if kind == "c" else len(words) > 2)
        )
        if not path.startswith(BLOB) or not right:
            raise invalid_parameter(
                f"The value '{path}' of parameter 'canonicalizedResource' is not valid: it is "
                f"'/blob/{account.name}/CONTAINER' for signedResource 'c' and "
                f"'/blob/{account.name}/CONTAINER/BLOB' for 'b'.",
                "canonicalizedResource",
            )
        overrides: dict[str, str] = {name: body[name] for name in OVERRIDES if name in body}
        query: dict[str, str] = {
            "sv": SIGNED_VERSION,
            "sr": kind,
            "si": body.get("signedIdentifier", ""),
            **_common(body),
            **overrides,
        }
        return {"query": query, "key": body.get("keyToSign", "key1"), "path": path.removeprefix("/blob")}

    def account_sas(self, account: Resource, work: Work) -> Json:
        query = dict(work.input["query"])
        return {"accountSasToken": self._signed(account, work.input, account_string(query, account.name))}

    def service_sas(self, account: Resource, work: Work) -> Json:
        query = dict(work.input["query"])
        return {
            "serviceSasToken": self._signed(account, work.input, service_string(query, work.input["path"]))
        }

    def _signed(self, account: Resource, asked: Json, text: str) -> str:
        found = self._store.get_account(account.name)
        key = found.key1 if asked["key"] == "key1" else found.key2
        query: Mapping[str, str] = {**asked["query"], "sig": sign(key, text)}
        return "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items() if value)


def _common(body: Json) -> dict[str, str]:
    return {
        "sp": body.get("signedPermission", ""),
        "st": _time(body, "signedStart"),
        "se": _time(body, "signedExpiry"),
        "sip": body.get("signedIp", ""),
        "spr": body.get("signedProtocol", ""),
    }


def _demand(body: Json, name: str) -> None:
    if not body.get(name):
        raise missing_parameter(name)


def _check_letters(body: Json, name: str, known: str) -> None:
    value = body[name]
    if not set(value) <= set(known):
        raise invalid_parameter(
            f"The value '{value}' of parameter '{name}' is not valid: its letters are of '{known}'.", name
        )


def _time(body: Json, name: str) -> str:
    """A time as a SAS writes it, in whole seconds; "" when there is none."""
    if name not in body:
        return ""
    try:
        found = datetime.fromisoformat(body[name])
    except ValueError as error:
        raise invalid_parameter(
            f"The value '{body[name]}' of parameter '{name}' is no time.", name
        ) from error
    return found.replace(tzinfo=found.tzinfo or UTC).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
