"""A live control plane over TLS, and the official clients on it. The host boots every guest at once."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from azure.core.credentials import AccessToken
from azure.mgmt.resource.resources import ResourceManagementClient
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from vmstamp.arm import rest
from vmstamp.arm.control_plane import ControlPlane
from vmstamp.arm.engine import Settings
from vmstamp.db import Database
from vmstamp.errors import AzureError

SUBSCRIPTION = "11111111-2222-3333-4444-555555555555"
TENANT = "66666666-7777-8888-9999-000000000000"
TOKEN = "a token of the tests"


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

    def client(self, kind: Callable[..., Any], credential: Any = None) -> Any:
        made = kind(credential or StaticToken(), SUBSCRIPTION, **self.options)
        self.clients.append(made)
        return made

    @property
    def resources(self) -> Any:
        return self.client(ResourceManagementClient)


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
def arm(db: Database, serve: Callable[[ControlPlane], Arm]) -> Arm:
    return serve(ControlPlane(db, lambda catalog: (), Settings(SUBSCRIPTION, TENANT)))
