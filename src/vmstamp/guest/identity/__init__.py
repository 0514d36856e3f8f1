"""What of a machine's identity is left on a disk: is it generalized?

A leftover is of one of two kinds. `identity`: two VMs stamped out of the disk would be, or admit, the same
one, or an agent would believe that it has provisioned already; any of these and the disk is not generalized,
whoever wanted it so. `trace`: something of the old machine that does no such harm (logs, the host name that
provisioning replaces, caches), or a secret of which only the owner knows whether every VM shall have it; it
is listed.

Only places are told, never the secrets in them.

After `waagent -deprovision+user -force` and `cloud-init clean --logs --machine-id --seed` only traces are
left: logs, root's keys that cloud-init made refusing, sudo rights of the deleted user, the network file that
cloud-init writes anew. What those two do not touch and what is identity all the same: people other than the
one that the agent made, and a D-Bus machine id that is a file of its own (systemd copies it into machine-id).

Each kind of leftover is a Step (`step`), which also has the edits that take it away; STEPS has them all, in
the order in which they are done: users first, for who they are is read from what other steps remove.

Sources: WALinuxAgent `pa/deprovision/default.py`, cloud-init `cmd/clean.py`, guestfs-tools `sysprep/`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from vmstamp.disk.base import Disk
from vmstamp.guest.files.fs import Files, Survey, no_operating_system, survey
from vmstamp.guest.identity import agents, belongings, machine, never, people, software, traces, windows
from vmstamp.guest.identity.step import Guest, Severity, Step, plain
from vmstamp.guest.windows.system import SYSTEM_HIVE, image_state, is_windows

STEPS: tuple[Step, ...] = (
    *people.STEPS,
    *belongings.STEPS,
    *agents.STEPS,
    *machine.STEPS,
    *software.STEPS,
    *traces.STEPS,
    *never.STEPS,
)

WINDOWS_STEPS: tuple[Step, ...] = windows.STEPS  # of a Windows that Sysprep generalized; of others none

WINDOWS_STATE = "win-imagestate"
# Where the steps look; a file system there that cannot be read leaves the answer open.
PLACES = ("/etc/", "/home/", "/root/", "/var/")


@dataclass(frozen=True)
class Leftover:
    """One thing that is left: `where` a path in the guest, `detail` what it is, without its secret."""

    id: str
    severity: Severity
    where: str
    detail: str


@dataclass(frozen=True)
class Identity:
    """All that is left, in the order of the steps."""

    leftovers: tuple[Leftover, ...]

    @property
    def generalized(self) -> bool:
        """No leftover is of the kind `identity`."""
        return not self.of(Severity.IDENTITY)

    def of(self, severity: Severity) -> tuple[Leftover, ...]:
        return tuple(leftover for leftover in self.leftovers if leftover.severity is severity)

    def to_json(self) -> dict[str, Any]:
        """Keys: generalized, leftovers (each: id, severity, where, detail)."""
        return {"generalized": self.generalized, "leftovers": [asdict(one) for one in self.leftovers]}


def read_identity(disk: Disk) -> Identity:
    """What is left of a machine's identity on `disk`.

    A file system that is dirty, or that holds such places and is not read, counts as identity itself: what
    cannot be known is never called generalized. Raises DiskError, and GuestError when there is no operating
    system that this version reads or its file system is damaged.
    """
    found = survey(disk)
    if found.files is None:
        raise no_operating_system(disk, found)
    return identity_in(found)


def identity_in(found: Survey) -> Identity:
    """The same of a disk that was looked at and has an operating system.

    Of the identity of Windows only setup's ImageState is known: all else is Sysprep's.
    """
    assert found.files is not None
    if is_windows(found.files):
        return Identity((*doubts_of(found), *_windows(found.files)))
    return Identity((*doubts_of(found), *identity_of(found.files).leftovers))


def _windows(files: Files) -> Iterator[Leftover]:
    state = image_state(files)
    if state is None:
        detail = "setup has told no ImageState, so Sysprep did not generalize it"
        yield Leftover(WINDOWS_STATE, Severity.IDENTITY, SYSTEM_HIVE, detail)
    elif not state.generalized:
        yield Leftover(WINDOWS_STATE, Severity.IDENTITY, state.where, f"{state.name[:64]}: {state.sentence}")
    else:
        yield from _leftovers(WINDOWS_STEPS, Guest(files))


def doubts_of(found: Survey) -> Iterator[Leftover]:
    """What keeps the files from telling all: a dirty file system, or one that is not read."""
    for content in found.contents:
        if content.volume is not None and content.file_system is not None and content.file_system.dirty:
            detail = f"{content.file_system.dirty}: what was read may be older than what the guest would see"
            yield Leftover("fs-dirty", Severity.IDENTITY, content.where, detail)
    for source, target in found.unmounted:
        if f"{target.rstrip('/')}/".startswith(PLACES):
            detail = f"{source} was not found or is not read, so nothing is known of what is left there"
            yield Leftover("not-read", Severity.IDENTITY, target, detail)


def identity_of(files: Files) -> Identity:
    """What the steps find in files that are open already."""
    return Identity(tuple(_leftovers(STEPS, Guest(files))))


def _leftovers(steps: Iterable[Step], guest: Guest) -> Iterator[Leftover]:
    for step in steps:
        for found in step.find(guest):
            yield Leftover(step.id, step.severity, plain(found.where), plain(found.detail))


__all__ = [
    "STEPS",
    "WINDOWS_STEPS",
    "Identity",
    "Leftover",
    "Severity",
    "doubts_of",
    "identity_in",
    "identity_of",
    "read_identity",
]
