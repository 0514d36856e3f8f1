"""A live control plane over TLS, and the official clients on it. The host boots every guest at once."""

from __future__ import annotations

import gc
import json
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from azure.core.credentials import AccessToken
from azure.core.exceptions import ResourceNotFoundError
from azure.mgmt.compute import ComputeManagementClient
from azure.mgmt.network import NetworkManagementClient
from azure.mgmt.resource.resources import ResourceManagementClient
from azure.mgmt.storage import StorageManagementClient
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from vmstamp.arm import rest
from vmstamp.arm.compute.guest_agent import Patience
from vmstamp.arm.compute.host import DiskPlan, NicPlan, Outcome, VmPlan
from vmstamp.arm.control_plane import ControlPlane, build
from vmstamp.arm.engine import Settings
from vmstamp.blob.store import BlobRef, BlobStore
from vmstamp.db import Database
from vmstamp.disk.footer import make_footer
from vmstamp.errors import AzureError
from vmstamp.fabric.extensions import Handler
from vmstamp.fabric.report import AgentStatus, HealthReport
from vmstamp.timeline import Event, Stage

SUBSCRIPTION = "11111111-2222-3333-4444-555555555555"
TENANT = "66666666-7777-8888-9999-000000000000"
TOKEN = "a token of the tests"
MIB = 2**20


@dataclass(frozen=True)
class Certificate:
    certificate: Path
    key: Path


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    directory = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "vmstamp tests")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    found = Certificate(directory / "certificate.pem", directory / "key.pem")
    found.certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    found.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return found


class StaticToken:
    def __init__(self, token: str = TOKEN) -> None:
        self._token = token

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        return AccessToken(self._token, int(time.time()) + 3600)


@pytest.fixture
def static_token() -> type[StaticToken]:
    return StaticToken


def verify_token(token: str) -> None:
    if token != TOKEN:
        raise AzureError(401, "InvalidAuthenticationToken", "The access token is invalid.")


@dataclass
class Arm:
    """One running control plane and its clients."""

    plane: ControlPlane
    url: str
    options: dict[str, Any]
    clients: list[Any] = field(default_factory=list)
    host: Any = None
    store: Any = None

    def client(self, kind: Callable[..., Any], credential: Any = None) -> Any:
        made = kind(credential or StaticToken(), SUBSCRIPTION, **self.options)
        self.clients.append(made)
        return made

    @cached_property
    def resources(self) -> Any:
        return self.client(ResourceManagementClient)

    @cached_property
    def network(self) -> Any:
        return self.client(NetworkManagementClient)

    @cached_property
    def storage(self) -> Any:
        return self.client(StorageManagementClient)

    @cached_property
    def compute(self) -> Any:
        return self.client(ComputeManagementClient)

    # -- what many tests begin with

    def vhd(self, account: str, name: str, size: int = MIB, mark: bytes = b"") -> str:
        """Put a fixed VHD into a page blob of an account; its URL. `mark` are its first bytes."""
        if self.store.find_account(account) is None:
            body = {"sku": {"name": "Standard_LRS"}, "kind": "StorageV2", "location": "westeurope"}
            self.storage.storage_accounts.begin_create("rg", account, body).result()
        if self.store.find_container(account, "vhds") is None:
            self.store.create_container(account, "vhds")
        ref = BlobRef(account, "vhds", name)
        self.store.create_page_blob(ref, size + 512)
        self.store.write_pages(ref, 0, mark.ljust(512, b"\0"))
        footer = make_footer(size, uuid.uuid4(), datetime.now(UTC))
        self.store.write_pages(ref, size, footer)
        return f"{ENDPOINT}/{account}/vhds/{name}"

    def image(self, name: str = "image1", **properties: Any) -> Any:
        """A generalized Linux image of a VHD of 1 MiB whose first bytes are `the os`."""
        url = self.vhd("account1", f"{name}.vhd", mark=b"the os")
        disk = {"osType": "Linux", "osState": "Generalized", "blobUri": url}
        body = {"storageProfile": {"osDisk": disk}, "hyperVGeneration": "V2", **properties}
        document = {"location": "westeurope", "properties": body}
        return self.compute.images.begin_create_or_update("rg", name, document).result()

    def nic(self, name: str = "nic1", **properties: Any) -> Any:
        """An interface in subnet `default` of the network `vnet1`, which is made when it is not there."""
        network = self.network
        space = {"addressSpace": {"addressPrefixes": ["10.0.0.0/16"]}}
        subnets = [{"name": "default", "properties": {"addressPrefix": "10.0.0.0/24"}}]
        vnet = {"location": "westeurope", "properties": {**space, "subnets": subnets}}
        try:
            subnet = network.subnets.get("rg", "vnet1", "default")
        except ResourceNotFoundError:
            network.virtual_networks.begin_create_or_update("rg", "vnet1", vnet).result()
            subnet = network.subnets.get("rg", "vnet1", "default")
        configuration = {"name": "ipconfig1", "properties": {"subnet": {"id": subnet.id}, **properties}}
        body = {"location": "westeurope", "properties": {"ipConfigurations": [configuration]}}
        return network.network_interfaces.begin_create_or_update("rg", name, body).result()

    def vm_body(self, image: Any, nic: Any, **properties: Any) -> dict[str, Any]:
        key = {"path": "/home/azureuser/.ssh/authorized_keys", "keyData": "ssh-ed25519 AAAA azureuser"}
        linux = {"disablePasswordAuthentication": True, "ssh": {"publicKeys": [key]}}
        profile = {"computerName": "vm1", "adminUsername": "azureuser", "linuxConfiguration": linux}
        whole = {
            "hardwareProfile": {"vmSize": "Standard_B1ms"},
            "storageProfile": {
                "imageReference": {"id": image.id},
                "osDisk": {"createOption": "FromImage", "caching": "ReadWrite"},
            },
            "osProfile": profile,
            "networkProfile": {"networkInterfaces": [{"id": nic.id, "properties": {"primary": True}}]},
            **properties,
        }
        return {"location": "westeurope", "properties": {k: v for k, v in whole.items() if v is not None}}

    def vm(self, name: str = "vm1", **properties: Any) -> Any:
        """A VM of a new image with a new interface, ready."""
        body = self.vm_body(self.image(f"{name}-image"), self.nic(f"{name}-nic"), **properties)
        return self.compute.virtual_machines.begin_create_or_update("rg", name, body).result()

    def power(self, name: str) -> str:
        view = self.compute.virtual_machines.instance_view("rg", name)
        return str(next(s.code for s in view.statuses if s.code.startswith("PowerState/")))


