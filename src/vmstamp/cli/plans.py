"""What a command would make, in which order, and which class of cost each has: `--plan`. Nothing is changed.

A plan reads ARM and Blob only (ARM's listKeys among it, which is a POST and changes nothing); the values are
those that the command itself makes things of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from typing import Any

from azure.core.exceptions import AzureError as SdkError
from azure.storage.blob import BlobClient

from vmstamp.cli.arm_client import SUBSCRIPTIONS_VERSION, ArmClient
from vmstamp.cli.capture import GENERALIZED, account_of_image, disks_of, generation_of
from vmstamp.cli.captured_disks import Part, is_still
from vmstamp.cli.generalize import require_generalized
from vmstamp.cli.image_upload import refuse_other_region, region_name
from vmstamp.cli.images import ImageRequest, image_wanted, refuse_existing
from vmstamp.cli.managed_disks import DISKS, check_disk_size, disk_wanted
from vmstamp.cli.names import DISK, blob_name, check_name, parse_blob_name
from vmstamp.cli.network import network_wanted
from vmstamp.cli.quantities import bytes_text
from vmstamp.cli.render import Console, table
from vmstamp.cli.resources import group_wanted, step_of
from vmstamp.cli.storage import Account, account_wanted, find_account, own_account_name
from vmstamp.cli.vms import VmRequest, get_vm, region_of, source_for, vm_wanted
from vmstamp.cli.wanted import Cost, Step, Wanted
from vmstamp.disk import Disk, FixedVhd
from vmstamp.errors import VmstampError
from vmstamp.transfer.blobs import explain, without_sas
from vmstamp.transfer.copy_plan import CopyPlan

GIB = 1 << 30


@dataclass(frozen=True)
class Planned:
    """The steps of a command, in order, and where they would be done."""

    cloud: str
    subscription: str
    steps: tuple[Step, ...]

    def to_json(self) -> dict[str, Any]:
        costs = sorted({step.cost for step in self.steps if step.cost is not Cost.FREE})
        return {
            "plan": True,
            "cloud": self.cloud,
            "subscription": self.subscription,
            "steps": [asdict(step) for step in self.steps],
            "costs": costs,
        }

    def lines(self) -> list[str]:
        """For people. A stamp bills nothing; the classes are Azure's all the same."""
        rows = [
            [str(number), step.action, step.what, str(step.cost), step.detail]
            for number, step in enumerate(self.steps, 1)
        ]
        where = f"in {self.cloud}, subscription {self.subscription}" if self.subscription else "at that URL"
        return [
            where,
            *table(("#", "ACTION", "WHAT", "COST ON AZURE", "DETAIL"), rows),
            "nothing was changed",
        ]


def tell(planned: Planned, console: Console) -> None:
    """Print a plan, with --json as one document."""
    console.result(planned.to_json(), planned.lines())


def of_vm(arm: ArmClient, request: VmRequest) -> Planned:
    """`vm create`. Raises what `create_vm` would: a bad name, a VM that is there, an image that is not."""
    source = source_for(arm, request)
    region = region_of(arm, request, source)
    refuse_unknown_place(arm, region, request.size)
    network = network_wanted(arm, request.group, request.name, region)
    wanted = vm_wanted(arm, request, source, network[-1].id)
    new = [
        Step("make", f"data disk on LUN {one['lun']}", Cost.STORAGE, detail=_data_disk_text(one))
        for one in wanted.body["properties"]["storageProfile"]["dataDisks"]
    ]
    return _planned(
        arm,
        step_of(arm, group_wanted(arm, request.group, region)),
        *(step_of(arm, one) for one in network),
        Step("make", f"VM {request.name}", Cost.COMPUTE, wanted.id, f"{request.size} in {region}"),
        Step("make", f"OS disk of VM {request.name}", Cost.STORAGE, detail=f"of image {request.image}"),
        *new,
        Step("wait", "until its agent reports Ready"),
    )


def refuse_unknown_place(arm: ArmClient, region: str, size: str) -> None:
    """VmstampError for a region that the subscription has not, or a size that no VM has there.

    REST: Subscriptions - List Locations; Virtual Machine Sizes - List.
    """
    subscription = f"/subscriptions/{arm.endpoint.subscription}"
    version = {"api-version": SUBSCRIPTIONS_VERSION}
    regions = [str(one["name"]) for one in arm.list(f"{subscription}/locations", **version)]
    if (wanted := region_name(region)) not in regions:
        raise VmstampError(
            f"there is no region {region!r} in subscription {arm.endpoint.subscription}",
            hint=_instead(wanted, regions),
        )
    path = f"{subscription}/providers/Microsoft.Compute/locations/{wanted}/vmSizes"
    sizes = [str(one["name"]) for one in arm.list(path)]
    if size.lower() not in (one.lower() for one in sizes):
        raise VmstampError(f"there is no VM size {size!r} in {region}", hint=_instead(size, sizes))


