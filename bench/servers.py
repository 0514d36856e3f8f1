"""The two Blob services that are measured, each in a process of its own: ours and Azurite."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from azure.storage.blob import AccountSasPermissions, ResourceTypes, generate_account_sas

from bench.command import VMSTAMP
from vmstamp.blob.store import BlobRef, BlobStore
from vmstamp.db import Database
from vmstamp.paths import Home
from vmstamp.run import run, spawn

PEERS = Path(__file__).parents[1] / ".peers" / "bin"
ACCOUNT, CONTAINER = "bench", "disks"
TICK = os.sysconf("SC_CLK_TCK")
START = 60.0  # seconds until a server must listen
_KEY = "YmVuY2g=" * 8  # of Azurite's account; nothing is protected by it
_EVERYTHING = AccountSasPermissions(read=True, write=True, delete=True, list=True, add=True, create=True)


@dataclass(frozen=True)
class Server:
    """A running service: the URL of its account, the account's key, the process, its environment if ours."""

    endpoint: str
    key: str
    pid: int
    env: dict[str, str]

    @property
    def sas(self) -> str:
        """A query string that allows everything for a day."""
        kinds = ResourceTypes(service=True, container=True, object=True)
        expiry = datetime.now(UTC) + timedelta(days=1)
        return generate_account_sas(ACCOUNT, self.key, kinds, _EVERYTHING, expiry)

    def url(self, name: str) -> str:
        """A blob's URL with a SAS."""
        return f"{self.endpoint}/{CONTAINER}/{name}?{self.sas}"

    def cpu(self) -> float:
        """Seconds of user and system time of the process and its descendants so far."""
        return sum(map(_cpu, _tree(self.pid)))

    def peak_mib(self) -> float:
        return peak_mib(self.pid)


@contextmanager
def ours(directory: Path, blobs: dict[str, Path]) -> Iterator[Server]:
    """`vmstamp up` with a home in `directory`. `blobs`: page blobs in it, by sparse files, which go."""
    home = Home(directory)
    home.make()
    database = Database(home.database)
    store = BlobStore(database, home.content)
    key = store.create_account(ACCOUNT).key1
    store.create_container(ACCOUNT, CONTAINER)
    for name, path in blobs.items():
        ref = store.create_page_blob(BlobRef(ACCOUNT, CONTAINER, name), path.stat().st_size).ref
        store.replace_content(ref, path)
    database.close()
    env = {"VMSTAMP_HOME": str(directory), "VMSTAMP_ARM_PORT": "0", "VMSTAMP_BLOB_PORT": "0"}
    run([VMSTAMP, "up"], env=env)
    try:
        document = json.loads(home.endpoint.read_text())
        yield Server(f"{document['blob']}/{ACCOUNT}", key, document["pid"], env)
    finally:
        run([VMSTAMP, "down"], env=env)


@contextmanager
def azurite(directory: Path) -> Iterator[Server]:
    """Azurite's Blob service that keeps its data in `directory`."""
    directory.mkdir()
    log = directory / "azurite.log"
    options = ["--skipApiVersionCheck", "--silent", "--loose", "--disableTelemetry"]
    process = spawn(
        [PEERS / "azurite-blob", "--location", directory, "--blobPort", "0", *options],
        output=log,
        env={"AZURITE_ACCOUNTS": f"{ACCOUNT}:{_KEY}"},
    )
    try:
        yield Server(f"{_wait_for_address(log)}/{ACCOUNT}", _KEY, process.pid, {})
    finally:
        process.terminate()
        process.wait()


def _wait_for_address(log: Path) -> str:
    deadline = time.monotonic() + START
    while time.monotonic() < deadline:
        found = re.search(r"successfully listen\w* \w+ (http://[\d.:]+)", log.read_text())
        if found:
            return found[1]
        time.sleep(0.05)
    raise TimeoutError(f"Azurite did not listen within {START:.0f} s: {log.read_text()}")


def peak_mib(pid: int) -> float:
    """The highest resident size of a process so far; 0 when it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) / 1024 if found else 0.0


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third on (the state); empty when the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _tree(pid: int) -> list[int]:
    """A process and its living descendants."""
    numbers = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]
    parents = {number: int(fields[1]) for number in numbers if (fields := _stat(number))}
    found = [pid]
    for parent in found:
        found.extend(number for number, other in parents.items() if other == parent)
    return found


def _cpu(pid: int) -> float:
    """utime, stime, and those of children that it waited for."""
    return sum(map(int, _stat(pid)[11:15])) / TICK
