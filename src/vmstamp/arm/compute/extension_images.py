"""What a location has of extension handlers: their publishers' types, and the versions of these.

REST: Virtual Machine Extension Images, List Types, List Versions, Get.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from vmstamp.arm.compute.extensions import OFFERED
from vmstamp.arm.faults import not_found
from vmstamp.arm.resource import Json
from vmstamp.arm.types import Call, Reply, Request
from vmstamp.fabric.extensions import Handler

PROVIDER: Final = "Microsoft.Compute"
PUBLISHERS: Final = frozenset(handler.publisher for handler in OFFERED)
TYPES: Final = ("locations", "{}", "publishers", "{}", "artifacttypes", "vmextension", "types")
VERSIONS: Final = (*TYPES, "{}", "versions")


def extension_image_calls(subscription: str, check: Callable[[str], str]) -> list[Call]:
    """The calls. `check` gives a location's name, or raises AzureError."""

    def entry(location: str, *words: str) -> Json:
        path = "/".join(words)
        id = f"/Subscriptions/{subscription}/Providers/{PROVIDER}/Locations/{location}/Publishers/{path}"
        return {"location": location, "name": words[-1], "id": id}

    def types(request: Request, words: tuple[str, ...]) -> Reply:
        location = check(words[0])
        found = [handler for handler in OFFERED if handler.publisher.lower() == words[1].lower()]
        if not found:
            raise not_found(f"Artifact: VMExtension was not found: publisher '{words[1]}'.")
        return Reply(200, [entry(location, *_path(handler)) for handler in found])

    def versions(request: Request, words: tuple[str, ...]) -> Reply:
        location, handler = check(words[0]), _get(words)
        return Reply(200, [entry(location, *_path(handler), "Versions", handler.version)])

    def version(request: Request, words: tuple[str, ...]) -> Reply:
        location, handler = check(words[0]), _get(words)
        if words[3] != handler.version:
            raise not_found(f"Artifact: VMExtension was not found: {handler.name} {words[3]}.")
        properties = {
            "operatingSystem": "Linux",
            "computeRole": "IaaS",
            "vmScaleSetEnabled": False,
            "supportsMultipleExtensions": False,
        }
        shown = entry(location, *_path(handler), "Versions", handler.version)
        return Reply(200, {**shown, "properties": properties})

    return [
        Call("GET", PROVIDER, TYPES, types),
        Call("GET", PROVIDER, VERSIONS, versions),
        Call("GET", PROVIDER, (*VERSIONS, "{}"), version),
    ]


def _path(handler: Handler) -> tuple[str, ...]:
    return (handler.publisher, "ArtifactTypes", "VMExtension", "Types", handler.type)


def _get(words: tuple[str, ...]) -> Handler:
    _, publisher, kind, *_ = words
    for handler in OFFERED:
        if (handler.publisher.lower(), handler.type.lower()) == (publisher.lower(), kind.lower()):
            return handler
    raise not_found(f"Artifact: VMExtension was not found: publisher '{publisher}', type '{kind}'.")
