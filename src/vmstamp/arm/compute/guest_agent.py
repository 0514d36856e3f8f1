"""A handler run by a guest's agent, from its settings to what the agent tells of them.

The host puts the settings in the VM's goal state; the agent fetches them within seconds, runs the handler and
puts its status blob. An agent that is not heard of for a while is said to be missing, as Azure does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from vmstamp.arm.catalog import Catalog
from vmstamp.arm.compute.host import Host
from vmstamp.arm.compute.vm_view import power_state
from vmstamp.arm.faults import not_allowed
from vmstamp.arm.operations import Preempted
from vmstamp.arm.resource import Json, Resource
from vmstamp.errors import AzureError
from vmstamp.fabric.extensions import CUSTOM_SCRIPT, Handler, HandlerStatus, find_status, processed_goal_state
from vmstamp.fabric.report import AgentStatus

STEP: Final = 0.25  # seconds between two looks at what the agent told
HELP: Final = "https://aka.ms/vmextensionlinuxtroubleshoot"
SCRIPT_HELP: Final = "https://aka.ms/VMExtensionCSELinuxTroubleshoot"
NOT_RUNNING: Final = "The operation requires the VM to be running (or set to run)."


@dataclass(frozen=True)
class Patience:
    """Seconds that an extension may take (Azure: 90 minutes), and that an agent may be silent."""

    extension: float = 90 * 60.0
    agent: float = 300.0


@dataclass(frozen=True)
class Task:
    """Settings for a handler. `name` is what errors call it: the extension's name, or the handler's type.

    `seconds` is how long it may take at least, where its settings say so.
    """

    name: str
    handler: Handler
    public: Json = field(repr=False)
    protected: Json | None = field(default=None, repr=False)
    seconds: float = 0.0

    @property
    def extension(self) -> str:
        """What the agent calls it beside the handler's name, of a handler of several extensions."""
        return self.name if self.handler.several else ""


PATIENCE: Final = Patience()


class GuestAgents:
    """Runs handlers in virtual machines. Blocks for as long as they take."""

    def __init__(self, catalog: Catalog, host: Host, patience: Patience) -> None:
        self._catalog = catalog
        self.host = host
        self._patience = patience

    def run(self, vm: Resource, task: Task, cancelled: Callable[[], bool]) -> HandlerStatus:
        """Run a handler; what it told at its end, be it a failure. AzureError when it cannot be run."""
        self._check_running(vm)
        sequence = self._next_sequence(vm, task.handler)
        vm_id = vm.properties["vmId"]
        goal = self.host.extend(vm_id, task.handler, sequence, task.public, task.protected, task.extension)
        for agent, last in self._looks(vm, task, cancelled):
            if last is None:
                continue
            if last.sequence == sequence and last.ended:
                return last
            if (processed_goal_state(agent.status) or 0) >= goal and _failed(last):
                raise AzureError(
                    409,
                    "VMExtensionHandlerNonTransientError",
                    f"Handler '{task.handler.name}' has reported failure for VM Extension '{task.name}' with "
                    f"terminal error code '{last.code}' and error message: '{last.message}'",
                )
        raise AssertionError("the looks end by an error only")

    def withdraw(self, vm: Resource, task: Task, cancelled: Callable[[], bool]) -> None:
        """Uninstall a handler, or disable one of its extensions, and forget its settings."""
        self._check_running(vm)
        vm_id, sequence = vm.properties["vmId"], self._next_sequence(vm, task.handler)
        goal = self.host.withdraw(vm_id, task.handler, sequence, task.extension)
        for agent, last in self._looks(vm, task, cancelled):
            gone = last is None or (task.handler.several and last.sequence is None)
            if gone and (processed_goal_state(agent.status) or 0) >= goal:
                break
        self.forget(vm, task)

    def forget(self, vm: Resource, task: Task) -> None:
        """Leave a handler, or one of its extensions, out of the goal states to come."""
        self.host.drop(vm.properties["vmId"], task.handler, task.extension)

    def told(self, vm: Resource, handler: Handler, extension: str) -> HandlerStatus | None:
        """What the agent tells now of one of several extensions."""
        agent = self.host.agent(vm.properties["vmId"]) or AgentStatus()
        return find_status(agent.status, handler, extension)

    def wait(self, vm: Resource, task: Task, test: Callable[[], bool], cancelled: Callable[[], bool]) -> None:
        """Wait for something else before a task. AzureError when the VM ends, or it takes too long."""
        started = time.monotonic()
        while not test():
            if cancelled():
                raise Preempted("waiting for another extension was preempted")
            self._check_running(vm)
            if time.monotonic() - started > self._patience.extension:
                raise timed_out(task, None)
            time.sleep(STEP)

    def _looks(
        self, vm: Resource, task: Task, cancelled: Callable[[], bool]
    ) -> Iterator[tuple[AgentStatus, HandlerStatus | None]]:
        """What the agent told, and of the handler, again and again.

        Raises AzureError when there is no sense in waiting on.
        """
        started = heard = time.monotonic()
        heartbeat: datetime | None = None
        while True:
            agent = self.host.agent(vm.properties["vmId"]) or AgentStatus()
            now = time.monotonic()
            if agent.heartbeat != heartbeat:
                heartbeat, heard = agent.heartbeat, now
            last = find_status(agent.status, task.handler, task.extension)
            if agent.status is not None:
                yield agent, last
            if cancelled():
                raise Preempted("waiting for the guest's agent was preempted")
            self._check_running(vm)
            if now - heard > self._patience.agent:
                raise silent(vm)
            if now - started > max(self._patience.extension, task.seconds):
                raise timed_out(task, last)
            time.sleep(STEP)

    def _check_running(self, vm: Resource) -> None:
        fresh = self._catalog.find(vm.id)
        if fresh is None or power_state(fresh, self.host) != "running":
            raise not_allowed(NOT_RUNNING)

    def _next_sequence(self, vm: Resource, handler: Handler) -> int:
        """The number of a handler's next settings: it grows over the VM's life."""
        with self._catalog.db.write():
            fresh = self._catalog.find(vm.id) or vm
            numbers = dict(fresh.state.get("sequences", {}))
            number = numbers[handler.name] = numbers.get(handler.name, -1) + 1
            self._catalog.save(fresh.with_state(sequences=numbers), touch=False)
        return int(number)


