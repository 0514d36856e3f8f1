"""The VMs that the fabric serves: who asks is told by the peer's address inside its virtual network."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

from vmstamp.fabric.certificates import Tenant
from vmstamp.fabric.extensions import Handler, Plugin
from vmstamp.fabric.goal_state import GoalState
from vmstamp.fabric.instance import Instance
from vmstamp.fabric.report import AgentStatus, HealthDocument, HealthReport, Reporter
from vmstamp.timeline import Stage, Timeline

REPORTS_KEPT = 100


class Guest:
    """One boot of one VM as the fabric sees it. Thread-safe; times come from the fabric's clock.

    The goal state and the tenant certificate are the VM's and stay over boots: give those of `previous`.
    """

    def __init__(
        self,
        instance: Instance,
        timeline: Timeline,
        clock: Callable[[], datetime],
        previous: Guest | None = None,
    ) -> None:
        self.instance = instance
        self.tenant: Tenant = previous.tenant if previous else Tenant(f"vmstamp tenant {instance.vm_id}")
        self._goal_state = previous.goal_state if previous else GoalState(1, clock())
        self._timeline = timeline
        self._clock = clock
        self._lock = threading.Lock()
        self._agent = AgentStatus()

    @property
    def goal_state(self) -> GoalState:
        with self._lock:
            return self._goal_state

    @property
    def agent(self) -> AgentStatus:
        with self._lock:
            return self._agent

    def advance(self) -> int:
        """Make a new goal state, which the agent fetches within seconds; its incarnation."""
        with self._lock:
            self._goal_state = GoalState(
                self._goal_state.incarnation + 1, self._clock(), self._goal_state.plugins
            )
            return self._goal_state.incarnation

    def extend(self, plugin: Plugin) -> int:
        """Make a new goal state with this plugin, in place of its last settings; its incarnation."""
        self.forget(plugin.handler, plugin.name)
        with self._lock:
            plugins = (*self._goal_state.plugins, plugin)
            self._goal_state = replace(self._goal_state, plugins=plugins)
        return self.advance()

    def forget(self, handler: Handler, name: str = "") -> None:
        """Leave a handler, or one of its extensions, out of the goal states to come.

        What runs of it in the guest goes on.
        """
        with self._lock:
            plugins = tuple(p for p in self._goal_state.plugins if (p.handler, p.name) != (handler, name))
            self._goal_state = replace(self._goal_state, plugins=plugins)

    def mark(self, stage: Stage, detail: str) -> None:
        self._timeline.mark(stage, detail)

    def beat(self, version: str) -> None:
        """The running agent of this version (may be empty) came by."""
        with self._lock:
            known = self._agent.version
            self._agent = replace(self._agent, heartbeat=self._clock(), version=version or known)

    def report(self, document: HealthDocument, reporter: Reporter) -> None:
        """Take a health report; ValueError when it is another VM's."""
        instance = self.instance
        if document.container_id != instance.container_id:
            raise ValueError(f"container {document.container_id[:80]!r} is not {instance.container_id}")
        if document.instance_id != instance.role_instance_id:
            raise ValueError(
                f"role instance {document.instance_id[:160]!r} is not {instance.role_instance_id}"
            )
        report = HealthReport(
            at=self._clock(),
            state=document.state,
            reporter=str(reporter),
            substatus=document.substatus,
            description=document.description,
            incarnation=document.incarnation,
            user_agent=reporter.user_agent,
            agent_name=reporter.agent_name,
        )
        with self._lock:
            kept = (*self._agent.reports, report)[-REPORTS_KEPT:]
            self._agent = replace(self._agent, reports=kept)
        if report.ready:
            self.mark(Stage.READY, f"reported by {reporter}")
        elif report.failed:
            self.mark(Stage.FAILED, f"{reporter}: {report.description}")

    def take_status(self, status: dict[str, Any]) -> None:
        """Keep the running agent's status blob."""
        with self._lock:
            now = self._clock()
            self._agent = replace(self._agent, status=status, status_at=now, heartbeat=now)


class Guests:
    """The guests of one virtual network, by address. Thread-safe.

    An address belongs to the guest that was added last: a stopped VM's may have gone to another one.
    """

    def __init__(self, catch_up: Callable[[], None]) -> None:
        self._catch_up = catch_up
        self._lock = threading.Lock()
        self._by_address: dict[str, Guest] = {}

    def add(self, guest: Guest) -> None:
        with self._lock:
            for nic in guest.instance.nics:
                for address in (nic.private_address, *(private for private, _ in nic.secondary)):
                    self._by_address[str(address)] = guest

    def remove(self, vm_id: str) -> None:
        with self._lock:
            for address in [a for a, guest in self._by_address.items() if guest.instance.vm_id == vm_id]:
                del self._by_address[address]

    def find(self, address: str) -> Guest | None:
        """The guest that sent a request from this address, its way here known."""
        self._catch_up()
        with self._lock:
            return self._by_address.get(address)
