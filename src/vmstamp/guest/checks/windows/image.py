"""Checks of what an image of Windows carries into every VM: logs, devices, packages of users, its size."""

from __future__ import annotations

import re
from collections.abc import Iterator

from vmstamp.errors import GuestError
from vmstamp.guest.checks.sources import CERTIFICATION
from vmstamp.guest.checks.windows import sources
from vmstamp.guest.checks.windows.settings import show, windows_of
from vmstamp.guest.checks.windows.setup import is_generalized
from vmstamp.guest.edits import Edit, Remove, Write
from vmstamp.guest.facts import Facts, has_windows
from vmstamp.guest.finding import Check, Severity, Verdict, passed, warned
from vmstamp.guest.windows.answers import MAX_ANSWERS, encoding_of, read_answers
from vmstamp.guest.windows.evtx import count_records
from vmstamp.guest.windows.sysprep import ANSWER_FILES
from vmstamp.guest.windows.system import Windows

GIB = 1 << 30
IMAGE_GIB = (30, 250)  # Document: CERTIFICATION
EVENT_LOGS = "/Windows/System32/winevt/Logs"
MAX_LOGS = 2000
FEW_RECORDS = 100  # what the shutdown after Sysprep has cleared the logs writes into one
APPX_STORE = r"Microsoft\Windows\CurrentVersion\Appx\AppxAllUserStore"
PROVISIONED = (rf"{APPX_STORE}\Applications", rf"{APPX_STORE}\InboxApplications")
USER = "S-1-5-21-"  # what the SIDs of accounts begin with. Spec: [MS-DTYP] 2.4.2.4
MAX_SHOWN = 3
PCI_DEVICES = r"CurrentControlSet\Enum\PCI"
# The PCI vendors of other platforms' devices.
FOREIGN_VENDORS = {
    "VEN_15AD": "VMware",
    "VEN_1AF4": "virtio",
    "VEN_80EE": "VirtualBox",
    "VEN_5853": "Xen",
    "VEN_1D0F": "AWS",
    "VEN_1AE0": "Google Cloud",
}
_PERSIST = re.compile(r"(<(?:\w+:)?PersistAllDeviceInstalls>\s*+)true(?=\s*+</)", re.IGNORECASE)


def _full_logs(windows: Windows) -> Iterator[tuple[str, int]]:
    """The event logs with more records than a Windows writes that has just cleared them."""
    for name in windows.files.list(EVENT_LOGS)[:MAX_LOGS]:
        path = f"{EVENT_LOGS}/{name}"
        if name.lower().endswith(".evtx") and windows.files.is_file(path):
            count = count_records(windows.files, path, FEW_RECORDS)
            if count > FEW_RECORDS:
                yield path, count


def _event_logs(facts: Facts) -> Verdict:
    full = list(_full_logs(windows_of(facts)))
    if not full:
        return passed("the event logs are cleared", EVENT_LOGS)
    path, _ = full[0]
    return warned(f"{len(full)} event logs hold what happened on another machine", path)


def _fix_event_logs(facts: Facts) -> Iterator[Edit]:
    """Windows makes a log that is missing anew when it starts."""
    return (Remove(path) for path, _ in _full_logs(windows_of(facts)))


def _family(full_name: str) -> str:
    """Name and publisher: `Name_1.0.0.0_x64__publisher` without version and architecture."""
    name, *_, publisher = full_name.lower().split("_")
    return f"{name}_{publisher}"


def _provisioned(windows: Windows) -> set[str]:
    """The families of what every user gets, and of what that depends on."""
    found = set()
    for key in PROVISIONED:
        for name in windows.subkeys("SOFTWARE", key):
            found.add(_family(name))
            found.update(_family(below) for below in windows.subkeys("SOFTWARE", rf"{key}\{name}"))
    return found


