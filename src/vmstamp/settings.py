"""Every setting: one table of name, environment variable, flag and default; README.md says what they mean.

A value comes from the flag, else from the environment, else from the default. The command line and the
server read their settings here and nowhere else, so what `vmstamp up` passes on is what the server sees.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vmstamp.errors import StampError
from vmstamp.paths import Home


@dataclass(frozen=True)
class Setting:
    """One setting. `flag` is the option of the command line that overrides it (empty: none)."""

    name: str
    variable: str
    flag: str
    default: str

    def text(self, environ: Mapping[str, str] | None = None) -> str:
        """The value as text: the environment's, else the default."""
        return (os.environ if environ is None else environ).get(self.variable) or self.default

    def number(self, low: int, high: int, environ: Mapping[str, str] | None = None) -> int:
        """The value as a whole number in [low, high]; StampError names the variable otherwise."""
        value = self.text(environ)
        try:
            number = int(value)
        except ValueError:
            number = low - 1
        if not low <= number <= high:
            raise StampError(
                f"{self.variable} is {value!r}, expected a whole number from {low} to {high}",
                hint=f"unset it for the default {self.default or '(none)'}",
            )
        return number


HOME = Setting("home", "VMSTAMP_HOME", "--home", "~/.vmstamp")
ARM_PORT = Setting("arm_port", "VMSTAMP_ARM_PORT", "--arm-port", "8443")
BLOB_PORT = Setting("blob_port", "VMSTAMP_BLOB_PORT", "--blob-port", "10000")
GROUP = Setting("group", "VMSTAMP_GROUP", "--resource-group", "vmstamp")
CLOUD = Setting("cloud", "VMSTAMP_CLOUD", "--cloud", "stamp")
CLOUD_ENDPOINT = Setting("cloud_endpoint", "VMSTAMP_CLOUD_ENDPOINT", "", "")
SUBSCRIPTION = Setting("subscription", "VMSTAMP_SUBSCRIPTION", "--subscription", "")
LOCATION = Setting("location", "VMSTAMP_LOCATION", "--location", "")
ACCOUNT = Setting("account", "VMSTAMP_STORAGE_ACCOUNT", "", "")
READY_TIMEOUT = Setting("ready_timeout", "VMSTAMP_READY_TIMEOUT", "", "600")
EXTENSION_TIMEOUT = Setting("extension_timeout", "VMSTAMP_EXTENSION_TIMEOUT", "", "5400")
AGENT_TIMEOUT = Setting("agent_timeout", "VMSTAMP_AGENT_TIMEOUT", "", "300")
WAY_OUT = Setting("way_out", "VMSTAMP_WAY_OUT", "", "1")

SETTINGS = (
    HOME,
    ARM_PORT,
    BLOB_PORT,
    CLOUD,
    CLOUD_ENDPOINT,
    SUBSCRIPTION,
    GROUP,
    LOCATION,
    ACCOUNT,
    READY_TIMEOUT,
    EXTENSION_TIMEOUT,
    AGENT_TIMEOUT,
    WAY_OUT,
)
HIGHEST_PORT = 65535
# Software emulation is about ten times slower than hardware; a guest's shutdown waits for more than its CPU.
SLOWER = {"kvm": 1, "tcg": 3}
SHUTDOWN_SECONDS = 60.0  # under KVM, until the plug is pulled


def home(environ: Mapping[str, str] | None = None) -> Home:
    """The stamp's home, as an absolute path; nothing is created."""
    return Home(Path(HOME.text(environ)).expanduser().absolute())


def arm_port(environ: Mapping[str, str] | None = None) -> int:
    """The loopback port on which ARM is served; 0 takes any free one."""
    return ARM_PORT.number(0, HIGHEST_PORT, environ)


def blob_port(environ: Mapping[str, str] | None = None) -> int:
    """The loopback port on which Blob is served over HTTP; 0 takes any free one."""
    return BLOB_PORT.number(0, HIGHEST_PORT, environ)


def ready_timeout(environ: Mapping[str, str] | None = None) -> int:
    """Seconds that a VM has to report Ready under KVM."""
    return READY_TIMEOUT.number(1, 86400, environ)


def extension_timeout(environ: Mapping[str, str] | None = None) -> int:
    """Seconds that an extension or a run command may take."""
    return EXTENSION_TIMEOUT.number(1, 86400, environ)


def agent_timeout(environ: Mapping[str, str] | None = None) -> int:
    """Seconds that a guest's agent may be silent while something waits for it."""
    return AGENT_TIMEOUT.number(1, 86400, environ)


def way_out(environ: Mapping[str, str] | None = None) -> bool:
    """Whether VMs reach what this computer reaches."""
    return WAY_OUT.number(0, 1, environ) == 1


def shutdown_seconds(accelerator: str) -> float:
    """Seconds that a guest has to answer its power button, before its plug is pulled."""
    return SHUTDOWN_SECONDS * SLOWER[accelerator]
