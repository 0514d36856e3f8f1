"""`vmstamp demo`: one real image down the whole road, from a VHDX file to two VMs of its captured image.

Every step is a flow that a single command offers as well; here they follow one another, are timed, and what
each one proved is said. Nothing is left running unless asked for.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vmstamp.cli import ssh
from vmstamp.cli.arm_client import ArmClient
from vmstamp.cli.capture import Captured, capture
from vmstamp.cli.generalize import Generalized, generalize, verdict
from vmstamp.cli.image_upload import create_image_of_disk
from vmstamp.cli.images import ImageRequest
from vmstamp.cli.keys import Key, ensure_key
from vmstamp.cli.look import choose_generation, inspection_text, look_bootable, tell_problems
from vmstamp.cli.quantities import bytes_text, seconds_text
from vmstamp.cli.recipes import built_disk
from vmstamp.cli.render import Console, table
from vmstamp.cli.sources import open_source
from vmstamp.cli.trial import (
    Login,
    Workplace,
    explain_vm,
    explanation_lines,
    log_in,
    running_stamp,
    workplace,
)
from vmstamp.cli.vms import DEFAULT_USER, VmRequest, create_vm, start_vm
from vmstamp.disk import Disk
from vmstamp.errors import AzureError, VmstampError
from vmstamp.paths import Home

RECIPE = "debian-12"
MODEL, IMAGE, CAPTURED = "model", "debian-12", "captured"
STAMPED = ("stamped-1", "stamped-2")
DATA_DISK_GIB = 1
NOTE = "stamped out by vmstamp"
NOTE_FILE = "/opt/vmstamp-demo.txt"  # not in a home: the user goes when the guest is generalized
DATA_MOUNT = "/srv/data"
DATA_FILE = f"{DATA_MOUNT}/vmstamp-demo.txt"

# LUN 0 of the data disks: not the disk of the root file system, and without partitions.
MAKE_DATA_DISK = f"""\
set -eu
root=/dev/$(lsblk -ndo PKNAME "$(findmnt -no SOURCE /)")
disk=$(lsblk -dnpo NAME,TYPE | awk -v root="$root" '$2 == "disk" && $1 != root {{ print $1 }}' | head -n 1)
[ -n "$disk" ] || {{ echo "no data disk" >&2; exit 1; }}
mkfs.ext4 -q "$disk"
mkdir -p {DATA_MOUNT}
echo "UUID=$(blkid -s UUID -o value "$disk") {DATA_MOUNT} ext4 defaults,nofail 0 2" >> /etc/fstab
mount {DATA_MOUNT}
echo "{NOTE}" | tee {NOTE_FILE} {DATA_FILE}
sync
"""


@dataclass
class Step:
    """One step of the demo: its time in seconds, what it moved, what it proved."""

    title: str
    seconds: float = 0.0
    moved: str = ""
    proved: str = ""


@dataclass
class Story:
    """The steps so far."""

    console: Console
    steps: list[Step] = field(default_factory=list)
    numbers: dict[str, Any] = field(default_factory=dict)

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        step = Step(title)
        self.steps.append(step)
        number = len(self.steps)
        self.console.say(f"[{number}] {title}")
        started = time.monotonic()
        yield step
        step.seconds = time.monotonic() - started
        self.console.say(f"[{number}] done in {seconds_text(step.seconds)}: {step.proved}")

    def to_json(self) -> dict[str, Any]:
        return {"ok": True, "steps": [asdict(step) for step in self.steps], **self.numbers}


def demo(home: Home, console: Console, *, keep: bool = False) -> Story:
    """The whole road. Raises VmstampError at the step that failed; what was made is removed all the same."""
    story = Story(console)
    with story.step(f"build {RECIPE} from its distribution's packages") as step:
        path = built_disk(home, RECIPE, console)
        held = path.stat()
        step.moved = f"{bytes_text(held.st_blocks * 512)} allocated of {bytes_text(held.st_size)}"
        step.proved = f"{path} is a dynamic VHDX, as a Hyper-V user brings it"
    with ExitStack() as stack:
        with story.step("start a stamp") as step:
            endpoint = stack.enter_context(running_stamp(home, console, keep=keep))
            arm = stack.enter_context(ArmClient(endpoint))
            place = stack.enter_context(workplace(arm, "demo", console, keep=keep))
            step.proved = (
                f"ARM answers at {endpoint.arm}, Blob at {endpoint.blob}, VMs by {endpoint.accelerator}"
            )
        _road(home, place, path, story)
        if keep:
            console.say(f"everything is left: vmstamp vm list -g {place.group}")
            console.say(f"log in: vmstamp vm ssh -g {place.group} {STAMPED[0]}")
            console.say(f"end it: vmstamp vm delete -g {place.group} NAME; vmstamp down")
    return story


def _road(home: Home, place: Workplace, path: Path, story: Story) -> None:
    key = ensure_key(home)
    with open_source(path, story.console, follow=False) as source:
        _image(place, source, story)
    _model(home, place, key, story)
    _generalize(home, place, story)
    _capture(place, story)
    _stamp_out(home, place, key, story)


def _image(place: Workplace, source: Disk, story: Story) -> None:
    with story.step("inspect the disk, without booting it") as step:
        look = look_bootable(source)
        tell_problems(look, story.console)
        step.proved = f"{inspection_text(look.report)}; {len(look.problems)} problem(s) beside its format"
    with story.step("upload it as a fixed VHD and make an image") as step:
        request = ImageRequest(IMAGE, place.group, choose_generation(look.report, None))
        made = create_image_of_disk(
            place.arm, request, source, overwrite=False, report=story.console, account=place.account
        )
        done = made.uploaded
        step.moved = (
            f"{bytes_text(done.logical)} logical, {bytes_text(done.data)} data, {bytes_text(done.sent)} sent"
        )
        step.proved = "the blob's page ranges are what was sent; ARM made an image of it"
        story.numbers["upload"] = asdict(done)


def _model(home: Home, place: Workplace, key: Key, story: Story) -> None:
    with story.step(f"create VM {MODEL} with a data disk, until its agent reports Ready") as step:
        request = VmRequest(
            MODEL, place.group, IMAGE, DEFAULT_USER, key.public, data_disk_sizes=(DATA_DISK_GIB,)
        )
        _create(home, place, request, story)
        step.proved = "the guest's own agent was provisioned by the fabric and reported Ready"
    with story.step("log in over SSH, write a file, make and mount the data disk") as step:
        target, port, login = log_in(place.arm, home, place.group, MODEL)
        ssh.run_in(target, "sudo -n sh -s", port=port, stdin=MAKE_DATA_DISK.encode())
        step.proved = login_text(login)
        story.numbers["model"] = vars(login)


def _create(home: Home, place: Workplace, request: VmRequest, story: Story) -> None:
    """Create a VM; when it does not get Ready say why before it is removed."""
    try:
        create_vm(place.arm, request, story.console)
    except AzureError:
        for line in explanation_lines(explain_vm(home, place.arm, place.group, request.name)):
            story.console.say(f"{request.name}: {line}")
        raise


def login_text(login: Login) -> str:
    """Who answered over SSH, in one line."""
    when = f" at {login.ready_at:%H:%M:%S} UTC" if login.ready_at else ""
    return f"{login.user}@{login.host_name}, {login.kernel}, Ready reported by {login.ready_by}{when}"


def _generalize(home: Home, place: Workplace, story: Story) -> None:
    with story.step(f"generalize VM {MODEL}: clean, deallocate, mark, look at the disk") as step:
        done: Generalized = generalize(place.arm, home, place.group, MODEL, story.console)
        story.numbers["generalized"] = done.to_json()
        if not done.identity.generalized:
            raise VmstampError(f"VM {MODEL} is marked generalized, but {verdict(done.identity)}")
        step.moved = f"{bytes_text(done.fetched)} read"
        step.proved = f"{verdict(done.identity)}; start is refused: {_refused_start(place)}"


def _refused_start(place: Workplace) -> str:
    """Azure's answer to the start of a generalized VM; VmstampError when it is started."""
    try:
        start_vm(place.arm, place.group, MODEL)
    except AzureError as error:
        return f"{error.status} {error.code}"
    raise VmstampError(f"the stamp started VM {MODEL}, although it is generalized")


