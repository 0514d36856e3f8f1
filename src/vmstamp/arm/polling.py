"""Asynchronous operations as clients see them: the two URLs of one, and what stands there.

Every answer that is not final says when to come again: without, azure-core waits for 30 seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlencode

from vmstamp.arm.catalog import Catalog
from vmstamp.arm.operations import Operation, Operations, error_document
from vmstamp.arm.resource import Json, Resource
from vmstamp.arm.types import Reply, Request, ResourceType
from vmstamp.errors import AzureError

MOVE, VALIDATE_MOVE = "moveResources", "validateMoveResources"  # kinds of operations without a result
RETRY_AFTER = {"Retry-After": "1", "x-ms-retry-after-ms": "200"}

FORGET = "forget"  # the kind of an operation that leaves nothing to be shown: 204 at its Location


class Polling:
    """The status documents and results of operations. `show` gives a resource as clients see it."""

    def __init__(self, catalog: Catalog, operations: Operations, show: Callable[[Resource], Json]) -> None:
        self._catalog = catalog
        self._operations = operations
        self._show = show

    def url(
        self, request: Request, kind: ResourceType, location: str, operation: str, *, result: bool = False
    ) -> str:
        """The Azure-AsyncOperation URL of an operation, or with `result` its Location."""
        segment = kind.style.result_segment if result and kind.style.result_segment else kind.style.segment
        scope = f"/subscriptions/{request.subscription}/providers/{kind.provider}/locations/{location}"
        url = f"{request.base}{scope}/{segment}/{operation}?api-version={request.api_version}"
        return f"{url}&monitor=true" if result and not kind.style.result_segment else url

    def accepted(self, request: Request, kind: ResourceType, location: str, operation: str) -> Reply:
        """202 with both headers."""
        headers = {
            "Azure-AsyncOperation": self.url(request, kind, location, operation),
            "Location": self.url(request, kind, location, operation, result=True),
            **RETRY_AFTER,
        }
        if kind.style.notification:
            headers["Azure-AsyncNotification"] = "Enabled"
        return Reply(202, None, headers)

    def status(self, id: str) -> Reply:
        """The status document at the Azure-AsyncOperation URL."""
        operation = self._get(id)
        document: Json = {"startTime": operation.started, "status": operation.status, "name": operation.id}
        if operation.ended:
            document["endTime"] = operation.ended
        if operation.error:
            document["error"] = error_document(operation.error)
        if operation.output is not None:
            document["properties"] = {"output": operation.output}
        return Reply(200, document, RETRY_AFTER if operation.is_open else {})

    def result(self, id: str, request: Request) -> Reply:
        """What stands at the Location: 202 while it runs, then the bare result."""
        operation = self._get(id)
        if operation.is_open:
            return Reply(
                202,
                None,
                {"Location": f"{request.base}{request.path}?{urlencode(request.query)}", **RETRY_AFTER},
            )
        if operation.error:
            raise operation.error
        if operation.kind in (FORGET, MOVE, VALIDATE_MOVE):
            return Reply(204)
        if operation.kind != "put":
            return Reply(200, operation.output)
        resource = self._catalog.find(operation.resource)
        return Reply(200, self._show(resource)) if resource else Reply(204)

    def _get(self, id: str) -> Operation:
        operation = self._operations.find(id)
        if operation is None:
            raise AzureError(404, "NotFound", f"The operation '{id}' could not be found.")
        return operation
