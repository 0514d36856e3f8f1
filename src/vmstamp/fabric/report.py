"""What guests report: the health document that says Ready, and who sent it. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

DESCRIPTION_LENGTH = 4096  # characters that are kept; WALinuxAgent cuts at 3686, cloud-init at 512
HEADER_LENGTH = 200  # characters of a header that are kept
CLOUD_INIT = "cloud-init"
WALINUXAGENT = "WALinuxAgent"
_USER_AGENT = re.compile(r"(?P<name>[^/\s]+)(?:/(?P<version>\S+))?")
_NAMES = {"cloud-init": CLOUD_INIT, "walinuxagent": WALINUXAGENT}


@dataclass(frozen=True)
class Reporter:
    """Who sent a request: cloud-init, WALinuxAgent or what its user agent says; `version` may be empty."""

    name: str
    version: str
    user_agent: str
    agent_name: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}".rstrip()


def name_reporter(headers: Mapping[str, str]) -> Reporter:
    """Who sent a request with these headers (lower-case names).

    cloud-init says `x-ms-agent-name: WALinuxAgent` like the agent itself, so the user agent decides between
    them; of others the agent name, where they have one of their own, says more (`Wget` says little).
    """
    user_agent = headers.get("user-agent", "")[:HEADER_LENGTH]
    agent_name = headers.get("x-ms-agent-name", "")[:HEADER_LENGTH]
    found = _USER_AGENT.match(user_agent)
    known = _NAMES.get(found["name"].lower()) if found else None
    if found is None or (known is None and agent_name not in ("", WALINUXAGENT)):
        return Reporter(agent_name or "unknown", "", user_agent, agent_name)
    version = (found["version"] or "").removesuffix("+health")
    return Reporter(known or found["name"], version, user_agent, agent_name)


@dataclass(frozen=True)
class HealthReport:
    """One POST ?comp=health: `state` Ready or NotReady, `substatus` as sent (Provisioning, ...).

    `reporter` is the agent's name and version, such as `cloud-init 22.4.2`; `user_agent` and `agent_name`
    (the header x-ms-agent-name) are what that was read from.
    """

    at: datetime
    state: str
    reporter: str
    substatus: str = ""
    description: str = ""
    incarnation: int = 0
    user_agent: str = ""
    agent_name: str = ""

    @property
    def ready(self) -> bool:
        return self.state == "Ready"

    @property
    def failed(self) -> bool:
        return not self.ready and self.substatus == "ProvisioningFailed"


@dataclass(frozen=True)
class AgentStatus:
    """What is known of a VM's agents in this boot.

    Health `reports` in order; the running agent's last `status` blob and when it came; `heartbeat`, the
    last time that WALinuxAgent's loop asked or told something, and that agent's `version`.
    """

    reports: tuple[HealthReport, ...] = ()
    status: dict[str, Any] | None = None
    status_at: datetime | None = None
    heartbeat: datetime | None = None
    version: str = ""

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

    incarnation: int
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
    except (ParseError, DefusedXmlException, ValueError, LookupError) as error:  # Lookup: an encoding
        raise ValueError(f"not a health document: {error}") from error
    if root.tag != "Health":
        raise ValueError(f"the document is a {root.tag[:80]!r}, expected Health")
    state = _text(root, "Container/RoleInstanceList/Role/Health/State")
    if state not in ("Ready", "NotReady"):
        raise ValueError(f"health state {state[:80]!r}, expected Ready or NotReady")
    incarnation = _text(root, "GoalStateIncarnation")
    if not re.fullmatch(r"[0-9]{1,18}", incarnation):
        raise ValueError(f"goal state incarnation {incarnation[:80]!r}, expected a number")
    details = "Container/RoleInstanceList/Role/Health/Details/"
    return HealthDocument(
        incarnation=int(incarnation),
        container_id=_text(root, "Container/ContainerId"),
        instance_id=_text(root, "Container/RoleInstanceList/Role/InstanceId"),
        state=state,
        substatus=_text(root, details + "SubStatus"),
        description=_text(root, details + "Description")[:DESCRIPTION_LENGTH],
    )


def _text(root: Element, path: str) -> str:
    return (root.findtext(path) or "").strip()
