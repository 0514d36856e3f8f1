"""A group's resources as a template. REST: Resource Groups - Export Template, 2024-11-01."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from vmstamp.arm.resource import Json, Resource
from vmstamp.arm.template.expressions import Literal, render
from vmstamp.resource_id import ResourceId, parse_resource_id

SCHEMA = "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#"
# Members of a shown resource that a template may not have, or that the stamp alone knows.
_TOP = ("id", "name", "type", "etag", "systemdata", "managedby")
_COMPUTED = (
    "provisioningstate",
    "resourceguid",
    "uniqueid",
    "timecreated",
    "vmid",
    "instanceview",
    "creationtime",
)


def export_group(resources: Iterable[tuple[Resource, Json, str]], parameterize: bool) -> Json:
    """The template. Each resource comes with its document, and with its type's api-version.

    `parameterize` makes a parameter of each name, with the name as its default.
    """
    found = sorted(resources, key=lambda one: one[0].id.key)
    parameters: Json = {}
    names: dict[str, str] = {}  # by id: the expression of its name
    for resource, _, _ in found:
        names[resource.id.key] = (
            _name(resource.id, parameters) if parameterize else render(Literal(_full_name(resource.id)))
        )
    return {
        "$schema": SCHEMA,
        "contentVersion": "1.0.0.0",
        "parameters": parameters,
        "variables": {},
        "resources": [_declared(resource, shown, version, names) for resource, shown, version in found],
    }


def _full_name(id: ResourceId) -> str:
    return "/".join(id.names)


def _name(id: ResourceId, parameters: Json) -> str:
    words = re.sub(r"\W", "_", "_".join((*id.types, *id.names, "name")))
    parameters[words] = {"defaultValue": _full_name(id), "type": "String"}
    return f"parameters('{words}')"


def _declared(resource: Resource, shown: Json, version: str, names: Mapping[str, str]) -> Json:
    name = names[resource.id.key]
    text = _escaped(_full_name(resource.id)) if name.startswith("'") else f"[{name}]"
    body: Json = {"type": shown["type"], "apiVersion": version, "name": text}
    used = _above(resource.id, names)
    own = {key: value for key, value in shown.items() if key.lower() not in _TOP}
    body |= _exported(own, resource.id, names, used)
    if used:
        body["dependsOn"] = sorted(used)
    return body


def _above(id: ResourceId, names: Mapping[str, str]) -> set[str]:
    """The nearest resource of this export that an id lies in, as what to wait for."""
    above = id.parent if len(id.types) > 1 else None
    while above is not None and above.key not in names:
        above = above.parent if len(above.types) > 1 else None
    return {_named(above, names)} if above is not None else set()


def _named(owner: ResourceId, names: Mapping[str, str]) -> str:
    """A resource of this export as an expression."""
    name = names[owner.key]
    words = name if len(owner.names) == 1 else "'" + "','".join(owner.names) + "'"
    return f"[resourceId('{'/'.join((owner.provider, *owner.types))}', {words})]"


def _exported(value: Any, own: ResourceId, names: Mapping[str, str], used: set[str]) -> Any:
    if isinstance(value, dict):
        return {
            key: _exported(item, own, names, used)
            for key, item in value.items()
            if key.lower() not in _COMPUTED
        }
    if isinstance(value, list):
        return [_exported(item, own, names, used) for item in value]
    return _exported_text(value, own, names, used) if isinstance(value, str) else value


def _exported_text(value: str, own: ResourceId, names: Mapping[str, str], used: set[str]) -> str:
    """Ids of resources of this export become `resourceId(...)`, and are waited for."""
    try:
        id = parse_resource_id(value)
    except ValueError:
        return _escaped(value)
    owner = id
    while owner.types and owner.key not in names and len(owner.types) > 1:
        owner = owner.parent
    if owner.key not in names or not id.types:
        return value
    name = names[owner.key]
    kind = "/".join((id.provider, *id.types))
    words = [name if len(owner.names) == 1 else "'" + "','".join(owner.names) + "'"]
    words += [render(Literal(one)) for one in id.names[len(owner.names) :]]
    if owner.key != own.key:
        used.add(_named(owner, names))
    return f"[resourceId('{kind}', {', '.join(words)})]"


def _escaped(value: str) -> str:
    return f"[{value}" if value.startswith("[") else value
