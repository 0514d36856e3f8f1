"""The pytest plugin of the SDK's tests: runs coroutines, skips what needs a recording, writes outcomes.

One line of JSON for each test goes to the file that VMSTAMP_SDK_OUTCOMES names: id, outcome, reason.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from . import wire


def pytest_configure(config: pytest.Config) -> None:
    wire.connect()
    path = os.environ.get("VMSTAMP_SDK_OUTCOMES")
    if path and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Outcomes(Path(path)))


@pytest.fixture(scope="session")
def test_proxy() -> Iterator[None]:
    """The proxy that records, which is not there."""
    yield


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Measurements are no tests."""
    return True if collection_path.name == "perfstress_tests" else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out = frozenset(json.loads(os.environ.get("VMSTAMP_SDK_LEFT_OUT", "[]")))
    config.hook.pytest_deselected(items=[item for item in items if item.nodeid in left_out])
    items[:] = [item for item in items if item.nodeid not in left_out]
    for item in items:
        if item.get_closest_marker("playback_test_only"):
            item.add_marker(pytest.mark.skip(reason="needs a recording of Azure, which is not published"))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool:
    """Run the test; it may be a coroutine, and may return variables for a recording."""
    names = inspect.signature(pyfuncitem.obj).parameters
    known = {name: pyfuncitem.funcargs[name] for name in names if name in pyfuncitem.funcargs}
    result = pyfuncitem.obj(**known)
    if inspect.iscoroutine(result):
        asyncio.run(result)
    return True


class _Outcomes:
    def __init__(self, path: Path) -> None:
        self._path = path

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call" and report.passed:
            return
        line = {"id": report.nodeid, "outcome": report.outcome, "reason": _reason(report.longrepr)}
        self._write(line)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._write({"id": report.nodeid, "outcome": "failed", "reason": str(report.longrepr)})

    def _write(self, line: dict[str, str]) -> None:
        with self._path.open("a") as file:
            file.write(json.dumps(line) + "\n")


def _reason(longrepr: Any) -> str:
    """Why a test did not pass: its exception's text, or its skip's."""
    if isinstance(longrepr, tuple):
        return str(longrepr[2])
    crash = getattr(longrepr, "reprcrash", None)
    if crash is None:
        return str(longrepr or "")
    return f"{Path(crash.path).name}:{crash.lineno}: {crash.message}"
