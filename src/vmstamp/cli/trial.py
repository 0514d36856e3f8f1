"""`vmstamp try FILE`: does this disk come up? Inspect, upload, image, VM, Ready, SSH; then clean up."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vmstamp.cli import process, ssh
from vmstamp.cli.arm_client import ArmClient
from vmstamp.cli.diagnosis import Diagnosis, clean_console, diagnose
from vmstamp.cli.endpoint import Endpoint
from vmstamp.cli.image_upload import FileImage, create_image_of_disk
from vmstamp.cli.images import ImageRequest
from vmstamp.cli.keys import ensure_key
from vmstamp.cli.look import choose_generation, inspection_text, look_bootable, tell_problems
from vmstamp.cli.quantities import seconds_text
from vmstamp.cli.render import Console, table
from vmstamp.cli.resources import ensure_group
from vmstamp.cli.sources import open_source
from vmstamp.cli.storage import ensure_account
from vmstamp.cli.vms import (
    DEFAULT_SIZE,
    Stage,
    VmRequest,
    create_vm,
    find_stage,
    get_vm,
    ready_reporter,
    serial_log,
    timeline_of,
    timeline_rows,
)
from vmstamp.errors import AzureError, MachineError, VmstampError
from vmstamp.guest.inspect import Report
from vmstamp.paths import Home

SERIAL_LINES = 25  # of the console that a failure shows
ACCOUNT_DIGITS = 4  # bytes of randomness in the names of what a trial makes


@dataclass(frozen=True)
class Workplace:
    """A resource group and storage account of their own, which go as one."""

    arm: ArmClient
    group: str
    account: str


@contextmanager
def running_stamp(home: Home, console: Console, *, keep: bool = False) -> Iterator[Endpoint]:
    """The stamp, started when none runs; one that was started here is stopped at the end unless `keep`."""
    endpoint, started = process.start(home)
    if started:
        console.say(f"started a stamp: ARM {endpoint.arm}, Blob {endpoint.blob}")
    console.say(endpoint.accelerator_text)
    try:
        yield endpoint
    finally:
        if started and not keep:
            process.stop(home, console)


@contextmanager
def workplace(arm: ArmClient, purpose: str, console: Console, *, keep: bool = False) -> Iterator[Workplace]:
    """A resource group and an account for a run; the group goes at the end with all in it, unless `keep`."""
    mark = secrets.token_hex(ACCOUNT_DIGITS)
    group, account = f"vmstamp-{purpose}-{mark}", f"{purpose}{mark}"
    try:
        ensure_group(arm, group)
        ensure_account(arm, group, account)
        yield Workplace(arm, group, account)
    finally:
        if not keep:
            arm.delete(arm.group_id(group))
            console.say(f"deleted resource group {group} with all that was made")


@dataclass(frozen=True)
class Login:
    """What a guest said over SSH, and who reported it Ready, when."""

    host_name: str
    user: str
    kernel: str
    machine_id: str
    host_key: str
    ready_by: str
    ready_at: datetime | None


PROBE = """\
hostname; id -un; uname -sr; cat /etc/machine-id
sudo -n cat /etc/ssh/ssh_host_ed25519_key.pub 2>/dev/null || cat /etc/ssh/ssh_host_*_key.pub | head -n 1
"""


def log_in(
    arm: ArmClient, home: Home, group: str, name: str, each: Callable[[], None] = lambda: None
) -> tuple[ssh.Target, int, Login]:
    """Wait for SSH of a VM that is Ready, log in and read who it is. Raises MachineError.

    `each` is called once a second while waiting; what it raises ends the wait.
    """
    vm = get_vm(arm, group, name)
    target = ssh.target_of(arm, home, vm)
    port = ssh.wait_port(target, ssh.UP_TIMEOUT, each)
    said = ssh.run_in(target, PROBE, port=port).text.splitlines()
    if len(said) < 5:
        raise MachineError(f"VM {name}: expected five lines over SSH, got {said}")
    stage = find_stage(vm, "ready")
    login = Login(
        said[0],
        said[1],
        said[2],
        said[3],
        said[4].split()[1],
        ready_reporter(vm),
        stage.at if stage else None,
    )
    return target, port, login


@dataclass(frozen=True)
class Explanation:
    """Why a VM is not up: the diagnosis, the end of its console, the files to read."""

    diagnosis: Diagnosis
    serial_end: list[str]
    files: list[str]


@dataclass
class Outcome:
    """What a trial found out so far; `ok` only when Ready and SSH answered."""

    file: str
    ok: bool = False
    seconds: float = 0.0
    inspection: Report | None = None
    image: FileImage | None = None
    login: Login | None = None
    timeline: list[Stage] = field(default_factory=list)
    error: str = ""
    explanation: Explanation | None = None
    kept: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            "file": self.file,
            "ok": self.ok,
            "seconds": round(self.seconds, 3),
            "inspection": self.inspection.to_json() if self.inspection else None,
            "upload": vars(self.image.uploaded) if self.image else None,
            "login": vars(self.login) if self.login else None,
            "timeline": [vars(stage) for stage in self.timeline],
            "error": self.error or None,
            **(asdict(self.explanation) if self.explanation else {}),
            "resource_group": self.kept or None,
        }


@dataclass(frozen=True)
class TrialRequest:
    """What to try: `generation` None takes the disk's newest; `user` is the account to provision."""

    path: Path
    user: str
    generation: int | None = None
    size: str = DEFAULT_SIZE
    keep: bool = False
    follow: bool = False


