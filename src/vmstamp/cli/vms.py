"""Virtual machines: created with their network, watched until Ready, shown, deleted with what is theirs."""

from __future__ import annotations

import codecs
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from vmstamp.cli.arm_client import ArmClient, Document
from vmstamp.cli.images import VmSource, vm_source
from vmstamp.cli.names import check_name, computer_name
from vmstamp.cli.network import ensure_network, network_wanted, remains_of
from vmstamp.cli.render import Reporter
from vmstamp.cli.resources import ensure_group
from vmstamp.cli.wanted import Cost, Wanted, tagged
from vmstamp.errors import AzureError, MachineError, StampError, VmstampError

VMS = "Microsoft.Compute/virtualMachines"
DISKS = "Microsoft.Compute/disks"
TIMELINE = "vmstamp.timeline"  # the extension of the instance view that carries the stages
DEFAULT_SIZE = "Standard_B1ms"
DEFAULT_USER = "azureuser"


@dataclass(frozen=True)
class VmRequest:
    """What a VM is made of. `data_disk_sizes` are new empty disks in GiB, on the first free LUNs.

    `user` empty: no osProfile at all, as a specialized image wants it.
    """

    name: str
    group: str
    image: str
    user: str
    public_key: str
    size: str = DEFAULT_SIZE
    data_disk_sizes: tuple[int, ...] = ()
    custom_data: str = ""  # base64
    location: str = ""


@dataclass(frozen=True)
class Stage:
    """One stage of a VM's provisioning timeline, as the instance view shows it."""

    name: str
    at: datetime
    detail: str


def vm_id(arm: ArmClient, group: str, name: str) -> str:
    return arm.resource_id(group, VMS, name)


def get_vm(arm: ArmClient, group: str, name: str) -> Document:
    """The VM with its instance view."""
    return arm.get(vm_id(arm, group, name), **{"$expand": "instanceView"})


def list_vms(arm: ArmClient, group: str) -> list[Document]:
    """The VMs of a group with their instance views; none when the group is not there."""
    names = [str(vm["name"]) for vm in arm.list_in_group(group, VMS)]
    return [get_vm(arm, group, name) for name in names]


def all_vms(arm: ArmClient) -> list[Document]:
    """Every VM of the subscription with its instance view."""
    collection = f"/subscriptions/{arm.endpoint.subscription}/providers/{VMS}"
    return [arm.get(str(vm["id"]), **{"$expand": "instanceView"}) for vm in arm.list(collection)]


def instance_view(vm: Document) -> Document:
    found: Document = vm["properties"].get("instanceView") or {}
    return found


def status_of(vm: Document, kind: str) -> str:
    """The last word of a status code of the instance view: kind `PowerState` gives `running`."""
    for status in instance_view(vm).get("statuses", ()):
        head, _, tail = str(status["code"]).partition("/")
        if head == kind:
            return tail
    return ""


def require_running(vm: Document) -> None:
    """Raises MachineError unless the VM runs."""
    power = status_of(vm, "PowerState") or "unknown"
    if power not in ("running", "starting"):
        raise MachineError(f"VM {vm['name']} is {power}, not running", hint=f"vmstamp vm start {vm['name']}")


def is_generalized(vm: Document) -> bool:
    return status_of(vm, "OSState").lower() == "generalized"


def timeline_of(vm: Document) -> list[Stage]:
    """The stages that the VM's provisioning reached, by time."""
    stages = []
    for extension in instance_view(vm).get("extensions", ()):
        if extension["name"] == TIMELINE:
            stages = [_stage(status) for status in extension.get("substatuses", ())]
    return sorted(stages, key=lambda stage: stage.at)


def _stage(status: Document) -> Stage:
    at = _time(str(status["time"]))
    return Stage(str(status["displayStatus"]), at, str(status.get("message") or ""))


def _time(text: str) -> datetime:
    """Azure writes up to seven digits of a second; datetime reads six of them."""
    return datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text).replace("Z", "+00:00"))


def timeline_rows(stages: list[Stage]) -> list[list[str]]:
    """The timeline as table rows: stage, seconds since the first one, evidence."""
    return [
        [stage.name, f"{(stage.at - stages[0].at).total_seconds():8.1f} s", stage.detail] for stage in stages
    ]


def find_stage(vm: Document, name: str) -> Stage | None:
    return next((stage for stage in timeline_of(vm) if stage.name == name), None)


