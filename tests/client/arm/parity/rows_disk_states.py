"""The state machine of managed disks: what each is made of, and what an upload and an access do to it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import requests

from tests.client.arm.parity.machines import EMPTY, VM, done, generalized, put, settle
from tests.client.arm.parity.row import COMPUTE, SUBSCRIPTION, TIMEOUT, Row, ask
from tests.client.arm.parity.rows_disks import (
    DISK1,
    ENDPOINT,
    MIB,
    READ,
    WRITE,
    disk_body,
    ended,
    in_state,
    make_disk,
    os_disk,
    post_disk,
    put_disk,
)
from tests.client.arm.parity.rows_galleries import VERSION, version
from tests.client.arm.parity.rows_images import platform_image
from tests.client.arm.parity.rows_vm_create import vm_body, without_profile
from tests.client.blob_service import at_a_door
from vmstamp.blob.store import BlobRef
from vmstamp.disk.footer import make_footer

TITLE: Final = "Disks: states, sources and accesses"
SIZE: Final = 20 * MIB
STORAGE: Final = "providers/Microsoft.Storage/storageAccounts/account1"
PLATFORM: Final = (
    f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Compute/locations/westeurope/publishers/Debian"
    "/artifactTypes/VMImage/offers/debian-12/skus/12-gen2/versions/0.1.0"
)
Send = Callable[[Any], requests.Response]


def _state(arm: Any, name: str = "disk1") -> requests.Response:
    return ask(arm, "GET", f"{COMPUTE}/disks/{name}")


# -- made of


def _made(prepare: Callable[[Any], dict[str, Any]]) -> Send:
    """A disk whose creationData `prepare` gives, once it is there."""

    def send(arm: Any) -> requests.Response:
        make_disk(arm, "made", **prepare(arm))
        return _state(arm, "made")

    return send


def _copied(arm: Any) -> dict[str, Any]:
    make_disk(arm)
    return {"createOption": "Copy", "sourceResourceId": DISK1}


def _of_snapshot(arm: Any) -> dict[str, Any]:
    make_disk(arm)
    ended(arm, put_disk(arm, "snap1", disk_body(createOption="Copy", sourceResourceId=DISK1), "snapshots"))
    return {"createOption": "Copy", "sourceResourceId": f"{COMPUTE}/snapshots/snap1"}


def _imported(arm: Any) -> dict[str, Any]:
    return {"createOption": "Import", "sourceUri": arm.vhd("account1", "a.vhd")}


def _of_gallery(arm: Any) -> dict[str, Any]:
    version(arm)
    return {"createOption": "FromImage", "galleryImageReference": {"id": VERSION}}


def _of_platform(arm: Any) -> dict[str, Any]:
    platform_image(arm, "0.1.0")
    return {"createOption": "FromImage", "imageReference": {"id": PLATFORM}}


def _of_managed_image(arm: Any) -> requests.Response:
    image = {"id": arm.image().id}
    return put_disk(arm, "disk1", disk_body(createOption="FromImage", imageReference=image))


# -- attached, detached


def _detached_while_reserved(arm: Any) -> requests.Response:
    body = vm_body(arm)
    body["properties"]["storageProfile"]["dataDisks"] = [{**EMPTY, "lun": 0, "name": "d0"}]
    put(arm, body)
    settle(arm)
    done(arm, "deallocate")
    assert _state(arm, "d0").json()["properties"]["diskState"] == "Reserved"
    body["properties"]["storageProfile"]["dataDisks"] = []
    put(arm, body)
    settle(arm)
    return _state(arm, "d0")


def _left_by_its_vm(arm: Any) -> requests.Response:
    name = os_disk(arm)
    ask(arm, "DELETE", VM)
    settle(arm)
    return _state(arm, name)


def _attached_again(arm: Any) -> requests.Response:
    name = os_disk(arm)
    done(arm, "deallocate", "start")
    return _state(arm, name)


# -- uploaded


def _upload(arm: Any, **properties: Any) -> requests.Response:
    body = disk_body(createOption="Upload", uploadSizeBytes=SIZE + 512)
    body["properties"] |= properties
    ended(arm, put_disk(arm, "disk1", body))
    return _state(arm)


def _opened(arm: Any) -> requests.Response:
    _upload(arm)
    return ended(arm, post_disk(arm, "disk1", "beginGetAccess", WRITE))


def _written(arm: Any) -> None:
    """An upload of a VHD, whose access has ended."""
    place = _opened(arm).json()["accessSAS"].removeprefix(f"{ENDPOINT}/").split("?")[0]
    footer = make_footer(SIZE, uuid.uuid4(), datetime.now(UTC))
    arm.store.write_pages(BlobRef(*place.split("/", 2)), SIZE, footer)
    assert ended(arm, post_disk(arm, "disk1", "endGetAccess")).ok


def _uploaded(arm: Any) -> requests.Response:
    _written(arm)
    return _state(arm)


def _attach(arm: Any) -> requests.Response:
    disk = {"osType": "Linux", "createOption": "Attach", "managedDisk": {"id": DISK1}}
    return put(arm, without_profile(vm_body(arm, storageProfile={"osDisk": disk})))


def _attach_uploaded(arm: Any) -> requests.Response:
    _written(arm)
    return _attach(arm)


def _attach_in_upload(arm: Any) -> requests.Response:
    _opened(arm)
    return _attach(arm)


def _told(answer: requests.Response) -> bool:
    properties = answer.json()["properties"]
    assert (properties["osType"], properties["hyperVGeneration"]) == ("Linux", "V2")
    return (properties["diskSizeBytes"], properties["diskSizeGB"]) == (SIZE, 1)


# -- imported from another subscription


def _elsewhere(arm: Any, named: str | None) -> requests.Response:
    """Import into another subscription than that of the blob's account; `named`: storageAccountId."""
    url = arm.vhd("account1", "a.vhd")
    alias = "/providers/Microsoft.Subscription/aliases/dev"
    given = {"properties": {"displayName": "dev", "workload": "Production"}}
    made = ask(arm, "PUT", alias, given, api="2021-10-01").json()["properties"]["subscriptionId"]
    group = f"/subscriptions/{made}/resourceGroups/rg"
    ask(arm, "PUT", group, {"location": "westeurope"})
    creation = {"createOption": "Import", "sourceUri": url}
    if named:
        creation["storageAccountId"] = named
    path = f"{group}/providers/Microsoft.Compute/disks/disk1"
    answer = ask(arm, "PUT", path, disk_body(**creation))
    settle(arm)
    return answer


