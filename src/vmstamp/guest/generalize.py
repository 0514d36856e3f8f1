"""Generalizing a disk that is not booted: which steps, which edits, what will be left.

`plan` is pure: it does the steps one after the other on the files as the steps before leave them, so a user
that goes takes along what later steps would find in its home, and two steps may change one file. What carries
the edits out is `vmstamp.guest.workshop`; what is left afterwards is read from the disk again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from vmstamp.disk.base import Disk
from vmstamp.errors import GuestError
from vmstamp.guest.edits import Edit, Empty, Remove, Run, Write, describe
from vmstamp.guest.files.fs import Survey, no_operating_system, survey
from vmstamp.guest.identity import STEPS, WINDOWS_STEPS, Identity, identity_in
from vmstamp.guest.identity.step import TEXT_LIMIT, Choice, Default, Found, Guest, Severity, Step, plain
from vmstamp.guest.overlay import Overlay

ALIASES = {"users": "users-pre-existing"}

# What other programs call their operations, and the step that does them (and may do more).
# Source: guestfs-tools `sysprep/`, waagent -deprovision+user, cloud-init clean
KNOWN_AS = {
    **dict.fromkeys(("abrt-data", "pacct-log"), "crash-data"),
    **dict.fromkeys(("bash-history", "zsh-history"), "shell-history"),
    **dict.fromkeys(("logfiles", "utmp", "journal-dirs", "logs"), "logs-spool"),
    **dict.fromkeys(("ipa-client", "samba-db-log", "sssd-db-log", "kerberos-data"), "joined-domain"),
    **dict.fromkeys(("rh-subscription-manager", "rhn-systemid", "yum-uuid"), "subscription-ids"),
    **dict.fromkeys(("lvm-system-devices", "blkid-tab", "multipath-wwids"), "storage-devices"),
    **dict.fromkeys(("iscsi-initiator", "nvme-hostnqn"), "storage-host-ids"),
    **dict.fromkeys(("ssh-userdir", "ssh-keys"), "authorized-keys"),
    **dict.fromkeys(("user-account", "deluser"), "users-pre-existing"),
    **dict.fromkeys(("dovecot-data", "anacron"), "service-data"),
    "azure-state": "wa-stale-state",
    "dhcp-client-state": "dhcp-leases",
    "dhcp-server-state": "dhcp-server-leases",
    "esp-random-seed": "random-seed",
    "kerberos-hostkeytab": "kerberos-keytab",
    "net-hostname": "hostname",
    "package-manager-cache": "pkg-cache",
    "puppet-data-log": "config-mgmt-identity",
    "root-password": "root-locked",
    "seed": "ci-seed-leftover",
    "smolt-uuid": "service-ids",
    "ssh-hostkeys": "ssh-host-keys",
    "udev-persistent-net": "net-hwaddr",
}

# Where Setup of an image that was applied finds its answer file. Spec: Windows Setup Automation Overview,
# "Modify an existing image"; implicit answer file search order
ANSWER_FILE = "/Windows/Panther/unattend.xml"
ANSWER_STEP = "win-answer-files"
HIBERNATION_FILE = "/hiberfil.sys"
PLACE_ANSWER_FILE = Step(
    "answer-file",
    "place an answer file for Windows Setup",
    "it wins over the one on the provisioning DVD, so Azure's user and name may not be set",
    "Windows Setup, implicit answer file search order; azure-compute-docs generalize.yml",
    Severity.TRACE,
    lambda _: iter(()),
    Default.OFF,
)


@dataclass(frozen=True)
class Task:
    """A step with the places that it will clean, and how."""

    step: Step
    places: tuple[Found, ...]
    edits: tuple[Edit, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.step.id,
            "title": self.step.title,
            "severity": self.step.severity,
            "places": [{"where": plain(p.where), "detail": plain(p.detail)} for p in self.places],
            "edits": [describe(edit) for edit in self.edits],
        }


@dataclass(frozen=True)
class Plan:
    """What will be done, in order, and `left`: what will be left of a machine afterwards."""

    tasks: tuple[Task, ...]
    left: Identity
    edits: tuple[Edit, ...] = field(repr=False)


def plan(found: Survey, choice: Choice | None = None) -> Plan:
    """The plan for a disk that was looked at. GuestError when a file system is damaged."""
    assert found.files is not None
    choice = choice or Choice()
    overlay = Overlay(found.files)
    return _plan(found, overlay, do_all(STEPS, overlay, choice))


def _plan(found: Survey, overlay: Overlay, tasks: Sequence[Task]) -> Plan:
    edits = compact(edit for task in tasks for edit in task.edits)
    return Plan(tuple(tasks), identity_in(replace(found, files=overlay)), edits)


def do_all(steps: Iterable[Step], overlay: Overlay, choice: Choice) -> list[Task]:
    """Do the chosen steps in their order; those that have anything to do."""
    tasks = (do(step, overlay, choice) for step in steps if choice.takes(step))
    return [task for task in tasks if task.edits]


def do(step: Step, overlay: Overlay, choice: Choice | None = None) -> Task:
    """Do one step on the overlay, which holds its edits afterwards."""
    places, edits = [], list[Edit]()
    for found in tuple(step.find(Guest(overlay, choice or Choice()))):
        made = tuple(found.mend(overlay)) if found.mend is not None else ()
        if made:
            overlay.apply(made)
            places.append(found)
            edits += made
    return Task(step, tuple(places), tuple(edits))


def compact(edits: Iterable[Edit]) -> tuple[Edit, ...]:
    """The same outcome with fewer edits: of several Writes of a file the last, of one program's runs the
    last, and nothing twice. A Write that a Remove or an Empty above it follows is left out."""
    kept: list[Edit] = []
    seen: set[tuple[type, object]] = set()
    gone: list[str] = []
    for edit in reversed(tuple(edits)):
        key = (type(edit), edit.argv if isinstance(edit, Run) else getattr(edit, "path", edit))
        if key in seen:
            continue
        if isinstance(edit, Write) and any(f"{edit.path}/".startswith(f"{path}/") for path in gone):
            continue
        seen.add(key)
        if isinstance(edit, Remove | Empty):
            gone.append(edit.path)
        kept.append(edit)
    return tuple(reversed(kept))


def look(disk: Disk) -> Survey:
    """Look at a disk; GuestError, with what to do, when it cannot be generalized as it lies."""
    found = survey(disk)
    if found.files is None:
        raise no_operating_system(disk, found)
    refuse_dirty(found, str(disk.path or "the disk"))
    return found


def refuse_dirty(found: Survey, name: str) -> None:
    """GuestError when a file system was not unmounted: what is read may not be what the guest would see."""
    for content in found.contents:
        if content.file_system is not None and content.file_system.dirty:
            raise GuestError(
                f"{name}: {content.where}: {content.file_system.dirty}",
                hint="boot it and shut it down cleanly (Windows: shutdown /s /f /t 0), then generalize it",
            )


def plan_windows(found: Survey, answer_file: bytes | None = None, choice: Choice | None = None) -> Plan:
    """The plan for a Windows: its traces removed when Sysprep has generalized it, and an answer file placed.

    Raises GuestError for a Windows that is hibernated, for its files are not to be changed; and for one that
    is not generalized and gets no answer file: Sysprep alone generalizes it, and only from inside.
    """
    assert found.files is not None
    if found.files.read_part(HIBERNATION_FILE, 0, 4).upper() == b"HIBR":
        raise GuestError(
            f"{HIBERNATION_FILE}: Windows is hibernated, or was shut down to start fast",
            hint="boot it and run: powercfg /h off, then shutdown /s /f /t 0",
        )
    left = identity_in(found)
    if answer_file is None and not left.generalized:
        first = left.of(Severity.IDENTITY)[0]
        raise GuestError(
            f"Windows is generalized by Sysprep, which must run inside of it; its state: {first.detail}",
            hint="boot it and run: sysprep.exe /generalize /oobe /shutdown",
        )
    if answer_file is not None and b"<unattend" not in answer_file[:65536].replace(b"\0", b""):
        raise GuestError(
            "the answer file has no element <unattend>", hint="Spec: Windows Setup, answer files"
        )
    overlay = Overlay(found.files)
    placed = answer_file is not None and found.files.read_part(ANSWER_FILE, 0, TEXT_LIMIT) == answer_file
    steps = WINDOWS_STEPS if left.generalized else ()
    tasks = do_all(
        (step for step in steps if not (placed and step.id == ANSWER_STEP)), overlay, choice or Choice()
    )
    if answer_file is not None and not placed:
        write = Write(ANSWER_FILE, answer_file)
        overlay.apply((write,))
        tasks.append(Task(PLACE_ANSWER_FILE, (Found(ANSWER_FILE, "an answer file"),), (write,)))
    return _plan(found, overlay, tasks)


def check_ids(ids: Iterable[str]) -> frozenset[str]:
    """The ids with aliases resolved; GuestError for one that no step has, or that is never done."""
    known = {step.id: step for step in (*STEPS, *WINDOWS_STEPS)}
    chosen = frozenset(ALIASES.get(one, one) for one in ids)
    for one in sorted(chosen):
        if one not in known:
            other = KNOWN_AS.get(one)
            hint = f"the step {other} does it; " if other else ""
            raise GuestError(
                f"there is no step {one}", hint=f"{hint}vmstamp generalize --list tells them all"
            )
        if known[one].default is Default.NEVER:
            raise GuestError(f"the step {one} is never done: {known[one].why}")
    return chosen


def steps_to_json(steps: Sequence[Step]) -> list[dict[str, Any]]:
    """Keys: id, title, default, severity, why, source."""
    return [
        {
            "id": step.id,
            "title": step.title,
            "default": step.default,
            "severity": step.severity,
            "why": step.why,
            "source": step.source,
        }
        for step in steps
    ]
