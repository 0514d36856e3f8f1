"""The Windows in the guest's files: its version, architecture, and the registry as it would be loaded.

The hives are opened when they are first asked for, and read by path. CurrentControlSet is a link that Windows
makes at boot to ControlSet00n, n being SYSTEM\\Select\\Current.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from functools import cached_property

from vmstamp.errors import GuestError
from vmstamp.guest.files.fs import WINDOWS_HIVE, Files
from vmstamp.guest.system import OperatingSystem
from vmstamp.guest.windows.hive import Data, Hive, Value, printable

CONFIG = "/Windows/System32/config"
SYSTEM_HIVE, SOFTWARE_HIVE, SAM_HIVE = WINDOWS_HIVE, f"{CONFIG}/SOFTWARE", f"{CONFIG}/SAM"
MAX_NAME = 100  # characters of a name that the registry tells
KERNEL = "/Windows/System32/ntoskrnl.exe"
VERSION_KEY = r"Microsoft\Windows NT\CurrentVersion"
STATE_KEY = r"Microsoft\Windows\CurrentVersion\Setup\State"

# PE machine (Microsoft PE format, "Machine Types") to the kernel's name of the architecture.
MACHINES = {0x8664: "x86_64", 0xAA64: "aarch64", 0x014C: "i686", 0x01C4: "arm"}

FIXED_FILE_INFO = b"\xbd\x04\xef\xfe"
MAX_VERSIONED = 8 * 1024 * 1024  # bytes; drivers have less than one MiB

GENERALIZED = "IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE"
COMPLETE = "IMAGE_STATE_COMPLETE"
_STATES = {
    GENERALIZED: "generalized: Sysprep has run, and setup goes on at the next boot",
    COMPLETE: "not generalized: setup is complete, as on a machine in use",
    "IMAGE_STATE_UNDEPLOYABLE": "not deployable: a phase of setup or of Sysprep did not end",
    "IMAGE_STATE_SPECIALIZE_RESEAL_TO_OOBE": "specialized by Sysprep without /generalize",
    "IMAGE_STATE_SPECIALIZE_RESEAL_TO_AUDIT": "specialized by Sysprep, and would boot into audit mode",
    "IMAGE_STATE_GENERALIZE_RESEAL_TO_AUDIT": "generalized, but would boot into audit mode",
}


@dataclass(frozen=True)
class ImageState:
    """Setup's ImageState: `name` as the registry has it, `sentence` for people (no full stop), `where`."""

    name: str
    sentence: str
    where: str

    @property
    def generalized(self) -> bool:
        return self.name == GENERALIZED