def try_disk(home: Home, request: TrialRequest, console: Console) -> Outcome:
    """Drive one disk file to a login. Raises only where nothing about the disk was learned by boot."""
    started = time.monotonic()
    outcome = Outcome(str(request.path))
    with open_source(request.path, console, follow=request.follow) as source:
        look = look_bootable(source)
        outcome.inspection = look.report
        generation = choose_generation(look.report, request.generation)
        console.say(f"inspected: {inspection_text(look.report)}")
        tell_problems(look, console)
        with (
            running_stamp(home, console, keep=request.keep) as endpoint,
            ArmClient(endpoint) as arm,
            workplace(arm, "try", console, keep=request.keep) as place,
        ):
            image = ImageRequest("tried", place.group, generation)
            outcome.image = create_image_of_disk(
                arm, image, source, overwrite=False, report=console, account=place.account
            )
            _boot(home, place, request, console, outcome)
            outcome.kept = place.group if request.keep else ""
            outcome.seconds = time.monotonic() - started
    return outcome


def _boot(home: Home, place: Workplace, request: TrialRequest, console: Console, outcome: Outcome) -> None:
    """VM, Ready, SSH; a failure ends in a diagnosis."""
    key = ensure_key(home)
    vm = VmRequest("tried", place.group, "tried", request.user, key.public, request.size)
    try:
        create_vm(place.arm, vm, console)
        console.say("Ready; waiting for SSH")
        _, _, outcome.login = log_in(place.arm, home, place.group, "tried")
        outcome.ok = True
    except (AzureError, MachineError) as error:
        outcome.error = str(error)
        outcome.explanation = explain_vm(home, place.arm, place.group, "tried")
    with suppress(AzureError):  # the service refused the VM: there is none
        outcome.timeline = timeline_of(get_vm(place.arm, place.group, "tried"))


def explain_vm(home: Home, arm: ArmClient, group: str, name: str) -> Explanation | None:
    """Why a VM did not get Ready or cannot be logged in to; None when there is no VM to look at.

    Its console is kept as a file under the home, since the VM may go.
    """
    try:
        vm = get_vm(arm, group, name)
        serial = serial_log(arm, group, name)
    except VmstampError:
        return None
    diagnosis = diagnose([(stage.name, stage.detail) for stage in timeline_of(vm)], serial)
    kept = home.root / "tried" / f"{name}-{datetime.now(UTC):%Y%m%d-%H%M%S}.serial.log"
    kept.parent.mkdir(mode=0o700, exist_ok=True)
    kept.write_text(serial)
    return Explanation(diagnosis, clean_console(serial)[-SERIAL_LINES:], [str(kept), str(home.log)])


def explanation_lines(explanation: Explanation | None) -> list[str]:
    """An explanation for people."""
    if explanation is None:
        return []
    found = explanation.diagnosis
    return [
        *(f"  | {line}" for line in explanation.serial_end),
        f"  stage reached   {found.reached or 'none'}",
        f"  probable cause  {found.cause}",
        f"  evidence        {found.evidence}",
        f"  what to do      {found.mend}",
        *(f"  read            {name}" for name in explanation.files),
    ]


def outcome_lines(outcome: Outcome) -> list[str]:
    """The outcome for people: the timeline, then who answered, or what went wrong."""
    lines = ["", *table(("STAGE", "TIME", "EVIDENCE"), timeline_rows(outcome.timeline)), ""]
    if outcome.ok and outcome.login:
        login = outcome.login
        lines += [
            f"{outcome.file}: Ready, and SSH answers ({seconds_text(outcome.seconds)} in all)",
            f"  {login.user}@{login.host_name}, {login.kernel}; Ready reported by {login.ready_by}",
        ]
    if not outcome.ok:
        lines += [f"{outcome.file}: failed: {outcome.error}", *explanation_lines(outcome.explanation)]
    if outcome.kept:
        lines += [
            f"kept: vmstamp vm ssh -g {outcome.kept} tried",
            f"      vmstamp vm log -g {outcome.kept} tried",
            f"      vmstamp vm delete -g {outcome.kept} tried",
        ]
    return lines