@pytest.fixture
def serve(certificate: Certificate) -> Iterator[Callable[[ControlPlane], Arm]]:
    """Serve a control plane on a free port until the test ends."""
    ends: list[Callable[[], None]] = []

    def start(plane: ControlPlane) -> Arm:
        config = uvicorn.Config(
            rest.app(plane, verify_token, tenant=TENANT),
            host="127.0.0.1",
            port=0,
            log_level="warning",
            ssl_certfile=str(certificate.certificate),
            ssl_keyfile=str(certificate.key),
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        url = f"https://127.0.0.1:{port}"
        options = {
            "base_url": url,
            "credential_scopes": [f"{url}/.default"],
            "connection_verify": str(certificate.certificate),
        }
        arm = Arm(plane, url, options)

        def end() -> None:
            for client in arm.clients:
                client.close()
            plane.close()
            gc.collect()  # a caught exception holds its connection open
            server.should_exit = True
            thread.join(10)

        ends.append(end)
        return arm

    yield start
    for end in ends:
        end()


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "stamp.db")
    yield database
    database.close()


COMMAND_DONE = json.dumps(
    {
        "executionState": "Succeeded",
        "executionMessage": "Execution completed",
        "output": "hello",
        "error": "",
        "exitCode": 0,
        "startTime": "2024-01-01T00:00:00Z",
        "endTime": "2024-01-01T00:00:01Z",
    }
)


class Killed(BaseException):
    """Ends an operation's thread as kill -9 ends the server: nothing more is written."""


