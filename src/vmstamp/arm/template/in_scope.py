"""The functions that look at the deployment: what it was given, where it goes, what it has deployed.

Document: Deployment, Resource and Scope functions for ARM templates.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from vmstamp.arm.template import identities
from vmstamp.arm.template.faults import HELP_FUNCTIONS, ExpressionError
from vmstamp.arm.template.functions import MANY, array, check_count, integer, text
from vmstamp.arm.template.functions.dates import UTC_NOW, format_moment
from vmstamp.arm.template.scope import Scope, find_loop, text_arguments


@dataclass(frozen=True)
class InScope:
    """A function that needs the scope; `run` gets it first."""

    name: str
    minimum: int
    maximum: int
    run: Callable[..., Any]


def _lambda_variables(scope: Scope, name: Any) -> Any:
    key = text("lambdaVariables", name).lower()
    if key not in scope.lambdas:
        raise ExpressionError(f"The lambda variable '{name}' is not found")
    return scope.lambdas[key]


def _copy_index(scope: Scope, *arguments: Any) -> int:
    name, offset = "", 0
    match arguments:
        case [str() as name]:
            pass
        case [int() as offset]:
            pass
        case [str() as name, int() as offset]:
            pass
        case []:
            pass
        case _:
            raise ExpressionError(
                "The template function 'copyIndex' expects the name of a loop and an offset. Please see "
                "https://aka.ms/arm-copy for usage details."
            )
    return find_loop(scope.loops, name) + offset


def _moment(scope: Scope, pattern: Any = UTC_NOW) -> str:
    if scope.now is None:
        raise _only_in_defaults("utcNow")
    return format_moment(scope.now, text("utcNow", pattern))


def _new_guid(scope: Scope) -> str:
    if scope.now is None:
        raise _only_in_defaults("newGuid")
    return str(uuid.uuid4())


def _only_in_defaults(name: str) -> ExpressionError:
    return ExpressionError(
        f"The template function '{name}' is not expected at this location. The function can only be used in "
        "the "
        f"default value of a parameter. {HELP_FUNCTIONS}"
    )


def _resource_group(scope: Scope) -> Any:
    if scope.place.group is None:
        raise ExpressionError(
            "The template function 'RESOURCEGROUP' is not expected at this location. The function can only "
            "be used "
            f"in a deployment to a resource group. {HELP_FUNCTIONS}"
        )
    return scope.place.group


def _reference(scope: Scope, name: Any, api_version: Any = "", full: Any = "") -> Any:
    return scope.runtime.reference(
        text("reference", name), api_version or "", text("reference", full).lower() == "full"
    )


def _references(scope: Scope, symbol: Any, full: Any = "") -> Any:
    return scope.runtime.references(text("references", symbol), text("references", full).lower() == "full")


def list_action(name: str, scope: Scope, arguments: Sequence[Any]) -> Any:
    check_count(name, len(arguments), 1, 3)
    words = text_arguments(name, arguments[:2])
    body = arguments[2] if len(arguments) > 2 else None
    return scope.runtime.list_action(name, words[0], words[1] if len(words) > 1 else "", body)


def _pick_zones(scope: Scope, namespace: Any, kind: Any, location: Any, *numbers: Any) -> list[str]:
    """A stamp's regions have no zones, as many of Azure's have none: an empty array."""
    text_arguments("pickZones", (namespace, kind, location))
    for number in numbers:
        integer("pickZones", number)
    return []


def _zones(name: str) -> InScope:
    """A function that tells the zones of a subscription's region: of a stamp's regions none is told."""

    def run(scope: Scope, subscription: Any, location: Any, wanted: Any) -> list[str]:
        where = text_arguments(name, (subscription, location))[1]
        for zone in text_arguments(name, array(name, wanted)):
            raise _no_zone(name, zone, where)
        return []

    return InScope(name, 3, 3, run)


def _zone(name: str) -> InScope:
    def run(scope: Scope, *words: Any) -> str:
        _, location, zone = text_arguments(name, words)
        raise _no_zone(name, zone, location)

    return InScope(name, 3, 3, run)


def _no_zone(name: str, zone: str, location: str) -> ExpressionError:
    return ExpressionError(
        f"The template language function '{name}' finds no availability zone '{zone}' in the location "
        f"'{location}': the regions of this stamp have no zones"
    )


def _providers(scope: Scope, namespace: Any, kind: Any = None) -> Any:
    found = scope.place.providers(text("providers", namespace))
    if kind is None:
        return found
    for one in found["resourceTypes"]:
        if one["resourceType"].lower() == text("providers", kind).lower():
            return one
    raise ExpressionError(f"The resource type '{kind}' could not be found in the namespace '{namespace}'")


def _id_function(name: str, make: Callable[..., str]) -> InScope:
    return InScope(name, 2, MANY, lambda scope, *words: make(scope.place, text_arguments(name, words)))


def _parameter(scope: Scope, name: Any) -> Any:
    return scope.parameters.get(text("parameters", name))


def _variable(scope: Scope, name: Any) -> Any:
    return scope.variables.get(text("variables", name))


IN_SCOPE = {
    own.name.lower(): own
    for own in (
        InScope("parameters", 1, 1, _parameter),
        InScope("variables", 1, 1, _variable),
        InScope("lambdaVariables", 1, 1, _lambda_variables),
        InScope("copyIndex", 0, 2, _copy_index),
        InScope("utcNow", 0, 1, _moment),
        InScope("newGuid", 0, 0, _new_guid),
        InScope("deployment", 0, 0, lambda scope: scope.place.deployment),
        InScope("deployer", 0, 0, lambda scope: scope.place.deployer),
        InScope("environment", 0, 0, lambda scope: scope.place.environment),
        InScope("subscription", 0, 0, lambda scope: scope.place.subscription),
        InScope("tenant", 0, 0, lambda scope: scope.place.tenant),
        InScope("resourceGroup", 0, 0, _resource_group),
        InScope("reference", 1, 3, _reference),
        InScope("references", 1, 2, _references),
        InScope(
            "resourceInfo", 1, 1, lambda scope, name: scope.runtime.information(text("resourceInfo", name))
        ),
        InScope("pickZones", 3, 5, _pick_zones),
        _zone("toLogicalZone"),
        _zones("toLogicalZones"),
        _zone("toPhysicalZone"),
        _zones("toPhysicalZones"),
        InScope("providers", 1, 2, _providers),
        _id_function("resourceId", identities.resource_id),
        _id_function("subscriptionResourceId", identities.subscription_resource_id),
        _id_function("tenantResourceId", identities.tenant_resource_id),
        _id_function("extensionResourceId", identities.extension_resource_id),
    )
}