@dataclass(frozen=True)
class Windows:
    """A Windows by its files. What reads the registry raises GuestError when a hive is damaged."""

    files: Files = field(repr=False)

    @cached_property
    def system(self) -> Hive:
        return self._hive(SYSTEM_HIVE, "HKLM\\SYSTEM")

    @cached_property
    def software(self) -> Hive:
        return self._hive(SOFTWARE_HIVE, "HKLM\\SOFTWARE")

    @cached_property
    def sam(self) -> Hive:
        return self._hive(SAM_HIVE, "HKLM\\SAM")

    def hive(self, name: str) -> Hive:
        """The hive SYSTEM, SOFTWARE or SAM."""
        match name:
            case "SYSTEM":
                return self.system
            case "SOFTWARE":
                return self.software
            case "SAM":
                return self.sam
        raise KeyError(name)

    def _hive(self, path: str, name: str) -> Hive:
        node = self.files.find(path)
        if node is None:
            raise GuestError(f"{path}: no such file in the guest")
        return Hive(node, path, name)

    @cached_property
    def control_set(self) -> str:
        """ControlSet001 or the like, by SYSTEM\\Select\\Current."""
        current = self.system.value("Select", "Current")
        number = current.data if current is not None else None
        if not isinstance(number, int) or not 0 < number < 1000:
            raise GuestError(f"{SYSTEM_HIVE}: Select\\Current does not name a control set")
        return f"ControlSet{number:03}"

    def key_path(self, hive: str, key: str) -> str:
        """The key's path in its hive: `CurrentControlSet` is replaced."""
        first, separator, rest = key.partition("\\")
        if hive == "SYSTEM" and first == "CurrentControlSet":
            return f"{self.control_set}{separator}{rest}"
        return key

    def value(self, hive: str, key: str, name: str) -> Value | None:
        """A value; the key of SYSTEM may begin with CurrentControlSet."""
        return self.hive(hive).value(self.key_path(hive, key), name)

    def data(self, hive: str, key: str, name: str) -> Data | None:
        value = self.value(hive, key, name)
        return value.data if value is not None else None

    def number(self, hive: str, key: str, name: str) -> int | None:
        """The value when it is a number."""
        data = self.data(hive, key, name)
        return data if isinstance(data, int) else None

    def text(self, hive: str, key: str, name: str) -> str:
        """The value when it is text, else ''."""
        data = self.data(hive, key, name)
        return data if isinstance(data, str) else ""

    def texts(self, hive: str, key: str, name: str) -> tuple[str, ...]:
        """A REG_MULTI_SZ's or a REG_SZ's texts."""
        data = self.data(hive, key, name)
        if isinstance(data, tuple):
            return data
        return (data,) if isinstance(data, str) and data else ()

    def subkeys(self, hive: str, key: str) -> list[str]:
        """The names of a key's subkeys; [] when it is absent."""
        found = self.hive(hive).find(self.key_path(hive, key))
        return [subkey.name for subkey in found.subkeys()] if found is not None else []

    def has_key(self, hive: str, key: str) -> bool:
        return self.hive(hive).find(self.key_path(hive, key)) is not None

    def place(self, hive: str, key: str, name: str = "") -> str:
        return self.hive(hive).place(self.key_path(hive, key), name)

    @cached_property
    def product_name(self) -> str:
        """ProductName, as Windows 11 too keeps it: 'Windows 10 Pro' there, so the build number decides."""
        name = printable(self.text("SOFTWARE", VERSION_KEY, "ProductName"), MAX_NAME)
        if name.startswith("Windows 10") and self.build >= 22_000 and not self.is_server:
            return name.replace("Windows 10", "Windows 11", 1)
        return name

    @cached_property
    def build(self) -> int:
        """CurrentBuild, 0 when it is not told."""
        text = self.text("SOFTWARE", VERSION_KEY, "CurrentBuild")
        return int(text) if text.isdecimal() and len(text) < 10 else 0

    @cached_property
    def is_server(self) -> bool:
        return self.text("SOFTWARE", VERSION_KEY, "InstallationType").startswith("Server")

    @cached_property
    def architecture(self) -> str | None:
        return pe_machine(self.files, KERNEL)

    @cached_property
    def image_state(self) -> ImageState | None:
        """None when setup has told no state."""
        name = printable(self.text("SOFTWARE", STATE_KEY, "ImageState"), MAX_NAME)
        where = self.place("SOFTWARE", STATE_KEY, "ImageState")
        return ImageState(name, _STATES.get(name, f"of an unknown state, {name}"), where) if name else None

    def operating_system(self) -> OperatingSystem:
        """For the report: the build number as the version."""
        try:
            name, build = self.product_name, self.build
        except GuestError:
            name, build = "", 0
        return OperatingSystem("windows", str(build or ""), name or "Windows", "Windows")


def is_windows(files: Files) -> bool:
    """Whether the tree holds a Windows: by its SYSTEM hive."""
    return files.find(SYSTEM_HIVE, follow=False) is not None


def find_windows(files: Files) -> Windows | None:
    return Windows(files) if is_windows(files) else None


def image_state(files: Files) -> ImageState | None:
    """The state in which setup left the Windows in `files`; None when there is none, or it tells none.

    Raises GuestError when the SOFTWARE hive is damaged.
    """
    windows = find_windows(files)
    return windows.image_state if windows is not None else None


def file_version(files: Files, path: str) -> tuple[int, int, int, int] | None:
    """The version in a program's resources; None when the first MAX_VERSIONED bytes have none.

    Document: VS_FIXEDFILEINFO (verrsrc.h): signature, structure's version, file version in two numbers.
    """
    data = files.read_part(path, 0, MAX_VERSIONED)
    place = data.find(FIXED_FILE_INFO)
    if data[:2] != b"MZ" or place < 0 or place + 16 > len(data):
        return None
    high, low = struct.unpack_from("<II", data, place + 8)
    return high >> 16, high & 0xFFFF, low >> 16, low & 0xFFFF


def pe_machine(files: Files, path: str) -> str | None:
    """The machine that a PE file is for; None when there is none. Spec: Microsoft PE format, COFF header."""
    head = files.read_part(path, 0, 64)
    if len(head) < 64 or head[:2] != b"MZ":
        return None
    header = files.read_part(path, struct.unpack_from("<I", head, 0x3C)[0], 6)
    if len(header) < 6 or header[:4] != b"PE\0\0":
        return None
    machine = struct.unpack_from("<H", header, 4)[0]
    return MACHINES.get(machine, f"PE machine {machine:#x}")