def _instead(wanted: str, names: Sequence[str]) -> str:
    """The names that were perhaps meant, else some of all."""
    found = get_close_matches(wanted, names, n=5, cutoff=0.6)
    return f"did you mean {' or '.join(found)}?" if found else f"there are: {', '.join(names[:12])}, ..."


def of_capture(
    arm: ArmClient, group: str, name: str, image: str, *, account: str, classic: bool, os_state: str
) -> Planned:
    """`vm capture`. Raises what `capture` would: not generalized, an image of that name, blob-based disks."""
    vm, generalized = get_vm(arm, group, name), os_state == GENERALIZED
    if generalized:
        require_generalized(vm)
    refuse_existing(arm, ImageRequest(image, group, generation_of(vm)))
    found = find_account(arm, account) if account else account_of_image(arm, vm)
    found = found or find_account(arm, account or own_account_name(arm))
    store = step_of(arm, account_wanted(arm, group, account)) if found is None else None
    steps = [store or Step("use", f"storage account {found.name if found else account}")]
    for lun, disk in disks_of(vm):
        steps += _capture_of_disk(vm, Part(str(vm["properties"]["vmId"]), image, lun, disk))
    steps.append(Step("make", f"image {image}", Cost.STORAGE, detail=f"{os_state.lower()}"))
    if classic and generalized:
        steps.append(Step("delete", f"VM {name}, with its network", detail="once the image has succeeded"))
    return _planned(arm, *steps)


def _capture_of_disk(vm: dict[str, Any], part: Part) -> list[Step]:
    name = part.disk.rsplit("/", 1)[1]
    vhd = Step("copy", f"to a VHD {part.image}-{part.role}-DATE.vhd", Cost.STORAGE)
    if is_still(vm):
        return list(_by_access("Read", name, part.disk, vhd))
    snapshot = f"{part.image}-{part.role}"
    return [
        Step("make", f"snapshot {snapshot}", Cost.STORAGE, detail=f"of disk {name}"),
        *_by_access("Read", snapshot, "", vhd),
        Step("delete", f"snapshot {snapshot}"),
    ]


def _data_disk_text(disk: dict[str, Any]) -> str:
    return f"{disk['diskSizeGB']} GiB, empty" if "diskSizeGB" in disk else "of the image"


def of_image(arm: ArmClient, request: ImageRequest, url: str) -> Planned:
    """`image create` of a blob."""
    return _planned(arm, _group(arm, request.group), _image(arm, request, url))


def of_image_of_disk(arm: ArmClient, request: ImageRequest, source: Disk) -> Planned:
    """`image create` of a disk file: its upload, then the image. Raises what it would itself."""
    refuse_other_region(arm, request)
    name = blob_name(f"{request.name}.vhd")
    upload = _upload(arm, request.group, name, source)
    return _planned(arm, *upload, _image(arm, request, upload[-1].id))


def of_upload(arm: ArmClient, group: str, wanted: str, source: Disk, *, raw: bool = False) -> Planned:
    """`upload` to CONTAINER/BLOB or a name of the own account."""
    return _planned(arm, *_upload(arm, group, wanted, source, raw))


def of_upload_to(url: str, source: Disk, *, raw: bool = False) -> Planned:
    """`upload` to a URL, whose account is there."""
    where = without_sas(url)
    step = Step("upload", f"blob {where}", Cost.STORAGE, where, _size_text(source, raw))
    return Planned("", "", (step,))


def of_disk(arm: ArmClient, group: str, name: str, source: Disk) -> Planned:
    """`upload --as disk NAME`. Raises what `ensure_disk_for` would, but for a disk that is there already."""
    check_disk_size(check_name("disk", name), FixedVhd(source).size)
    wanted = disk_wanted(arm, group, name, source)
    size = f"{-(-FixedVhd(source).size // GIB)} GiB, Standard_LRS"
    return _planned(
        arm,
        _group(arm, group),
        step_of(arm, wanted, size),
        *_by_access("Write", name, wanted.id, Step("upload", f"its content, {_size_text(source)}")),
    )


