"""How to reach the running stamp: `stamp.json` in its home, written by the server when it is ready."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from vmstamp import settings
from vmstamp.errors import StampError
from vmstamp.paths import Home

SERVER_MODULE = "vmstamp.server"


@dataclass(frozen=True)
class Endpoint:
    """One running stamp. URLs have no trailing slash; `ca` is the PEM file of the stamp's own CA."""

    pid: int
    started: datetime
    arm: str
    blob: str
    blob_https: str
    ca: Path
    subscription: str
    tenant: str
    client_id: str
    client_secret: str
    location: str
    accelerator: str
    accelerator_reason: str
    version: str

    def __repr__(self) -> str:
        return f"<stamp at {self.arm}, pid {self.pid}>"

    @property
    def cloud(self) -> str:
        """The name of this cloud, as --cloud has it."""
        return settings.CLOUD.default

    @property
    def accelerator_text(self) -> str:
        """How VMs run here, said aloud."""
        if self.accelerator == "kvm":
            return f"VMs run with KVM ({self.accelerator_reason})"
        return f"VMs run in SOFTWARE EMULATION, about ten times slower: {self.accelerator_reason}"

    @property
    def interval(self) -> float:
        """Seconds between two looks at an operation, where the service sends no Retry-After."""
        return 1.0


def parse_endpoint(document: dict[str, Any]) -> Endpoint:
    """Read stamp.json's document. Raises KeyError, TypeError or ValueError when it lacks something."""
    accelerator = document["accelerator"]
    return Endpoint(
        pid=int(document["pid"]),
        started=_parse_time(document["started"]),
        arm=str(document["arm"]).rstrip("/"),
        blob=str(document["blob"]).rstrip("/"),
        blob_https=str(document["blob_https"]).rstrip("/"),
        ca=Path(document["ca"]),
        subscription=str(document["subscription"]),
        tenant=str(document["tenant"]),
        client_id=str(document["client_id"]),
        client_secret=str(document["client_secret"]),
        location=str(document["location"]),
        accelerator=str(accelerator["name"]),
        accelerator_reason=str(accelerator["reason"]),
        version=str(document["version"]),
    )


def _parse_time(value: str | float) -> datetime:
    from datetime import UTC

    if isinstance(value, int | float):
        return datetime.fromtimestamp(value, UTC)
    return datetime.fromisoformat(value.replace("Z", "+00:00"))


def is_ours(pid: int, home: Home) -> bool:
    """Whether a process is a stamp's server of this home, by its command line and environment."""
    process = Path("/proc") / str(pid)
    try:
        words = process.joinpath("cmdline").read_bytes().split(b"\0")
        environ = process.joinpath("environ").read_bytes().split(b"\0")
    except OSError:
        return False
    if SERVER_MODULE.encode() not in words:
        return False
    homes = [entry.partition(b"=")[2] for entry in environ if entry.startswith(b"VMSTAMP_HOME=")]
    return not homes or Path(os.fsdecode(homes[0])).expanduser().absolute() == home.root


def find_endpoint(home: Home) -> Endpoint | None:
    """The running stamp of a home; None when none runs (a stamp.json of a dead one does not count).

    Raises StampError when stamp.json of a living server cannot be understood.
    """
    try:
        document = json.loads(home.endpoint.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StampError(f"{home.endpoint}: {error.strerror}") from error
    except ValueError as error:
        raise StampError(f"{home.endpoint}: not JSON: {error}", hint="vmstamp up writes it anew") from error
    if not is_ours(int(document.get("pid", 0)), home):
        return None
    try:
        return parse_endpoint(document)
    except (KeyError, TypeError, ValueError) as error:
        raise StampError(
            f"{home.endpoint}: lacks or garbles {error}",
            hint="it was written by another version of vmstamp; vmstamp down, then vmstamp up",
        ) from error


def find_server(home: Home) -> int | None:
    """The pid of the home's server, also of one that is still starting or stopping; None when none runs."""
    try:
        pid = int(home.lock.read_text())
    except (OSError, ValueError):
        return None
    return pid if is_ours(pid, home) else None


def get_endpoint(home: Home) -> Endpoint:
    """The running stamp; StampError when none runs."""
    found = find_endpoint(home)
    if found is None:
        raise StampError(f"the stamp is not running (home {home.root})", hint="start it: vmstamp up")
    return found