def _import_with_uri(arm: Any) -> requests.Response:
    creation = {**_imported(arm), "storageAccountId": f"{ENDPOINT}/account1"}
    return put_disk(arm, "disk1", disk_body(**creation))


# -- accesses


def _reserved_with_access(arm: Any) -> requests.Response:
    name = os_disk(arm)
    done(arm, "deallocate")
    ended(arm, post_disk(arm, name, "beginGetAccess", READ))
    return _state(arm, name)


def _expired(arm: Any) -> requests.Response:
    make_disk(arm)
    ended(arm, post_disk(arm, "disk1", "beginGetAccess", {**READ, "durationInSeconds": 1}))
    time.sleep(1.1)
    return _state(arm)


def _sent(door: str, url: str) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False
        return session.get(url.replace(ENDPOINT, door), headers={"Range": "bytes=0-511"}, timeout=TIMEOUT)


def _revoked(arm: Any) -> requests.Response:
    make_disk(arm)
    url = ended(arm, post_disk(arm, "disk1", "beginGetAccess", READ)).json()["accessSAS"]
    with at_a_door(arm.store) as door:
        assert _sent(door, url).status_code == 206
        ended(arm, post_disk(arm, "disk1", "endGetAccess"))
        return _sent(door, url)


def _access_of_generalized(arm: Any) -> requests.Response:
    generalized(arm)
    name = ask(arm, "GET", VM).json()["properties"]["storageProfile"]["osDisk"]["name"]
    return ended(arm, post_disk(arm, name, "beginGetAccess", READ))


