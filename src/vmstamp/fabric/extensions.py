"""Extension handlers: what the agent is told to run, the packages it fetches, what it tells of them. Pure.

The handlers are the stamp's own, under the names that clients of Azure ask for; `guest_handler.py` and its
neighbours are their programs. Documents as WALinuxAgent reads and writes them
(`common/protocol/extensions_goal_state_from_extensions_config.py`, `common/protocol/wire.py`).
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, Final
from xml.sax.saxutils import escape, quoteattr

HERE = Path(__file__).parent
BASE = "guest_handler"  # the module that the other programs import
EPOCH = (1980, 1, 1, 0, 0, 0)  # of the files in a package
EXECUTABLE = 0o100755 << 16
# The agent calls a file; which Python there is differs from guest to guest. It runs the directory, whose
# __main__.py it is, so that the programs find each other under the names that they have here.
LAUNCHER = """#!/bin/sh
here=$(dirname "$0")
for python in python3 /usr/libexec/platform-python python; do
    command -v "$python" >/dev/null 2>&1 && exec "$python" "$here" "$1"
done
echo "no Python for the extension handler" >&2
exit 52
"""


@dataclass(frozen=True)
class Handler:
    """A handler: publisher and type as clients say them, and the one version that is offered.

    `data` is its directory in the guest; with `exit_status_counts` a script that fails is an error.
    `program` is the module that runs there. A handler with `several` runs any number of extensions, each
    with settings of its own; the others have one.
    """

    publisher: str
    type: str
    version: str
    data: str
    exit_status_counts: bool = False
    program: str = BASE
    several: bool = False

    @property
    def name(self) -> str:
        return f"{self.publisher}.{self.type}"


RUN_COMMAND: Final = Handler(
    "Microsoft.CPlat.Core", "RunCommandLinux", "1.0.5", "/var/lib/waagent/run-command"
)
MANAGED_COMMAND: Final = Handler(
    "Microsoft.CPlat.Core",
    "RunCommandHandlerLinux",
    "1.3.9",
    "/var/lib/waagent/run-command-handler",
    program="guest_commands",
    several=True,
)
CUSTOM_SCRIPT: Final = Handler(
    "Microsoft.Azure.Extensions",
    "CustomScript",
    "2.1.10",
    "/var/lib/waagent/custom-script",
    exit_status_counts=True,
)
VM_ACCESS: Final = Handler(
    "Microsoft.OSTCExtensions",
    "VMAccessForLinux",
    "1.5.11",
    "/var/lib/waagent/vm-access",
    program="guest_access",
)
HANDLERS: Final = (RUN_COMMAND, MANAGED_COMMAND, CUSTOM_SCRIPT, VM_ACCESS)


def find_handler(name: str) -> Handler | None:
    """The handler of a full name such as Microsoft.Azure.Extensions.CustomScript, compared without case."""
    return next((handler for handler in HANDLERS if handler.name.lower() == name.lower()), None)


def build_package(handler: Handler) -> bytes:
    """The zip that an agent unpacks to /var/lib/waagent/NAME-VERSION."""
    commands = ("install", "enable", "update", "uninstall", "disable")
    manifest: dict[str, Any] = {f"{name}Command": f"handler {name}" for name in commands}
    manifest |= {"rebootAfterInstall": False, "reportHeartbeat": False}
    manifest |= {"supportsMultipleExtensions": handler.several}
    kind = {"data": handler.data, "exitStatusCounts": handler.exit_status_counts}
    module = f"vmstamp.fabric.{handler.program}"
    files = {
        "HandlerManifest.json": json.dumps([{"version": 1.0, "handlerManifest": manifest}]),
        "handler.json": json.dumps(kind),
        "handler": LAUNCHER,
        "__main__.py": f"from {module} import run\n\nrun()\n",
        "vmstamp/__init__.py": "",
        "vmstamp/fabric/__init__.py": "",
    }
    for name in dict.fromkeys((BASE, handler.program)):
        files[f"vmstamp/fabric/{name}.py"] = HERE.joinpath(f"{name}.py").read_text()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.external_attr = EXECUTABLE
            archive.writestr(entry, text)
    return packed.getvalue()


@dataclass(frozen=True)
class Plugin:
    """A handler in a goal state, with settings; `name` is the extension's, of a handler of several.

    `sequence` grows with every change of them; `protected` is base64 of a CMS EnvelopedData to the tenant
    certificate of that `thumbprint`, both empty when there are no protected settings.
    """

    handler: Handler
    sequence: int
    public: Mapping[str, Any] = field(repr=False)
    protected: str = field(default="", repr=False)
    thumbprint: str = ""
    state: str = "enabled"  # or uninstall; of one extension of several: disabled
    name: str = ""


def plugins_element(plugins: tuple[Plugin, ...], base: str) -> str:
    """`Plugins` and `PluginSettings` of the extensions configuration; `base` is the URL of the packages."""
    if not plugins:
        return ""
    ordered = sorted(plugins, key=lambda plugin: plugin.handler.name)
    groups = [list(group) for _, group in groupby(ordered, key=lambda plugin: plugin.handler)]
    listed = "".join(_plugin(group[0], base) for group in groups)
    settings = "".join(_settings(group) for group in groups)
    return f"<Plugins>{listed}</Plugins><PluginSettings>{settings}</PluginSettings>"


def _plugin(plugin: Plugin, base: str) -> str:
    name, location = quoteattr(plugin.handler.name), quoteattr(f"{base}/{plugin.handler.name}/manifest.xml")
    state = "enabled" if plugin.handler.several else plugin.state
    return (
        f'<Plugin name={name} version="{plugin.handler.version}" location={location} '
        f'failoverlocation={location} state="{state}" autoUpgrade="false" '
        'runAsStartupTask="false" isJson="true" useExactVersion="true" />'
    )


def _settings(plugins: list[Plugin]) -> str:
    """The settings of one handler: those of all its extensions."""
    handler = plugins[0].handler
    settings = "".join(map(_one_settings, plugins))
    return f'<Plugin name={quoteattr(handler.name)} version="{handler.version}">{settings}</Plugin>'


def _one_settings(plugin: Plugin) -> str:
    settings: dict[str, Any] = {"publicSettings": plugin.public}
    if plugin.protected:
        settings |= {
            "protectedSettingsCertThumbprint": plugin.thumbprint,
            "protectedSettings": plugin.protected,
        }
    text = escape(json.dumps({"runtimeSettings": [{"handlerSettings": settings}]}))
    if not plugin.handler.several:
        return f'<RuntimeSettings seqNo="{plugin.sequence}">{text}</RuntimeSettings>'
    head = f'name={quoteattr(plugin.name)} seqNo="{plugin.sequence}" state="{plugin.state}"'
    return f"<ExtensionRuntimeSettings {head}>{text}</ExtensionRuntimeSettings>"


def handler_manifest(handler: Handler, base: str) -> str:
    """The handler's manifest of versions."""
    url = escape(f"{base}/{handler.name}/{handler.version}.zip")
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        f"<PluginVersionManifest><Plugins><Plugin><Version>{handler.version}</Version>"
        f"<Uris><Uri>{url}</Uri></Uris></Plugin></Plugins><InternalPlugins /></PluginVersionManifest>"
    )


