"""Runs the SDK's own tests in a process of their own against a live server; says how each one went."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.sdk import live, source

SHIM: Final = Path(__file__).with_name("shim")
LIMIT: Final = 900  # seconds for the whole suite
_OPTIONS: Final = ("--rootdir", ".", "-n", "3", "--dist", "load", "--tb", "native")


@dataclass(frozen=True)
class Outcome:
    """`id` is pytest's, relative to the SDK's tests; `outcome` is passed, failed or skipped."""

    id: str
    outcome: str
    reason: str


def run(left_out: Collection[str] = (), words: Iterable[str] = ()) -> dict[str, Outcome]:
    """Run the suite, or what pytest's `words` choose of it; outcomes by id. Takes minutes.

    `left_out` are the ids of tests that are not run.

    Raises RuntimeError when pytest itself fails, TimeoutExpired past LIMIT.
    """
    with tempfile.TemporaryDirectory(prefix="vmstamp-sdk-") as directory:
        root = Path(directory)
        with live.serving(root) as environment:
            # pytest's own --deselect takes whatever begins so.
            environment["VMSTAMP_SDK_LEFT_OUT"] = json.dumps(sorted(left_out))
            return _run(root, environment, list(words))


def _run(root: Path, environment: dict[str, str], words: list[str]) -> dict[str, Outcome]:
    report = root / "outcomes.jsonl"
    report.touch()
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-c", str(SHIM / "pytest.ini"), *_OPTIONS, *words],
        cwd=source.tests(),
        env=kept | environment | {"PYTHONPATH": str(SHIM), "VMSTAMP_SDK_OUTCOMES": str(report)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT,
    )
    if done.returncode not in (0, 1):
        raise RuntimeError(f"pytest ended with status {done.returncode}:\n{done.stdout[-8000:]}")
    return _read(report)


def _read(report: Path) -> dict[str, Outcome]:
    """A test that fails and whose teardown fails too has failed once."""
    outcomes: dict[str, Outcome] = {}
    for line in report.read_text().splitlines():
        outcome = Outcome(**json.loads(line))
        before = outcomes.get(outcome.id)
        if before is None or before.outcome != "failed":
            outcomes[outcome.id] = outcome
    return outcomes
