"""What is known to be wrong with a deployment before anything is done.

Types that the stamp lacks, regions that are not there, and what their own type says of resources' bodies:
`parse` is pure, so it can be asked. Of a resource that waits for others that is what the stamp does not do;
what else it would be told depends on what is made before it, and is told when its turn comes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from vmstamp.arm.engine import Engine, read_body
from vmstamp.arm.faults import UNSUPPORTED
from vmstamp.arm.template.expressions import is_expression
from vmstamp.arm.template.opened import Opened
from vmstamp.arm.template.step import EXTENSIONS, GROUPS, Step
from vmstamp.arm.template.unroll import without_scope
from vmstamp.arm.types import Put, Request
from vmstamp.errors import AzureError, Detail
from vmstamp.resource_id import ResourceId


def check(engine: Engine, opened: Opened, name: str, tracking: str) -> None:
    """Raises AzureError: an unknown type by name, or InvalidTemplateDeployment with `details`.

    `tracking` is the id that the refusal says, by which the request is found in logs.
    """
    if problems := find_problems(engine, opened):
        raise invalid_deployment(name, tracking, problems)


def find_problems(engine: Engine, opened: Opened) -> list[AzureError]:
    """What resources' own types refuse. Raises AzureError that names a type which the stamp lacks."""
    problems: list[AzureError] = []
    for step in opened.graph.steps:
        if step.existing or step.is_deployment:
            continue
        check_type(engine, step)
        try:
            _check_body(engine, step)
        except AzureError as error:
            problems.append(error)
    return problems


def invalid_deployment(name: str, tracking: str, problems: Iterable[AzureError]) -> AzureError:
    """400: resources' own types refuse what the template says of them."""
    return AzureError(
        400,
        "InvalidTemplateDeployment",
        f"The template deployment '{name}' is not valid according to the validation procedure. The tracking "
        f"id is '{tracking}'. See inner errors for details.",
        details=[Detail(error.code, error.message, error.target) for error in problems],
    )


def check_type(engine: Engine, step: Step) -> None:
    """Raises AzureError that names the type when the stamp does not have it."""
    kind = step.id.type
    if step.kind.lower() == GROUPS or kind.lower() in EXTENSIONS:
        return
    if step.id.is_extension and kind.lower() in engine.types:
        raise without_scope(step.symbol or step.id.name, step.place, step.path)
    if step.id.is_extension:
        raise engine.unknown_type(*kind.split("/", 1))
    if kind.lower() in engine.types or kind.lower() in engine.proxies:
        return
    if len(step.id.types) > 1 and (parent := engine.types.get(step.id.parent.type.lower())):
        embedded = {name.lower() for name in parent.embedded}
        if step.id.types[-1].lower() in embedded:
            return
    raise engine.unknown_type(step.id.provider, "/".join(step.id.types))


def _check_body(engine: Engine, step: Step) -> None:
    kind = engine.types.get(step.id.type.lower())
    body = step.preview or {}
    location = body.get("location")
    known = isinstance(location, str) and not is_expression(location)
    if known and not engine.locations.known(engine.locations.normalize(str(location))):
        label = kind.name if kind else step.kind
        raise AzureError(
            400,
            "LocationNotAvailableForResourceType",
            f"The provided location '{location}' is not available for resource type '{label}'. List of "
            "available "
            f"regions for the resource type is '{','.join(engine.locations.names())}'.",
        )
    if (proxy := engine.proxies.get(step.id.type.lower())) and not is_open(body):
        proxy.parse(read_body(Request("PUT", str(step.id), body=body)))
    if kind is None or not known or is_open(body) or engine.operations.find_open(step.id):
        return
    with engine.db.write():  # parse reads the catalog as if in a request; nothing is stored
        if engine.catalog.find(ResourceId(step.id.subscription, step.id.group)) is None:
            return
        sent = read_body(Request("PUT", str(step.id), body=body))
        region = engine.locations.normalize(str(location))
        existing = engine.catalog.find(step.id)
        try:
            kind.parse(Put(step.id, sent, region, existing, step.api_version, engine.catalog))
        except AzureError as error:
            # What waits for others may lack them still; what the stamp does not offer it lacks for good.
            if not step.waits or error.code == UNSUPPORTED:
                raise


def is_open(value: Any) -> bool:
    """Whether a body still holds expressions that are put off."""
    if isinstance(value, str):
        return is_expression(value)
    if isinstance(value, dict):
        return any(map(is_open, value.values()))
    return isinstance(value, list) and any(map(is_open, value))
