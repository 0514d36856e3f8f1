"""The command line's own cost: start-up time and memory."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator
from pathlib import Path

from bench.figure import Figure, median_seconds
from vmstamp.run import run

VMSTAMP = Path(sys.executable).with_name("vmstamp")
RUNS = 11


def measure() -> Iterator[Figure]:
    """`vmstamp --help`, against the start of a Python that does nothing."""
    help_seconds = median_seconds(lambda: run([VMSTAMP, "--help"]), RUNS)
    bare_seconds = median_seconds(lambda: run([sys.executable, "-c", "pass"]), RUNS)
    yield Figure("vmstamp --help", help_seconds, "s", 0.25, f"median of {RUNS}")
    yield Figure(
        "vmstamp --help / python -c pass", help_seconds / bare_seconds, "x", None, f"median of {RUNS}"
    )
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    yield Figure("vmstamp --help, peak memory", peak, "MiB", 150, "largest child")