def _capture(place: Workplace, story: Story) -> None:
    with story.step(f"capture it as image {CAPTURED}") as step:
        done: Captured = capture(place.arm, place.group, MODEL, CAPTURED, story.console)
        step.moved = f"{bytes_text(sum(one.size for one in done.disks))} logical, copied by the service"
        step.proved = ", ".join(one.url.rsplit("/", 1)[1] for one in done.disks)
        story.numbers["captured"] = done.to_json()["disks"]


def _stamp_out(home: Home, place: Workplace, key: Key, story: Story) -> None:
    given_up = threading.Event()

    def go_on() -> None:
        if given_up.is_set():
            raise VmstampError("given up")

    with story.step("stamp out two VMs of it, side by side") as step:

        def make(name: str) -> Login:
            request = VmRequest(name, place.group, CAPTURED, DEFAULT_USER, key.public)
            _create(home, place, request, story)
            target, port, login = log_in(place.arm, home, place.group, name, each=go_on)
            _check_files(target, port)
            return login

        logins = _side_by_side(make, given_up)
        check_distinct(logins)
        step.proved = (
            "both Ready and over SSH; the file and the data disk in both; host names "
            f"{' and '.join(login.host_name for login in logins)}, machine-ids and SSH host keys differ"
        )
        story.numbers["stamped"] = [vars(login) for login in logins]


def _side_by_side(make: Callable[[str], Login], given_up: threading.Event) -> list[Login]:
    """Both VMs at once. A failure of one, or Ctrl-C, does not wait for the other: it is told to give up."""
    pool = ThreadPoolExecutor(len(STAMPED), thread_name_prefix="stamp")
    try:
        futures = [pool.submit(make, name) for name in STAMPED]
        for future in as_completed(futures):
            future.result()
        return [future.result() for future in futures]
    finally:
        given_up.set()
        pool.shutdown(wait=False, cancel_futures=True)


def _check_files(target: ssh.Target, port: int) -> None:
    found = ssh.run_in(
        target, f"findmnt -n {DATA_MOUNT} >/dev/null && cat {NOTE_FILE} {DATA_FILE}", port=port
    )
    if found.text.splitlines() != [NOTE, NOTE]:
        raise VmstampError(f"VM {target.vm}: expected the model's two files, found {found.text!r}")


def check_distinct(logins: list[Login]) -> None:
    """Refuse two machines that are the same one: host name, machine-id and SSH host key."""
    for name in ("host_name", "machine_id", "host_key"):
        values = [getattr(login, name) for login in logins]
        if len(set(values)) != len(values):
            raise VmstampError(f"the stamped VMs share their {name.replace('_', ' ')}: {values[0]}")


def summary(story: Story) -> list[str]:
    """The table at the end."""
    rows = [
        [str(number), step.title, seconds_text(step.seconds), step.moved]
        for number, step in enumerate(story.steps, 1)
    ]
    proved = [f"{number}  {step.proved}" for number, step in enumerate(story.steps, 1)]
    total = sum(step.seconds for step in story.steps)
    return [
        "",
        *table(("#", "STEP", "TIME", "BYTES"), rows),
        "",
        "What was proved:",
        *proved,
        "",
        f"all in {seconds_text(total)}",
    ]
