"""Microsoft.Compute/virtualMachines/runCommands: scripts as resources of their VM, run by its agent.

    state of a run command (never shown)
    protected  protectedParameters, and the query of source.scriptUri, until the agent has been told
    due        whether the script is to be run: a PUT runs it, a PATCH when it changes more than tags
    sent       whether there were protected settings, which the agent has been told
    told       what the handler said last: sequence, status, message

With asyncExecution the operation ends when the script has begun; how it goes is asked of the agent whenever
the instance view is. A run command goes with its VM; its DELETE kills what runs of it in the guest.

REST: Virtual Machine Run Commands. Source: Azure/run-command-handler-linux.
"""

from __future__ import annotations

import json
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from vmstamp.arm.compute.agent_children import AgentChildren
from vmstamp.arm.compute.guest_agent import (
    NOT_RUNNING,
    Task,
    reported_failure,
)
from vmstamp.arm.compute.naming import check_name
from vmstamp.arm.faults import (
    invalid_parameter,
    missing_parameter,
    not_allowed,
    unsupported,
)
from vmstamp.arm.resource import Json, Resource
from vmstamp.arm.shape import KEEP, READ_ONLY, clean
from vmstamp.arm.types import Change, Put, Work
from vmstamp.fabric.extensions import MANAGED_COMMAND, Handler, HandlerStatus

NAME: Final = "Microsoft.Compute/virtualMachines/runCommands"
MOST: Final = 25  # run commands of one VM
LEEWAY: Final = 120.0  # seconds beyond timeoutInSeconds that the agent has to tell of the end
PARAMETERS: Final = [{"name": str, "value": str}]
SHAPE: Final = {
    "location": str,
    "tags": KEEP,
    "properties": {
        "source": {"script": str, "scriptUri": str, "commandId": str},
        "parameters": PARAMETERS,
        "protectedParameters": PARAMETERS,
        "asyncExecution": bool,
        "runAsUser": str,
        "timeoutInSeconds": int,
        "treatFailureAsDeploymentFailure": bool,
        # What Azure fills in:
        "provisioningState": READ_ONLY,
        "instanceView": READ_ONLY,
    },
}
# What the handler in the guest gets, as the resource has it.
PASSED: Final = (
    "source",
    "parameters",
    "asyncExecution",
    "runAsUser",
    "timeoutInSeconds",
    "treatFailureAsDeploymentFailure",
)


