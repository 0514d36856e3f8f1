"""The only door to other programs: `run` waits for one, `spawn` leaves one running.

Nothing else in vmstamp imports `subprocess`. A missing program is named together with the Debian
package that brings it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vmstamp.errors import ProgramError, ProgramMissing

Process = subprocess.Popen[bytes]
StillRunning = subprocess.TimeoutExpired  # what Process.wait(timeout) raises

# The Debian and Ubuntu package of each program that we start.
PACKAGES = {
    "dnsmasq": "dnsmasq-base",
    "ip": "iproute2",
    "linux.uml": "user-mode-linux",
    "mcopy": "mtools",
    "mformat": "mtools",
    "mmd": "mtools",
    "mkfs.ext4": "e2fsprogs",
    "mmdebstrap": "mmdebstrap",
    "nft": "nftables",
    "nsenter": "util-linux",
    "ntfs-3g": "ntfs-3g",
    "openssl": "openssl",
    "qemu-img": "qemu-utils",
    "qemu-nbd": "qemu-utils",
    "qemu-system-x86_64": "qemu-system-x86",
    "setpriv": "util-linux",
    "slirp4netns": "slirp4netns",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "unshare": "util-linux",
}
# Places that a plain user's PATH may lack.
SYSTEM_DIRECTORIES = ("/usr/sbin", "/sbin", "/usr/local/sbin")


@dataclass(frozen=True)
class Completed:
    """What a finished program left: its exit status (negative: the signal that ended it) and output."""

    status: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        return self.stdout.decode(errors="replace")


def find_program(name: str) -> str:
    """The absolute path of a program; ProgramMissing when it is not installed."""
    path = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), *SYSTEM_DIRECTORIES]))
    if path is None:
        package = PACKAGES.get(name)
        hint = f"install it: apt-get install {package}" if package else "install it, or put it on PATH"
        raise ProgramMissing(f"the program {name} is not installed", hint=hint)
    return path


def _words(argv: Sequence[str | os.PathLike[str]]) -> list[str]:
    return [find_program(os.fspath(argv[0])), *(os.fspath(word) for word in argv[1:])]


def run(
    argv: Sequence[str | os.PathLike[str]],
    *,
    input: bytes | None = None,
    check: bool = True,
    timeout: float | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    pass_fds: Sequence[int] = (),
) -> Completed:
    """Run a program to its end and return what it printed.

    `env` is added to our environment; `timeout` is in seconds. Raises ProgramMissing, and ProgramError
    when `check` and the exit status is not 0, or when the time-out ended it.
    """
    words = _words(argv)
    try:
        done = subprocess.run(
            words,
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            timeout=timeout,
            env=None if env is None else {**os.environ, **env},
            cwd=cwd,
            pass_fds=pass_fds,
        )
    except subprocess.TimeoutExpired as error:
        raise ProgramError(words, -9, f"no end within {timeout} s") from error
    if check and done.returncode != 0:
        raise ProgramError(words, done.returncode, done.stderr.decode(errors="replace"))
    return Completed(done.returncode, done.stdout, done.stderr)


def call(argv: Sequence[str | os.PathLike[str]], *, env: Mapping[str, str] | None = None) -> int:
    """Run a program on the caller's own terminal and return its exit status."""
    words = _words(argv)
    return subprocess.run(words, env=None if env is None else {**os.environ, **env}).returncode


def spawn(
    argv: Sequence[str | os.PathLike[str]],
    *,
    output: Path | None = None,
    stdin_pipe: bool = False,
    stdout_pipe: bool = False,
    pass_fds: Sequence[int] = (),
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Process:
    """Start a program in a session of its own and return at once; the caller owns the process.

    Its output is appended to `output` (None: thrown away); with `stdin_pipe` and `stdout_pipe` the
    caller holds its ends. A terminal's Ctrl-C does not reach it.
    """
    words = _words(argv)
    sink = os.open(output or os.devnull, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        return subprocess.Popen(
            words,
            stdin=subprocess.PIPE if stdin_pipe else subprocess.DEVNULL,
            stdout=subprocess.PIPE if stdout_pipe else sink,
            stderr=sink,
            pass_fds=tuple(pass_fds),
            env=None if env is None else {**os.environ, **env},
            cwd=cwd,
            start_new_session=True,
        )
    finally:
        os.close(sink)
