"""The provisioning agents on a guest: cloud-init and WALinuxAgent, their versions and what they are told.

Sources: canonical/cloud-init `cloudinit/util.py` read_conf_d and `tools/ds-identify`; Azure/WALinuxAgent
`pa/provision/factory.py` and `common/version.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from vmstamp.guest.files.fs import Files
from vmstamp.guest.packages import find_package_version, python_directories
from vmstamp.guest.services import find_unit, is_enabled, is_masked

CLOUD_CONFIGURATION = "/etc/cloud/cloud.cfg"
CLOUD_CONFIGURATION_DIRECTORY = "/etc/cloud/cloud.cfg.d"
DS_IDENTIFY = "/etc/cloud/ds-identify.cfg"
CLOUD_INIT_DISABLED = "/etc/cloud/cloud-init.disabled"
WAAGENT_CONFIGURATION = "/etc/waagent.conf"

CLOUD_INIT_UNITS = ("cloud-init-local.service", "cloud-init-main.service")
# All of its stages, of any version; those that a guest has are enabled together.
CLOUD_INIT_STAGES = (
    "cloud-init-main.service", "cloud-init-local.service", "cloud-init-network.service", "cloud-init.service",
    "cloud-config.service", "cloud-final.service",
)  # fmt: skip
CLOUD_INIT_TARGET = "cloud-init.target"
WAAGENT_UNITS = ("walinuxagent.service", "waagent.service")
WAAGENT_PROGRAMS = ("/usr/sbin/waagent", "/usr/bin/waagent")
GENERATORS = (
    "/usr/lib/systemd/system-generators/cloud-init-generator",
    "/lib/systemd/system-generators/cloud-init-generator",
)

CONFIGURATION_LIMIT = 256 * 1024  # bytes of one configuration file


@dataclass(frozen=True)
class DatasourceList:
    """cloud-init's `datasource_list` as merged, the file that decides, and whether ds-identify reads it.

    cloud-init takes any YAML list; its ds-identify, a shell script that decides whether cloud-init runs at
    all, reads only what stands on the line of the key. `error` is what YAML says of a file that is none.
    """

    names: tuple[str, ...]
    where: str
    one_line: bool = True
    error: str = ""


@dataclass(frozen=True)
class CloudInit:
    """`enabled`: its generator and units would run; `disabled_by` says what prevents it ('' : nothing)."""

    version: str
    enabled: bool
    disabled_by: str
    datasource_list: DatasourceList | None  # None: not set, so cloud-init's own list, which has Azure

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class WaAgent:
    """`provisioning_agent` is Provisioning.Agent of waagent.conf, 'auto' when it is not set."""

    version: str
    enabled: bool
    unit: str
    provisioning_agent: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def find_cloud_init(files: Files) -> CloudInit | None:
    """cloud-init as installed, or None."""
    unit = next((unit for unit in CLOUD_INIT_UNITS if find_unit(files, unit)), "")
    version = _python_version(files, "cloudinit/version.py", "cloud_init") or find_package_version(
        files, "cloud-init"
    )
    if not unit and not version:
        return None
    disabled_by = _cloud_init_disabled_by(files, unit)
    generated = any(files.exists(path) for path in GENERATORS)
    enabled = not disabled_by and bool(unit) and (generated or is_enabled(files, unit))
    return CloudInit(version, enabled, disabled_by, find_datasource_list(files))


def _cloud_init_disabled_by(files: Files, unit: str) -> str:
    if files.exists(CLOUD_INIT_DISABLED):
        return CLOUD_INIT_DISABLED
    if not unit:
        return "no systemd unit of it is installed"
    return f"{unit} is masked" if is_masked(files, unit) else ""


def find_datasource_list(files: Files) -> DatasourceList | None:
    """The list of the last file that sets one, as cloud-init merges; None when no file sets it."""
    names = sorted(name for name in files.list(CLOUD_CONFIGURATION_DIRECTORY) if name.endswith(".cfg"))
    paths = [CLOUD_CONFIGURATION, *(f"{CLOUD_CONFIGURATION_DIRECTORY}/{name}" for name in names)]
    for path in reversed(paths):
        text = files.find_text(path, CONFIGURATION_LIMIT) or ""
        if re.search(r"^datasource_list\s*:", text, re.MULTILINE):
            return _parse_datasource_list(text, path)
    return None


def _parse_datasource_list(text: str, path: str) -> DatasourceList:
    """The list by YAML's rules: nodes only, nothing is constructed, so no alias can blow it up."""
    import yaml  # takes 20 ms, and few files need it

    try:
        document = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError) as error:
        return DatasourceList((), path, error=str(error).splitlines()[0])
    value = None
    if isinstance(document, yaml.MappingNode):
        value = next((v for k, v in document.value if k.value == "datasource_list"), None)
    if not isinstance(value, yaml.SequenceNode):
        return DatasourceList((), path, error="datasource_list is not a list")
    listed = tuple(str(node.value) for node in value.value)
    one_line = re.search(r"^datasource_list:\s*\[[^\]\n]*\]", text, re.MULTILINE) is not None
    return DatasourceList(listed, path, one_line)


