"""What the boot tests share: a home with the recipes kept between runs, and the command as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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

    @property
    def env(self) -> dict[str, str]:
        settings = {"VMSTAMP_HOME": str(self.home.root), "VMSTAMP_ARM_PORT": "0", "VMSTAMP_BLOB_PORT": "0"}
        path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
        return {**os.environ, **settings, "VMSTAMP_WAY_OUT": "0", "PATH": path, "COLUMNS": "120"}

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

    def processes(self) -> list[int]:
        """What runs of this stamp beside its server."""
        return find_leftovers(self.home.machines, self.home.networks)

    def server_pid(self) -> int:
        return int(json.loads(self.home.endpoint.read_text())["pid"])


@contextmanager
def stamp_in(directory: Path) -> Iterator[Stamp]:
    """A stamp under `directory`, down at the end whatever happened. Built disks are kept between runs."""
    KEPT.mkdir(parents=True, exist_ok=True)
    home = Home(directory / "home")
    home.make()
    home.recipes.rmdir()
    home.recipes.symlink_to(KEPT, target_is_directory=True)
    stamp = Stamp(home, directory)
    try:
        yield stamp
    finally:
        stamp.shell("vmstamp down")
        assert stamp.processes() == []
