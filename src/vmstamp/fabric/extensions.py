"""Extension handlers: what the agent is told to run, the packages it fetches, what it tells of them. Pure.

The handlers are the stamp's own, under the names that clients of Azure ask for; `guest_handler.py` is the
program of them all. Documents as WALinuxAgent reads and writes them
(`common/protocol/extensions_goal_state_from_extensions_config.py`, `common/protocol/wire.py`).
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from xml.sax.saxutils import escape, quoteattr

PROGRAM = Path(__file__).with_name("guest_handler.py")
EPOCH = (1980, 1, 1, 0, 0, 0)  # of the files in a package
EXECUTABLE = 0o100755 << 16
# The agent calls a file; which Python there is differs from guest to guest.
LAUNCHER = """#!/bin/sh
here=$(dirname "$0")
for python in python3 /usr/libexec/platform-python python; do
    command -v "$python" >/dev/null 2>&1 && exec "$python" "$here/guest_handler.py" "$1"
done
echo "no Python for the extension handler" >&2
exit 52
"""


@dataclass(frozen=True)
class Handler:
    """A handler: publisher and type as clients say them, and the one version that is offered.

    `data` is its directory in the guest; with `exit_status_counts` a script that fails is an error.
    """

    publisher: str
    type: str
    version: str
    data: str
    exit_status_counts: bool

    @property
    def name(self) -> str:
        return f"{self.publisher}.{self.type}"


RUN_COMMAND: Final = Handler(
    "Microsoft.CPlat.Core", "RunCommandLinux", "1.0.5", "/var/lib/waagent/run-command", False
)
CUSTOM_SCRIPT: Final = Handler(
    "Microsoft.Azure.Extensions", "CustomScript", "2.1.10", "/var/lib/waagent/custom-script", True
)
HANDLERS: Final = (RUN_COMMAND, CUSTOM_SCRIPT)


def find_handler(name: str) -> Handler | None:
    """The handler of a full name such as Microsoft.Azure.Extensions.CustomScript, compared without case."""
    return next((handler for handler in HANDLERS if handler.name.lower() == name.lower()), None)


def build_package(handler: Handler) -> bytes:
    """The zip that an agent unpacks to /var/lib/waagent/NAME-VERSION."""
    commands = ("install", "enable", "update", "uninstall", "disable")
    manifest: dict[str, Any] = {f"{name}Command": f"handler {name}" for name in commands}
    manifest |= {"rebootAfterInstall": False, "reportHeartbeat": False}
    kind = {"data": handler.data, "exitStatusCounts": handler.exit_status_counts}
    files = {
        "HandlerManifest.json": json.dumps([{"version": 1.0, "handlerManifest": manifest}]),
        "handler.json": json.dumps(kind),
        "handler": LAUNCHER,
        "guest_handler.py": PROGRAM.read_text(),
    }
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.external_attr = EXECUTABLE
            archive.writestr(entry, text)
    return packed.getvalue()


@dataclass(frozen=True)
class Plugin:
    """A handler in a goal state, with settings.

    `sequence` grows with every change of them; `protected` is base64 of a CMS EnvelopedData to the tenant
    certificate of that `thumbprint`, both empty when there are no protected settings.
    """

    handler: Handler
    sequence: int
    public: Mapping[str, Any] = field(repr=False)
    protected: str = field(default="", repr=False)
    thumbprint: str = ""
    state: str = "enabled"  # or uninstall


def plugins_element(plugins: tuple[Plugin, ...], base: str) -> str:
    """`Plugins` and `PluginSettings` of the extensions configuration; `base` is the URL of the packages."""
    if not plugins:
        return ""
    listed = "".join(_plugin(plugin, base) for plugin in plugins)
    settings = "".join(_settings(plugin) for plugin in plugins)
    return f"<Plugins>{listed}</Plugins><PluginSettings>{settings}</PluginSettings>"


def _plugin(plugin: Plugin, base: str) -> str:
    name, location = quoteattr(plugin.handler.name), quoteattr(f"{base}/{plugin.handler.name}/manifest.xml")
    return (
        f'<Plugin name={name} version="{plugin.handler.version}" location={location} '
        f'failoverlocation={location} state="{plugin.state}" autoUpgrade="false" '
        'runAsStartupTask="false" isJson="true" useExactVersion="true" />'
    )


def _settings(plugin: Plugin) -> str:
    settings: dict[str, Any] = {"publicSettings": plugin.public}
    if plugin.protected:
        settings |= {
            "protectedSettingsCertThumbprint": plugin.thumbprint,
            "protectedSettings": plugin.protected,
        }
    text = escape(json.dumps({"runtimeSettings": [{"handlerSettings": settings}]}))
    return (
        f'<Plugin name={quoteattr(plugin.handler.name)} version="{plugin.handler.version}">'
        f'<RuntimeSettings seqNo="{plugin.sequence}">{text}</RuntimeSettings></Plugin>'
    )


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
    warning or error, `report` what the handler says.
    """

    name: str
    version: str
    state: str
    code: int
    message: str
    sequence: int | None = None
    status: str = ""
    report: str = ""

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
        )


def find_status(document: Mapping[str, Any] | None, handler: Handler) -> HandlerStatus | None:
    """What a status blob tells of a handler."""
    found = (s for s in handler_statuses(document) if s.name.lower() == handler.name.lower())
    return next(found, None)


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
