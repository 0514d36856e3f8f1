"""What the last run of a stamp left open: taken up again, or ended with the reason."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from vmstamp.arm.operations import Operation
from vmstamp.arm.types import Action, ResourceType
from vmstamp.errors import AzureError

if TYPE_CHECKING:
    from vmstamp.arm.engine import Engine

log = logging.getLogger("vmstamp.arm")

SETTLED = ("Succeeded", "Failed", "Canceled")


class Recovery:
    """The open operations of one stamp, after its server was started. None is open when it cannot go on."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def resume(self, operation: Operation) -> None:
        """Take up an operation, or say that it failed and why."""
        try:
            if not self._resume(operation):
                self._give_up(operation, interrupted(operation))
        except Exception:
            log.exception("operation %s could not be resumed", operation.id)
            self._give_up(operation, interrupted(operation))

    def _resume(self, operation: Operation) -> bool:
        """Whether it goes on, or has come to its end."""
        engine = self._engine
        kind = engine.types.get(operation.resource.type.lower())
        resource = engine.catalog.find(operation.resource)
        if kind is None or resource is None:
            if operation.kind != "delete":
                return False
            engine.operations.end(operation.id)
        elif operation.kind == "delete":
            engine.deletions.submit(kind, operation.id, resource.id, lambda: None, resumed=True)
        elif operation.kind == "put" and resource.provisioning_state != "Deleting":
            first = resource.provisioning_state == kind.style.creating
            engine.submit_put(kind, operation.id, resource.id, first, resumed=True)
        elif (action := _find_action(kind, operation.kind)) and action.resumable:
            engine.actions.submit(action, operation.id, resource.id, resumed=True)
        else:
            return False
        return True

    def _give_up(self, operation: Operation, error: AzureError) -> None:
        """End an operation, and say of its resource what is so: nothing works on it."""
        engine = self._engine
        with engine.db.write():
            engine.operations.end(operation.id, error=error)
            resource = engine.catalog.find(operation.resource)
            kind = engine.types.get(operation.resource.type.lower())
            if resource is None or kind is None:
                return
            if resource.provisioning_state == "Deleting" and operation.kind != "delete":
                return  # the deletion is open too, and goes on
            left = kind.abandoned(resource)
            if left.provisioning_state not in SETTLED:
                left = left.with_properties(provisioningState="Failed")
            if left != resource:
                engine.catalog.save(left, touch=False)


def _find_action(kind: ResourceType, name: str) -> Action | None:
    return next((action for action in kind.actions if action.name == name), None)


def interrupted(operation: Operation) -> AzureError:
    return AzureError(
        500,
        "OperationInterrupted",
        f"The stamp ended while the operation '{operation.kind}' on '{operation.resource}' was under way, "
        "and it cannot be taken up again. Send the request again.",
    )
