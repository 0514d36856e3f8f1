"""Mutates small disk files and looks into them; what counts as a finding: limits.py.

    python -m fuzz [--runs N] [--seed S] [--plain] [KIND ...]

Guided by coverage where atheris is installed, by a seeded mutator alone where it is not, or with --plain. A
finding is kept under fuzz/findings; exit status 1.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

from fuzz.bed import Bed
from fuzz.findings import FINDINGS, count_since, execute, keep
from fuzz.kinds import KINDS, make_kind
from fuzz.limits import limit_process
from fuzz.mutate import mutate

SHARED_MEMORY = Path("/dev/shm")


def fuzz(bed: Bed, runs: int, seed: int, findings: Path = FINDINGS) -> None:
    """`runs` executions without guidance; findings are kept and told."""
    valid = bed.valid_input()
    for run in range(runs):
        data = mutate(random.Random(f"{seed} {bed.kind.name} {run}"), valid, bed.kind)
        finding = execute(bed, data)
        if finding is not None and keep(bed, data, finding, findings):
            print(f"{bed.kind.name}, run {run}: {finding.what}", flush=True)


def fuzz_guided(name: str, runs: int, seed: int, directory: Path) -> None:
    """`runs` executions guided by coverage, in a process of their own; findings are kept and told."""
    argv = [sys.executable, "-m", "fuzz.guided", name, str(runs), str(seed), str(directory)]
    ended = subprocess.run(argv, stderr=subprocess.PIPE, text=True, check=False)
    if ended.returncode:
        sys.exit(f"{ended.stderr}\n{name}: the fuzzer itself ended with exit status {ended.returncode}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=2000, help="executions of each kind")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plain", action="store_true", help="without guidance by coverage")
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"of {', '.join(KINDS)}; all by default")
    options = parser.parse_args()
    if unknown := set(options.kinds) - set(KINDS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    guided = not options.plain and find_spec("atheris") is not None
    print("guided by coverage" if guided else "not guided by coverage", flush=True)
    findings = 0
    limit_process()
    for name in options.kinds or KINDS:
        started, began = time.monotonic(), time.time() - 1  # file systems' clocks lag a little
        with tempfile.TemporaryDirectory(prefix="vmstamp-fuzz-", dir=_fast_directory()) as directory:
            if guided:
                fuzz_guided(name, options.runs, options.seed, Path(directory))
            else:
                bed = Bed(make_kind(name), Path(directory))
                fuzz(bed, options.runs, options.seed)
                bed.close()
        found = count_since(began, name)
        findings += found
        rate = options.runs / (time.monotonic() - started)
        print(f"{name}: {options.runs} executions, {found} findings, {rate:.0f}/s", flush=True)
    return 1 if findings else 0


def _fast_directory() -> Path | None:
    """In memory where that can be: inputs are small, and there are many."""
    return SHARED_MEMORY if SHARED_MEMORY.is_dir() else None


if __name__ == "__main__":
    sys.exit(main())
