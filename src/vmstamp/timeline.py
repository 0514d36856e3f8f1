"""The timeline of a provisioning: which stage was reached, when, and what proved it.

Stages are marked by whoever sees them (the machine room by serial log, DHCP and block statistics, the
fabric by requests). Each stage keeps its first time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum


class Stage(StrEnum):
    """The stages in the order in which a healthy Linux guest passes most of them."""

    STARTED = "started"  # QEMU runs
    FIRMWARE = "firmware"  # first firmware output, or the first read of the OS disk
    KERNEL = "kernel"  # the kernel's first line on the serial console
    DHCP = "dhcp"  # the DHCP server acknowledged a lease
    DVD = "dvd"  # the guest read the provisioning DVD
    IMDS = "imds"  # first request to 169.254.169.254
    WIRESERVER = "wireserver"  # first request to 168.63.129.16
    GOAL_STATE = "goal state"  # the goal state was fetched
    AGENT = "agent"  # WALinuxAgent's first own request
    READY = "ready"  # an agent's health report said Ready
    FAILED = "failed"  # an agent's health report said NotReady/ProvisioningFailed
    STOPPED = "stopped"  # the guest powered off or QEMU ended


@dataclass(frozen=True)
class Event:
    """A stage reached at a time (UTC), with the evidence in a few words."""

    stage: Stage
    at: datetime
    detail: str = ""


class Timeline:
    """The events of one boot. Thread-safe; the first event of a stage wins.

    `on_event` is called after each new event, outside the lock, by the thread that marked it.
    """

    def __init__(
        self,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        on_event: Callable[[Event], None] | None = None,
    ) -> None:
        self._clock = clock
        self._on_event = on_event
        self._condition = threading.Condition()
        self._events: dict[Stage, Event] = {}

    def mark(self, stage: Stage, detail: str = "") -> bool:
        """Record a stage; True when it is new."""
        with self._condition:
            if stage in self._events:
                return False
            event = Event(stage, self._clock(), detail)
            self._events[stage] = event
            self._condition.notify_all()
        if self._on_event:
            self._on_event(event)
        return True

    def events(self) -> list[Event]:
        """All events so far, by time."""
        with self._condition:
            return sorted(self._events.values(), key=lambda event: event.at)

    def find(self, stage: Stage) -> Event | None:
        with self._condition:
            return self._events.get(stage)

    def wait(self, *stages: Stage, timeout: float) -> Event | None:
        """Block until one of the stages is reached (that event) or `timeout` seconds passed (None)."""
        with self._condition:
            self._condition.wait_for(lambda: any(s in self._events for s in stages), timeout)
            return next((self._events[s] for s in stages if s in self._events), None)
