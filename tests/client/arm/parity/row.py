"""One rule of Azure's control plane, and how it is seen to hold here."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import requests

SUBSCRIPTION: Final = "11111111-2222-3333-4444-555555555555"
GROUP: Final = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg"
COMPUTE: Final = f"{GROUP}/providers/Microsoft.Compute"
NETWORK: Final = f"{GROUP}/providers/Microsoft.Network"
STORAGE: Final = f"{GROUP}/providers/Microsoft.Storage"
TIMEOUT: Final = 30  # seconds that one answer may take

# What documents a rule: seen in a recorded exchange, written in Azure's documentation, or quoted from the
# service in a public report.
EVIDENCE: Final[Mapping[str, str]] = {"R": "recorded", "D": "documented", "I": "reported"}


@dataclass(frozen=True)
class Row:
    """One rule: what is sent in which state, and what Azure answers.

    `send` arranges the state by the clients of a live control plane, sends one request and gives its answer.
    `message` is the whole text, in which "..." stands for anything; of a success none is asked for.
    """

    rule: str  # for people: "start of a generalized VM"
    evidence: str  # letters of EVIDENCE
    send: Callable[[Any], requests.Response]
    status: int
    code: str = ""
    message: str = ""
    target: str = ""
    holds: Callable[[requests.Response], bool] = field(default=lambda reply: True)

    def check(self, reply: requests.Response) -> None:
        """Raises AssertionError that says what was answered instead."""
        said = f"{reply.status_code} {reply.text[:2000]}"
        assert reply.status_code == self.status, said
        if self.code:
            error = reply.json()["error"]
            assert error["code"] == self.code, said
            pattern = ".*".join(re.escape(part) for part in self.message.split("..."))
            assert not self.message or re.fullmatch(pattern, error["message"], re.DOTALL), said
            assert not self.target or error.get("target") == self.target, said
        assert self.holds(reply), f"{said} {dict(reply.headers)}"


def ask(
    arm: Any,
    method: str,
    path: str,
    body: Any = None,
    *,
    api: str = "2024-07-01",
    headers: Mapping[str, str] | None = None,
) -> requests.Response:
    """Send one request to a control plane as its client would. `api` "" leaves the api-version out.

    A `path` that is a whole URL (of a poll) is taken as it is.
    """
    url = path if path.startswith("https://") else f"{arm.url}{path}"
    if api and "api-version=" not in url:
        url += f"{'&' if '?' in url else '?'}api-version={api}"
    with requests.Session() as session:
        session.trust_env = False
        return session.request(
            method,
            url,
            json=body,
            headers={"Authorization": "Bearer a token of the tests", **(headers or {})},
            timeout=TIMEOUT,
            verify=arm.options["connection_verify"],
        )
