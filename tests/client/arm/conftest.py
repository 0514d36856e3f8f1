"""A live control plane over TLS, and the official clients on it. The host boots every guest at once."""

from __future__ import annotations

import gc
import threading
import time
import uuid
from collections.abc import Callable, Iterator
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

from tests.client.arm.fake_host import FakeHost as FakeHost
from vmstamp.arm import rest
from vmstamp.arm.compute.guest_agent import Patience
from vmstamp.arm.control_plane import ControlPlane, build
from vmstamp.arm.engine import Settings
from vmstamp.blob.store import BlobRef, BlobStore
from vmstamp.db import Database
from vmstamp.disk.footer import make_footer
from vmstamp.errors import AzureError

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
