"""A script run in a VM by its guest agent, and what it wrote. REST: Virtual Machines - Run Command."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vmstamp.cli.arm_client import ArmClient, Document
from vmstamp.cli.vms import vm_id
from vmstamp.errors import VmstampError

COMMAND = "RunShellScript"
# How the Linux handler tells what a script wrote: in one message, after a sentence of its own.
PARTS = re.compile(r"\[stdout\]\n(?P<stdout>.*)\n\[stderr\]\n(?P<stderr>.*)", re.DOTALL)


@dataclass(frozen=True)
class Told:
    """What a script wrote, as far as it is told, and the statuses that say so."""

    stdout: str
    stderr: str
    statuses: tuple[Document, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {"stdout": self.stdout, "stderr": self.stderr, "value": list(self.statuses)}


def read_script(given: str) -> str:
    """The script of `--script`: `@FILE` names a file of UTF-8, all else is the text itself."""
    if not given.startswith("@"):
        return given
    try:
        return Path(given[1:]).expanduser().read_text(encoding="utf-8")
    except OSError as error:
        raise VmstampError(f"{given[1:]}: the script cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise VmstampError(f"{given[1:]}: the script is not UTF-8: {error}") from error


def run_command(arm: ArmClient, group: str, name: str, script: str) -> Told:
    """Run a script and wait for its end. Raises AzureError: the VM does not run, its agent is silent, ..."""
    body = {"commandId": COMMAND, "script": script.splitlines()}
    return parse_told(arm.act(vm_id(arm, group, name), "runCommand", body))


def parse_told(answer: Document) -> Told:
    """The result of a run command: one status with both outputs, or one for each, as older handlers have."""
    statuses = tuple(answer.get("value") or ())
    stdout, stderr = [], []
    for status in statuses:
        code, message = str(status.get("code", "")), str(status.get("message") or "")
        if found := PARTS.search(message):
            stdout.append(found["stdout"])
            stderr.append(found["stderr"])
        elif "/StdErr/" in code:
            stderr.append(message)
        else:
            stdout.append(message)
    return Told("".join(stdout), "".join(stderr), statuses)