class FakeHost:
    """A host whose guests boot at once. What a guest writes is kept, and folded like an overlay.

    `held` keeps guests from reporting until it is set; `outcome` is how the next provisioning ends. Of its
    agents, `agent_runs` says whether there are any, `agent_held` keeps them silent until it is set.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.plans: dict[str, list[VmPlan]] = {}
        self.up: set[str] = set()
        self.offered: dict[str, tuple[NicPlan, ...]] = {}
        self.written: dict[tuple[str, str], dict[int, bytes]] = {}
        self.backing: dict[tuple[str, str], Path] = {}
        self.plugged: dict[str, dict[int | None, str]] = {}  # overlays of the data disks that a VM has
        self.outcome = Outcome(True)
        self.held = threading.Event()
        self.held.set()
        self.started = threading.Event()
        self.agent_runs = True
        self.agent_held = threading.Event()
        self.agent_held.set()
        self.handled: list[tuple[Handler, int, dict[str, Any], dict[str, Any] | None]] = []
        self.answers: list[tuple[str, str]] = []
        self._goal = 1
        self._handlers: dict[tuple[str, str], dict[str, Any]] = {}
        self.dies = ("", "")  # before or after which method the server is killed, once
        self.may_fold = threading.Event()
        self.may_fold.set()

    def reach(self, *step: str) -> None:
        if step == self.dies:
            self.dies = ("", "")
            raise Killed

    def start(self, plan: VmPlan) -> None:
        self.reach("before", "start")
        self.plans.setdefault(plan.vm_id, []).append(plan)
        for disk in (plan.os_disk, *plan.data_disks):
            assert disk.path.stat().st_size == disk.size + 512
            key = (plan.vm_id, disk.overlay_name)
            if self.backing.get(key) != disk.path:
                self.backing[key] = disk.path
                self.written.pop(key, None)
        self.plugged[plan.vm_id] = {disk.lun: disk.overlay_name for disk in plan.data_disks}
        self.up.add(plan.vm_id)
        self.offered[plan.vm_id] = plan.nics
        self.started.set()
        self.reach("after", "start")

    def wait_ready(self, vm_id: str, cancelled: Callable[[], bool]) -> Outcome:
        while not self.held.wait(0.02):
            if cancelled():
                return Outcome(False, "Cancelled", "cancelled")
        self.reach("after", "wait_ready")
        return self.outcome

    def offer(self, vm_id: str, nics: tuple[NicPlan, ...]) -> None:
        if vm_id in self.up:
            self.offered[vm_id] = nics

    def stop(self, vm_id: str, *, graceful: bool) -> None:
        self.reach("before", "stop")
        self.up.discard(vm_id)
        self.reach("after", "stop")

    def write(self, plan: VmPlan, lun: int | None, offset: int, data: bytes) -> None:
        """What the guest would do."""
        disk = next(d for d in (plan.os_disk, *plan.data_disks) if d.lun == lun)
        self.written.setdefault((plan.vm_id, disk.overlay_name), {})[offset] = data

    def attach(self, vm_id: str, disk: DiskPlan) -> None:
        if vm_id in self.up and self.plugged[vm_id].get(disk.lun) != disk.overlay_name:
            self.reach("before", "attach")
            assert disk.lun not in self.plugged[vm_id]
            self.plugged[vm_id][disk.lun] = disk.overlay_name
            self.backing[vm_id, disk.overlay_name] = disk.path

    def detach(self, vm_id: str, disk: DiskPlan) -> None:
        if vm_id in self.up and self.plugged[vm_id].get(disk.lun) == disk.overlay_name:
            self.reach("before", "detach")
            del self.plugged[vm_id][disk.lun]

    @contextmanager
    def folding(self) -> Iterator[None]:
        """Every fold takes as long as the block."""
        self.may_fold.clear()
        try:
            yield
        finally:
            self.may_fold.set()

    def fold(self, vm_id: str, disk: DiskPlan) -> Path | None:
        self.may_fold.wait(20)
        self.reach("before", "fold")
        key = (vm_id, disk.overlay_name)
        if self.backing.get(key) != disk.path or key not in self.written:
            return None
        folded = self.directory / f"folded-{uuid.uuid4()}"
        shutil.copyfile(disk.path, folded)
        with folded.open("r+b") as file:
            for offset, data in self.written[key].items():
                file.seek(offset)
                file.write(data)
        return folded

    def remove(self, vm_id: str) -> None:
        self.reach("before", "remove")
        self.up.discard(vm_id)
        for key in [key for key in self.backing if key[0] == vm_id]:
            del self.backing[key]
            self.written.pop(key, None)
        self.reach("after", "remove")

    def running(self, vm_id: str) -> bool:
        return vm_id in self.up

    def timeline(self, vm_id: str) -> list[Event]:
        if vm_id not in self.plans:
            return []
        return [Event(Stage.STARTED, datetime(2024, 1, 1, tzinfo=UTC), "QEMU runs")]

    def agent(self, vm_id: str) -> AgentStatus | None:
        at = datetime(2024, 1, 1, tzinfo=UTC)
        if vm_id not in self.plans:
            return None
        reports = (HealthReport(at, "Ready", "cloud-init/24.4"),)
        if not self.agent_runs or not self.agent_held.is_set():
            return AgentStatus(reports)
        aggregate = {
            "handlerAggregateStatus": list(self._handlers.values()),
            "vmArtifactsAggregateStatus": {"goalStateAggregateStatus": {"inSvdSeqNo": str(self._goal)}},
        }
        return AgentStatus(reports, {"aggregateStatus": aggregate}, datetime.now(UTC), datetime.now(UTC))

    def extend(
        self,
        vm_id: str,
        handler: Handler,
        sequence: int,
        public: Mapping[str, Any],
        protected: Mapping[str, Any] | None,
        name: str = "",
    ) -> int:
        """The agent tells the next of `answers` (status, message), or success; `not ready`: no install."""
        self.handled.append((handler, sequence, dict(public), dict(protected) if protected else None))
        done = COMMAND_DONE if handler.several else "Enable succeeded: "
        status, message = self.answers.pop(0) if self.answers else ("success", done)
        told: dict[str, Any] = {"handlerName": handler.name, "handlerVersion": handler.version}
        if status == "not ready":
            formatted = {"lang": "en-US", "message": message}
            told |= {"status": "NotReady", "code": 1002, "formattedMessage": formatted}
        else:
            formatted = {"lang": "en-US", "message": message}
            settings = {"status": {"status": status, "code": 0, "formattedMessage": formatted}}
            told |= {"status": "Ready", "code": 0}
            told["runtimeSettingsStatus"] = {"settingsStatus": settings, "sequenceNumber": sequence}
            if name:
                told["runtimeSettingsStatus"]["extensionName"] = name
        self._handlers[handler.name, name] = told
        self._goal += 1
        return self._goal

    def tell(self, handler: Handler, name: str, status: str, message: str) -> None:
        """The agent tells on of what it runs."""
        told = self._handlers[handler.name, name]["runtimeSettingsStatus"]["settingsStatus"]["status"]
        told |= {"status": status, "formattedMessage": {"lang": "en-US", "message": message}}

    def withdraw(self, vm_id: str, handler: Handler, sequence: int, name: str = "") -> int:
        self._handlers.pop((handler.name, name), None)
        self._goal += 1
        return self._goal

    def drop(self, vm_id: str, handler: Handler, name: str = "") -> None:
        pass

    def screenshot(self, vm_id: str) -> bytes | None:
        return b"BM a picture" if vm_id in self.up else None

    def serial_log(self, vm_id: str) -> Path:
        path = self.directory / f"serial-{vm_id}.log"
        path.write_text("Linux version 6.1\nlogin: ")
        return path


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    return FakeHost(tmp_path)


@pytest.fixture
def store(db: Database, tmp_path: Path) -> BlobStore:
    content = tmp_path / "content"
    content.mkdir()
    return BlobStore(db, content)


ENDPOINT = "http://127.0.0.1:10000"


@pytest.fixture
def plane(db: Database, store: BlobStore, host: FakeHost) -> ControlPlane:
    settings, patience = Settings(SUBSCRIPTION, TENANT, page_size=3), Patience(extension=1.5, agent=0.5)
    buildable = {"debian:debian-12:12-gen2": "debian-12"}
    return build(db, store, host, settings, ENDPOINT, patience=patience, buildable=buildable)


@pytest.fixture
def arm(plane: ControlPlane, serve: Callable[[ControlPlane], Arm], host: FakeHost, store: BlobStore) -> Arm:
    """A stamp with a group `rg` in westeurope."""
    arm = serve(plane)
    arm.host, arm.store = host, store
    arm.resources.resource_groups.create_or_update("rg", {"location": "westeurope"})
    return arm


@pytest.fixture
def restart(tmp_path: Path, host: Any) -> Iterator[Callable[[], ControlPlane]]:
    """A control plane over the same home, as if the one before had been killed at this instant."""
    opened: list[Any] = []

    def start() -> ControlPlane:
        host.up.clear()
        db = Database(tmp_path / "stamp.db")
        store = BlobStore(db, tmp_path / "content")
        store.recover()
        plane = build(db, store, host, Settings(SUBSCRIPTION, "t"), "http://127.0.0.1:10000")
        opened.extend((plane, db))
        plane.recover()
        return plane

    yield start
    for one in opened:
        one.close()
