"""The check of the drivers that the boot loader loads: whether each is whole, and may be signed.

Asked is what can be told from outside: the checksum that the loader compares, that a signature stands in the
file where its header says, and that there are catalogs for drivers without one. No signature is verified:
that a certificate is trusted, and that the file's hash is the signed one, is not known here. Whether Windows
would load unsigned drivers (testsigning, nointegritychecks) is asked of the boot store by win-bcd-options.
"""

from __future__ import annotations

from collections.abc import Iterator

from vmstamp.guest.checks.windows import sources
from vmstamp.guest.checks.windows.drivers import SERVICES, driver_path
from vmstamp.guest.checks.windows.settings import show, windows_of
from vmstamp.guest.facts import Facts, has_windows
from vmstamp.guest.finding import Check, Severity, Verdict, failed, passed, warned
from vmstamp.guest.windows.pe import Seal, read_seal
from vmstamp.guest.windows.system import Windows

# Where Windows keeps the catalogs of its own components and of installed drivers.
CATALOGS = "/Windows/System32/CatRoot/{F750E6C3-38EE-11D1-85E5-00C04FC295EE}"
BOOT_START = 0
DRIVER_TYPES = (1, 2)  # a kernel driver, a file system driver
MAX_SERVICES = 5000
MAX_DRIVERS = 200
MAX_DRIVER = 16 * 1024 * 1024  # bytes


def boot_drivers(windows: Windows) -> Iterator[str]:
    """The services whose drivers the boot loader loads. GuestError when the SYSTEM hive is damaged."""
    key = windows.system.find(windows.key_path("SYSTEM", SERVICES))
    for service in key.subkeys()[:MAX_SERVICES] if key is not None else ():
        start, kind = service.value("Start"), service.value("Type")
        is_driver = kind is None or kind.data in DRIVER_TYPES
        if start is not None and start.data == BOOT_START and is_driver:
            yield service.name


def seals(windows: Windows) -> Iterator[tuple[str, str, Seal]]:
    """Service, path and seal of the first MAX_DRIVERS boot drivers, as far as they are programs."""
    for number, name in enumerate(boot_drivers(windows)):
        path = driver_path(windows, name)
        node = windows.files.find(path) if number < MAX_DRIVERS else None
        if node is None or not 0 < node.size <= MAX_DRIVER or not windows.files.is_file(path):
            continue
        seal = read_seal(windows.files.read_bytes(path, MAX_DRIVER))
        if seal is not None:
            yield name, path, seal


def _signatures(facts: Facts) -> Verdict:
    windows = windows_of(facts)
    signed, bare = 0, []
    for name, path, seal in seals(windows):
        if seal.is_cut:
            return failed(f"the driver of {show(name)} is cut off: its signature lies behind its end", path)
        if seal.told and seal.told != seal.computed:
            found = f"its checksum is {seal.told:#x}, computed {seal.computed:#x}"
            return failed(f"the driver of {show(name)} is damaged: {found}", path)
        signed += seal.signature is not None
        if seal.signature is None:
            bare.append((name, path))
    if bare and not any(name.lower().endswith(".cat") for name in windows.files.list(CATALOGS)):
        name, path = bare[0]
        return warned(f"the driver of {show(name)} has no signature, and there are no catalogs", path)
    text = f"{signed} boot drivers have signatures of their own"
    return passed(f"{text}, {len(bare)} may have them in catalogs; none was verified", CATALOGS)


CHECKS = (
    Check(
        "win-driver-signatures",
        "the drivers that Windows boots with are whole, and may be signed",
        Severity.BOOT,
        "the boot loader refuses a driver whose checksum is wrong (0xC0000221) or that nobody signed "
        "(0xC0000428). Only checksums, and whether there are signatures, are looked at: none is verified",
        sources.SIGNING,
        has_windows,
        _signatures,
        "run `sfc /scannow /offbootdir=C:\\ /offwindir=C:\\Windows`, or install the driver's signed version",
    ),
)
