"""The functions that make resource ids. Document: Resource functions, resourceId and its like."""

from __future__ import annotations

import re
from collections.abc import Sequence

from vmstamp.arm.template.faults import ExpressionError
from vmstamp.arm.template.scope import Place

_GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def _split(name: str, words: Sequence[str]) -> tuple[list[str], str, list[str]]:
    """What stands before the type, the type, and the names after it."""
    at = next((i for i, word in enumerate(words) if "/" in word and not word.startswith("/")), None)
    if at is None:
        raise ExpressionError(
            f"Unable to evaluate template language function '{name}': function requires exactly one "
            "multi-segmented argument which must be resource type including resource provider namespace. "
            f"Current function arguments '{','.join(words)}'. "
            f"Please see https://aka.ms/arm-resource-functions/#{name.lower()} for usage details."
        )
    return list(words[:at]), words[at], list(words[at + 1 :])


def _path(name: str, kind: str, names: Sequence[str]) -> str:
    provider, *types = kind.split("/")
    if len(types) != len(names) or not all(types) or not all(names):
        raise ExpressionError(
            f"Unable to evaluate template language function '{name}': the type '{kind}' requires "
            f"'{len(types)}' "
            f"resource name argument(s). Please see https://aka.ms/arm-resource-functions/#{name.lower()} "
            "for usage "
            "details."
        )
    pairs = "".join(f"/{one}/{called}" for one, called in zip(types, names, strict=True))
    return f"/providers/{provider}{pairs}"


def _group_path(kind: str, names: Sequence[str]) -> str | None:
    """A resource group is no resource below a provider, whatever its type says."""
    if kind.lower() == "microsoft.resources/resourcegroups" and len(names) == 1:
        return f"/resourceGroups/{names[0]}"
    return None


def resource_id(place: Place, words: Sequence[str]) -> str:
    """`resourceId([subscription], [group], type, name, ...)`: of the group that is deployed to."""
    before, kind, names = _split("resourceId", words)
    subscription, group = place.subscription_id, place.group_name
    match before:
        case []:
            pass
        case [one] if _GUID.fullmatch(one) and not group:
            subscription = one
        case [one]:
            group = one
        case [subscription, group]:
            pass
        case _:
            raise ExpressionError(
                "Unable to evaluate template language function 'resourceId': too many arguments before the "
                "type"
            )
    own = _group_path(kind, names) if not before else None
    root = f"/subscriptions/{subscription}"
    if own:
        return root + own
    return root + (f"/resourceGroups/{group}" if group else "") + _path("resourceId", kind, names)


def subscription_resource_id(place: Place, words: Sequence[str]) -> str:
    """`subscriptionResourceId([subscription], type, name, ...)`."""
    before, kind, names = _split("subscriptionResourceId", words)
    if len(before) > 1:
        raise ExpressionError(
            "Unable to evaluate template language function 'subscriptionResourceId': too many arguments "
            "before the "
            "type"
        )
    root = f"/subscriptions/{before[0] if before else place.subscription_id}"
    return root + (_group_path(kind, names) or _path("subscriptionResourceId", kind, names))


def tenant_resource_id(place: Place, words: Sequence[str]) -> str:
    """`tenantResourceId(type, name, ...)`."""
    before, kind, names = _split("tenantResourceId", words)
    if before:
        raise ExpressionError(
            "Unable to evaluate template language function 'tenantResourceId': the first argument is the type"
        )
    return _path("tenantResourceId", kind, names)


def extension_resource_id(place: Place, words: Sequence[str]) -> str:
    """`extensionResourceId(id, type, name, ...)`."""
    if len(words) < 3:
        raise ExpressionError(
            "Unable to evaluate template language function 'extensionResourceId': it takes an id, a type "
            "and names"
        )
    return words[0].rstrip("/") + _path("extensionResourceId", words[1], words[2:])
