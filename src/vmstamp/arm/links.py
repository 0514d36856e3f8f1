"""References from one resource to another in a body: `{"id": "/subscriptions/..."}`."""

from __future__ import annotations

from typing import Any

from vmstamp.arm.catalog import Catalog
from vmstamp.arm.faults import invalid_content, invalid_property_id, invalid_reference
from vmstamp.arm.resource import Json, Resource
from vmstamp.arm.shape import OneOf, clean
from vmstamp.arm.types import Put
from vmstamp.resource_id import ResourceId, parse_resource_id


class Link:
    """A node of a shape: an object whose id counts. Clients send back whole resources; the rest is dropped.

    `members` are further ones to keep, with their nodes.
    """

    def __init__(self, **members: Any) -> None:
        self._members = members

    def clean(self, value: Any, path: str) -> Json:
        if not isinstance(value, dict):
            raise invalid_content(f"Cannot deserialize the current JSON value into an object. Path '{path}'")
        known = {"id", *(name.lower() for name in self._members)}
        kept = {name: item for name, item in value.items() if name.lower() in known}
        return clean(kept, {"id": str, **self._members}, path)


DELETE_OPTION = {"deleteOption": OneOf("Delete", "Detach")}


def linked_id(link: Json, path: str, type: str) -> ResourceId:
    """The id in a link, which must be of the type. Raises LinkedInvalidPropertyId."""
    text = link.get("id")
    try:
        found = parse_resource_id(text or "")
    except ValueError as error:
        raise invalid_property_id(text, f"{path}.id") from error
    if found.type.lower() != type.lower():
        raise invalid_property_id(text, f"{path}.id")
    return found


def linked(put: Put, link: Json, path: str, type: str) -> Resource:
    """The resource of a link, which must exist in the region of the one that refers to it."""
    id = linked_id(link, path, type)
    found = put.catalog.find(id)
    if found is None or found.location != put.location or found.provisioning_state == "Deleting":
        raise invalid_reference(text_of(link), str(put.id))
    return found


def text_of(link: Json) -> str:
    return str(link.get("id"))


def names(catalog: Catalog, target: ResourceId | str, *kinds: str) -> list[str]:
    """The parts that refer to a resource in one of these ways, each once."""
    return catalog.parts(target, *kinds)