def create_vm(arm: ArmClient, request: VmRequest, report: Reporter, *, no_wait: bool = False) -> Document:
    """Create the VM and its network and wait until its guest agent reports Ready; the VM's document.

    A VM that the service refused leaves nothing; one that came up but never got Ready stays, to be looked
    at. On Ctrl-C what was made is deleted. Raises AzureError with Azure's code.
    """
    resource = vm_id(arm, request.group, request.name)
    source = source_for(arm, request)
    region = region_of(arm, request, source)
    made: list[str] = []
    try:
        ensure_group(arm, request.group, region)
        nic = ensure_network(arm, network_wanted(arm, request.group, request.name, region), made)
        wanted = vm_wanted(arm, request, source, nic)
        made.append(resource)
        arm.made[resource] = wanted
        poller = arm.begin_put(resource, tagged(wanted.body))
        if no_wait:
            return arm.get(resource)
        arm.wait(poller, each=Watch(arm, resource, report).look)
    except KeyboardInterrupt:
        report.say(f"interrupted: deleting VM {request.name} and what was made for it")
        undo(arm, made, report.say)
        raise
    except AzureError as error:
        if arm.find(resource) is None:
            report.say(f"refused: deleting what was made for VM {request.name}")
            undo(arm, made, report.say)
        elif not error.hint:
            error.hint = f"why: vmstamp vm show {request.name}; its console: vmstamp vm log {request.name}"
        raise
    return get_vm(arm, request.group, request.name)


def source_for(arm: ArmClient, request: VmRequest) -> VmSource:
    """What a VM that is to be made is made of. Raises before anything is made: a bad name, or one that is
    taken, an image that is not there."""
    check_name("VM", request.name)
    if arm.find(vm_id(arm, request.group, request.name)):
        raise VmstampError(
            f"VM {request.name} exists already in resource group {request.group}",
            hint=f"vmstamp vm delete {request.name}, or take another name",
        )
    return vm_source(arm, request.group, request.image)


def region_of(arm: ArmClient, request: VmRequest, source: VmSource) -> str:
    """The region of a VM: the one that was asked for, else that of its image, else the group's."""
    return request.location or source.location or arm.region(request.group)


def vm_wanted(arm: ArmClient, request: VmRequest, source: VmSource, nic: str) -> Wanted:
    """The VM; its disks, which its PUT makes, are billed by GiB-month besides."""
    body = vm_body(region_of(arm, request, source), request, source, nic)
    return Wanted("VM", vm_id(arm, request.group, request.name), body, Cost.COMPUTE)


def vm_body(location: str, request: VmRequest, source: VmSource, nic: str) -> Document:
    """The body of the VM's PUT, as Azure takes it. Disks and interface go when the VM goes."""
    free = (lun for lun in range(64) if lun not in source.luns)
    new = [
        {"lun": lun, "createOption": "Empty", "diskSizeGB": size, "deleteOption": "Delete"}
        for size, lun in zip(request.data_disk_sizes, free, strict=False)
    ]
    copied = [{"lun": lun, "createOption": "FromImage", "deleteOption": "Delete"} for lun in source.luns]
    properties: Document = {
        "hardwareProfile": {"vmSize": request.size},
        "storageProfile": {
            "imageReference": source.reference,
            "osDisk": {"createOption": "FromImage", "caching": "ReadWrite", "deleteOption": "Delete"},
            "dataDisks": [*copied, *new],
        },
        "networkProfile": {
            "networkInterfaces": [{"id": nic, "properties": {"primary": True, "deleteOption": "Delete"}}]
        },
        "diagnosticsProfile": {"bootDiagnostics": {"enabled": True}},
    }
    if request.user:
        properties["osProfile"] = _os_profile(request)
    return {"location": location, "properties": properties}


def _os_profile(request: VmRequest) -> Document:
    key = {"path": f"/home/{request.user}/.ssh/authorized_keys", "keyData": request.public_key}
    profile: Document = {
        "computerName": computer_name(request.name),
        "adminUsername": request.user,
        "linuxConfiguration": {
            "disablePasswordAuthentication": True,
            "provisionVMAgent": True,
            "ssh": {"publicKeys": [key]},
        },
    }
    if request.custom_data:
        profile["customData"] = request.custom_data
    return profile


class Watch:
    """Says each new stage of one VM's timeline once; where there is none, as on Azure, each new status."""

    def __init__(self, arm: ArmClient, resource: str, report: Reporter) -> None:
        self._arm = arm
        self._resource = resource
        self._name = resource.rsplit("/", 1)[1]
        self._report = report
        self._told: set[str] = set()

    def look(self) -> None:
        """Read the instance view and say what is new; a VM that is not there yet says nothing."""
        vm = self._arm.find(self._resource, **{"$expand": "instanceView"})
        if vm is None:
            return
        for stage in timeline_of(vm):
            self._say(stage.name, f" ({stage.detail})" if stage.detail else "")
        if waits := waits_of(vm):
            self._say(waits)
        elif not timeline_of(vm):
            for word in statuses_of(vm):
                self._say(word)

    def _say(self, what: str, detail: str = "") -> None:
        if what not in self._told:
            self._told.add(what)
            self._report.say(f"{self._name}: {what}{detail}")


