"""Which request means what of deployments. `DeploymentRoutes.handle` gets what stands after `/deployments`.

REST: Deployments, Deployment Operations, Resource Groups - Export Template, 2024-11-01.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from vmstamp.arm import faults
from vmstamp.arm.catalog import timestamp
from vmstamp.arm.engine import Engine
from vmstamp.arm.operations import Operation, error_document
from vmstamp.arm.polling import FORGET, RETRY_AFTER
from vmstamp.arm.proxies import ProxyResources
from vmstamp.arm.resource import Json, Resource
from vmstamp.arm.template.deployments import Deployments
from vmstamp.arm.template.documents import dependencies_of, duration, providers_of
from vmstamp.arm.template.export import export_group
from vmstamp.arm.template.spec import CANCELED, TYPE_NAME, Spec
from vmstamp.arm.template.template import template_hash
from vmstamp.arm.template.what_if import changes
from vmstamp.arm.types import Reply, Request
from vmstamp.errors import AzureError
from vmstamp.resource_id import ResourceId

NAME = re.compile(r"[\w\-.()]{1,64}")
_STATE_FILTER = re.compile(r"\s*provisioningState\s+eq\s+'(\w+)'\s*")


class DeploymentRoutes:
    """The requests on deployments of a group or of the subscription."""

    def __init__(self, deployments: Deployments, engine: Engine) -> None:
        self._deployments = deployments
        self._engine = engine
        self._proxies = ProxyResources(engine)

    def handle(self, request: Request, scope: ResourceId, words: tuple[str, ...]) -> Reply:
        """A request on `scope`'s deployments: `words` are name, action, and the action's name."""
        if not words:
            return self._list(request, scope)
        id = ResourceId(scope.subscription, scope.group, "Microsoft.Resources", ("deployments",), (words[0],))
        if not NAME.fullmatch(words[0]):
            raise AzureError(
                400,
                "InvalidDeploymentName",
                f"The deployment name '{words[0]}' is not valid. The name can only include alphanumeric "
                "characters, "
                "periods, underscores, hyphens and parenthesis, and cannot exceed '64' characters.",
            )
        action = words[1].lower() if len(words) > 1 else ""
        known: dict[tuple[str, str, int], Callable[[], Reply]] = {
            ("PUT", "", 1): lambda: self._put(request, id),
            ("GET", "", 1): lambda: Reply(200, show(self._deployments.kept.get(id))),
            ("HEAD", "", 1): lambda: Reply(204 if self._engine.catalog.find(id) else 404),
            ("DELETE", "", 1): lambda: self._delete(request, id),
            ("POST", "validate", 2): lambda: self._validate(request, id),
            ("POST", "whatif", 2): lambda: self._what_if(request, id),
            ("POST", "cancel", 2): lambda: self._cancel(id),
            ("POST", "exporttemplate", 2): lambda: self._export(id),
            ("GET", "operations", 2): lambda: self._operations(request, id),
            ("GET", "operations", 3): lambda: self._operation(id, words[2]),
            ("GET", "operationstatuses", 3): lambda: self._status(words[2]),
        }
        run = known.get((request.method, action, len(words)))
        if run is None:
            raise faults.unsupported(f"The request {request.method} '{request.path}'")
        return run()

    def _list(self, request: Request, scope: ResourceId) -> Reply:
        if request.method != "GET":
            raise faults.unsupported(f"The request {request.method} '{request.path}'")
        if scope.group:
            self._engine.get_group(scope)
        found = self._engine.catalog.select(type=TYPE_NAME.lower(), group=scope.key if scope.group else "")
        own = scope.subscription.lower()
        found = [one for one in found if one.id.subscription.lower() == own]
        found = [one for one in found if bool(one.id.group) == bool(scope.group)]
        if text := request.query.get("$filter", ""):
            match = _STATE_FILTER.fullmatch(text)
            if match is None:
                raise faults.unsupported(f"The filter '{text}' on this list", target="$filter")
            found = [one for one in found if one.provisioning_state.lower() == match[1].lower()]
        found.sort(key=lambda one: one.created, reverse=True)
        return Reply(200, {"value": [show(one) for one in _top(found, request)]})

    def _put(self, request: Request, id: ResourceId) -> Reply:
        self._engine.guard(id, "write")
        spec = self._deployments.opening.open(id, request, to_run=True)
        resource, operation, new = self._deployments.start(spec)
        path = f"{resource.id}/operationStatuses/{operation}"
        url = f"{request.base}{path}?api-version={request.api_version}"
        headers = {"Azure-AsyncOperation": url, **RETRY_AFTER}
        return Reply(201 if new else 200, show(resource), headers)

    def _delete(self, request: Request, id: ResourceId) -> Reply:
        if id.group:
            self._engine.get_group(id)
        operations = self._engine.operations
        with self._engine.db.write():
            self._engine.guard(id, "delete")
            if not self._deployments.delete(id):
                return Reply(204)
            operation = operations.record(id, FORGET, done=True)
        return Reply(202, None, self._location(request, id, operation))

    @staticmethod
    def _location(request: Request, id: ResourceId, operation: str) -> dict[str, str]:
        url = f"{request.base}/subscriptions/{id.subscription}/operationresults/{operation}"
        return {"Location": f"{url}?api-version={request.api_version}", **RETRY_AFTER}

    def _cancel(self, id: ResourceId) -> Reply:
        self._deployments.cancel(id)
        return Reply(204)

    def _export(self, id: ResourceId) -> Reply:
        return Reply(200, {"template": self._deployments.kept.get(id).state["template"]})

    def _validate(self, request: Request, id: ResourceId) -> Reply:
        spec = self._deployments.opening.open(id, request)
        asked = spec.asked
        properties: Json = {
            "templateHash": asked.template.hash,
            "parameters": spec.opened.given.shown(),
            "mode": asked.mode,
            "provisioningState": "Succeeded",
            "timestamp": timestamp(spec.started),
            "duration": duration(spec.started - spec.started),
            "correlationId": spec.correlation,
            "providers": providers_of(spec.opened),
            "dependencies": dependencies_of(spec.opened),
            "validatedResources": [{"id": str(s.id)} for s in spec.opened.graph.steps if not s.existing],
        }
        return Reply(200, {"id": str(id), "name": id.name, "type": TYPE_NAME, "properties": properties})

    def _what_if(self, request: Request, id: ResourceId) -> Reply:
        spec = self._deployments.opening.open(id, request)
        found = self._changes(spec)
        output: Json = {
            "status": "Succeeded",
            "properties": {"correlationId": spec.correlation, "changes": found},
        }
        operations = self._engine.operations
        with self._engine.db.write():
            operation = operations.record(id, "whatIf")
            operations.end(operation, output=output)
        return Reply(202, None, self._location(request, id, operation))

    def _changes(self, spec: Spec) -> list[Json]:
        opened = [spec.opened, *self._deployments.opening.nested_of(spec)]
        kept = {step.key for one in opened for step in one.graph.steps}
        others: list[tuple[ResourceId, bool]] = []
        if spec.id.group:
            deletes = spec.asked.mode == "Complete"
            others = [(id, deletes) for id in self._deployments.execution.others(spec.opened.home, kept)]
            named = {step.key for one in opened for step in one.graph.steps if step.existing}
            resources = self._engine.catalog.select(group=spec.opened.home.key)
            others += [(resource.id, False) for resource in resources if resource.id.key in named]
        return changes(opened, self._current, others, spec.asked.result_format)

    def _current(self, id: ResourceId) -> Json | None:
        try:
            reply = self._deployments.handle(Request("GET", str(id), {"api-version": "2024-11-01"}))
        except AzureError as error:
            if error.status == 404:
                return None
            raise
        found: Json = reply.body
        return found

    # -- operations

    def _operations(self, request: Request, id: ResourceId) -> Reply:
        found = operations_of(self._deployments.kept.get(id))
        return Reply(200, {"value": _top(found, request)})

    def _operation(self, id: ResourceId, wanted: str) -> Reply:
        for one in operations_of(self._deployments.kept.get(id)):
            if one["operationId"].lower() == wanted.lower():
                return Reply(200, one)
        raise AzureError(
            404, "DeploymentOperationNotFound", f"The deployment operation '{wanted}' could not be found."
        )

    def _status(self, operation: str) -> Reply:
        found = self._deployments.operations.find(operation)
        if found is None:
            raise AzureError(404, "NotFound", f"The operation '{operation}' could not be found.")
        document: Json = {"status": _status_word(found)}
        if found.error and found.error.code != CANCELED:
            document["error"] = error_document(found.error)
        return Reply(200, document, RETRY_AFTER if found.is_open else {})

    # -- a group as a template

    def export_group(self, request: Request, group: ResourceId) -> Reply:
        """POST exportTemplate on a group."""
        self._engine.get_group(group)
        wanted = [str(one).lower() for one in request.json.get("resources") or ["*"]]
        options = str(request.json.get("options") or "")
        found = []
        for resource in self._engine.catalog.select(group=group.key):
            kind = self._engine.types[resource.type]
            if not kind.listed or ("*" not in wanted and resource.id.key not in wanted):
                continue
            # As it is stored: what a GET computes, such as who uses it, is nothing to deploy.
            stored = {"type": kind.name, "location": resource.location, **resource.document}
            found.append((resource, stored, max(kind.api_versions)))
            for proxy, id, document in self._proxies.exported(resource):
                declared = replace(resource, id=id, document=document, state={})
                found.append((declared, {"type": proxy.name, **document}, max(proxy.api_versions)))
        names = "SkipAllParameterization" not in options and "SkipResourceNameParameterization" not in options
        return Reply(200, {"template": export_group(found, names)})


def calculate_hash(request: Request) -> Reply:
    """POST calculateTemplateHash: the hash, and the template without spaces."""
    minified = json.dumps(request.body, separators=(",", ":"))
    return Reply(200, {"minifiedTemplate": minified, "templateHash": template_hash(request.body)})


def show(resource: Resource) -> Json:
    """A deployment as clients see it."""
    head: Json = {"id": str(resource.id), "name": resource.name, "type": TYPE_NAME}
    if resource.location:
        head["location"] = resource.location
    return {**head, **resource.document}


def operations_of(resource: Resource) -> list[Json]:
    """The operations of a deployment, in the order in which they began; its outputs' row last."""
    kept = sorted(resource.state["operations"].values(), key=lambda one: one["started"])
    found = [{name: value for name, value in one.items() if name not in ("started", "key")} for one in kept]
    if "outputs" not in resource.properties:
        return found
    id = f"EVALUATE{resource.properties['templateHash'][:8]}"
    last: Json = {
        "provisioningOperation": "EvaluateDeploymentOutput",
        "provisioningState": "Succeeded",
        "timestamp": resource.properties["timestamp"],
        "duration": "PT0S",
        "trackingId": resource.properties["correlationId"],
        "statusCode": "OK",
    }
    return [*found, {"id": f"{resource.id}/operations/{id}", "operationId": id, "properties": last}]


def _status_word(operation: Operation) -> str:
    if operation.is_open:
        return "Running"
    if operation.error and operation.error.code == CANCELED:
        return "Canceled"
    return operation.status


def _top(found: list[Any], request: Request) -> list[Any]:
    top = request.query.get("$top", "")
    return found[: int(top)] if top.isdecimal() and len(top) < 6 else found
