"""Health documents and who sent them."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmstamp.fabric.goal_state import GoalState
from vmstamp.fabric.report import AgentStatus, HealthReport, name_reporter, parse_health

AT = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
READY = b"""<?xml version="1.0" encoding="utf-8"?>
<Health xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:xsd="http://www.w3.org/2001/XMLSchema">
  <GoalStateIncarnation>3</GoalStateIncarnation>
  <Container>
    <ContainerId>c</ContainerId>
    <RoleInstanceList>
      <Role>
        <InstanceId>r</InstanceId>
        <Health>
          <State>Ready</State>
        </Health>
      </Role>
    </RoleInstanceList>
  </Container>
</Health>
"""
FAILED = READY.replace(
    b"<State>Ready</State>",
    b"<State>NotReady</State><Details><SubStatus>ProvisioningFailed</SubStatus>"
    b"<Description>a &lt;b&gt; &amp; c</Description></Details>",
)


def test_ready_is_read() -> None:
    document = parse_health(READY)
    assert (document.incarnation, document.container_id, document.instance_id) == (3, "c", "r")
    assert (document.state, document.substatus, document.description) == ("Ready", "", "")


def test_failure_is_read_with_its_description() -> None:
    document = parse_health(FAILED)
    assert (document.state, document.substatus) == ("NotReady", "ProvisioningFailed")
    assert document.description == "a <b> & c"


def test_long_description_is_cut() -> None:
    assert len(parse_health(FAILED.replace(b"a &lt;", b"x" * 10_000)).description) == 4096


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b"", "not a health document"),
        (b"<Health>", "not a health document"),
        (b"\xff\xfe\x00", "not a health document"),
        (b'<!DOCTYPE x [<!ENTITY e "e">]><Health>&e;</Health>', "not a health document"),
        (
            b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><Health>&e;</Health>',
            "not a health document",
        ),
        (b'<?xml version="1.0" encoding="ttf-8"?><Health/>', "not a health document: unknown encoding"),
        (b"<GoalState/>", "the document is a 'GoalState', expected Health"),
        (b"<Health/>", "health state '', expected Ready or NotReady"),
        (READY.replace(b">Ready<", b">Bereit<"), "health state 'Bereit', expected Ready or NotReady"),
        (READY.replace(b">3<", b">three<"), "goal state incarnation 'three', expected a number"),
        (READY.replace(b">3<", b">" + b"9" * 5000 + b"<"), "goal state incarnation '9"),
    ],
)
def test_what_is_not_a_health_document_is_refused(body: bytes, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        parse_health(body)


@settings(deadline=None)
@given(st.integers(0, len(FAILED) - 1), st.integers(0, 7), st.integers(0, len(FAILED)))
def test_damaged_documents_are_read_or_refused(place: int, bit: int, end: int) -> None:
    damaged = bytearray(FAILED)
    damaged[place] ^= 1 << bit
    for body in (bytes(damaged), FAILED[:end]):
        try:
            parse_health(body)
        except ValueError:
            continue


@pytest.mark.parametrize(
    ("headers", "name", "version"),
    [
        ({"user-agent": "Cloud-Init/22.4.2", "x-ms-agent-name": "WALinuxAgent"}, "cloud-init", "22.4.2"),
        ({"user-agent": "Cloud-Init/25.1.4-1+deb13u1"}, "cloud-init", "25.1.4-1+deb13u1"),
        ({"user-agent": "WALinuxAgent/2.7.3.0"}, "WALinuxAgent", "2.7.3.0"),
        ({"user-agent": "WALinuxAgent/2.12.0.2+health"}, "WALinuxAgent", "2.12.0.2"),
        ({"x-ms-agent-name": "WALinuxAgent"}, "WALinuxAgent", ""),
        ({"user-agent": "curl/8.5.0", "x-ms-agent-name": "WALinuxAgent"}, "curl", "8.5.0"),
        ({"user-agent": "Wget"}, "Wget", ""),
        ({"user-agent": "Wget", "x-ms-agent-name": "azure-init"}, "azure-init", ""),
        ({"user-agent": "/1.0"}, "unknown", ""),
        ({}, "unknown", ""),
    ],
)
def test_reporter_is_named_by_the_user_agent(headers: dict[str, str], name: str, version: str) -> None:
    reporter = name_reporter(headers)
    assert (reporter.name, reporter.version) == (name, version)
    assert reporter.user_agent == headers.get("user-agent", "")
    assert str(reporter) == f"{name} {version}".strip()


def test_status_is_written_as_json_with_every_report() -> None:
    reports = (
        HealthReport(AT, "NotReady", "WALinuxAgent 2.7.3.0", "Provisioning", "Starting"),
        HealthReport(AT, "Ready", "WALinuxAgent 2.7.3.0"),
    )
    status = AgentStatus(reports, {"version": "1.1"}, AT, AT, "2.7.3.0")
    document = json.loads(json.dumps(status.to_json()))
    assert [report["state"] for report in document["reports"]] == ["NotReady", "Ready"]
    assert document["heartbeat"] == "2026-11-24T12:00:00+00:00"
    assert status.first_ready is status.last is reports[1]
    assert AgentStatus().to_json()["heartbeat"] is None


def test_ticks_count_100_ns_from_the_year_1() -> None:
    # .NET: new DateTime(1970, 1, 1).Ticks, and one microsecond.
    assert GoalState(1, datetime(1970, 1, 1, 0, 0, 0, 1, tzinfo=UTC)).created_ticks == 621355968000000010