def _has_form(prefix: str) -> Callable[[requests.Response], bool]:
    """The SAS names the blob abcd of an account whose name begins so, and rests on a policy alone."""

    def holds(answer: requests.Response) -> bool:
        url, _, query = answer.json()["accessSAS"].partition("?")
        account, _, name = url.removeprefix(f"{ENDPOINT}/").split("/")
        members = [one.split("=")[0] for one in query.split("&")]
        rest = account.removeprefix(prefix)
        assert sorted(members) == ["si", "sig", "sr", "sv"]
        return account.startswith(prefix) and "-" not in rest and name == "abcd" and "sr=b" in query

    return holds


ROWS: Final = (
    *(
        Row(f"state of a disk of {what}", "D", _made(prepare), 200, holds=in_state("Unattached"))
        for what, prepare in (
            ("nothing: Empty", lambda arm: {"createOption": "Empty", "size": 1}),
            ("another disk: Copy", _copied),
            ("a snapshot: Copy", _of_snapshot),
            ("a blob: Import", _imported),
            ("a gallery version: FromImage", _of_gallery),
            ("a platform image: FromImage", _of_platform),
        )
    ),
    Row("a disk of a managed image", "I", _of_managed_image, 400, "NotSupportedByStamp"),
    Row(
        "a disk taken off a deallocated VM", "D", _detached_while_reserved, 200, holds=in_state("Unattached")
    ),
    Row("the disk of a VM that was deleted", "D", _left_by_its_vm, 200, holds=in_state("Unattached")),
    Row("the disk of a VM started again", "D", _attached_again, 200, holds=in_state("Attached")),
    Row(
        "an upload needs no diskSizeGB, and takes system and generation",
        "D",
        lambda arm: _upload(arm, osType="Linux", hyperVGeneration="V2"),
        200,
        holds=_told,
    ),
    Row("state of a disk that was uploaded", "D", _uploaded, 200, holds=in_state("Unattached")),
    Row("a VM with a disk that was uploaded", "D", _attach_uploaded, 201),
    Row("a VM with a disk that is being uploaded", "D", _attach_in_upload, 409, "OperationNotAllowed"),
    Row("beginGetAccess for an upload", "R", _opened, 200, holds=_has_form("md-impexp-")),
    Row("beginGetAccess for reading", "R", _access_of_generalized, 200, holds=_has_form("md-")),
    Row(
        "Import from another subscription without storageAccountId",
        "D",
        lambda arm: _elsewhere(arm, None),
        400,
        "InvalidParameter",
        "Required parameter 'storageAccountId' is missing (null).",
        "storageAccountId",
    ),
    Row(
        "Import from another subscription with storageAccountId",
        "D",
        lambda arm: _elsewhere(arm, f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg/{STORAGE}"),
        202,
    ),
    Row(
        "Import from another subscription with a URI for storageAccountId",
        "D",
        lambda arm: _elsewhere(arm, f"{ENDPOINT}/account1"),
        400,
        "LinkedInvalidPropertyId",
        f"Property id '{ENDPOINT}/account1' at path 'properties.creationData.storageAccountId' is invalid. "
        "Expect fully qualified resource Id that start with ...",
    ),
    Row("Import with a URI for storageAccountId, as templates write it", "D", _import_with_uri, 202),
    Row(
        "state of a deallocated VM's disk with an open access",
        "D",
        _reserved_with_access,
        200,
        holds=in_state("ActiveSAS"),
    ),
    Row("state of a disk whose access is over", "D", _expired, 200, holds=in_state("Unattached")),
    Row(
        "a SAS after endGetAccess",
        "R",
        _revoked,
        403,
        holds=lambda answer: answer.headers["x-ms-error-code"] == "AuthenticationFailed",
    ),
)
