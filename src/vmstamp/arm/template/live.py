"""The control plane as a deployment uses it: requests at its own door, and waiting for their operations.

A deployment is a client of the stamp like any other: it PUTs, polls and GETs, so a resource of a template
goes
the same way as one of az.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from vmstamp.arm.operations import Preempted, error_document
from vmstamp.arm.resource import Json
from vmstamp.arm.template.faults import ExpressionError
from vmstamp.arm.template.graph import Graph
from vmstamp.arm.template.step import Step
from vmstamp.arm.types import Reply, Request
from vmstamp.errors import AzureError
from vmstamp.resource_id import ResourceId, parse_resource_id

Handle = Callable[[Request], Reply]
PATIENCE = 30 * 60.0  # seconds to wait for an operation of another that is open on the resource
PAUSE = 0.2  # seconds between two looks at an operation that nobody here runs
SECURE_OUTPUTS = "listoutputswithsecurevalues"  # what bicep asks a module with a secure output
DEFAULT_API_VERSION = "2024-11-01"


class Canceled(Exception):
    """Somebody canceled the deployment."""


class Door:
    """Requests to the stamp by one deployment. `wait` waits for what runs on a resource, at most so long."""

    def __init__(
        self,
        handle: Handle,
        wait: Callable[[ResourceId, float], None],
        base: str,
        stopped: Callable[[], bool],
        canceled: threading.Event,
    ) -> None:
        self._handle = handle
        self._wait = wait
        self._base = base
        self._stopped = stopped
        self.canceled = canceled
        # The outputs of what was deployed through it, by deployment; secure ones are in no other place.
        self.told: dict[str, Mapping[str, Any]] = {}
        self.secrets: list[str] = []  # the texts of the secure ones

    def check(self) -> None:
        """Raises Preempted when the stamp ends, Canceled when the deployment shall."""
        if self._stopped():
            raise Preempted("the stamp ends")
        if self.canceled.is_set():
            raise Canceled

    def send(self, method: str, path: str, api_version: str, body: Any = None) -> Reply:
        """One request. Raises AzureError for what is refused."""
        query = {"api-version": api_version or DEFAULT_API_VERSION}
        return self._handle(Request(method, path, query, {}, body, self._base))

    def put(self, id: ResourceId, api_version: str, body: Json) -> Reply:
        """A PUT, again and again while another operation on the resource is open."""
        end = time.monotonic() + PATIENCE
        while True:
            self.check()
            try:
                return self.send("PUT", str(id), api_version, body)
            except AzureError as error:
                if error.code != "Conflict" or time.monotonic() > end:
                    raise
            self._pause(id)

    def finish(self, id: ResourceId, reply: Reply) -> Json | None:
        """Wait for a request's operation; its error when it failed. Raises Preempted and Canceled."""
        url = reply.headers.get("Azure-AsyncOperation") or reply.headers.get("Location", "")
        while url:
            self.check()
            try:
                found = self._poll(url)
            except AzureError as error:
                return error_document(error)
            status = str((found.body or {}).get("status", "")) if isinstance(found.body, dict) else ""
            if found.status != 202 and status not in ("InProgress", "Running", "Accepted"):
                return (
                    dict(found.body.get("error") or {}) or None if status in ("Failed", "Canceled") else None
                )
            self._pause(id)
        return None

    def _poll(self, url: str) -> Reply:
        parts = urlsplit(url)
        query = {name.lower(): value for name, value in parse_qsl(parts.query)}
        return self._handle(Request("GET", parts.path, query, {}, None, self._base))

    def _pause(self, id: ResourceId) -> None:
        """Wait until what runs on the resource has ended, or a while."""
        self._wait(id, 1.0)
        self.canceled.wait(PAUSE)

    def get(self, id: str, api_version: str) -> Json:
        """The document of a resource. Raises AzureError."""
        found: Json = self.send("GET", id, api_version).body
        return found


class Live:
    """The runtime of expressions while a deployment runs: `reference` is a GET, `list*` a POST."""

    def __init__(self, door: Door, graph: Graph, above: tuple[Graph, ...] = ()) -> None:
        """`above` are the graphs of the deployments whose scope this one shares, the nearest first."""
        self._door = door
        self._graphs = (graph, *above)

    def _find(self, name: str) -> list[Step]:
        return next((found for graph in self._graphs if (found := graph.find(name))), [])

    def reference(self, name: str, api_version: str, full: bool) -> Any:
        steps = self._find(name)
        if steps:
            step = steps[0]
            return self._read(str(step.id), api_version or step.api_version, full, step)
        if not name.startswith("/"):
            raise ExpressionError(
                f"The template reference '{name}' is not valid: could not find template resource or "
                "resource copy with "
                "this name. Please see https://aka.ms/arm-function-reference for usage details."
            )
        return self._read(name, api_version, full)

    def _read(self, id: str, api_version: str, full: bool, step: Step | None = None) -> Any:
        try:
            found = self._door.get(id, api_version)
        except AzureError as error:
            raise ExpressionError(f"{error.code}: {error.message}") from error
        return _full(found, api_version, step) if full else found.get("properties", {})

    def references(self, symbol: str, full: bool) -> list[Any]:
        return [
            self._read(str(step.id), step.api_version, full, step)
            for step in self._find(symbol)
            if step.deployed
        ]

    def information(self, symbol: str) -> Json:
        steps = self._find(symbol)
        if not steps:
            raise ExpressionError(f"The template resource '{symbol}' is not found")
        return steps[0].information()

    def list_action(self, name: str, id: str, api_version: str, body: Any) -> Any:
        steps = self._find(id)
        whole = str(steps[0].id) if steps else id
        if name.lower() == SECURE_OUTPUTS:
            return self._outputs(whole)
        try:
            parse_resource_id(whole)
            return self._door.send("POST", f"{whole}/{name}", api_version, body).body
        except ValueError as error:
            raise ExpressionError(
                f"The template function '{name}' expects the id of a resource, not '{id}'"
            ) from error
        except AzureError as error:
            raise ExpressionError(f"{error.code}: {error.message}") from error

    def _outputs(self, id: str) -> Mapping[str, Any]:
        """The outputs of a deployment nested in this one, secure ones too."""
        found = self._door.told.get(id.lower())
        if found is None:
            raise ExpressionError(
                f"The secure outputs of the deployment '{id}' are told to the deployment alone that it is "
                "nested in, and only in the run in which it was deployed"
            )
        return found


def _full(found: Json, api_version: str, step: Step | None) -> Json:
    """What `reference(..., 'Full')` gives of a resource, which is not its document: the id is in parts.

    Document: Resource functions, reference example.
    """
    id = parse_resource_id(str(found["id"]))
    pairs = [word for pair in zip(id.types, id.names, strict=True) for word in pair]
    whole = (id.provider, *pairs) if pairs else (id.type, id.name)
    kept = {name: value for name, value in found.items() if name not in ("id", "name", "type")}
    return {
        "apiVersion": api_version,
        **kept,
        "subscriptionId": id.subscription,
        "resourceGroupName": id.group,
        "resourceId": "/".join(whole),
        "referenceApiVersion": api_version,
        "condition": True,
        "isConditionTrue": True,
        "isTemplateResource": step is not None,
        "isAction": False,
        "provisioningOperation": "Read" if step is None or step.existing else "Create",
    }


def status_name(status: int) -> str:
    """An HTTP status as a deployment's operations show it: `Created`, `BadRequest`."""
    return HTTPStatus(status).phrase.title().replace(" ", "").replace("-", "")
