"""Rules of providers, their registration and their api-versions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import requests

from tests.client.arm.parity.row import GROUP, NETWORK, SUBSCRIPTION, Row, ask

TITLE: Final = "Providers"

_PROVIDER: Final = f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Network"
_ADDRESS: Final = f"{NETWORK}/publicIPAddresses/ip1"
_BODY: Final = {"location": "westeurope", "properties": {}}
_OPERATIONS: Final = "/providers/Microsoft.Authorization/providerOperations"
_API: Final = "2021-04-01"

Send = Callable[[Any], requests.Response]


def _sent(method: str, path: str, body: Any = None, api: str = _API) -> Send:
    return lambda arm: ask(arm, method, path, body, api=api)


def _unregistered(*then: tuple[str, str, Any]) -> Send:
    """The last of some requests after the subscription was unregistered."""

    def send(arm: Any) -> requests.Response:
        reply = ask(arm, "POST", f"{_PROVIDER}/unregister", api=_API)
        for method, path, body in then:
            reply = ask(arm, method, path, body, api=_API)
        return reply

    return send


def _used(arm: Any) -> requests.Response:
    ask(arm, "PUT", _ADDRESS, _BODY)
    return ask(arm, "POST", f"{_PROVIDER.upper()}/Unregister", api=_API)


def _names_the_namespace(reply: requests.Response) -> bool:
    (detail,) = reply.json()["error"]["details"]
    return (detail["code"], detail["target"]) == ("MissingSubscriptionRegistration", "Microsoft.Network")


def _is(state: str) -> Callable[[requests.Response], bool]:
    return lambda reply: bool(reply.json()["registrationState"] == state)


def _operations_of_compute(reply: requests.Response) -> bool:
    found = reply.json()
    names = {one["name"] for kind in found["resourceTypes"] for one in kind["operations"]}
    return (
        found["id"] == f"{_OPERATIONS}/Microsoft.Compute"
        and {
            "Microsoft.Compute/virtualMachines/read",
            "Microsoft.Compute/virtualMachines/write",
            "Microsoft.Compute/virtualMachines/delete",
            "Microsoft.Compute/virtualMachines/start/action",
            "Microsoft.Compute/disks/beginGetAccess/action",
        }
        <= names
    )


ROWS: Final = (
    Row("unregister of a provider", "D", _unregistered(), 200, holds=_is("Unregistered")),
    Row(
        "an unregistered provider says so",
        "D",
        _unregistered(("GET", _PROVIDER, None)),
        200,
        holds=_is("Unregistered"),
    ),
    Row(
        "PUT of a type of an unregistered provider",
        "I",
        _unregistered(("PUT", _ADDRESS, _BODY)),
        409,
        "MissingSubscriptionRegistration",
        "The subscription registration is in 'Unregistered' state. The subscription must be registered to "
        "use namespace 'Microsoft.Network'. See https://aka.ms/rps-not-found for how to register "
        "subscriptions.",
        holds=_names_the_namespace,
    ),
    Row(
        "PUT of a type whose provider was registered again",
        "D",
        _unregistered(("POST", f"{_PROVIDER}/register", None), ("PUT", _ADDRESS, _BODY)),
        201,
    ),
    Row(
        "GET of a type of an unregistered provider",
        "D",
        _unregistered(("GET", _ADDRESS, None)),
        404,
        "ResourceNotFound",
    ),
    Row("unregister of a provider with resources", "D", _used, 409, "Conflict", f"...'{_ADDRESS}'..."),
    Row(
        "a provider that there is not",
        "I",
        _sent("GET", f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Nothing"),
        404,
        "InvalidResourceNamespace",
        "The resource namespace 'Microsoft.Nothing' is invalid. ...",
    ),
    Row(
        "a type that a provider has not",
        "I",
        _sent("GET", f"{GROUP}/providers/Microsoft.Network/nothings/one"),
        404,
        "InvalidResourceType",
        "The resource type 'nothings' could not be found in the namespace 'Microsoft.Network'...",
    ),
    Row(
        "every provider of a subscription",
        "R",
        _sent("GET", f"/subscriptions/{SUBSCRIPTION}/providers"),
        200,
        holds=lambda reply: (
            {"Microsoft.Compute", "Microsoft.Network", "Microsoft.Storage", "Microsoft.Resources"}
            <= {one["namespace"] for one in reply.json()["value"]}
        ),
    ),
    Row(
        "the operations of a provider",
        "D",
        _sent("GET", f"{_OPERATIONS}/microsoft.compute", api="2022-04-01"),
        200,
        holds=_operations_of_compute,
    ),
    Row(
        "the operations of every provider",
        "D",
        _sent("GET", _OPERATIONS, api="2022-04-01"),
        200,
        holds=lambda reply: "Microsoft.Resources" in {one["name"] for one in reply.json()["value"]},
    ),
)
