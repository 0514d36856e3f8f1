"""The VMs that the fabric serves: who asks is told by the peer's address inside its virtual network."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

from vmstamp.fabric.certificates import make_tenant
from vmstamp.fabric.instance import Instance
from vmstamp.fabric.report import AgentStatus, HealthDocument, HealthReport
from vmstamp.timeline import Stage, Timeline

REPORTS_KEPT = 100


class Guest:
    """One VM as the fabric sees it. Thread-safe; times come from the fabric's clock."""

    def __init__(self, instance: Instance, timeline: Timeline, clock: Callable[[], datetime]) -> None:
        self.instance = instance
        self.incarnation = 1
        self._timeline = timeline
        self._clock = clock
        self._lock = threading.Lock()
        self._status = AgentStatus()
        self._tenant: bytes | None = None

    def mark(self, stage: Stage, detail: str) -> None:
        self._timeline.mark(stage, detail)

    def beat(self, version: str = "") -> None:
        """An agent's loop came by."""
        with self._lock:
            now, known = self._clock(), self._status.version
            self._status = replace(self._status, heartbeat=now, version=version or known)

    def report(self, document: HealthDocument, reporter: str) -> None:
        """Take a health report; ValueError when it is another VM's."""
        instance = self.instance
        if document.container_id != instance.container_id:
            raise ValueError(f"container {document.container_id!r} is not {instance.container_id}")
        if document.instance_id != instance.role_instance_id:
            raise ValueError(f"role instance {document.instance_id!r} is not {instance.role_instance_id}")
        report = HealthReport(
            self._clock(), document.state, reporter, document.substatus, document.description
        )
        with self._lock:
            kept = (*self._status.reports, report)[-REPORTS_KEPT:]
            self._status = replace(self._status, reports=kept)
        if report.ready:
            self.mark(Stage.READY, f"reported by {reporter}")
        elif report.failed:
            self.mark(Stage.FAILED, f"{reporter}: {report.description}")

    def take_status(self, status: dict[str, Any]) -> None:
        """Keep the agent's status blob."""
        with self._lock:
            now = self._clock()
            self._status = replace(self._status, status=status, status_at=now, heartbeat=now)

    @property
    def agent(self) -> AgentStatus:
        with self._lock:
            return self._status

    @property
    def tenant(self) -> bytes:
        """The VM's tenant certificate and key, made when first asked for: PKCS #12, empty password."""
        with self._lock:
            if self._tenant is None:
                self._tenant = make_tenant(f"vmstamp tenant {self.instance.vm_id}")
            return self._tenant


class Guests:
    """The guests of one virtual network, by address. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_address: dict[str, Guest] = {}

    def add(self, guest: Guest) -> None:
        with self._lock:
            for nic in guest.instance.nics:
                self._by_address[str(nic.private_address)] = guest

    def remove(self, vm_id: str) -> None:
        with self._lock:
            gone = [a for a, guest in self._by_address.items() if guest.instance.vm_id == vm_id]
            for address in gone:
                del self._by_address[address]

    def find(self, address: str) -> Guest | None:
        with self._lock:
            return self._by_address.get(address)
