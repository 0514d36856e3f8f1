"""mmdebstrap: how it is called, watched, stopped, and its failures put into words.

It runs as root, or as a plain user in a user namespace of its own; the same hooks serve both. In that
namespace "root" is another user, who cannot enter the caller's directories, so hooks are given files as
open descriptors (/proc/self/fd/N) and scripts as text.

It works in a directory of its own under /var/tmp. If we are killed, so is it (PR_SET_PDEATHSIG), and it
cleans up; what a kill -9 of both leaves behind is removed at the next start.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vmstamp.recipes.catalogue import RecipeError
from vmstamp.recipes.mirror import MIRROR_VARIABLE, RELEASE, Source
from vmstamp.run import Process, StillRunning, find_program, run, spawn

Progress = Callable[[str, float], None]

# What mmdebstrap says, in the order in which it says it: (begin of the line, step, share of its whole time).
STEPS = (
    ("I: running apt-get update", "reading the package lists", 0.0),
    ("I: downloading packages", "downloading the base system", 0.05),
    ("I: extracting archives", "unpacking the base system", 0.15),
    ("I: installing essential packages", "installing the base system", 0.2),
    ("I: installing remaining packages", "downloading and installing packages", 0.3),
    ("I: running --customize-hook", "making it an image", 0.9),
)
# Words of a failure, and what to do about it.
HINTS = (
    (
        (
            "Could not resolve",
            "Failed to fetch",
            "Could not connect",
            "Connection failed",
            "Unable to connect",
        ),
        f"the packages could not be downloaded: check the network, or set {MIRROR_VARIABLE}",
    ),
    (("No space left on device", "Could not allocate block"), "make room there, or ask for a larger disk"),
    (
        ("newuidmap", "subuid", "unshare", "user namespace"),
        "a plain user needs the package uidmap, lines of his own in /etc/subuid and /etc/subgid, and user "
        "namespaces allowed; or build as root",
    ),
    (
        ("NO_PUBKEY", "is not signed", "keyring"),
        "Debian's keys are missing: apt-get install debian-archive-keyring",
    ),
)
LOG = "mmdebstrap.log"
TEMPORARY_PREFIX = "vmstamp-recipe-"


@dataclass(frozen=True)
class Bootstrap:
    """One run of mmdebstrap: the variant, the packages, options for dpkg, and hooks in their order.

    `hooks` are (stage, command), stage one of setup, essential and customize; a command is shell text,
    in which "$1" is the new root, or one of mmdebstrap's own like `tar-in FILE /`.
    """

    variant: str
    packages: tuple[str, ...] = ()
    dpkg_options: tuple[str, ...] = ()
    hooks: tuple[tuple[str, str], ...] = ()


def script_hook(text: str, variables: Mapping[str, str]) -> str:
    """A hook that runs a shell script; it sees `variables` and `root`, the new root directory."""
    given = "".join(f"{name}={shlex.quote(value)}\n" for name, value in variables.items())
    return f'root="$1"\n{given}{text}'


def argv(plan: Bootstrap, sources: Sequence[Source], *, root: bool) -> list[str]:
    """mmdebstrap's words. The result goes nowhere: what is wanted of it, a hook takes out.

    Its own cleaning is left out: the root is thrown away, and apt runs no more once a hook is done.
    """
    words = ["mmdebstrap", f"--mode={'root' if root else 'unshare'}", f"--variant={plan.variant}"]
    words += ["--architectures=amd64", "--format=null", "--skip=cleanup"]
    words += ['--aptopt=Acquire::Languages "none"', '--aptopt=Acquire::Retries "3"']
    words += ['--aptopt=APT::Install-Recommends "false"']
    words += [f"--dpkgopt={option}" for option in plan.dpkg_options]
    words += [f"--include={','.join(plan.packages)}"] if plan.packages else []
    words += [f"--{stage}-hook={command}" for stage, command in plan.hooks]
    return [*words, RELEASE, "-", *(source.line() for source in sources)]


def run_bootstrap(
    plan: Bootstrap,
    sources: Sequence[Source],
    *,
    log: Path,
    pass_fds: Sequence[int],
    progress: Progress,
) -> None:
    """Run it to its end; blocks for a minute or more. Its output goes to `log`.

    Raises RecipeError with the reason it gave; ProgramMissing. Any exception ends it first.
    """
    root = os.geteuid() == 0
    if not root:
        find_program("newuidmap")
    words = argv(plan, sources, root=root)
    with _temporary_directory(root=root) as temporary:
        process = spawn(
            ["setpriv", "--pdeathsig", "TERM", "--", find_program(words[0]), *words[1:]],
            output=log,
            pass_fds=pass_fds,
            env={"TMPDIR": str(temporary), "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"},
        )
        try:
            status = _watch(process, log, progress)
        finally:
            _stop(process)
    if status != 0:
        raise explain(log.read_text(errors="replace"), status)


def explain(output: str, status: int) -> RecipeError:
    """The error for a failed run: the first line that says what was wrong, and a hint where one is known."""
    said = [
        line.strip() for line in output.splitlines() if line.startswith(("E: ", "Err:", "mkfs", "mke2fs"))
    ]
    lines = [line for line in said if "mmdebstrap failed to run" not in line]
    reason = lines[0] if lines else f"exit status {status}"
    hint = next((hint for words, hint in HINTS if any(word in output for word in words)), "")
    return RecipeError(f"mmdebstrap failed: {reason}", hint=hint)


def find_step(output: str) -> tuple[str, float] | None:
    """The last step that mmdebstrap's output shows as begun, and the share of its time that is over."""
    begun = None
    for line in output.splitlines():
        begun = next(((step, share) for begin, step, share in STEPS if line.startswith(begin)), begun)
    return begun


