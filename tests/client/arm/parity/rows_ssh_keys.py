"""Rules of SSH public keys that lie in a group."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import requests
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.client.arm.parity.row import COMPUTE, Row, ask

TITLE: Final = "SSH public keys"
KEY: Final = f"{COMPUTE}/sshPublicKeys/key"
GIVEN: Final = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFYwLdIyjfuIAkZuzRNx6l2PVZqIREt2AFzzVpGUIgzb someone"


def put(arm: Any, key: str = "", **more: Any) -> requests.Response:
    properties = {"publicKey": key} if key else {}
    return ask(arm, "PUT", KEY, {"location": "westeurope", "properties": properties, **more})


def given(arm: Any) -> requests.Response:
    return put(arm, GIVEN)


def weak(arm: Any) -> requests.Response:
    made = rsa.generate_private_key(public_exponent=65537, key_size=1024).public_key()
    return put(arm, made.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode())


def pair(*before: Callable[[Any], object], body: Any = None) -> Callable[[Any], requests.Response]:
    def send(arm: Any) -> requests.Response:
        for step in before:
            step(arm)
        return ask(arm, "POST", f"{KEY}/generateKeyPair", body)

    return send


def shown(arm: Any) -> requests.Response:
    pair(put)(arm)
    return ask(arm, "GET", KEY)


def then(method: str, body: Any = None) -> Callable[[Any], requests.Response]:
    def send(arm: Any) -> requests.Response:
        given(arm)
        return ask(arm, method, KEY, body)

    return send


def again(arm: Any) -> requests.Response:
    given(arm)
    return put(arm, tags={"a": "b"})


def is_pair(start: str, kind: str) -> Callable[[requests.Response], bool]:
    def holds(reply: requests.Response) -> bool:
        body = reply.json()
        return (
            set(body) == {"id", "privateKey", "publicKey"}
            and body["id"] == KEY
            and body["privateKey"].startswith(f"-----BEGIN {start}PRIVATE KEY-----\n")
            and body["publicKey"].startswith(f"{kind} ")
        )

    return holds


ROWS: Final = (
    Row(
        "a key is given",
        "D",
        given,
        201,
        holds=lambda reply: reply.json()["properties"] == {"publicKey": GIVEN},
    ),
    Row("one without a key, for a pair to come", "D", put, 201, holds=lambda r: not r.json()["properties"]),
    Row(
        "PUT of one that is there keeps its key",
        "D",
        again,
        200,
        holds=lambda r: (r.json()["properties"], r.json()["tags"]) == ({"publicKey": GIVEN}, {"a": "b"}),
    ),
    Row(
        "PATCH of its tags",
        "D",
        then("PATCH", {"tags": {"a": "b"}}),
        200,
        holds=lambda r: (r.json()["properties"], r.json()["tags"]) == ({"publicKey": GIVEN}, {"a": "b"}),
    ),
    Row("an RSA key of less than 2048 bits", "D", weak, 400, "InvalidParameter", target="publicKey"),
    Row("what is no key", "D", lambda arm: put(arm, "ssh-rsa AAAA"), 400, "InvalidParameter"),
    Row(
        "generateKeyPair answers both keys",
        "D",
        pair(put),
        200,
        holds=is_pair("RSA ", "ssh-rsa"),
    ),
    Row(
        "generateKeyPair of the type Ed25519",
        "D",
        pair(put, body={"encryptionType": "Ed25519"}),
        200,
        holds=is_pair("OPENSSH ", "ssh-ed25519"),
    ),
    Row(
        "what generateKeyPair made is the resource's key, the private one is not shown",
        "D",
        shown,
        200,
        holds=lambda r: [*r.json()["properties"]] == ["publicKey"] and "PRIVATE" not in r.text,
    ),
    Row("a second generateKeyPair", "D", pair(put, pair()), 409, "OperationNotAllowed"),
    Row("generateKeyPair for a key that was given", "D", pair(given), 409, "OperationNotAllowed"),
    Row("generateKeyPair of one that is not there", "D", pair(), 404, "ResourceNotFound"),
    Row("DELETE of one", "D", then("DELETE"), 200),
    Row("DELETE of one that is not there", "D", lambda arm: ask(arm, "DELETE", KEY), 204),
)