def waits_of(vm: Document) -> str:
    """What a VM that is being created waits for, in the service's words; empty when it does not wait."""
    for status in instance_view(vm).get("statuses", ()):
        if str(status["code"]) == "ProvisioningState/creating":
            return str(status.get("message") or "")
    return ""


def statuses_of(vm: Document) -> list[str]:
    """What an instance view says in words: the VM's own statuses, and those of its agent."""
    view = instance_view(vm)
    own = [str(one.get("displayStatus") or one["code"]) for one in view.get("statuses", ())]
    agent = (view.get("vmAgent") or {}).get("statuses", ())
    return own + [f"agent {one.get('displayStatus') or one['code']}" for one in agent]


def ready_at(vm: Document) -> datetime | None:
    """When the guest was Ready: by the timeline, else by what its agent says of itself; None: it is not."""
    if stage := find_stage(vm, "ready"):
        return stage.at
    for status in (instance_view(vm).get("vmAgent") or {}).get("statuses", ()):
        if status.get("displayStatus") == "Ready" and status.get("time"):
            return _time(str(status["time"]))
    return None


def undo(arm: ArmClient, ids: Iterable[str], say: Callable[[str], None] = lambda text: None) -> list[str]:
    """Delete resources in reverse order of making, VMs with their disks; the ids of what could not be."""
    left = []
    for resource in reversed(list(ids)):
        try:
            arm.delete(resource)
        except (AzureError, StampError) as error:
            say(f"could not delete {resource}: {error.message}")
            left.append(resource)
    return left


def deletion_plan(arm: ArmClient, group: str, name: str) -> list[str]:
    """The ids that `vm delete` deletes, in order: the VM, its disks, its own interface, address and rules."""
    vm = arm.get(vm_id(arm, group, name))
    profile = vm["properties"]["storageProfile"]
    disks = [one.get("managedDisk") or {} for one in (profile["osDisk"], *profile.get("dataDisks", []))]
    own = [str(one["id"]) for one in disks if one.get("id")]
    network = [resource for resource in remains_of(arm, group, name) if arm.find(resource)]
    return [str(vm["id"]), *own, *network]


def delete_vm(arm: ArmClient, group: str, name: str, report: Reporter) -> list[str]:
    """Delete a VM and what is its own; the ids that were deleted."""
    plan = deletion_plan(arm, group, name)
    for resource in plan:
        arm.delete(resource)
        report.say(f"deleted {'/'.join(resource.split('/')[-2:])}")
    return plan


def start_vm(arm: ArmClient, group: str, name: str) -> None:
    arm.act(vm_id(arm, group, name), "start")


def ready_reporter(vm: Document) -> str:
    """Who reported Ready: the evidence of the timeline's Ready stage, else the VM agent's version."""
    stage = find_stage(vm, "ready")
    if stage and stage.detail:
        return stage.detail.removeprefix("reported by ")
    return f"agent {instance_view(vm).get('vmAgent', {}).get('vmAgentVersion') or 'unknown'}"


def stop_vm(arm: ArmClient, group: str, name: str) -> None:
    """Shut the VM down and deallocate it."""
    arm.act(vm_id(arm, group, name), "deallocate")


def serial_log(arm: ArmClient, group: str, name: str) -> str:
    """The VM's serial console so far. Raises AzureError and TransferError."""
    return serial_bytes(arm, group, name).decode(errors="replace")


def serial_bytes(arm: ArmClient, group: str, name: str) -> bytes:
    """The VM's serial console as its bytes. Raises AzureError and TransferError."""
    from azure.core.exceptions import AzureError as SdkError

    from vmstamp.transfer.blobs import explain, open_blob

    answer = arm.post(vm_id(arm, group, name), "retrieveBootDiagnosticsData")
    url = str(answer.get("serialConsoleLogBlobUri") or "")
    if not url:
        return b""
    try:
        with open_blob(url) as blob:
            return bytes(blob.download_blob().readall())
    except SdkError as error:
        raise explain(error, "reading the serial log", url) from error


def follow_log(arm: ArmClient, group: str, name: str) -> Iterator[str]:
    """The VM's serial console as it grows, until the VM does not run any more. Raises as `serial_log`.

    A console that began anew, as after a restart, is told from its beginning.
    """
    seen, decoder = b"", _decoder()
    while True:
        running = status_of(get_vm(arm, group, name), "PowerState") not in ("stopped", "deallocated")
        found = serial_bytes(arm, group, name)
        if not found.startswith(seen):
            seen, decoder = b"", _decoder()
        if text := decoder.decode(found[len(seen) :]):
            yield text
        seen = found
        if not running:
            return
        time.sleep(arm.endpoint.interval)


def _decoder() -> codecs.IncrementalDecoder:
    return codecs.getincrementaldecoder("utf-8")(errors="replace")
