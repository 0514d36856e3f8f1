"""What guests report: the health document that says Ready, and who sent it. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

DESCRIPTION_LENGTH = 4096  # characters that are kept


@dataclass(frozen=True)
class HealthReport:
    """One POST ?comp=health: `state` Ready or NotReady, `substatus` as sent (Provisioning, ...)."""

    at: datetime
    state: str
    reporter: str
    substatus: str = ""
    description: str = ""

    @property
    def ready(self) -> bool:
        return self.state == "Ready"

    @property
    def failed(self) -> bool:
        return not self.ready and self.substatus == "ProvisioningFailed"


@dataclass(frozen=True)
class AgentStatus:
    """What is known of a VM's agents: health reports in order, the last status blob, the last contact."""

    reports: tuple[HealthReport, ...] = ()
    status: dict[str, Any] | None = None
    status_at: datetime | None = None
    heartbeat: datetime | None = None
    version: str = field(default="")

    @property
    def last(self) -> HealthReport | None:
        return self.reports[-1] if self.reports else None

    @property
    def first_ready(self) -> HealthReport | None:
        return next((report for report in self.reports if report.ready), None)

    def to_json(self) -> dict[str, Any]:
        """The same as a JSON document, times as ISO 8601."""
        document = asdict(self)
        for report in document["reports"]:
            report["at"] = report["at"].isoformat()
        for key in ("status_at", "heartbeat"):
            document[key] = document[key].isoformat() if document[key] else None
        return document


@dataclass(frozen=True)
class HealthDocument:
    """The parts of a posted health document that matter."""

    container_id: str
    instance_id: str
    state: str
    substatus: str
    description: str


def parse_health(body: bytes) -> HealthDocument:
    """Read a health document; ValueError says what is wrong with it.

    Source: WALinuxAgent `common/protocol/wire.py` (report_health), cloud-init `helpers/azure.py`.
    """
    try:
        root = fromstring(body)
    except (ParseError, DefusedXmlException, ValueError) as error:
        raise ValueError(f"not a health document: {error}") from error
    state = _text(root, "Container/RoleInstanceList/Role/Health/State")
    if state not in ("Ready", "NotReady"):
        raise ValueError(f"health state {state!r}, expected Ready or NotReady")
    details = "Container/RoleInstanceList/Role/Health/Details/"
    return HealthDocument(
        container_id=_text(root, "Container/ContainerId"),
        instance_id=_text(root, "Container/RoleInstanceList/Role/InstanceId"),
        state=state,
        substatus=_text(root, details + "SubStatus"),
        description=_text(root, details + "Description")[:DESCRIPTION_LENGTH],
    )


def _text(root: Element, path: str) -> str:
    return (root.findtext(path) or "").strip()


def name_reporter(headers: dict[str, str]) -> str:
    """Who sent a request, by its headers (lower-case names): cloud-init, WALinuxAgent, or what it says.

    cloud-init sends `x-ms-agent-name: WALinuxAgent` like the agent, but a user agent of its own.
    """
    user_agent = headers.get("user-agent", "")
    if user_agent.lower().startswith("cloud-init"):
        return user_agent
    if user_agent.startswith("WALinuxAgent") or headers.get("x-ms-agent-name") == "WALinuxAgent":
        version = user_agent.partition("/")[2].partition("+")[0] if "/" in user_agent else ""
        return f"WALinuxAgent/{version}" if version else "WALinuxAgent"
    return user_agent or "unknown"
