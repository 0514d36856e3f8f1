"""The steps of a deployment done: those that wait for nothing side by side, each followed by what waited for
it.

A step that fails keeps what waits for it from beginning; the others go on. Each step is told to `report` as
it
begins and ends, so that a deployment that a crash interrupts knows where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from typing import Any

from vmstamp.arm.operations import Preempted, error_document, read_detail
from vmstamp.arm.resource import Json
from vmstamp.arm.template.evaluate import evaluate
from vmstamp.arm.template.faults import ExpressionError, language_failure
from vmstamp.arm.template.live import Canceled, Door, status_name
from vmstamp.arm.template.opened import Opened
from vmstamp.arm.template.outputs import OutputsFault
from vmstamp.arm.template.scope import Runtime, Scope
from vmstamp.arm.template.step import Step
from vmstamp.arm.types import azure_fault
from vmstamp.errors import AzureError, Detail

WORKERS = 8  # steps of one deployment at a time


@dataclass(frozen=True)
class Outcome:
    """How a step stands: `error` is the `error` member that describes a failure."""

    step: Step
    state: str  # Running, Succeeded, Failed, Canceled
    status: int = 200
    error: Json | None = None


Report = Callable[[Outcome], None]
Nested = Callable[[Step, Json, Scope], None]


class Run:
    """One run of an opened template. `nested` deploys a step that is itself a deployment, or raises."""

    def __init__(self, opened: Opened, door: Door, runtime: Runtime, report: Report, nested: Nested) -> None:
        self._steps = {step.key: step for step in opened.graph.steps}
        self._door = door
        self._runtime = runtime
        self._report = report
        self._nested = nested

    def go(self, done: Iterable[str] = ()) -> list[Outcome]:
        """Do all steps but those whose keys are `done`; the failed ones. Raises Canceled and Preempted."""
        finished = {key for key in done if key in self._steps}
        waiting = {key: step for key, step in self._steps.items() if key not in finished}
        running: dict[Future[Outcome], str] = {}
        failed: list[Outcome] = []
        stop: BaseException | None = None
        with ThreadPoolExecutor(WORKERS, thread_name_prefix="arm-deployment") as pool:
            while True:
                if stop is None:
                    for key in [key for key, step in waiting.items() if step.waits <= finished]:
                        running[pool.submit(self._do, waiting.pop(key))] = key
                if not running:
                    break
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    key = running.pop(future)
                    try:
                        outcome = future.result()
                    except (Canceled, Preempted) as error:
                        stop = error
                        continue
                    if outcome.state == "Failed":
                        failed.append(outcome)
                    else:
                        finished.add(key)
        if stop is not None:
            raise stop
        return failed

    def _do(self, step: Step) -> Outcome:
        self._door.check()
        if step.existing:
            return Outcome(step, "Succeeded")
        self._report(Outcome(step, "Running"))
        try:
            outcome = self._make(step)
        except (Canceled, Preempted):
            self._report(Outcome(step, "Canceled"))
            raise
        except Exception as error:
            fault = azure_fault(error)
            outcome = Outcome(step, "Failed", fault.status, error_document(fault))
        self._report(outcome)
        return outcome

    def _make(self, step: Step) -> Outcome:
        scope = replace(step.scope, runtime=self._runtime)
        if step.is_deployment:
            self._nested(step, self._evaluate_deployment(step, scope), scope)
            return Outcome(step, "Succeeded", 200)
        reply = self._door.put(step.id, step.api_version, self._evaluate(step, step.body, scope))
        error = self._door.finish(step.id, reply)
        if error is None:
            return Outcome(step, "Succeeded", reply.status)
        return Outcome(step, "Failed", 409, _resource_failure(step, error))

    def _evaluate_deployment(self, step: Step, scope: Scope) -> Json:
        """The body of a nested deployment: its template's expressions are left to it."""
        properties = step.body.get("properties") or {}
        own = {name: value for name, value in properties.items() if name != "template"}
        found = self._evaluate(step, {**step.body, "properties": own}, scope)
        if "template" in properties:
            found["properties"]["template"] = properties["template"]
        return found

    def _evaluate(self, step: Step, body: Json, scope: Scope) -> Json:
        try:
            found: Json = evaluate(body, scope)
        except ExpressionError as error:
            raise language_failure(f"resource '{step.id}'", error, step.place) from error
        return found


def _resource_failure(step: Step, error: Json) -> Json:
    """The error of a resource whose operation began and then failed."""
    return {
        "code": "ResourceDeploymentFailure",
        "target": str(step.id),
        "message": "The resource write operation failed to complete successfully, because it reached "
        "terminal "
        "provisioning state 'Failed'.",
        "details": [error],
    }


def deployment_failed(target: Any, failed: Iterable[Outcome]) -> AzureError:
    """The error of a deployment some of whose steps failed."""
    details = [read_detail(outcome.error) for outcome in failed if outcome.error]
    return AzureError(
        409,
        "DeploymentFailed",
        "At least one resource deployment operation failed. Please list deployment operations for details. "
        "Please see "
        "https://aka.ms/arm-deployment-operations for usage details.",
        target=str(target),
        details=details,
    )


def outputs_failed(error: OutputsFault) -> AzureError:
    """The error of a deployment whose resources are there, but whose outputs cannot be told."""
    return AzureError(
        400,
        "DeploymentOutputEvaluationFailed",
        f"Unable to evaluate template outputs: '{','.join(error.problems)}'. Please see error details and "
        "deployment operations. Please see https://aka.ms/arm-common-errors for usage details.",
        details=[
            Detail(
                "DeploymentOutputEvaluationFailed", f"The template output '{name}' is not valid: {why}.", name
            )
            for name, why in error.problems.items()
        ],
    )


def operation_document(outcome: Outcome, id: str, started: str, timestamp: str, duration: str) -> Json:
    """A step as `deployments/.../operations` shows it."""
    step = outcome.step
    properties: Json = {
        "provisioningOperation": "Create",
        "provisioningState": outcome.state,
        "timestamp": timestamp,
        "duration": duration,
        "trackingId": id,
        "targetResource": {
            "id": str(step.id),
            "resourceType": step.kind,
            "resourceName": "/".join(step.id.names) or step.id.name,
        },
    }
    if outcome.state == "Succeeded":
        properties["statusCode"] = status_name(outcome.status)
    if outcome.error:
        properties["statusCode"] = status_name(outcome.status)
        properties["statusMessage"] = {"status": "Failed", "error": outcome.error}
    return {"id": id, "operationId": id, "properties": properties, "started": started, "key": step.key}
