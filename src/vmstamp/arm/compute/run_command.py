"""POST virtualMachines/runCommand: a script run by the guest's agent, and its output.

The script is in memory alone: neither the operation's row nor the VM keeps it. So a stamp that ends while a
command runs says that the command failed.

    RunShellScript   the lines of `script`; `parameters` are exported by name and are $1, $2, ... in order

Commands whose script Azure brings itself (ifconfig, ...) are refused by name.
"""

from __future__ import annotations

import base64
import re
import shlex
import threading
import uuid
from typing import Final

from vmstamp.arm.compute.guest_agent import NOT_RUNNING, GuestAgents, Task, check_allowed, reported_failure
from vmstamp.arm.compute.vm_view import power_state
from vmstamp.arm.faults import invalid_parameter, missing_parameter, not_allowed, unsupported
from vmstamp.arm.resource import Json, Resource
from vmstamp.arm.shape import clean
from vmstamp.arm.types import Action, Request, Work
from vmstamp.errors import AzureError
from vmstamp.fabric.extensions import RUN_COMMAND

IN_PROGRESS: Final = (
    "Run command extension execution is in progress. Please wait for completion before invoking a run "
    "command."
)
COMMAND: Final = "RunShellScript"
SHAPE: Final = {"commandId": str, "script": [str], "parameters": [{"name": str, "value": str}]}
# What a location has of commands. REST: Virtual Machine Run Commands - List, Get.
DOCUMENTS: Final[tuple[Json, ...]] = (
    {
        "$schema": "http://schema.management.azure.com/schemas/2016-11-17/runcommands.json",
        "id": COMMAND,
        "osType": "Linux",
        "label": "Executes a Linux shell script",
        "description": "Custom multiline shell script should be defined in script property. Optional "
        "parameters can be set in parameters property.",
        "script": ["echo $1 $2"],
        "parameters": [{"name": "arg1", "type": "string"}, {"name": "arg2", "type": "string"}],
    },
)
VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


class RunCommands:
    """The action. Scripts that wait for their thread are kept here."""

    def __init__(self, agents: GuestAgents) -> None:
        self._agents = agents
        self._lock = threading.Lock()
        self._scripts: dict[str, str] = {}

    def action(self) -> Action:
        return Action(
            "runCommand",
            self.run,
            check=self.check,
            resumable=False,
            not_beside="extensions",
            in_progress=IN_PROGRESS,
        )

    def check(self, vm: Resource, request: Request) -> Json:
        script = read_script(request.json)
        check_allowed(vm)
        if power_state(vm, self._agents.host) != "running":
            raise not_allowed(NOT_RUNNING)
        ticket = str(uuid.uuid4())
        with self._lock:
            self._scripts[ticket] = script
        return {"ticket": ticket}

    def run(self, vm: Resource, work: Work) -> Json:
        with self._lock:
            script = self._scripts.pop(work.input["ticket"])
        public = {"script": base64.b64encode(script.encode()).decode(), "skipDos2Unix": True}
        task = Task(RUN_COMMAND.type, RUN_COMMAND, public)
        try:
            told = self._agents.run(vm, task, work.cancelled)
        finally:
            self._agents.forget(vm, task)
        if told.status == "error":
            raise reported_failure(task, told.report)
        return {
            "value": [
                {
                    "code": "ProvisioningState/succeeded",
                    "level": "Info",
                    "displayStatus": "Provisioning succeeded",
                    "message": told.report,
                }
            ]
        }


def read_script(body: Json) -> str:
    """The script that a request asks for, parameters included. Raises AzureError."""
    given = clean(body, SHAPE)
    command = given.get("commandId")
    if not command:
        raise missing_parameter("commandId")
    if command.lower() != COMMAND.lower():
        raise AzureError(
            404,
            "NotFound",
            f"The entity was not found in this Azure location. The run command '{command}' is not one of "
            f"this stamp's, which has '{COMMAND}'.",
        )
    if not given.get("script"):
        raise unsupported(f"The command '{COMMAND}' without a script (Azure runs a sample)", target="script")
    return with_parameters("\n".join(given["script"]), given.get("parameters", []))


def with_parameters(script: str, parameters: list[Json]) -> str:
    """The script with its parameters set before its first command. Raises InvalidParameter for a bad name."""
    if not parameters:
        return script
    pairs = [(str(one.get("name", "")), str(one.get("value", ""))) for one in parameters]
    for name, _ in pairs:
        if not VARIABLE.fullmatch(name):
            raise invalid_parameter(f"The run command parameter name '{name}' is invalid.", "parameters.name")
    exported = " ".join(f"{name}={shlex.quote(value)}" for name, value in pairs)
    arguments = " ".join(shlex.quote(value) for _, value in pairs)
    lines = f"export {exported}\nset -- {arguments}\n"
    first, newline, rest = script.partition("\n")
    if first.startswith("#!"):
        return f"{first}{newline or chr(10)}{lines}{rest}"
    return f"{lines}{script}"
