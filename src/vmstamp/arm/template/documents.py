"""The parts of a deployment's document, and of what its expressions see of where it goes.

REST: Deployments - Get, 2024-11-01; Document: Deployment, Scope functions.
"""

from __future__ import annotations

from datetime import timedelta

from vmstamp.arm.groups import show as show_group
from vmstamp.arm.resource import Json, Resource
from vmstamp.arm.template.opened import Opened
from vmstamp.arm.template.step import Step
from vmstamp.resource_id import ResourceId


def duration(span: timedelta) -> str:
    """ISO 8601, as Azure writes a deployment's duration."""
    seconds = max(0.0, span.total_seconds())
    hours, rest = divmod(seconds, 3600)
    minutes, rest = divmod(rest, 60)
    text = (f"{int(hours)}H" if hours else "") + (f"{int(minutes)}M" if minutes else "")
    return f"PT{text}{rest:.7f}".rstrip("0").rstrip(".") + "S"


def group_document(id: ResourceId, group: Resource | None) -> Json | None:
    if not id.group:
        return None
    if group is None:  # it is made by the deployment that this one is nested in
        name = ResourceId(id.subscription, id.group)
        return {
            "id": str(name),
            "name": id.group,
            "type": "Microsoft.Resources/resourceGroups",
            "properties": {},
        }
    return show_group(group)


def environment(base: str, tenant: str, storage_suffix: str) -> Json:
    """What `environment()` gives: the stamp's own endpoints, none of services that it lacks."""
    return {
        "name": "vmstamp",
        "resourceManager": f"{base}/",
        "managementEndpoint": f"{base}/",
        "authentication": {
            "loginEndpoint": f"{base}/",
            "audiences": [f"{base}/"],
            "tenant": tenant,
            "identityProvider": "AAD",
        },
        "suffixes": {"storage": storage_suffix},
    }


def _target(step: Step) -> Json:
    return {
        "id": str(step.id),
        "resourceType": step.kind,
        "resourceName": "/".join(step.id.names) or step.id.name,
    }


def dependencies_of(opened: Opened) -> list[Json]:
    """The `dependencies` of a deployment's document."""
    steps = {step.key: step for step in opened.graph.steps}
    return [
        {"dependsOn": [_target(steps[key]) for key in sorted(step.waits) if key in steps], **_target(step)}
        for step in opened.graph.steps
        if step.waits
    ]


def providers_of(opened: Opened) -> list[Json]:
    """The `providers` of a deployment's document: the types that it makes, with their regions."""
    found: dict[str, dict[str, set[str]]] = {}
    for step in opened.graph.steps:
        namespace, _, kind = step.kind.partition("/")
        location = (step.preview or {}).get("location")
        regions = found.setdefault(namespace, {}).setdefault(kind, set())
        if isinstance(location, str):
            regions.add(location.lower().replace(" ", ""))
    return [
        {
            "namespace": namespace,
            "resourceTypes": [
                {"resourceType": kind, "locations": sorted(regions) or [None]}
                for kind, regions in kinds.items()
            ],
        }
        for namespace, kinds in found.items()
    ]
