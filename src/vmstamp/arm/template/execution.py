"""Deployments carried out: the steps of one, the deployments nested in it, its outputs, mode Complete.

A nested deployment runs on the thread of the step that it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial

from vmstamp.arm.catalog import Clock
from vmstamp.arm.engine import Engine
from vmstamp.arm.operations import Preempted, read_detail
from vmstamp.arm.resource import Json
from vmstamp.arm.template import preflight
from vmstamp.arm.template.kept import Kept, Record
from vmstamp.arm.template.live import Canceled, Door, Live
from vmstamp.arm.template.opening import Opening
from vmstamp.arm.template.outputs import OutputsFault, evaluate_outputs
from vmstamp.arm.template.run import Run, deployment_failed, outputs_failed
from vmstamp.arm.template.scope import Scope
from vmstamp.arm.template.secrets import texts, unsaid
from vmstamp.arm.template.spec import Spec, canceled
from vmstamp.arm.template.step import Step
from vmstamp.arm.types import azure_fault
from vmstamp.errors import AzureError
from vmstamp.resource_id import ResourceId


class Execution:
    """Carries deployments out. Safe to share between threads."""

    def __init__(self, engine: Engine, clock: Clock, opening: Opening, kept: Kept) -> None:
        self._engine = engine
        self._catalog = engine.catalog
        self._clock = clock
        self._opening = opening
        self._kept = kept

    def run(self, spec: Spec, door: Door, done: Iterable[str]) -> None:
        """Do the steps but those that are done. Blocks; raises AzureError, Canceled and Preempted."""
        try:
            self._run_steps(spec, door, done)
        except AzureError:
            with unsaid(_secrets(spec, door)):
                raise

    def _run_steps(self, spec: Spec, door: Door, done: Iterable[str]) -> None:
        if spec.refusal:
            raise spec.refusal
        self._kept.update(spec.id, provisioningState="Running")
        opened = spec.opened
        self._register(opened.graph.steps)
        runtime = Live(door, opened.graph, spec.above)
        record = Record(spec.id, self._clock, self._kept.save_operation, partial(_secrets, spec, door))

        def nested(step: Step, body: Json, scope: Scope) -> None:
            self._run_nested(spec, door, step, body, scope)

        failed = Run(opened, door, runtime, record.report, nested).go(done)
        self._kept.update(spec.id, outputResources=self._kept.output_resources(spec))
        if failed:
            raise deployment_failed(spec.id, failed)
        if spec.asked.mode == "Complete":
            self._delete_others(spec, door)
        try:
            outputs = evaluate_outputs(spec.asked.template, replace(opened.scope, runtime=runtime))
        except OutputsFault as error:
            raise outputs_failed(error) from error
        door.secrets.extend(texts(outputs.secure))
        door.told[spec.id.key] = outputs.values
        self._kept.update(spec.id, outputs=outputs.shown)

    def _register(self, steps: Iterable[Step]) -> None:
        """Register the subscriptions with the providers of what will be made, as Azure's deployments do."""
        subscriptions = self._engine.subscriptions
        for id, namespace in sorted({(step.id.subscription, step.id.provider) for step in steps}):
            with self._engine.db.write():
                subscription = subscriptions.get(id)
                if not subscriptions.is_registered(subscription, namespace):
                    subscriptions.set_registered(subscription, namespace, True)

    def _run_nested(self, parent: Spec, door: Door, step: Step, body: Json, scope: Scope) -> None:
        """A step that is a deployment: opened, stored, run here and now. Raises its error."""
        if step.id.group:
            self._engine.get_group(step.id)
        spec = self._opening.open_nested(parent, step, body, scope)
        preflight.check(self._engine, spec.opened, spec.id.name, spec.correlation)
        with self._engine.db.write():
            self._kept.refuse_active(step.id, besides=parent.id)
            self._kept.store(spec, values=None)
        error: AzureError | None = None
        try:
            self.run(spec, door, ())
        except Preempted:
            raise  # it stays open; its parent begins it anew
        except Canceled:
            self._kept.end(spec.id, canceled(spec.id))
            raise
        except Exception as failure:
            error = azure_fault(failure)
        self._kept.end(spec.id, error)
        if error:
            raise error

    def _delete_others(self, spec: Spec, door: Door) -> None:
        """Mode Complete: what the group has and the template has not goes, users before what they use."""
        kept = {step.key for step in spec.opened.graph.steps}
        kept |= {one["id"].lower() for one in self._kept.output_resources(spec)}
        for id in self.others(spec.opened.home, kept):
            door.check()
            reply = door.send("DELETE", str(id), "")
            if error := door.finish(id, reply):
                failure = read_detail(error)
                raise AzureError(409, "DeploymentFailed", failure.message, target=str(id), details=[failure])

    def others(self, home: ResourceId, kept: Iterable[str]) -> list[ResourceId]:
        """What a deployment in mode Complete deletes of a group: all but `kept`, ids in lower case.

        A child goes with its parent, unless its type's rank says that it must go before.
        """
        stay = set(kept)
        found = [
            resource
            for resource in self._catalog.select(group=home.key)
            if self._engine.types[resource.type].listed and resource.id.key not in stay
        ]
        rank = {r.id.key: self._engine.types[r.type].delete_rank for r in found}
        found = [r for r in found if rank.get(r.id.parent.key, 99) > rank[r.id.key]]
        return [r.id for r in sorted(found, key=lambda r: (rank[r.id.key], r.id.key))]


def _secrets(spec: Spec, door: Door) -> tuple[str, ...]:
    """What no error may say, the longest first: secure parameters, secure outputs of what is nested in it."""
    return tuple(sorted({*spec.secrets, *door.secrets}, key=len, reverse=True))
