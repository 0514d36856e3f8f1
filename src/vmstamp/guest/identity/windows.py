"""Steps of a Windows that Sysprep generalized: what Sysprep does not take away, and needs no Windows to go.

Identity itself (the machine's SID, its name, its activation) is Sysprep's, and only Sysprep's. Of Panther the
logs go and what setup goes on with stays: its queues of actions, and Sysprep's own files.

Sources: Sysprep's documents, azure-compute-docs generalize.yml, Windows Setup Automation Overview.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from vmstamp.guest.identity.step import Default, Found, Guest, Severity, Step, contents, joined, removing
from vmstamp.guest.windows.sysprep import ANSWER_FILES, PANTHER, SYSPREP

LOG_PLACES = (PANTHER, f"{PANTHER}/UnattendGC", f"{SYSPREP}/Panther", f"{SYSPREP}/Panther/IE")
LOG_ENDS = (".log", ".etl", ".dmp")
LOG_NAMES = ("diagerr.xml", "diagwrn.xml", "setupinfo", "setupinfo.bak")


def _spelled(guest: Guest, path: str) -> str:
    """The path with its last name as the directory spells it (NTFS knows no case); '' when it is absent."""
    directory, _, name = path.rpartition("/")
    same = (one for one in guest.files.list(directory) if one.casefold() == name.casefold())
    return next((f"{directory}/{one}" for one in same), "")


def _answer_files(guest: Guest) -> Iterator[Found]:
    for path in dict.fromkeys(_spelled(guest, one) for one in ANSWER_FILES):
        if path and guest.files.is_file(path):
            yield Found(path, "an answer file that setup takes before Azure's", removing(path))


def _panther(guest: Guest) -> Iterator[Found]:
    for directory in LOG_PLACES:
        for name in guest.files.list(directory):
            path, lower = f"{directory}/{name}", name.lower()
            if (lower.endswith(LOG_ENDS) or lower in LOG_NAMES) and guest.files.is_file(path):
                yield Found(path, "a log of setup or Sysprep", removing(path))


def _ending(directory: str, end: str, detail: str) -> Callable[[Guest], Iterator[Found]]:
    def find(guest: Guest) -> Iterator[Found]:
        for name in guest.files.list(directory):
            if name.lower().endswith(end):
                yield Found(f"{directory}/{name}", detail, removing(f"{directory}/{name}"))

    return find


WER = "/ProgramData/Microsoft/Windows/WER"

STEPS = (
    Step(
        "win-answer-files",
        "remove answer files that setup finds before Azure's",
        "setup takes them in place of the one on the provisioning DVD, and they may hold passwords",
        "Windows Setup, implicit answer file search order; azure-compute-docs generalize.yml",
        Severity.TRACE,
        _answer_files,
    ),
    Step(
        "win-panther-logs",
        "remove the logs of setup and Sysprep",
        "they name the old machine and its users",
        "azure-compute-docs generalize.yml",
        Severity.TRACE,
        _panther,
    ),
    Step(
        "win-temp",
        "empty C:\\Windows\\Temp",
        "files of the old machine, perhaps with secrets",
        "azure-compute-docs generalize.yml",
        Severity.TRACE,
        contents(("/Windows/Temp", "temporary files")),
    ),
    Step(
        "win-error-reports",
        "remove error reports and crash dumps",
        "dumps hold the memory of programs, with secrets",
        "Windows Error Reporting, WER settings",
        Severity.TRACE,
        joined(
            contents(
                *((f"{WER}/{one}", "error reports") for one in ("ReportArchive", "ReportQueue", "Temp")),
                ("/Windows/Minidump", "crash dumps"),
                ("/Windows/LiveKernelReports", "crash dumps"),
            ),
            _ending("/Windows", "memory.dmp", "a crash dump"),
        ),
    ),
    Step(
        "win-update-cache",
        "empty the cache of Windows Update",
        "it makes the image larger; an update that is half installed may still need it",
        "Windows Update, SoftwareDistribution",
        Severity.TRACE,
        contents(("/Windows/SoftwareDistribution/Download", "updates that were downloaded")),
        Default.OFF,
    ),
    Step(
        "win-event-logs",
        "remove event logs",
        "Sysprep empties them; what was logged since then tells of Sysprep",
        "Sysprep (Generalize)",
        Severity.TRACE,
        _ending("/Windows/System32/winevt/Logs", ".evtx", "an event log"),
        Default.OFF,
    ),
)
