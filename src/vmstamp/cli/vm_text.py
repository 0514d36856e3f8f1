"""A VM as `vm create` and `vm show` print it: state, timeline, and why it failed."""

from __future__ import annotations

from vmstamp.cli import network, vms
from vmstamp.cli.arm_client import ArmClient, Document
from vmstamp.cli.diagnosis import clean_console, diagnose
from vmstamp.cli.render import shown, table
from vmstamp.errors import VmstampError
from vmstamp.timeline import Stage

CONSOLE_LINES = 5  # of the end of the serial console


def vm_lines(arm: ArmClient, vm: Document) -> list[str]:
    """State, address, who reported Ready and when, the timeline; of a VM that failed, why."""
    stages = vms.timeline_of(vm)
    ready = vms.ready_at(vm)
    properties = vm["properties"]
    generalized = ", generalized" if vms.is_generalized(vm) else ""
    reported = f"{vms.ready_reporter(vm)} at {ready:%Y-%m-%d %H:%M:%S} UTC" if ready else "no"
    return [
        f"{vm['name']}",
        f"  id            {vm['id']}",
        f"  provisioning  {properties.get('provisioningState')}",
        *(f"  failed        {why}" for why in failures_of(vm)),
        *([f"  waits         {waits}"] if (waits := vms.waits_of(vm)) else ()),
        f"  power         {vms.status_of(vm, 'PowerState') or 'unknown'}{generalized}",
        f"  size          {properties['hardwareProfile']['vmSize']}",
        f"  address       {network.public_address(arm, vm) or 'none'}",
        f"  user          {properties.get('osProfile', {}).get('adminUsername') or 'none'}",
        f"  ready         {reported}",
        *(["", *table(("STAGE", "TIME", "EVIDENCE"), vms.timeline_rows(stages))] if stages else ()),
        *(_trouble(arm, vm, stages) if is_stuck(vm) else ()),
    ]


def failures_of(vm: Document) -> list[str]:
    """Azure's codes and messages of what failed, by the VM's instance view."""
    return [
        f"{str(status['code']).rsplit('/', 1)[1]}: {status['message']}"
        for status in vms.instance_view(vm).get("statuses", ())
        if status.get("level") == "Error" and status.get("message")
    ]


def is_stuck(vm: Document) -> bool:
    """Whether a VM failed before its agent reported Ready, or its agent reported a failure."""
    failed = vms.find_stage(vm, Stage.FAILED) is not None
    return failed or (vm["properties"].get("provisioningState") == "Failed" and vms.ready_at(vm) is None)


def _trouble(arm: ArmClient, vm: Document, stages: list[vms.Stage]) -> list[str]:
    """The probable cause, by the timeline and the serial console, and where to read on."""
    name, group = str(vm["name"]), str(vm["id"]).split("/")[4]
    try:
        serial = vms.serial_log(arm, group, name)
    except VmstampError:
        serial = ""
    found = diagnose([(stage.name, stage.detail) for stage in stages], serial)
    return [
        "",
        *(f"  | {shown(line)}" for line in clean_console(serial)[-CONSOLE_LINES:]),
        f"  stage reached   {found.reached or 'none'}",
        f"  probable cause  {found.cause}",
        f"  evidence        {shown(found.evidence) or 'none: the serial console is silent'}",
        f"  what to do      {found.mend}",
        f"  read on         vmstamp vm log {name} -g {group}",
    ]
