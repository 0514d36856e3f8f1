"""WireServer's goal states, health reports and status blobs, as agents send them."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from xml.etree.ElementTree import fromstring

import pytest

from tests.client.fabric_doors import CLOUD_INIT, FIRST, SECOND, WAAGENT, Doors, fetch_tenant, health_of
from vmstamp.fabric.fabric import Fabric
from vmstamp.fabric.instance import Instance
from vmstamp.timeline import Stage, Timeline

# Health


def test_cloud_init_and_then_the_running_agent_report(
    fabric: Fabric, doors: Doors, timeline: Timeline, vm: Instance
) -> None:
    doors.goal_state(CLOUD_INIT)
    assert doors.report(health_of(vm), CLOUD_INIT).status == 200
    assert timeline.find(Stage.AGENT) is None
    doors.goal_state()
    doors.report(health_of(vm, "NotReady", "Provisioning", "Starting"))
    doors.report(health_of(vm))

    agent = fabric.agent(FIRST)
    assert [(report.state, report.substatus, report.reporter) for report in agent.reports] == [
        ("Ready", "", "cloud-init 22.4.2"),
        ("NotReady", "Provisioning", "WALinuxAgent 2.7.3.0"),
        ("Ready", "", "WALinuxAgent 2.7.3.0"),
    ]
    times = [report.at for report in agent.reports]
    assert times == sorted(times)
    assert agent.first_ready is agent.reports[0]
    assert agent.reports[0].user_agent == "Cloud-Init/22.4.2"
    assert agent.reports[0].incarnation == 1
    assert agent.version == "2.7.3.0"
    ready = timeline.find(Stage.READY)
    assert ready is not None
    assert ready.detail == "reported by cloud-init 22.4.2"
    assert timeline.find(Stage.FAILED) is None
    order = [event.stage for event in timeline.events()]
    assert order == [Stage.WIRESERVER, Stage.GOAL_STATE, Stage.READY, Stage.AGENT]


def test_failure_is_marked_with_its_reason(
    fabric: Fabric, doors: Doors, timeline: Timeline, vm: Instance
) -> None:
    doors.report(health_of(vm, "NotReady", "ProvisioningFailed", "no &lt;DVD&gt;"))
    failed = timeline.find(Stage.FAILED)
    assert failed is not None
    assert failed.detail == "WALinuxAgent 2.7.3.0: no <DVD>"
    assert timeline.find(Stage.READY) is None
    last = fabric.agent(FIRST).last
    assert last is not None
    assert last.failed


def test_not_ready_yet_is_no_end(doors: Doors, timeline: Timeline, vm: Instance) -> None:
    doors.report(health_of(vm, "NotReady", "Provisioning", "Starting"))
    assert not {Stage.READY, Stage.FAILED} & {event.stage for event in timeline.events()}


def test_goal_state_alone_does_not_make_a_vm_ready(doors: Doors, timeline: Timeline) -> None:
    doors.goal_state()
    assert timeline.find(Stage.READY) is None


@pytest.mark.parametrize("other", ["ContainerId", "InstanceId"])
def test_health_of_another_vm_is_refused(
    other: str, fabric: Fabric, doors: Doors, timeline: Timeline, vm: Instance
) -> None:
    reply = doors.report(health_of(vm).replace(f"<{other}>".encode(), f"<{other}>x".encode()))
    assert (reply.status, reply.find("Code")) == (400, "InvalidInput")
    assert not fabric.agent(FIRST).reports
    assert timeline.find(Stage.READY) is None


@pytest.mark.parametrize("path", ["/machine?comp=health", "/machine/?comp=health"])
def test_health_is_taken_with_and_without_a_slash(
    path: str, doors: Doors, timeline: Timeline, vm: Instance
) -> None:
    assert doors.ask(doors.wireserver, path, WAAGENT, body=health_of(vm)).status == 200
    assert timeline.find(Stage.READY) is not None


# Goal state


def test_new_goal_state_has_the_next_incarnation_everywhere(
    fabric: Fabric, doors: Doors, timeline: Timeline
) -> None:
    assert doors.goal_state().find("Incarnation") == "1"
    assert fabric.advance(FIRST) == 2
    goal = doors.goal_state()
    assert goal.find("Incarnation") == "2"
    place = goal.find("Container/RoleInstanceList/RoleInstance/Configuration/ExtensionsConfig")
    reply = doors.ask(doors.wireserver, place.removeprefix("http://168.63.129.16:80"), WAAGENT)
    metadata = fromstring(reply.body).find("InVMGoalStateMetaData")
    assert metadata is not None
    assert metadata.get("inSvdSeqNo") == "2"


def test_next_boot_keeps_goal_state_and_tenant_but_no_reports(
    fabric: Fabric, doors: Doors, timeline: Timeline, vm: Instance, tmp_path: Path
) -> None:
    fabric.advance(FIRST)
    doors.report(health_of(vm))
    before = fetch_tenant(doors, vm, "AES128_CBC", tmp_path)
    fabric.register("net1", vm, Timeline())
    assert not fabric.agent(FIRST).reports
    assert doors.goal_state().find("Incarnation") == "2"
    assert fetch_tenant(doors, vm, "DES_EDE3_CBC", tmp_path) == before


def test_configuration_of_another_goal_state_is_gone(doors: Doors, timeline: Timeline, vm: Instance) -> None:
    path = f"/machine/{FIRST}/{vm.role_instance_id}?comp=config&type=sharedConfig"
    reply = doors.ask(doors.wireserver, path, WAAGENT)
    assert (reply.status, reply.find("Code")) == (410, "ResourceNotAvailable")


# The running agent


def status_request(vm: Instance, content: bytes) -> bytes:
    return json.dumps(
        {
            "requestUri": f"http://168.63.129.16:80/vmstamp/status/{vm.vm_id}?sig=local",
            "headers": [{"headerName": "x-ms-blob-type", "headerValue": "BlockBlob"}],
            "content": base64.b64encode(content).decode(),
        }
    ).encode()


def test_status_blob_is_kept_with_its_time(
    fabric: Fabric, doors: Doors, timeline: Timeline, vm: Instance
) -> None:
    body = status_request(vm, b'{"version": "1.1"}')
    assert doors.ask(doors.plugin, "/status", WAAGENT, body=body, method="PUT").status == 200
    first = fabric.agent(FIRST)
    assert first.status == {"version": "1.1"}
    assert first.heartbeat == first.status_at is not None

    direct = f"/vmstamp/status/{FIRST}?sig=local"
    reply = doors.ask(doors.wireserver, direct, WAAGENT, body=b'{"version": "2"}', method="PUT")
    assert reply.status == 201
    second = fabric.agent(FIRST)
    assert second.status == {"version": "2"}
    assert second.status_at is not None
    assert first.status_at is not None
    assert second.status_at > first.status_at


def test_heartbeat_is_the_running_agents_alone(fabric: Fabric, doors: Doors, timeline: Timeline) -> None:
    doors.goal_state(CLOUD_INIT)
    assert fabric.agent(FIRST).heartbeat is None
    doors.goal_state()
    first = fabric.agent(FIRST).heartbeat
    doors.goal_state()
    second = fabric.agent(FIRST).heartbeat
    assert first is not None
    assert second is not None
    assert second > first


def test_status_of_another_vm_is_refused(
    fabric: Fabric, doors: Doors, timeline: Timeline, vm: Instance
) -> None:
    body = status_request(vm, b"{}").replace(FIRST.encode(), SECOND.encode())
    assert doors.ask(doors.plugin, "/status", WAAGENT, body=body, method="PUT").status == 400
    direct = f"/vmstamp/status/{SECOND}?sig=local"
    assert doors.ask(doors.wireserver, direct, WAAGENT, body=b"{}", method="PUT").status == 403
    assert fabric.agent(FIRST).status is None


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b'{"content": "%"}'])
def test_malformed_status_is_refused_in_json(body: bytes, doors: Doors, timeline: Timeline) -> None:
    reply = doors.ask(doors.plugin, "/status", WAAGENT, body=body, method="PUT")
    assert (reply.status, json.loads(reply.body)["errorCode"]) == (400, "InvalidInput")


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\x00" * 512])
def test_status_blob_that_is_no_json_object_is_refused(
    content: bytes, fabric: Fabric, doors: Doors, timeline: Timeline, vm: Instance
) -> None:
    body = status_request(vm, content)
    assert doors.ask(doors.plugin, "/status", WAAGENT, body=body, method="PUT").status == 400
    assert fabric.agent(FIRST).status is None


def test_what_the_running_agent_tells_is_taken(doors: Doors, timeline: Timeline) -> None:
    wireserver, plugin = doors.wireserver, doors.plugin
    assert doors.ask(wireserver, "/machine?comp=roleProperties", WAAGENT, body=b"<R/>").status == 202
    assert doors.ask(wireserver, "/machine?comp=telemetrydata", WAAGENT, body=b"x" * 65_700).status == 200
    observation = (
        b'{"Api": "reporttargethealth", "Version": "1.0", "Source": "WALinuxAgent", "Observations": []}'
    )
    assert doors.ask(wireserver, "/HealthService", WAAGENT, body=observation).status == 200
    assert doors.ask(plugin, "/vmAgentLog", WAAGENT, body=b"PK" * (1 << 20), method="PUT").status == 200
    assert json.loads(doors.ask(plugin, "/versions").body) == ["2015-09-01"]
    assert doors.ask(plugin, "/health").status == 200


def test_plugin_has_no_fast_track(doors: Doors, timeline: Timeline) -> None:
    reply = doors.ask(doors.plugin, "/vmSettings", WAAGENT)
    assert (reply.status, json.loads(reply.body)["errorCode"]) == (404, "NotSupported")
