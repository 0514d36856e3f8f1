"""What a deployment would change: each resource as it is, as it would be, and the differences.

A property that the template does not name is taken to stay as it is, for its type fills it in; an array is
compared
item by item, a tag that is not named goes. What only the run can tell (`reference`) is shown as its
expression.

REST: Deployments - What If, 2024-11-01.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from vmstamp.arm.resource import Json
from vmstamp.arm.shape import without_nulls
from vmstamp.arm.template.expressions import is_expression
from vmstamp.arm.template.opened import Opened
from vmstamp.arm.template.secrets import masked, secrets_of
from vmstamp.arm.template.step import Step
from vmstamp.arm.template.values import find_member
from vmstamp.resource_id import ResourceId

IDS_ONLY = "ResourceIdOnly"
# Members that only the stamp fills in.
COMPUTED = ("id", "name", "type", "etag", "provisioningstate", "resourceguid", "uniqueid", "timecreated")

Current = Callable[[ResourceId], Json | None]


def changes(
    opened: Iterable[Opened], current: Current, others: Iterable[tuple[ResourceId, bool]], result_format: str
) -> list[Json]:
    """The changes of deployments. `others` are the group's other resources, with whether each is deleted."""
    found: dict[str, Json] = {}
    every = list(opened)
    # A nested deployment's body may hold what its parent was given.
    secrets = tuple(text for one in every for text in secrets_of(one.template, one.given.values))
    for one in every:
        for step in one.graph.steps:
            if not step.existing and not step.is_deployment:
                found[step.key] = masked(_change(step, current(step.id)), secrets)
    for id, deleted in others:
        if id.key not in found:
            before = current(id) or {}
            kind = {"changeType": "Delete"} if deleted else {"changeType": "Ignore"}
            after = {} if deleted else {"after": before}
            found[id.key] = {"resourceId": str(id), **kind, "before": before, **after}
    ordered = [found[key] for key in sorted(found)]
    if result_format.lower() == IDS_ONLY.lower():
        return [_id_only(change) for change in ordered]
    return ordered


def _id_only(change: Json) -> Json:
    told = change["changeType"] if change["changeType"] in ("Delete", "Ignore", "Create") else "Deploy"
    return {"resourceId": change["resourceId"], "changeType": told}


def _change(step: Step, before: Json | None) -> Json:
    after = {
        "id": str(step.id),
        "name": step.id.name,
        "type": step.kind,
        "apiVersion": step.api_version,
        **without_nulls(step.preview or {}),
    }
    if isinstance(after.get("location"), str):
        after["location"] = after["location"].lower().replace(" ", "")
    if before is None:
        return {"resourceId": str(step.id), "changeType": "Create", "after": after}
    delta = differences(before, {name: value for name, value in after.items() if name != "apiVersion"})
    kind = "Modify" if delta else "NoChange"
    found: Json = {"resourceId": str(step.id), "changeType": kind, "before": before, "after": after}
    return {**found, "delta": delta} if delta else found


def differences(before: Mapping[str, Any], after: Mapping[str, Any], path: str = "") -> list[Json]:
    """What a template changes of a resource, as `{path, propertyChangeType, before, after, children}`."""
    found: list[Json] = []
    for name, value in after.items():
        if name.lower() in COMPUTED:
            continue
        spelled = find_member(before, name)
        here = f"{path}.{name}" if path else name
        if spelled is None:
            if value not in ({}, [], None):
                found.append({"path": here, "propertyChangeType": "Create", "before": None, "after": value})
        else:
            found.extend(_difference(here, before[spelled], value))
    if path in ("tags", "properties.tags"):
        gone = [name for name in before if find_member(after, name) is None]
        found.extend(
            {"path": f"{path}.{name}", "propertyChangeType": "Delete", "before": before[name], "after": None}
            for name in gone
        )
    return found


def _difference(path: str, before: Any, after: Any) -> list[Json]:
    if isinstance(before, dict) and isinstance(after, dict):
        return differences(before, after, path)
    if isinstance(before, list) and isinstance(after, list):
        children = _items(before, after)
        if not children:
            return []
        changed: Json = {"path": path, "propertyChangeType": "Array", "before": None, "after": None}
        return [{**changed, "children": children}]
    if before == after or (isinstance(after, str) and is_expression(after)):
        return []
    if isinstance(before, str) and isinstance(after, str) and before.lower() == after.lower():
        return []
    return [{"path": path, "propertyChangeType": "Modify", "before": before, "after": after}]


def _items(before: list[Any], after: list[Any]) -> list[Json]:
    found: list[Json] = []
    for i in range(max(len(before), len(after))):
        if i >= len(before):
            found.append({"path": str(i), "propertyChangeType": "Create", "before": None, "after": after[i]})
        elif i >= len(after):
            found.append({"path": str(i), "propertyChangeType": "Delete", "before": before[i], "after": None})
        elif children := _difference(str(i), before[i], after[i]):
            whole: Json = {"path": str(i), "propertyChangeType": "Modify", "before": None, "after": None}
            inner = [{**child, "path": child["path"].removeprefix(f"{i}.")} for child in children]
            found.append(children[0] if children[0]["path"] == str(i) else {**whole, "children": inner})
    return found
