"""Ids are compared without case, and shown as they were given first; conditions on ETags."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import requests

from tests.client.arm.parity.row import COMPUTE, GROUP, NETWORK, Row, ask

TITLE: Final = "Ids and ETags"

_ADDRESS: Final = f"{NETWORK}/publicIPAddresses/ip1"
_DISK: Final = f"{COMPUTE}/disks/disk1"
_BODY: Final = {"location": "westeurope", "properties": {}}

Send = Callable[[Any], requests.Response]


def _settled(arm: Any, *sent: Any, **headers: str) -> requests.Response:
    reply = ask(arm, *sent, headers={name.replace("_", "-"): value for name, value in headers.items()})
    arm.plane.engine.operations.wait()
    return reply


def _of_address(method: str, path: str = _ADDRESS.upper(), body: Any = None, **headers: str) -> Send:
    """A request on a public address that is there."""

    def send(arm: Any) -> requests.Response:
        _settled(arm, "PUT", _ADDRESS, _BODY)
        return _settled(arm, method, path, body, **headers)

    return send


def _of_disk(*then: tuple[str, str, Any]) -> Send:
    """The last of some requests on a disk that is there."""

    def send(arm: Any) -> requests.Response:
        properties = {"creationData": {"createOption": "Empty"}, "diskSizeGB": 1}
        reply = _settled(arm, "PUT", _DISK, {"location": "westeurope", "properties": properties})
        for sent in then:
            reply = _settled(arm, *sent)
        return reply

    return send


def _copy_by_other_case(arm: Any) -> requests.Response:
    creation = {"createOption": "Copy", "sourceResourceId": _DISK.upper()}
    body = {"location": "westeurope", "properties": {"creationData": creation}}
    return _of_disk(("PUT", f"{COMPUTE}/disks/disk2", body), ("GET", f"{COMPUTE}/disks/disk2", None))(arm)


def _address_in_use_by_other_case(arm: Any) -> requests.Response:
    _settled(arm, "PUT", _ADDRESS, _BODY)
    arm.nic(publicIPAddress={"id": _ADDRESS.upper().replace("/SUBSCRIPTIONS/", "/subscriptions/")})
    return ask(arm, "DELETE", _ADDRESS)


def _with_its_etag(method: str, body: Any = None) -> Send:
    def send(arm: Any) -> requests.Response:
        etag = _settled(arm, "PUT", _ADDRESS, _BODY).headers["ETag"]
        return _settled(arm, method, _ADDRESS, body, If_Match=etag)

    return send


def _has_first_id(reply: requests.Response) -> bool:
    return bool(reply.json()["id"] == _ADDRESS)


ROWS: Final = (
    Row("GET by an id in another case", "D", _of_address("GET"), 200, holds=_has_first_id),
    Row(
        "PUT by an id in another case changes the resource, whose id stays",
        "D",
        _of_address("PUT", body=_BODY),
        200,
        holds=_has_first_id,
    ),
    Row(
        "PATCH by an id in another case",
        "D",
        _of_address("PATCH", body={"tags": {"a": "b"}}),
        200,
        holds=lambda reply: _has_first_id(reply) and reply.json()["tags"] == {"a": "b"},
    ),
    Row("DELETE by an id in another case", "D", _of_address("DELETE"), 202),
    Row(
        "a list of a group in another case",
        "D",
        _of_address("GET", f"{NETWORK}/publicIPAddresses".upper()),
        200,
        holds=lambda reply: [one["id"] for one in reply.json()["value"]] == [_ADDRESS],
    ),
    Row(
        "every resource of a group in another case",
        "D",
        _of_address("GET", f"{GROUP.upper()}/RESOURCES"),
        200,
        holds=lambda reply: [one["id"] for one in reply.json()["value"]] == [_ADDRESS],
    ),
    Row(
        "a reference in another case is one",
        "D",
        _address_in_use_by_other_case,
        400,
        "PublicIPAddressCannotBeDeleted",
        f"Public IP address {_ADDRESS} can not be deleted since it is still allocated to resource ...",
    ),
    Row(
        "a disk from a source in another case",
        "D",
        _copy_by_other_case,
        200,
        holds=lambda reply: reply.json()["properties"]["provisioningState"] == "Succeeded",
    ),
    Row(
        "beginGetAccess by an id in another case",
        "D",
        _of_disk(
            ("POST", f"{_DISK.upper()}/BEGINGETACCESS", {"access": "Read", "durationInSeconds": 60}),
            ("GET", _DISK, None),
        ),
        200,
        holds=lambda reply: reply.json()["properties"]["diskState"] == "ActiveSAS",
    ),
    Row("PUT with the ETag that it has", "R", _with_its_etag("PUT", _BODY), 200),
    Row("DELETE with the ETag that it has", "R", _with_its_etag("DELETE"), 202),
    Row(
        "DELETE with an ETag that it no longer has",
        "R",
        _of_address("DELETE", _ADDRESS, If_Match='W/"another"'),
        412,
        "PreconditionFailed",
    ),
    Row(
        "PATCH with an ETag that it no longer has",
        "R",
        _of_address("PATCH", _ADDRESS, {"tags": {}}, If_Match='W/"another"'),
        412,
        "PreconditionFailed",
    ),
    Row(
        "If-Match: * of a resource that is not there",
        "R",
        lambda arm: ask(arm, "PUT", _ADDRESS, _BODY, headers={"If-Match": "*"}),
        412,
        "PreconditionFailed",
    ),
    Row(
        "If-None-Match: * of a resource that is not there",
        "R",
        lambda arm: ask(arm, "PUT", _ADDRESS, _BODY, headers={"If-None-Match": "*"}),
        201,
    ),
)
