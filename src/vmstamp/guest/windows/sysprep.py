"""Sysprep's and Setup's logs: what kept Sysprep from generalizing.

The logs are UTF-8 or UTF-16, a line an event: `2024-05-01 10:00:00, Error      SYSPRP Package ... was
installed for a user, but not provisioned for all users. ...`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from vmstamp.guest.files.fs import Files

SYSPREP = "/Windows/System32/Sysprep"
LOGS = (f"{SYSPREP}/Panther/setuperr.log", f"{SYSPREP}/Panther/setupact.log")
SUCCEEDED_TAG = f"{SYSPREP}/Sysprep_succeeded.tag"
MAX_LOG = 16 * 1024 * 1024
MAX_LINE = 2000  # characters of a line that are looked at

PANTHER = "/Windows/Panther"
# Answer files in the order in which setup looks for them, all before the provisioning DVD's; what is to come
# first goes to the first. Spec: Windows hardware documentation, "Windows Setup Automation Overview"
ANSWER_FILES = (
    f"{PANTHER}/Unattend/Unattend.xml",
    f"{PANTHER}/Unattend/Autounattend.xml",
    f"{PANTHER}/Unattend.xml",
    f"{PANTHER}/Autounattend.xml",
    f"{SYSPREP}/Unattend.xml",
)

# The first line of each run in setupact.log, and what is logged when the licence cannot be rearmed once more:
# MAX_REARM_REACHED (0xC004D307), as the number of the function's failure and as the HRESULT of the run.
_RUN = re.compile(r"SYSPRP === +Beginning of a new sysprep run +===")
_NO_REARM = re.compile(r"SYSPRP.*(?:hr = 0xc004d307|SLReArmWindows.*-1073425657)", re.IGNORECASE)
_PACKAGE = re.compile(r"SYSPRP Package (\S+) was installed for a user, but not provisioned")
_ERROR = re.compile(r",\s*(?:Fatal )?[Ee]rror\s.*?SYSPRP\s+(.*)")


@dataclass(frozen=True)
class Complaint:
    """A line of a log, numbered from 1: the package that it names ('' : none), or what it says."""

    path: str
    line: int
    package: str
    text: str

    @property
    def where(self) -> str:
        return f"{self.path}:{self.line}"


def read_log(files: Files, path: str) -> str:
    """A log as text; '' when it is absent. GuestError when it is longer than MAX_LOG."""
    if not files.is_file(path):
        return ""
    data = files.read_bytes(path, MAX_LOG)
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", "replace")
    return data.decode("utf-8-sig", "replace")


def complaints(files: Files) -> Iterator[Complaint]:
    """What Sysprep complained of, packages first. GuestError when a log is longer than MAX_LOG."""
    errors = []
    for path in LOGS:
        for number, line in enumerate(read_log(files, path).splitlines(), 1):
            line = line[:MAX_LINE]
            package = _PACKAGE.search(line)
            if package:
                yield Complaint(path, number, package[1][:200], "")
                continue
            error = _ERROR.search(line)
            if error:
                errors.append(Complaint(path, number, "", error[1].strip()[:200]))
    yield from errors[-1:]


def count_runs(files: Files) -> int:
    """How many runs of Sysprep its log tells of. GuestError when the log is longer than MAX_LOG."""
    return sum(bool(_RUN.search(line[:MAX_LINE])) for line in read_log(files, LOGS[1]).splitlines())


def find_no_rearm(files: Files) -> str:
    """The line (path:number) where Sysprep was told that no rearm is left; '' when none says so."""
    for path in LOGS:
        for number, line in enumerate(read_log(files, path).splitlines(), 1):
            if _NO_REARM.search(line[:MAX_LINE]):
                return f"{path}:{number}"
    return ""
