"""A shell turned to a stamp of its own, for tests that speak as users do."""

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.peers.programs import PROGRAMS
from vmstamp.run import Completed, run

TIMEOUT = 180.0  # seconds of one run


@dataclass(frozen=True)
class Shell:
    """A POSIX shell with vmstamp and the peers on its PATH, in a directory that has the stamp's home too."""

    directory: Path

    def run(self, script: str, *, status: int = 0) -> Completed:
        environment = {
            "HOME": str(self.directory),
            "VMSTAMP_HOME": str(self.directory / "home"),
            "VMSTAMP_ARM_PORT": "0",
            "VMSTAMP_BLOB_PORT": "0",
            "VMSTAMP_WAY_OUT": "0",
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), str(PROGRAMS), os.environ["PATH"]]),
            "AZURE_CONFIG_DIR": str(self.directory / "mine"),
            "AZCOPY_LOG_LOCATION": str(self.directory / "log"),
            "AZCOPY_JOB_PLAN_LOCATION": str(self.directory / "plan"),
        }
        done = run(["sh", "-ec", script], check=False, timeout=TIMEOUT, env=environment, cwd=self.directory)
        assert done.status == status, f"{done.text}\n{done.stderr.decode(errors='replace')}"
        return done

    def az(self, words: str) -> Any:
        """What an az command answers, parsed; None when it is silent."""
        text = self.run(f"vmstamp az -- {words} -o json").text
        return json.loads(text) if text.strip() else None

    def refused(self, words: str, *, status: int = 1) -> str:
        """What az says of a command that fails."""
        done = self.run(f"vmstamp az -- {words}", status=status)
        return done.stderr.decode(errors="replace")