def of_disk_copy(arm: ArmClient, group: str, name: str, destination: str) -> Planned:
    """`copy disk:NAME DESTINATION`: by a SAS that is granted and revoked, so its ranges are not read here."""
    disk = arm.resource_id(group, DISKS, name)
    size = int(arm.get(disk)["properties"]["diskSizeBytes"])
    moved = f"at most {bytes_text(size)}"
    to_disk = destination.removeprefix(DISK) if destination.startswith(DISK) else ""
    if not to_disk:
        copy = Step("copy", f"to {without_sas(destination)}", Cost.STORAGE, detail=moved)
        return _planned(arm, *of_place(arm, group, destination), *_by_access("Read", name, disk, copy))
    made = Wanted("managed disk", arm.resource_id(group, DISKS, to_disk), {}, Cost.STORAGE)
    grant, copy, revoke = _by_access("Write", to_disk, made.id, Step("copy", "its content", detail=moved))
    reading, _, read = _by_access("Read", name, disk, copy)
    return _planned(arm, _group(arm, group), reading, step_of(arm, made), grant, copy, revoke, read)


def of_copy(plan: CopyPlan, to_disk: str, blob: BlobClient | None, source: BlobClient) -> list[Step]:
    """What of a copy Azure bills; the regions are not known of URLs alone."""
    where = f"disk {to_disk}" if blob is None else f"blob {without_sas(blob.url)}"
    found = [Step("make", where, Cost.STORAGE, detail=bytes_text(plan.ranges.length))]
    if blob is None or blob.account_name != source.account_name:
        moved = f"up to {bytes_text(plan.ranges.length)} where the two lie in different regions"
        found.append(Step("move", moved, Cost.EGRESS))
    return found


def _planned(arm: ArmClient, *steps: Step) -> Planned:
    return Planned(arm.endpoint.cloud, arm.endpoint.subscription, steps)


def _group(arm: ArmClient, group: str) -> Step:
    wanted = group_wanted(arm, group)
    return step_of(arm, wanted, str(wanted.body["location"]))


def _image(arm: ArmClient, request: ImageRequest, url: str) -> Step:
    wanted = image_wanted(arm, request, url)
    detail = f"generation {request.generation}, {request.os_state.lower()}, in {wanted.body['location']}"
    return Step("make", f"image {request.name}", Cost.STORAGE, wanted.id, detail)


def _by_access(access: str, name: str, disk: str, between: Step) -> tuple[Step, Step, Step]:
    """A step by a SAS of a managed disk."""
    return (
        Step("grant", f"{access} access to disk {name}, by a SAS", id=disk),
        between,
        Step("revoke", f"the access to disk {name}, whatever happens", id=disk),
    )


def _upload(arm: ArmClient, group: str, wanted: str, source: Disk, raw: bool = False) -> tuple[Step, ...]:
    """Group, account, container and blob of an upload; the blob's step is the last and has its URL."""
    container, name = parse_blob_name(wanted)
    own, size = own_account_name(arm), _size_text(source, raw)
    account = find_account(arm, own)
    place = _place(arm, group, container, account)
    if account is None:
        return *place, Step("upload", f"blob {name}", Cost.STORAGE, f"{own}/{container}/{name}", size)
    has_blob = place[-1].action == "use" and _blob_is_there(account, container, name)
    there = "; one is there: it is continued if it is the same disk, else --overwrite" if has_blob else ""
    step = Step("upload", f"blob {name}", Cost.STORAGE, account.url(container, name), size + there)
    return *place, step


def of_place(arm: ArmClient, group: str, wanted: str) -> tuple[Step, ...]:
    """Where a copy goes: what must be there and is made else; of a URL nothing.

    `wanted` is `CONTAINER/BLOB`, a name, or disk:NAME, which needs its group only.
    """
    if wanted.startswith(DISK):
        return (_group(arm, group),)
    if "://" in wanted:
        return ()
    container, _ = parse_blob_name(wanted)
    return _place(arm, group, container, find_account(arm, own_account_name(arm)))


def _place(arm: ArmClient, group: str, container: str, account: Account | None) -> tuple[Step, ...]:
    """The own account and one of its containers; of an account that is not there (None) its group, too."""
    if account is None:
        made = account_wanted(arm, group)
        detail = f"Standard_LRS in {made.body['location']}"
        return (
            _group(arm, group),
            Step("make", f"storage account {made.name}", Cost.FREE, made.id, detail),
            Step("make", f"container {container}"),
        )
    url = f"{account.endpoint}/{container}"
    try:
        with account.open() as service:
            there = service.get_container_client(container).exists()
    except SdkError as error:
        raise explain(error, "looking at", url) from error
    return (
        Step("use", f"storage account {account.name}", id=account.id),
        Step("use" if there else "make", f"container {container}"),
    )


def _blob_is_there(account: Account, container: str, name: str) -> bool:
    with account.blob(container, name) as blob:
        try:
            return blob.exists()
        except SdkError as error:
            raise explain(error, "looking at", blob.url) from error


def _size_text(source: Disk, raw: bool = False) -> str:
    """How much of a disk would be sent."""
    vhd = source if raw else FixedVhd(source)
    data = sum(extent.length for extent in vhd.extents())
    return f"{bytes_text(data)} of {bytes_text(vhd.size)}"