@dataclass(frozen=True)
class HandlerStatus:
    """What an agent tells of a handler: `state` Ready or NotReady with `code` and `message`.

    Of the settings with the number `sequence` (None: nothing is told): `status` transitioning, success,
    warning or error, `report` what the handler says; `extension` is whose they are, of a handler of several.
    """

    name: str
    version: str
    state: str
    code: int
    message: str
    sequence: int | None = None
    status: str = ""
    report: str = ""
    extension: str = ""

    @property
    def ended(self) -> bool:
        return self.status in ("success", "warning", "error")


def handler_statuses(document: Mapping[str, Any] | None) -> Iterator[HandlerStatus]:
    """The handlers in a status blob; parts that are not as the agent writes them are left out."""
    for entry in _list(_dict(_dict(document).get("aggregateStatus")).get("handlerAggregateStatus")):
        one = _dict(entry)
        settings = _dict(one.get("runtimeSettingsStatus"))
        status = _dict(_dict(settings.get("settingsStatus")).get("status"))
        yield HandlerStatus(
            name=str(one.get("handlerName", "")),
            version=str(one.get("handlerVersion", "")),
            state=str(one.get("status", "")),
            code=_number(one.get("code")) or 0,
            message=_message(one),
            sequence=_number(settings.get("sequenceNumber")),
            status=str(status.get("status", "")),
            report=_message(status),
            extension=str(settings.get("extensionName", "")),
        )


def find_status(
    document: Mapping[str, Any] | None, handler: Handler, extension: str = ""
) -> HandlerStatus | None:
    """What a status blob tells of a handler; of one of several extensions, or of the handler alone."""
    told = [one for one in handler_statuses(document) if one.name.lower() == handler.name.lower()]
    return next((one for one in told if extension in ("", one.extension) or one.sequence is None), None)


def processed_goal_state(document: Mapping[str, Any] | None) -> int | None:
    """The incarnation that the agent has finished with; None when it does not tell (before 2.4)."""
    aggregate = _dict(_dict(document).get("aggregateStatus"))
    goal = _dict(_dict(aggregate.get("vmArtifactsAggregateStatus")).get("goalStateAggregateStatus"))
    return _number(goal.get("inSvdSeqNo"))


def _message(document: Mapping[str, Any]) -> str:
    formatted = document.get("formattedMessage")
    return str(_dict(formatted).get("message", "") or "") if formatted else str(document.get("message", ""))


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _number(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError):
        return None
