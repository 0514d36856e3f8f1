"""A host whose guests boot at once, for tests of the control plane."""

from __future__ import annotations

import json
import shutil
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vmstamp.arm.compute.host import DiskPlan, NicPlan, Outcome, VmPlan
from vmstamp.fabric.extensions import Handler
from vmstamp.fabric.report import AgentStatus, HealthReport
from vmstamp.timeline import Event, Stage

COMMAND_DONE = json.dumps(
    {
        "executionState": "Succeeded",
        "executionMessage": "Execution completed",
        "output": "hello",
        "error": "",
        "exitCode": 0,
        "startTime": "2024-01-01T00:00:00Z",
        "endTime": "2024-01-01T00:00:01Z",
    }
)


class Killed(BaseException):
    """Ends an operation's thread as kill -9 ends the server: nothing more is written."""


class FakeHost:
    """A host whose guests boot at once. What a guest writes is kept, and folded like an overlay.

    `held` keeps guests from reporting until it is set; `outcome` is how the next provisioning ends. Of its
    agents, `agent_runs` says whether there are any, `agent_held` keeps them silent until it is set.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.plans: dict[str, list[VmPlan]] = {}
        self.up: set[str] = set()
        self.offered: dict[str, tuple[NicPlan, ...]] = {}
        self.written: dict[tuple[str, str], dict[int, bytes]] = {}
        self.backing: dict[tuple[str, str], Path] = {}
        self.plugged: dict[str, dict[int | None, str]] = {}  # overlays of the data disks that a VM has
        self.outcome = Outcome(True)
        self.held = threading.Event()
        self.held.set()
        self.started = threading.Event()
        self.agent_runs = True
        self.agent_held = threading.Event()
        self.agent_held.set()
        self.handled: list[tuple[Handler, int, dict[str, Any], dict[str, Any] | None]] = []
        self.answers: list[tuple[str, str]] = []
        self._goal = 1
        self._handlers: dict[tuple[str, str], dict[str, Any]] = {}
        self.dies = ("", "")  # before or after which method the server is killed, once
        self.may_fold = threading.Event()
        self.may_fold.set()

    def reach(self, *step: str) -> None:
        if step == self.dies:
            self.dies = ("", "")
            raise Killed

    def start(self, plan: VmPlan) -> None:
        self.reach("before", "start")
        self.plans.setdefault(plan.vm_id, []).append(plan)
        for disk in (plan.os_disk, *plan.data_disks):
            assert disk.path.stat().st_size == disk.size + 512
            key = (plan.vm_id, disk.overlay_name)
            if self.backing.get(key) != disk.path:
                self.backing[key] = disk.path
                self.written.pop(key, None)
        self.plugged[plan.vm_id] = {disk.lun: disk.overlay_name for disk in plan.data_disks}
        self.up.add(plan.vm_id)
        self.offered[plan.vm_id] = plan.nics
        self.started.set()
        self.reach("after", "start")

    def wait_ready(self, vm_id: str, cancelled: Callable[[], bool]) -> Outcome:
        while not self.held.wait(0.02):
            if cancelled():
                return Outcome(False, "Cancelled", "cancelled")
        self.reach("after", "wait_ready")
        return self.outcome

    def offer(self, vm_id: str, nics: tuple[NicPlan, ...]) -> None:
        if vm_id in self.up:
            self.offered[vm_id] = nics

    def stop(self, vm_id: str, *, graceful: bool) -> None:
        self.reach("before", "stop")
        self.up.discard(vm_id)
        self.reach("after", "stop")

    def write(self, plan: VmPlan, lun: int | None, offset: int, data: bytes) -> None:
        """What the guest would do."""
        disk = next(d for d in (plan.os_disk, *plan.data_disks) if d.lun == lun)
        self.written.setdefault((plan.vm_id, disk.overlay_name), {})[offset] = data

    def attach(self, vm_id: str, disk: DiskPlan) -> None:
        if vm_id in self.up and self.plugged[vm_id].get(disk.lun) != disk.overlay_name:
            self.reach("before", "attach")
            assert disk.lun not in self.plugged[vm_id]
            self.plugged[vm_id][disk.lun] = disk.overlay_name
            self.backing[vm_id, disk.overlay_name] = disk.path

    def detach(self, vm_id: str, disk: DiskPlan) -> None:
        if vm_id in self.up and self.plugged[vm_id].get(disk.lun) == disk.overlay_name:
            self.reach("before", "detach")
            del self.plugged[vm_id][disk.lun]

    @contextmanager
    def folding(self) -> Iterator[None]:
        """Every fold takes as long as the block."""
        self.may_fold.clear()
        try:
            yield
        finally:
            self.may_fold.set()

    def fold(self, vm_id: str, disk: DiskPlan) -> Path | None:
        self.may_fold.wait(20)
        self.reach("before", "fold")
        key = (vm_id, disk.overlay_name)
        if self.backing.get(key) != disk.path or key not in self.written:
            return None
        folded = self.directory / f"folded-{uuid.uuid4()}"
        shutil.copyfile(disk.path, folded)
        with folded.open("r+b") as file:
            for offset, data in self.written[key].items():
                file.seek(offset)
                file.write(data)
        return folded

    def remove(self, vm_id: str) -> None:
        self.reach("before", "remove")
        self.up.discard(vm_id)
        for key in [key for key in self.backing if key[0] == vm_id]:
            del self.backing[key]
            self.written.pop(key, None)
        self.reach("after", "remove")

    def running(self, vm_id: str) -> bool:
        return vm_id in self.up

    def timeline(self, vm_id: str) -> list[Event]:
        if vm_id not in self.plans:
            return []
        return [Event(Stage.STARTED, datetime(2024, 1, 1, tzinfo=UTC), "QEMU runs")]

    def agent(self, vm_id: str) -> AgentStatus | None:
        at = datetime(2024, 1, 1, tzinfo=UTC)
        if vm_id not in self.plans:
            return None
        reports = (HealthReport(at, "Ready", "cloud-init/24.4"),)
        if not self.agent_runs or not self.agent_held.is_set():
            return AgentStatus(reports)
        aggregate = {
            "handlerAggregateStatus": list(self._handlers.values()),
            "vmArtifactsAggregateStatus": {"goalStateAggregateStatus": {"inSvdSeqNo": str(self._goal)}},
        }
        return AgentStatus(reports, {"aggregateStatus": aggregate}, datetime.now(UTC), datetime.now(UTC))

    def extend(
        self,
        vm_id: str,
        handler: Handler,
        sequence: int,
        public: Mapping[str, Any],
        protected: Mapping[str, Any] | None,
        name: str = "",
    ) -> int:
        """The agent tells the next of `answers` (status, message), or success; `not ready`: no install."""
        self.handled.append((handler, sequence, dict(public), dict(protected) if protected else None))
        done = COMMAND_DONE if handler.several else "Enable succeeded: "
        status, message = self.answers.pop(0) if self.answers else ("success", done)
        told: dict[str, Any] = {"handlerName": handler.name, "handlerVersion": handler.version}
        if status == "not ready":
            formatted = {"lang": "en-US", "message": message}
            told |= {"status": "NotReady", "code": 1002, "formattedMessage": formatted}
        else:
            formatted = {"lang": "en-US", "message": message}
            settings = {"status": {"status": status, "code": 0, "formattedMessage": formatted}}
            told |= {"status": "Ready", "code": 0}
            told["runtimeSettingsStatus"] = {"settingsStatus": settings, "sequenceNumber": sequence}
            if name:
                told["runtimeSettingsStatus"]["extensionName"] = name
        self._handlers[handler.name, name] = told
        self._goal += 1
        return self._goal

    def tell(self, handler: Handler, name: str, status: str, message: str) -> None:
        """The agent tells on of what it runs."""
        told = self._handlers[handler.name, name]["runtimeSettingsStatus"]["settingsStatus"]["status"]
        told |= {"status": status, "formattedMessage": {"lang": "en-US", "message": message}}

    def withdraw(self, vm_id: str, handler: Handler, sequence: int, name: str = "") -> int:
        self._handlers.pop((handler.name, name), None)
        self._goal += 1
        return self._goal

    def drop(self, vm_id: str, handler: Handler, name: str = "") -> None:
        pass

    def screenshot(self, vm_id: str) -> bytes | None:
        return b"BM a picture" if vm_id in self.up else None

    def serial_log(self, vm_id: str) -> Path:
        path = self.directory / f"serial-{vm_id}.log"
        path.write_text("Linux version 6.1\nlogin: ")
        return path