def find_waagent(files: Files) -> WaAgent | None:
    """WALinuxAgent as installed, or None."""
    if not any(files.exists(path) for path in WAAGENT_PROGRAMS):
        return None
    unit = next((unit for unit in WAAGENT_UNITS if find_unit(files, unit)), "")
    options = read_waagent_options(files)
    version = _python_version(files, "azurelinuxagent/common/version.py", "WALinuxAgent")
    return WaAgent(
        version or find_package_version(files, "waagent") or find_package_version(files, "walinuxagent"),
        enabled=bool(unit) and is_enabled(files, unit),
        unit=unit,
        provisioning_agent=_provisioning_agent(options),
    )


def read_waagent_options(files: Files) -> dict[str, str]:
    """waagent.conf as waagent reads it: of two lines the last wins, and the value None is no value.

    Spec: WALinuxAgent `common/conf.py` ConfigurationProvider.load.
    """
    options = dict(_waagent_options(files.find_text(WAAGENT_CONFIGURATION, CONFIGURATION_LIMIT) or ""))
    return {key: value for key, value in options.items() if value != "None"}


def _waagent_options(text: str) -> Iterator[tuple[str, str]]:
    """NAME=VALUE; a line that begins with `#` and what follows a `#` is a comment, quotes are dropped."""
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            yield key.strip(), value.split("#")[0].strip('" ').strip()


def _provisioning_agent(options: dict[str, str]) -> str:
    """Provisioning.Agent, or what the older Provisioning.Enabled and UseCloudInit mean."""
    if "Provisioning.Agent" in options:
        return options["Provisioning.Agent"].lower()
    if options.get("Provisioning.UseCloudInit", "n").lower() == "y":
        return "cloud-init"
    return {"n": "disabled", "y": "waagent"}.get(options.get("Provisioning.Enabled", "").lower(), "auto")


def provisioner(cloud_init: CloudInit | None, waagent: WaAgent | None) -> str:
    """Who would provision a VM of this disk: 'cloud-init', 'waagent' or '' (nobody)."""
    if cloud_init is not None and cloud_init.enabled:
        return "cloud-init"
    if waagent is not None and waagent.enabled and waagent.provisioning_agent in ("waagent", "auto"):
        return "waagent"
    return ""


def _python_version(files: Files, module: str, project: str) -> str:
    """The version in a module's source, or in the name of the project's metadata; '' when there is none."""
    for directory in python_directories(files):
        text = files.find_text(f"{directory}/{module}", CONFIGURATION_LIMIT) or ""
        packaged = re.search(r'^_PACKAGED_VERSION = ["\']([^@"\'][^"\']*)["\']', text, re.MULTILINE)
        plain = re.search(r'^(?:__VERSION__|AGENT_VERSION) = ["\']([^"\']+)["\']', text, re.MULTILINE)
        if found := packaged or plain:
            return found[1]
        for name in files.list(directory):
            metadata = re.fullmatch(rf"{project}-([0-9][^-]*)(?:-py[\d.]+)?\.(?:egg|dist)-info", name)
            if metadata:
                return metadata[1]
    return ""
