"""User Mode Linux: a Linux kernel as an ordinary process, with one disk and one program.

`linux.uml` needs no rights beyond its caller's. Its root is the host's `/` by hostfs, read-only; the disk and
the messages are files without a name, handed over by descriptor. So nothing is left behind, whatever happens:

- A shell stands over it. It is told when we die (PR_SET_PDEATHSIG), and kills the kernel and its helpers.
- `uml_dir` leads nowhere: there is no socket by which others could steer it, and no directory in ~/.uml.

Boot is made short: without the benchmark of RAID-6 algorithms (0.7 s) and the old pseudo terminals (0.6 s).

Source: Linux Documentation/virt/uml/user_mode_linux_howto_v2.rst; kernel-parameters.txt
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
import threading
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from vmstamp.errors import GuestError
from vmstamp.run import StillRunning, find_program, spawn

EXECUTOR = Path(__file__).parent / "inside" / "executor.py"
MEMORY = "512M"  # at most; only what is touched is taken
ANSWER_ROOM = 16 * 1024 * 1024  # bytes
CONSOLE_LINES = 12  # of the console, shown when it failed
BLOCK = 4096
FREE = 64  # the descriptors handed over are not below: the shell has uses of its own for low ones

# $1 and on is the program. Standard input of a background command would be /dev/null, hence the descriptor 3.
# User Mode Linux makes a session of its own for itself and its helpers: that group is killed, and ours.
SUPERVISOR = """exec 3<&0
trap 'kill -KILL -$! $! 2> /dev/null; kill -KILL 0' TERM
"$@" <&3 3<&- &
wait $!
exit $?"""


class Uml:
    """A started User Mode Linux; a context manager that ends it.

    `go` tells the executor that the disk is complete, `wait` gives its answer. Not thread-safe.
    """

    def __init__(self, disk: int, plan: dict[str, Any]) -> None:
        """`disk` is the descriptor of a raw disk of its final size; its bytes may still be written."""
        self._console: deque[str] = deque(maxlen=CONSOLE_LINES)
        self._messages = os.memfd_create("vmstamp-plan", os.MFD_CLOEXEC)
        passed: list[int] = []
        try:
            self._answer_at = self._put({**plan, "answer_at": 10**12})
            self._answer_at = self._put({**plan, "answer_at": self._answer_at})
            passed += (fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, FREE) for fd in (disk, self._messages))
            supervised = ["setpriv", "--pdeathsig", "TERM", "--", find_program("sh"), "-c", SUPERVISOR, "uml"]
            self._process = spawn(
                [*supervised, *command(passed[0], passed[1])],
                stdin_pipe=True,
                stdout_pipe=True,
                pass_fds=passed,
            )
        except BaseException:
            os.close(self._messages)
            raise
        finally:
            for fd in passed:
                os.close(fd)
        self._reader = threading.Thread(target=self._read_console, daemon=True)
        self._reader.start()

    def _put(self, plan: dict[str, Any]) -> int:
        """Write the plan; the offset behind it where the answer may stand."""
        data = json.dumps(plan).encode()
        end = -(-(16 + len(data)) // BLOCK) * BLOCK
        os.ftruncate(self._messages, end + ANSWER_ROOM)
        os.pwrite(self._messages, f"{len(data):016d}".encode() + data, 0)
        return end

    def _read_console(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            text = line[:2000].decode(errors="replace").rstrip()
            if text:
                self._console.append("".join(c if c.isprintable() else "?" for c in text))

    def go(self) -> None:
        """Let the executor begin."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it ended: `wait` says why
            self._process.stdin.write(b"go\n")
            self._process.stdin.flush()

    def wait(self, timeout: float) -> dict[str, Any]:
        """The executor's answer, once the kernel has powered off. GuestError when it crashed or hangs."""
        try:
            self._process.wait(timeout)
        except StillRunning:
            self.close()
            raise GuestError(
                f"User Mode Linux had not ended after {timeout:.0f} s{self._last_lines()}"
            ) from None
        self._reader.join(5)
        head = os.pread(self._messages, 16, self._answer_at)
        if not head.strip(b"\0").isdigit():
            raise GuestError(f"User Mode Linux ended without an answer{self._last_lines()}")
        try:
            answer = json.loads(os.pread(self._messages, min(int(head), ANSWER_ROOM), self._answer_at + 16))
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise GuestError(f"User Mode Linux gave an answer that is none{self._last_lines()}")
        return answer

    def _last_lines(self) -> str:
        self._reader.join(1)
        return "".join(f"\n  console: {line}" for line in self._console)

    def close(self) -> None:
        """End all its processes. May be called more than once."""
        if self._messages < 0:
            return
        if self._process.poll() is None:
            self._process.terminate()  # the shell kills all
        try:
            self._process.wait(10)
        except StillRunning:
            self._process.kill()
            self._process.wait()
        self._reader.join(5)
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):
                pipe.close()
        os.close(self._messages)
        self._messages = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def command(disk: int, messages: int, program: Path = EXECUTOR) -> list[str]:
    """The command line; `program` is the Python that runs as the first process.

    Quotes keep a path with spaces one word for the kernel.
    """
    python, script = (_word(str(path)) for path in (sys.executable, program))
    return [
        find_program("linux.uml"),
        f"mem={MEMORY}",
        "root=/dev/root",
        "rootfstype=hostfs",
        "hostfs=/",
        "ro",
        f"ubd0=/proc/self/fd/{disk}",
        f"ubd1=/proc/self/fd/{messages}",
        "con=null",
        "con0=fd:0,fd:1",
        "ssl=null",
        "uml_dir=/dev/null/",
        "quiet",
        "loglevel=4",
        "panic=-1",
        "initcall_blacklist=raid6_select_algo",
        "pty.legacy_count=0",
        f"init={python}",
        "--",
        "-I",
        "-S",
        "-B",
        script,
    ]


def _word(path: str) -> str:
    if '"' in path:
        raise GuestError(f"{path}: User Mode Linux cannot be told of a path with a quotation mark")
    return f'"{path}"' if " " in path else path