def _packages(facts: Facts) -> Verdict:
    windows = windows_of(facts)
    if is_generalized(facts):
        return passed("Sysprep has run to its end")
    provisioned = _provisioned(windows)
    lonely = {
        name: user
        for user in windows.subkeys("SOFTWARE", APPX_STORE)
        if user.upper().startswith(USER)
        for name in windows.subkeys("SOFTWARE", rf"{APPX_STORE}\{user}")
        if "_" in name and _family(name) not in provisioned
    }
    if not lonely:
        return passed("every Store package of a user is there for all users")
    names = sorted(lonely)
    more = f" and {len(names) - MAX_SHOWN} more" if len(names) > MAX_SHOWN else ""
    text = ", ".join(show(name) for name in names[:MAX_SHOWN])
    place = windows.place("SOFTWARE", rf"{APPX_STORE}\{lonely[names[0]]}\{names[0]}")
    return warned(f"installed for a user, and not for all: {text}{more}", place)


def is_client(facts: Facts) -> bool:
    try:
        return facts.windows is not None and not facts.windows.is_server
    except GuestError:
        return False


def _keepers(facts: Facts) -> Iterator[tuple[str, str]]:
    """The answer files that let Sysprep keep the devices, and their texts."""
    files = windows_of(facts).files
    for path in ANSWER_FILES:
        node = files.find(path)
        text = read_answers(files, path) if node is not None and node.size <= MAX_ANSWERS else ""
        if _PERSIST.search(text):
            yield path, text


def _persist_drivers(facts: Facts) -> Verdict:
    windows = windows_of(facts)
    keeper, text = next(_keepers(facts), ("", ""))
    if not keeper:
        return passed("Sysprep removes the devices, and the first boot finds its own")
    match = _PERSIST.search(text)
    where = f"{keeper}:{text.count(chr(10), 0, match.start()) + 1}" if match else keeper
    devices = [name.upper() for name in windows.subkeys("SYSTEM", PCI_DEVICES)]
    for vendor, platform in FOREIGN_VENDORS.items():
        if any(name.startswith(vendor) for name in devices):
            return warned(f"PersistAllDeviceInstalls is true, and devices of {platform} are installed", where)
    return passed("the devices are kept: a faster first boot, on the hardware that they were found on", where)


def _fix_persist_drivers(facts: Facts) -> Iterator[Edit]:
    """Before Sysprep has run; after it, the devices were kept."""
    if is_generalized(facts):
        return
    for path, text in _keepers(facts):
        encoding = encoding_of(windows_of(facts).files.read_part(path, 0, 2))
        errors = "surrogateescape" if encoding == "utf-8" else "strict"
        yield Write(path, _PERSIST.sub(r"\g<1>false", text).encode(encoding, errors))


def _size(facts: Facts) -> Verdict:
    (low, high), size = IMAGE_GIB, facts.disk.data_size
    said = f"it has {size / GIB:.1f} GiB"
    if low * GIB <= size <= high * GIB:
        return passed(said)
    return warned(f"{said}; the marketplace takes {low} to {high} GiB of a Windows")


CHECKS = (
    Check(
        "win-eventlogs",
        "the event logs are cleared",
        Severity.BEST,
        "every VM begins with the events of another machine: its names, its users, its errors",
        sources.SYSPREP,
        has_windows,
        _event_logs,
        "run Sysprep, which clears them, or `wevtutil clear-log` for each",
        identity=True,
        trace=True,
        fix=_fix_event_logs,
    ),
    Check(
        "win-appx-peruser",
        "no Store package belongs to one user only",
        Severity.PROVISION,
        "Sysprep stops: the package was installed for a user, but not provisioned for all users",
        sources.PACKAGES,
        is_client,
        _packages,
        "remove it for every user: `Remove-AppxPackage -AllUsers`, before Sysprep",
        identity=True,
        trace=True,
    ),
    Check(
        "win-persist-drivers",
        "Sysprep keeps no devices of another platform",
        Severity.BEST,
        "kept devices make the first boot faster on the same hardware only; Microsoft warns against keeping "
        "them where it differs, as Azure's does from another hypervisor's",
        sources.PERSIST,
        has_windows,
        _persist_drivers,
        "set PersistAllDeviceInstalls to false in the answer file, before Sysprep",
        fix=_fix_persist_drivers,
    ),
    Check(
        "win-size",
        "the disk has a size that the marketplace takes",
        Severity.CERTIFICATION,
        "an OS disk of another size is not certified",
        CERTIFICATION,
        has_windows,
        _size,
        "vmstamp disk resize FILE SIZE, after the volume was grown or shrunk inside Windows",
    ),
)
