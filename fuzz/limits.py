"""What counts as a finding: an exception that is not ours, more than 2 s, more than 200 MiB."""

from __future__ import annotations

import contextlib
import re
import resource
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

MOST_SECONDS = 2.0  # of CPU, so that a busy machine makes no findings
MOST_KIB = 200 * 1024
HANG_SECONDS = 20.0  # of CPU
MOST_ADDRESS_SPACE = 4 << 30  # bytes more than at the start: then it is a MemoryError, a finding too
_SOURCE = "/vmstamp/"
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Hang(BaseException):
    """An execution that took HANG_SECONDS and was ended."""


@dataclass(frozen=True)
class Finding:
    """`what` in a line; `where` is the same for findings of one cause; `slow`: it takes long to see again."""

    what: str
    where: str
    slow: bool = False


def limit_process() -> None:
    """Let a huge allocation become an exception. Once for each process."""
    used = _kib("VmSize") * 1024
    resource.setrlimit(resource.RLIMIT_AS, (used + MOST_ADDRESS_SPACE, resource.RLIM_INFINITY))


def _end(number: int, frame: FrameType | None) -> None:
    raise Hang(f"took more than {HANG_SECONDS:.0f} s")


def find(look: Callable[[], None]) -> Finding | None:
    """What is wrong with `look`; None when nothing is. In the main thread only: a signal ends a hang."""
    with contextlib.suppress(OSError):  # a kernel without it: only memory above the last peak is seen
        _CLEAR.write_text("5")  # the peak begins anew; proc(5)
    before, started = _kib("VmHWM"), time.process_time()
    try:
        with _alarm():
            look()
    except Hang as error:
        return Finding(str(error), f"hang-{_innermost(error)}", slow=True)
    except Exception as error:
        return Finding(f"{type(error).__name__}: {error}", f"{type(error).__name__}-{_innermost(error)}")
    seconds, grown = time.process_time() - started, _kib("VmHWM") - before
    if seconds > MOST_SECONDS:
        return Finding(f"took {seconds:.1f} s", "slow", slow=True)
    if grown > MOST_KIB:
        return Finding(f"took {grown // 1024} MiB", "memory")
    return None


@contextlib.contextmanager
def _alarm() -> Iterator[None]:
    before = signal.signal(signal.SIGPROF, _end)
    signal.setitimer(signal.ITIMER_PROF, HANG_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _innermost(error: BaseException) -> str:
    """The last place in our source that `error` went through, as module and function; else its words."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _SOURCE in frame.filename]
    if not frames:
        return "-".join(re.findall(r"[a-z]{3,}", str(error))[:8])
    return f"{Path(frames[-1].filename).stem}-{frames[-1].name}"


def _kib(name: str) -> int:
    found = re.search(rf"{name}:\s+(\d+) kB", _STATUS.read_text())
    assert found is not None
    return int(found[1])