def _watch(process: Process, log: Path, progress: Progress) -> int:
    """Report steps until the program ends; its exit status."""
    shown = None
    while True:
        with contextlib.suppress(StillRunning):
            return process.wait(timeout=0.5)
        step = find_step(log.read_text(errors="replace"))
        if step is not None and step != shown:
            progress(*step)
            shown = step


def _stop(process: Process) -> None:
    """End the program if it still runs: asked first, so that it cleans up, then forced with its children."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(timeout=20)
    except StillRunning:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextlib.contextmanager
def _temporary_directory(*, root: bool) -> Iterator[Path]:
    """A directory on disk (not in memory) that any user of the namespace may write in, locked while used."""
    parent = Path(os.environ.get("TMPDIR", "/var/tmp"))
    _remove_stale(parent, root=root)
    path = Path(tempfile.mkdtemp(prefix=f"{TEMPORARY_PREFIX}{os.geteuid()}-", dir=parent))
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        path.chmod(0o1777)
        yield path
    finally:
        _remove(path, root=root)
        os.close(handle)


def _remove_stale(parent: Path, *, root: bool) -> None:
    """Remove what killed builds of ours left: directories of our name and user that nobody holds."""
    for path in parent.glob(f"{TEMPORARY_PREFIX}{os.geteuid()}-*"):
        with contextlib.suppress(OSError):
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_DIRECTORY)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(handle).st_uid == os.geteuid() and _old(path):
                    _remove(path, root=root)
            finally:
                os.close(handle)


def _old(path: Path) -> bool:
    """Whether the directory was made more than a minute ago: its maker has locked it by then."""
    return time.time() - path.stat().st_ctime > 60


def _remove(path: Path, *, root: bool) -> None:
    """Remove a tree whose files may belong to users of the namespace."""
    shutil.rmtree(path, ignore_errors=True)
    if path.exists() and not root:
        run(["mmdebstrap", "--unshare-helper", "find", path, "-mindepth", "1", "-delete"], check=False)
        shutil.rmtree(path, ignore_errors=True)