def check_allowed(vm: Resource) -> None:
    """Raises AzureError when the VM was made without an agent, or without extensions."""
    profile = vm.properties.get("osProfile", {})
    agent = profile.get("linuxConfiguration", {}).get("provisionVMAgent", True)
    if not agent or not profile.get("allowExtensionOperations", True):
        raise not_allowed(
            "This operation cannot be performed when extension operations are disallowed. To allow, please "
            "ensure VM Agent is installed on the VM and the osProfile.allowExtensionOperations property is "
            "true."
        )


def _failed(status: HandlerStatus) -> bool:
    return status.state.lower() in ("notready", "unresponsive") and status.code != 0


def silent(vm: Resource) -> AzureError:
    return AzureError(
        409,
        "VMAgentStatusCommunicationError",
        f"VM '{vm.name}' has not reported status for VM agent or extensions. Verify that the OS is up and "
        "healthy, the VM has a running VM agent, and that it can establish outbound connections to Azure "
        f"storage. Please refer to {HELP} for additional VM agent troubleshooting information.",
    )


def timed_out(task: Task, last: HandlerStatus | None) -> AzureError:
    told = f' The extension last reported "{last.report or last.message}".' if last else ""
    return AzureError(
        409,
        "VMExtensionProvisioningTimeout",
        f"Provisioning of VM extension {task.name} has timed out. Extension provisioning has taken too long "
        f"to complete.{told}\r\n\r\nMore information on troubleshooting is available at {_help(task)}",
    )


def reported_failure(task: Task, report: str) -> AzureError:
    """A handler that ended with an error of its own."""
    handler = task.handler
    return AzureError(
        409,
        "VMExtensionProvisioningError",
        f"VM has reported a failure when processing extension '{task.name}' (publisher '{handler.publisher}' "
        f"and type '{handler.type}'). Error message: '{report}'. More information on troubleshooting is "
        f"available at {_help(task)}.",
    )


def _help(task: Task) -> str:
    return SCRIPT_HELP if task.handler == CUSTOM_SCRIPT else HELP