class ManagedCommands(AgentChildren):
    """The type."""

    name = NAME
    what = "run command"
    not_running = NOT_RUNNING

    def handler_of(self, child: Resource) -> Handler:
        return MANAGED_COMMAND

    # -- PUT

    def parse(self, put: Put) -> Change:
        check_name(put.id.name, "runCommandName")
        vm = self.find_vm(put.id)
        body = clean(put.body, SHAPE)
        properties = {"asyncExecution": False, "timeoutInSeconds": 0, **body.get("properties", {})}
        protected = _take_secrets(properties)
        _check_source(properties)
        _check_parameters([*properties.get("parameters", []), *protected.get("protectedParameters", [])])
        if properties["timeoutInSeconds"] < 0:
            raise invalid_parameter(
                f"The value '{properties['timeoutInSeconds']}' of parameter 'timeoutInSeconds' is invalid.",
                "timeoutInSeconds",
            )
        self.check_vm(vm)
        if put.existing is None:
            self._check_count(put)
        return Change(
            {**body, "properties": properties},
            {
                **(put.existing.state if put.existing else {}),
                "protected": protected,
                "sent": False,
                "due": not put.partial or bool(protected) or _changed(put.existing, properties),
            },
        )

    def _check_count(self, put: Put) -> None:
        there = len(self._catalog.select(type=NAME, scope=str(put.id.parent)))
        if there >= MOST:
            raise not_allowed(
                f"The maximum number of managed Run commands (max={MOST}, current={there}) has been "
                "exceeded. Use fewer Run commands and retry the request. To list Run commands, refer: "
                "https://aka.ms/RunCommandManaged#list-all-deployed-runcommand-resources-on-a-vm-1 and then "
                "delete a Run command: "
                "https://aka.ms/RunCommandManaged#delete-runcommand-resource-from-the-vm-1"
            )

    def apply(self, command: Resource, work: Work) -> Resource:
        """Have the agent run the script, and wait for its end, or for its beginning with asyncExecution."""
        if not command.state.get("due"):
            return command
        forgotten = self.hand_over(command, work)
        public: Json = {name: command.properties[name] for name in PASSED if name in command.properties}
        task = Task(
            command.name,
            MANAGED_COMMAND,
            public,
            command.state.get("protected") or None,
            seconds=public["timeoutInSeconds"] + LEEWAY if public["timeoutInSeconds"] else 0.0,
        )
        told = self._agents.run(self.find_vm(command.id), task, work.cancelled)
        kept = forgotten.with_state(told=_record(told), due=False)
        if told.status == "error":
            self.save(kept)
            raise reported_failure(task, read_view(told.report)["executionMessage"])
        return kept

    # -- GET

    def view(self, command: Resource, expand: str) -> Json:
        if expand and expand.lower() != "instanceview":
            raise unsupported(f"The value '{expand}' of query parameter '$expand'")
        if not expand:
            return command.document
        return command.with_properties(instanceView=self._instance_view(command)).document

    def _instance_view(self, command: Resource) -> Json:
        """What the handler says now; what it said last when nothing is heard of it."""
        told: Any = command.state.get("told")
        vm = self._catalog.find(command.id.parent)
        now = self._agents.told(vm, MANAGED_COMMAND, command.name) if vm is not None else None
        if now is not None and now.report and (not told or now.sequence == told["sequence"]):
            told = _record(now)
        if not told:
            return {"executionState": "Pending", "exitCode": 0, "output": "", "error": ""}
        return read_view(told["message"])


def _take_secrets(properties: Json) -> Json:
    """The protected settings, taken out of the properties: they are never shown."""
    found: Json = {}
    if parameters := properties.pop("protectedParameters", None):
        found["protectedParameters"] = parameters
    source = properties.get("source", {})
    if uri := source.get("scriptUri"):
        parts = urlsplit(uri)
        source["scriptUri"] = urlunsplit(parts._replace(query="", fragment=""))
        if parts.query:
            found["sourceSASToken"] = parts.query
    return found


def _check_source(properties: Json) -> None:
    source = properties.get("source", {})
    given = [name for name in ("script", "scriptUri", "commandId") if source.get(name)]
    if not given:
        raise missing_parameter("source")
    if len(given) > 1:
        names = " and ".join(f"'source.{name}'" for name in given)
        raise invalid_parameter(f"Only one of {names} can be specified.", "source")
    if "commandId" in given:
        raise unsupported("The property 'properties.source.commandId'", target="properties.source.commandId")
    uri = source.get("scriptUri", "https://")
    if urlsplit(uri).scheme not in ("http", "https"):
        raise invalid_parameter(f"The value '{uri}' of parameter 'scriptUri' is no URL.", "source.scriptUri")


def _check_parameters(parameters: list[Json]) -> None:
    for one in parameters:
        name = one.get("name", "")
        if "=" in name or "\0" in name:
            raise invalid_parameter(f"The run command parameter name '{name}' is invalid.", "parameters.name")


def _changed(existing: Resource | None, properties: Json) -> bool:
    before = existing.properties if existing else {}
    return any(properties.get(name) != before.get(name) for name in PASSED)


def _record(told: HandlerStatus) -> Json:
    return {"sequence": told.sequence, "status": told.status, "message": told.report}


def read_view(message: str) -> Json:
    """The instance view in a handler's message; of a handler that the agent could not run it is a text."""
    try:
        found = json.loads(message)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        return {"executionState": "Failed", "executionMessage": message, "output": "", "error": ""}
    return {name: value for name, value in found.items() if value != "" or name in ("output", "error")}
