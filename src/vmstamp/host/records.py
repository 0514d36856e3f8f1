"""What is kept and told of a boot: the timeline's file, and sentences about it."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

from vmstamp.timeline import Event, Stage, Timeline


def timed_out(name: str, waited: float, *, agent_runs: bool) -> str:
    """Azure's text on a VM that did not get ready within `waited` seconds.

    An agent that runs without having reported Ready was provisioned before: its image was not generalized.
    Documentation: Understand common error messages when you manage virtual machines in Azure.
    """
    late = f"OS Provisioning for VM '{name}' did not finish in the allotted time."
    if agent_runs:
        return (
            f"{late} However, the VM guest agent was detected running. This suggests the guest OS has not "
            "been properly prepared to be used as a VM image (with CreateOption=FromImage). To resolve this "
            "issue, either use the VHD as is with CreateOption=Attach or prepare it properly for use as an "
            f"image. No agent reported Ready within {waited:.0f} s."
        )
    return (
        f"{late} The VM may still finish provisioning successfully. Please check provisioning state later. "
        f"No agent reported Ready within {waited:.0f} s."
    )


def tell(timeline: Timeline) -> str:
    """A timeline in one sentence: each stage with the seconds since the first."""
    events = timeline.events()
    if not events:
        return "Nothing was seen of it."
    first = events[0].at
    stages = ", ".join(f"{e.stage} +{(e.at - first).total_seconds():.1f} s" for e in events)
    return f"Timeline: {stages}."


class Recorder:
    """Appends each event to a file, which the first event empties."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.unlink(missing_ok=True)

    def __call__(self, event: Event) -> None:
        line = json.dumps({"stage": event.stage, "at": event.at.isoformat(), "detail": event.detail})
        with self._path.open("a") as file:
            file.write(line + "\n")


def read_timeline(path: Path) -> list[Event]:
    """The events that a recorder wrote; a line cut by a crash is left out."""
    if not path.exists():
        return []
    events = []
    for line in path.read_text(errors="replace").splitlines():
        try:
            entry = json.loads(line)
            events.append(
                Event(Stage(entry["stage"]), datetime.fromisoformat(entry["at"]), str(entry["detail"]))
            )
        except (ValueError, KeyError, TypeError):
            continue
    return events
