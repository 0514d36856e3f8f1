"""What a GET of a virtual machine shows beyond its document: the instance view, from what the host knows.

The provisioning timeline is shown as an extension named vmstamp.timeline: clients of Azure read
extensions' substatuses already.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

from vmstamp.arm.compute.host import Host
from vmstamp.arm.compute.turns import Turns
from vmstamp.arm.compute.vm_plan import computer_name
from vmstamp.arm.resource import Json, Resource
from vmstamp.fabric.extensions import HandlerStatus, handler_statuses
from vmstamp.fabric.report import AgentStatus
from vmstamp.timeline import Event

POWER: Final = {
    "creating": "VM creating",
    "starting": "VM starting",
    "running": "VM running",
    "stopping": "VM stopping",
    "stopped": "VM stopped",
    "deallocating": "VM deallocating",
    "deallocated": "VM deallocated",
}


def power_state(vm: Resource, host: Host) -> str:
    """running, stopped, deallocated, creating. A guest that powered itself off is stopped.

    So is one whose creation has ended before it was started.
    """
    power = str(vm.state["power"])
    if power == "creating" and vm.provisioning_state not in ("Creating", "Updating"):
        return "stopped"
    if power == "running" and not host.running(vm.properties["vmId"]):
        return "stopped"
    return power


def instance_view(vm: Resource, host: Host, turns: Turns, extensions: Iterable[Json] = ()) -> Json:
    """The instance view as Azure's documents have it, with those of the VM's extensions."""
    agent = host.agent(vm.properties["vmId"])
    view: Json = {
        "computerName": computer_name(vm),
        "hyperVGeneration": f"V{vm.state['generation']}",
        "disks": [_disk(disk["name"], vm) for disk in vm.state["disks"]],
        "bootDiagnostics": {},
        "statuses": statuses(vm, host, turns),
    }
    view |= vm.state.get("domains", {})
    view |= _guest(agent)
    shown = list(extensions)
    if events := host.timeline(vm.properties["vmId"]):
        shown.append(timeline_extension(events))
    if shown:
        view["extensions"] = shown
    return view


def statuses(vm: Resource, host: Host, turns: Turns) -> list[Json]:
    power = vm.state.get("turning") or power_state(vm, host)
    found = [_provisioning(vm)]
    if ahead := turns.ahead(vm.properties["vmId"]):
        found[0]["message"] = (
            f"Waits for its turn: {ahead} virtual machines are provisioned before it, {turns.limit} at a "
            "time on this computer."
        )
    if vm.state["generalized"]:
        found.append(_status("OSState/generalized", "VM generalized"))
    found.append(_status(f"PowerState/{power}", POWER[power]))
    return found


def _provisioning(vm: Resource) -> Json:
    state, failure = vm.provisioning_state, vm.state.get("failure")
    at = str(vm.state.get("settled", vm.created))
    if state == "Failed" and failure:
        code = f"ProvisioningState/failed/{failure['code']}"
        return {**_status(code, "Provisioning failed", "Error", at), "message": failure["message"]}
    level = "Error" if state == "Failed" else "Info"
    words = {"Succeeded": "Provisioning succeeded", "Failed": "Provisioning failed"}
    return _status(f"ProvisioningState/{state.lower()}", words.get(state, state), level, at)


def _status(code: str, display: str, level: str = "Info", at: str = "") -> Json:
    found = {"code": code, "level": level, "displayStatus": display}
    return {**found, "time": at} if at else found


def _disk(name: str, vm: Resource) -> Json:
    state = "succeeded" if vm.provisioning_state != "Failed" else "failed"
    return {
        "name": name,
        "statuses": [_status(f"ProvisioningState/{state}", f"Provisioning {state}", at=vm.created)],
    }


def _guest(agent: AgentStatus | None) -> Json:
    """What the guest's agent said of itself and of its system; nothing when it said nothing."""
    if agent is None or agent.last is None:
        return {}
    ready = agent.last.ready
    status = _status(
        "ProvisioningState/succeeded" if ready else "ProvisioningState/failed",
        "Ready" if ready else "Not Ready",
        "Info" if ready else "Error",
        _time(agent.heartbeat or agent.last.at),
    )
    status["message"] = agent.last.description or f"reported by {agent.last.reporter}"
    version = agent.version or agent.last.reporter
    found: Json = {"vmAgent": {"vmAgentVersion": version, "statuses": [status]}}
    if handlers := [_handler(one) for one in handler_statuses(agent.status)]:
        found["vmAgent"]["extensionHandlers"] = handlers
    system = _agent_document(agent.status)
    for name, key in (("osName", "osName"), ("osVersion", "osVersion")):
        if isinstance(system.get(key), str):
            found[name] = system[key]
    return found


def _handler(told: HandlerStatus) -> Json:
    """A handler as its guest's agent tells of it."""
    ready = told.state.lower() == "ready"
    status = _status(
        f"ProvisioningState/{'succeeded' if ready else 'failed'}",
        "Ready" if ready else "Not Ready",
        "Info" if ready else "Error",
    )
    return {
        "type": told.name,
        "typeHandlerVersion": told.version,
        "status": {**status, "message": told.message} if told.message else status,
    }


def _agent_document(status: dict[str, Any] | None) -> dict[str, Any]:
    """The guestAgentStatus of a status blob. Source: WALinuxAgent `common/protocol/wire.py`."""
    aggregate = (status or {}).get("aggregateStatus")
    found = aggregate.get("guestAgentStatus") if isinstance(aggregate, dict) else None
    if not isinstance(found, dict):
        return {}
    version = found.get("osversion") or found.get("osVersion")
    return {"osName": found.get("osname") or found.get("osName"), "osVersion": version}


def timeline_extension(events: list[Event]) -> Json:
    return {
        "name": "vmstamp.timeline",
        "type": "vmstamp.Timeline",
        "typeHandlerVersion": "1.0",
        "substatuses": [
            {
                "code": f"Timeline/{event.stage.value}",
                "level": "Info",
                "displayStatus": event.stage.value,
                "message": event.detail,
                "time": _time(event.at),
            }
            for event in events
        ],
    }


def _time(moment: datetime) -> str:
    return moment.isoformat()
