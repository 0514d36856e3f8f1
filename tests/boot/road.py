"""What the boot tests share: a home with the recipes kept between runs, and the command as a user runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vmstamp.machine.leftovers import find_leftovers
from vmstamp.paths import Home

BIN = Path(sys.executable).parent
KEPT = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "vmstamp" / "test-recipes"
FAST = 60.0  # seconds for a command without a boot
BOOT = 900.0  # seconds for one with


@dataclass
class Stamp:
    """A home of its own for a test, on free ports, whose VMs reach nothing outside."""

    home: Home
    directory: Path
    more: dict[str, str] = field(default_factory=dict)

    @property
    def env(self) -> dict[str, str]:
        settings = {"VMSTAMP_HOME": str(self.home.root), "VMSTAMP_ARM_PORT": "0", "VMSTAMP_BLOB_PORT": "0"}
        path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
        quiet = {"VMSTAMP_WAY_OUT": "0", "COLUMNS": "120"}
        return {**os.environ, **settings, **quiet, "PATH": path, **self.more}

    def shell(self, command: str, *, timeout: float = BOOT) -> subprocess.CompletedProcess[str]:
        """Run a line as a user would, in the test's own directory."""
        print(f"$ {command}", flush=True)
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.directory,
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        print(done.stdout + done.stderr, flush=True)
        return done

    def vmstamp(self, command: str, *, timeout: float = BOOT, status: int = 0) -> str:
        """`vmstamp COMMAND`; its output, when its exit status is the one expected."""
        done = self.shell(f"vmstamp {command}", timeout=timeout)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout

    def json(self, command: str, *, timeout: float = BOOT, status: int = 0) -> Any:
        """The document that `vmstamp COMMAND --json` prints."""
        return json.loads(self.vmstamp(f"{command} --json", timeout=timeout, status=status))

    def vm_state(self, name: str) -> tuple[str, str]:
        """A VM's provisioning state and power state, as Azure's SDKs read them."""
        properties = self.json(f"vm show {name}")["properties"]
        statuses = {status["code"].partition("/")[::2] for status in properties["instanceView"]["statuses"]}
        return properties["provisioningState"], dict(statuses)["PowerState"]

    def names(self, noun: str) -> set[str]:
        """The names of `vm list` or `image list`."""
        return {one["name"] for one in self.json(f"{noun} list")}

    def processes(self) -> list[int]:
        """What runs of this stamp beside its server."""
        return find_leftovers(self.home.machines, self.home.networks)

    def server_pid(self) -> int:
        return int(json.loads(self.home.endpoint.read_text())["pid"])

    def kill_server(self) -> None:
        """kill -9, and wait until it is gone."""
        pid = self.server_pid()
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
            time.sleep(0.01)


@contextmanager
def stamp_in(directory: Path, **more: str) -> Iterator[Stamp]:
    """A stamp under `directory`, down at the end whatever happened. Built disks are kept between runs.

    `more` is added to the environment of every command.
    """
    KEPT.mkdir(parents=True, exist_ok=True)
    home = Home(directory / "home")
    home.make()
    home.recipes.rmdir()
    home.recipes.symlink_to(KEPT, target_is_directory=True)
    stamp = Stamp(home, directory, more)
    try:
        yield stamp
    finally:
        stamp.shell("vmstamp down")
        assert stamp.processes() == []
