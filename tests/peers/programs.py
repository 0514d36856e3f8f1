"""The foreign programs of `make peers`, each run with a home and a configuration of its own.

Nothing of the machine's user is read or written, and nobody is told: telemetry is off, and so are the
questions whether there is a newer version.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from azure.storage.blob import (
    AccountSasPermissions,
    ContainerSasPermissions,
    ResourceTypes,
    generate_account_sas,
    generate_container_sas,
)

from vmstamp.run import Completed, run

PROGRAMS = Path(__file__).parents[2] / ".peers" / "bin"
TIMEOUT = 120.0  # seconds of one run: az retries for long what it takes for a passing fault
EVERYTHING = AccountSasPermissions(
    read=True, write=True, delete=True, list=True, add=True, create=True, update=True, process=True, tag=True
)
IN_CONTAINER = ContainerSasPermissions(
    read=True, write=True, delete=True, list=True, add=True, create=True, tag=True
)


def find_peer(name: str) -> Path:
    """The program; without it the test is skipped."""
    path = PROGRAMS / name
    if not path.exists():
        pytest.skip(f"{path} is missing: make peers")
    return path


@dataclass(frozen=True)
class Peer:
    """A program with the environment that keeps it in a directory of the test's."""

    program: Path
    environment: Mapping[str, str]
    logs: Path | None = None  # a directory

    def run(self, *words: str | Path, check: bool = True) -> Completed:
        """Run it. With `check` a test fails on another exit status than 0, and shows all that was printed."""
        done = run([self.program, *words], check=False, timeout=TIMEOUT, env=self.environment)
        if check and done.status != 0:
            pytest.fail(
                f"{self.program.name} {words[0]}: status {done.status}\n{_all(done)}\n{self.refusals()}"
            )
        return done

    def json(self, *words: str | Path) -> Any:
        """What it printed, parsed; None when it printed nothing."""
        text = self.run(*words).text
        return json.loads(text) if text.strip() else None

    def refusals(self) -> str:
        """The lines of its logs that hold what the server refused."""
        found = sorted(self.logs.glob("*.log")) if self.logs else []
        lines = [line for path in found for line in path.read_text(errors="replace").splitlines()]
        return "\n".join(line for line in lines if "Response Details" in line or "ERR:" in line)


def _all(done: Completed) -> str:
    return f"{done.text}\n{done.stderr.decode(errors='replace')}"


def azcopy(directory: Path, more: Mapping[str, str] | None = None) -> Peer:
    """azcopy with its logs and plans below `directory`, and `more` in its environment."""
    environment = {
        "HOME": str(directory),
        "AZCOPY_LOG_LOCATION": str(directory / "log"),
        "AZCOPY_JOB_PLAN_LOCATION": str(directory / "plan"),
        "AZCOPY_DISABLE_SYSLOG": "true",
        "AZCOPY_CONCURRENCY_VALUE": "8",
    }
    return Peer(find_peer("azcopy"), {**environment, **(more or {})}, directory / "log")


def az(directory: Path, connection_string: str) -> Peer:
    """az that finds its account by a connection string."""
    config = directory / "azure"
    config.mkdir()
    environment = {
        "HOME": str(directory),
        "AZURE_CONFIG_DIR": str(config),
        "AZURE_CORE_COLLECT_TELEMETRY": "no",
        "AZURE_CORE_SURVEY_MESSAGE": "no",
        "AZURE_CORE_ONLY_SHOW_ERRORS": "yes",
        "AZURE_CORE_NO_COLOR": "yes",
        "AZURE_STORAGE_CONNECTION_STRING": connection_string,
    }
    return Peer(find_peer("az"), environment)


def account_sas(account: str, key: str) -> str:
    """A SAS that allows everything in an account, for an hour."""
    kinds = ResourceTypes(service=True, container=True, object=True)
    return generate_account_sas(account, key, kinds, EVERYTHING, _in_an_hour())


def container_sas(account: str, container: str, key: str) -> str:
    """A SAS that allows everything in one container, for an hour."""
    return generate_container_sas(account, container, key, permission=IN_CONTAINER, expiry=_in_an_hour())


def _in_an_hour() -> datetime:
    return datetime.now(UTC) + timedelta(hours=1)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def make_sparse(path: Path, size: int, *data: tuple[int, int]) -> Path:
    """A file of `size` bytes whose ranges [start, end) hold random bytes; the rest are holes."""
    with path.open("wb") as file:
        file.truncate(size)
        for start, end in data:
            os.pwrite(file.fileno(), os.urandom(end - start), start)
    return path
