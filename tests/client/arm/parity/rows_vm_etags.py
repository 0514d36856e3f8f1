"""Conditions on the ETag of a virtual machine: If-Match and If-None-Match of its PUT and PATCH."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import requests

from tests.client.arm.parity.machines import VM, put, settle
from tests.client.arm.parity.row import Row, ask

TITLE: Final = "Virtual machines: ETags"
Send = Callable[[Any], requests.Response]
FAILED: Final = "PreconditionFailed"
TAGS: Final = {"tags": {"a": "b"}}


def _body(arm: Any) -> dict[str, Any]:
    body: dict[str, Any] = arm.vm_body(arm.image(), arm.nic())
    return body


def _new(**condition: str) -> Send:
    """A PUT of a VM that is not there."""
    return lambda arm: put(arm, _body(arm), headers=_headers(condition))


def _there(method: str, **condition: str) -> Send:
    """A PUT or PATCH of a VM that is there; `own`: the condition is the ETag that it has."""

    def send(arm: Any) -> requests.Response:
        body = _body(arm)
        assert put(arm, body).ok
        settle(arm)
        etag = ask(arm, "GET", VM).json()["etag"]
        given = {name: etag if value == "own" else value for name, value in condition.items()}
        return ask(arm, method, VM, TAGS if method == "PATCH" else body, headers=_headers(given))

    return send


def _headers(condition: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in condition.items()}


def _unchanged(arm: Any) -> requests.Response:
    assert _there("PATCH", If_Match='"another"')(arm).status_code == 412
    return ask(arm, "GET", VM)


def _changed(arm: Any) -> requests.Response:
    body = _body(arm)
    put(arm, body)
    settle(arm)
    before = ask(arm, "GET", VM).json()["etag"]
    ask(arm, "PATCH", VM, TAGS)
    settle(arm)
    answer = ask(arm, "GET", VM)
    assert answer.json()["etag"] != before
    return answer


ROWS: Final = (
    Row("a new VM with If-None-Match: *", "R", _new(If_None_Match="*"), 201),
    Row("a new VM with If-Match: *", "R", _new(If_Match="*"), 412, FAILED),
    *(
        Row(f"{method} of a VM that is there, with {said}", "R", _there(method, **condition), status, code)
        for method in ("PUT", "PATCH")
        for said, condition, status, code in (
            ("its own ETag", {"If_Match": "own"}, 200, ""),
            ("If-Match: *", {"If_Match": "*"}, 200, ""),
            ("another ETag", {"If_Match": '"another"'}, 412, FAILED),
            ("If-None-Match: *", {"If_None_Match": "*"}, 412, FAILED),
        )
    ),
    Row(
        "a VM whose PATCH was refused for its ETag",
        "R",
        _unchanged,
        200,
        holds=lambda answer: "tags" not in answer.json(),
    ),
    Row("a change gives a VM another ETag", "R", _changed, 200),
)
