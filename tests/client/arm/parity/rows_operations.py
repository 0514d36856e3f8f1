"""Operations under way, ended and failed: what their two URLs say, and what the resource says meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final

import requests

from tests.client.arm.parity.machines import blob_vm, held, settle
from tests.client.arm.parity.row import COMPUTE, GROUP, SUBSCRIPTION, TIMEOUT, Row, ask
from tests.client.arm.parity.rows_async import ACCOUNT, ACCOUNT_BODY, BOTH, NOTIFIED, OTHER, says
from tests.client.arm.parity.rows_deployments import DEPLOYMENT, rest
from tests.client.arm.parity.rows_deployments import body as deployment
from tests.client.arm.parity.rows_deployments import put as deploy
from tests.client.arm.parity.rows_galleries import DEFINITION, GALLERY, KIND, VERSION, gallery, version
from tests.client.arm.parity.rows_protocol import (
    ADDRESS,
    DISK,
    MACHINE,
    WHERE,
    address,
    after,
    disk,
    polled,
    sent,
)
from vmstamp.arm.compute.host import Outcome
from vmstamp.arm.operations import WORKERS

TITLE: Final = "Operations: how they are followed"
Send = Callable[[Any], requests.Response]
PROVIDER: Final = "Microsoft.Compute"
SNAPSHOT: Final = f"{COMPUTE}/snapshots/snap1"
SOURCE: Final = {"createOption": "Copy", "sourceResourceId": DISK}
READ: Final = {"access": "Read", "durationInSeconds": 60}
CAPS: Final = (
    f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Compute/locations/westeurope/capsOperations/"
)


def _machine(arm: Any) -> requests.Response:
    return ask(arm, "PUT", MACHINE, arm.vm_body(arm.image(), arm.nic()))


def _again(arm: Any) -> requests.Response:
    body = arm.vm_body(arm.image(), arm.nic())
    ask(arm, "PUT", MACHINE, body)
    settle(arm)
    return ask(arm, "PUT", MACHINE, body)


def _made(arm: Any) -> requests.Response:
    """The VM, once the operation of its PUT has said Succeeded."""
    status = polled(_machine)(arm)
    assert status.json()["status"] == "Succeeded"
    return ask(arm, "GET", MACHINE)


def _failed(arm: Any) -> requests.Response:
    arm.host.outcome = Outcome(False, "OSProvisioningTimedOut", "too late")
    return polled(_machine)(arm)


def _tells_failure(reply: requests.Response) -> bool:
    document = reply.json()
    error = document["error"]
    return (
        document["status"] == "Failed"
        and {"startTime", "endTime", "name"} <= document.keys()
        and (error["code"], error["message"]) == ("OSProvisioningTimedOut", "too late")
    )


def _failed_machine(arm: Any) -> requests.Response:
    _failed(arm)
    return ask(arm, "GET", MACHINE)


def _moving(action: str) -> Send:
    """The answer to a move of an address to another group."""

    def send(arm: Any) -> requests.Response:
        address(arm)
        settle(arm)
        ask(arm, "PUT", OTHER, WHERE)
        body = {"resources": [ADDRESS], "targetResourceGroup": OTHER}
        return ask(arm, "POST", f"{GROUP}/{action}", body, api="2021-04-01")

    return send


def _move_on_its_way(arm: Any) -> requests.Response:
    """The Location of a move that waits behind as many operations as there are threads."""
    go = threading.Event()
    pool = arm.plane.engine.operations._pool
    waiting = [pool.submit(go.wait, TIMEOUT) for _ in range(WORKERS)]
    try:
        return ask(arm, "GET", _moving("moveResources")(arm).headers["Location"])
    finally:
        go.set()
        settle(arm)
        assert all(one.result() for one in waiting)


def _canceled(arm: Any) -> requests.Response:
    """The status of a deployment that was canceled while its VM waited."""
    kind = {"type": "Microsoft.Compute/virtualMachines", "apiVersion": "2024-07-01", "name": "vm1"}
    one = deployment({**kind, **arm.vm_body(arm.image(), arm.nic())})
    arm.host.held.clear()
    accepted = ask(arm, "PUT", DEPLOYMENT, one)
    assert ask(arm, "POST", f"{DEPLOYMENT}/cancel").status_code == 204
    arm.host.held.set()
    rest(arm)
    return ask(arm, "GET", accepted.headers["Azure-AsyncOperation"])


def _location(arm: Any) -> Callable[[requests.Response], requests.Response]:
    return lambda accepted: ask(arm, "GET", accepted.headers["Location"])


def _stopping(arm: Any) -> requests.Response:
    arm.vm()
    return held(arm, arm.host, "stop", sent("POST", f"{MACHINE}/powerOff"), _location(arm))


def _account_on_its_way(arm: Any) -> requests.Response:
    put = sent("PUT", ACCOUNT, ACCOUNT_BODY)
    return held(arm, arm.store, "create_account", put, _location(arm))


def _group_on_its_way(arm: Any) -> requests.Response:
    arm.vm()
    return held(arm, arm.host, "stop", sent("DELETE", GROUP), _location(arm))


def _being_deleted(arm: Any) -> requests.Response:
    arm.vm()
    delete = sent("DELETE", MACHINE)
    return held(arm, arm.host, "stop", delete, lambda accepted: ask(arm, "GET", MACHINE))


def _acted(action: str, *before: str) -> Send:
    def send(arm: Any) -> requests.Response:
        arm.vm()
        for one in before:
            ask(arm, "POST", f"{MACHINE}/{one}")
            settle(arm)
        return ask(arm, "POST", f"{MACHINE}/{action}")

    return send


def _converted(arm: Any) -> requests.Response:
    blob_vm(arm)
    ask(arm, "POST", f"{MACHINE}/deallocate")
    settle(arm)
    return ask(arm, "POST", f"{MACHINE}/convertToManagedDisks")


def _result_of_nothing(arm: Any) -> requests.Response:
    return polled(_acted("powerOff"), "Location")(arm)


def _snapshot(arm: Any) -> requests.Response:
    disk(arm)
    settle(arm)
    return ask(arm, "PUT", SNAPSHOT, {**WHERE, "properties": {"creationData": SOURCE}})


def _opened(arm: Any) -> requests.Response:
    _snapshot(arm)
    settle(arm)
    return ask(arm, "POST", f"{SNAPSHOT}/beginGetAccess", READ)


def _definition(arm: Any) -> requests.Response:
    gallery(arm)
    return ask(arm, "PUT", DEFINITION, {**WHERE, "properties": KIND})


def _patched_address(arm: Any) -> requests.Response:
    address(arm)
    settle(arm)
    return ask(arm, "PUT", ADDRESS, {**WHERE, "properties": {}})


def _monitored(reply: requests.Response) -> bool:
    """202, empty, with both headers: the second is the first with monitor=true."""
    return (
        reply.content == b""
        and reply.headers["Location"] == f"{reply.headers['Azure-AsyncOperation']}&monitor=true"
    )


def _of_disks(reply: requests.Response) -> bool:
    return _monitored(reply) and says(*BOTH, provider=PROVIDER, segment="DiskOperations")(reply)


def _of_machines(reply: requests.Response) -> bool:
    return _monitored(reply) and says(*BOTH, *NOTIFIED, provider=PROVIDER, segment="operations")(reply)


def _of_galleries(reply: requests.Response) -> bool:
    return _monitored(reply) and CAPS in reply.headers["Azure-AsyncOperation"]


def _bare(reply: requests.Response) -> bool:
    shown = reply.json()
    bare = not {"id", "type"} & shown.keys() and shown["properties"]["isArmResource"] is True
    return bare and says(*BOTH, provider=PROVIDER, segment="DiskOperations", state="Updating")(reply)


def _comes_again(reply: requests.Response) -> bool:
    return reply.content == b"" and int(reply.headers["Retry-After"]) == 1 and "Location" in reply.headers


def _state(name: str) -> Callable[[requests.Response], bool]:
    return lambda reply: reply.json()["properties"]["provisioningState"] == name


ROWS: Final = (
    Row(
        "PUT of a VM that is there",
        "R",
        _again,
        200,
        holds=says(*NOTIFIED, provider=PROVIDER, segment="operations", state="Updating"),
    ),
    Row(
        "PUT of a network resource that is there",
        "R",
        _patched_address,
        200,
        holds=says(
            "Azure-AsyncOperation", provider="Microsoft.Network", segment="operations", state="Updating"
        ),
    ),
    Row("GET once the operation has succeeded", "R", _made, 200, holds=_state("Succeeded")),
    Row("GET once the operation has failed", "R", _failed_machine, 200, holds=_state("Failed")),
    Row("GET of what is being deleted", "D", _being_deleted, 200, holds=_state("Deleting")),
    Row("the status document of an operation that has failed", "R", _failed, 200, holds=_tells_failure),
    Row(
        "the status document of an operation that was canceled",
        "R",
        _canceled,
        200,
        holds=lambda reply: reply.json()["status"] == "Canceled",
    ),
    Row("the Location of an operation under way", "R", _stopping, 202, holds=_comes_again),
    Row(
        "the Location of an action without a result, once it has ended",
        "R",
        _result_of_nothing,
        200,
        holds=lambda reply: reply.content == b"",
    ),
    *(
        Row(f"the Location of a {what} under way", "R", send, 202, holds=_comes_again)
        for what, send in (
            ("storage account's PUT", _account_on_its_way),
            ("group's DELETE", _group_on_its_way),
            ("move", _move_on_its_way),
        )
    ),
    *(
        Row(f"{action} is accepted with a Location alone", "R", _moving(action), 202, holds=says("Location"))
        for action in ("moveResources", "validateMoveResources")
    ),
    *(
        Row(f"{name} of a VM", "R", send, 202, holds=_of_machines)
        for name, send in (
            ("powerOff", _acted("powerOff")),
            ("restart", _acted("restart")),
            ("start", _acted("start", "deallocate")),
            ("convertToManagedDisks", _converted),
        )
    ),
    Row("DELETE of a VM, followed", "R", after(_machine, "DELETE", MACHINE), 202, holds=_of_machines),
    Row("DELETE of a disk, followed", "R", after(disk, "DELETE", DISK), 202, holds=_of_disks),
    *(
        Row(f"{name} of a disk, followed", "R", send, 202, holds=_of_disks)
        for name, send in (
            ("beginGetAccess", after(disk, "POST", f"{DISK}/beginGetAccess", READ)),
            ("endGetAccess", after(disk, "POST", f"{DISK}/endGetAccess")),
        )
    ),
    Row("PUT of a new snapshot", "R", _snapshot, 202, holds=_bare),
    Row("DELETE of a snapshot", "R", after(_snapshot, "DELETE", SNAPSHOT), 202, holds=_of_disks),
    Row("beginGetAccess of a snapshot", "R", _opened, 202, holds=_of_disks),
    Row(
        "the Location of a snapshot's beginGetAccess gives it bare",
        "R",
        polled(_opened, "Location"),
        200,
        holds=lambda reply: reply.json().keys() == {"accessSAS"},
    ),
    Row(
        "the status document of a snapshot's beginGetAccess has it in properties.output",
        "R",
        polled(_opened),
        200,
        holds=lambda reply: reply.json()["properties"]["output"].keys() == {"accessSAS"},
    ),
    Row(
        "PUT of a new image definition",
        "R",
        _definition,
        201,
        holds=lambda reply: (
            CAPS in reply.headers["Azure-AsyncOperation"]
            and "Location" not in reply.headers
            and _state("Creating")(reply)
        ),
    ),
    *(
        Row(f"DELETE of {what}, followed", "R", send, 202, holds=_of_galleries)
        for what, send in (
            ("an image definition", after(_definition, "DELETE", DEFINITION)),
            ("a gallery", after(gallery, "DELETE", GALLERY)),
            ("a version", after(version, "DELETE", VERSION)),
        )
    ),
    Row(
        "GET of a deployment that has succeeded",
        "R",
        after(deploy(), "GET", DEPLOYMENT),
        200,
        holds=_state("Succeeded"),
    ),
)
