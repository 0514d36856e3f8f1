"""A live Blob service for the SDK's own tests: HTTPS, host style, one account for each part that they name.

The tests expect `https://ACCOUNT.blob.core.windows.net`. The server has a certificate for those names, and
the process that runs the tests looks them up at this server's port (shim/devtools_testutils/wire.py).
"""

from __future__ import annotations

import ipaddress
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import uvicorn
from azure.storage.blob import BlobServiceClient, RetentionPolicy
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from starlette.types import ASGIApp

from vmstamp.blob.protocol import BlobProtocol
from vmstamp.blob.records import Account
from vmstamp.blob.rest import app
from vmstamp.blob.store import BlobStore
from vmstamp.db import Database
from vmstamp.identity import Subscription, Tokens

HOST: Final = "127.0.0.1"
SUFFIX: Final = "blob.core.windows.net"
# What the suite's settings call an account, and the account's name here.
ACCOUNTS: Final = {
    "STORAGE": "vmstampsdk",
    "SECONDARY_STORAGE": "vmstampsdksecond",
    "BLOB_STORAGE": "vmstampsdkblob",
    "VERSIONED_STORAGE": "vmstampsdkversions",
    "PREMIUM_STORAGE": "vmstampsdkpremium",
    "SOFT_DELETE_STORAGE": "vmstampsdksoft",
}


@dataclass(frozen=True)
class _Pair:
    """A certificate and its key, PEM files."""

    certificate: Path
    key: Path


@contextmanager
def serving(root: Path) -> Iterator[dict[str, str]]:
    """Serve a new store below `root`; yields what the tests' process needs in its environment."""
    pair = _make_certificate(root)
    subscription = Subscription(*(str(uuid.uuid4()) for _ in range(4)))
    tokens = Tokens(subscription, pair.key.read_bytes(), f"https://{SUFFIX}/adfs")
    database = Database(root / "stamp.db")
    try:
        store = BlobStore(database, root / "content")
        accounts = {part: store.create_account(name) for part, name in ACCOUNTS.items()}
        with _running(app(store, (), tokens.verify), pair) as port:
            _enable_soft_delete(port, pair.certificate, accounts["SOFT_DELETE_STORAGE"])
            yield {
                "VMSTAMP_SDK_PORT": str(port),
                "VMSTAMP_SDK_TOKEN": tokens.issue("https://storage.azure.com")[0],
                "AZURE_TENANT_ID": subscription.tenant,
                "AZURE_SUBSCRIPTION_ID": subscription.subscription,
                "REQUESTS_CA_BUNDLE": str(pair.certificate),
                "SSL_CERT_FILE": str(pair.certificate),
                "STORAGE_RESOURCE_GROUP_NAME": "sdk",
                **{f"{part}_ACCOUNT_NAME": account.name for part, account in accounts.items()},
                **{f"{part}_ACCOUNT_KEY": account.key1 for part, account in accounts.items()},
            }
    finally:
        database.close()


@contextmanager
def _running(service: ASGIApp, pair: _Pair) -> Iterator[int]:
    """Serve over HTTPS on a thread; yields the port."""
    config = uvicorn.Config(
        service,
        http=BlobProtocol,
        log_level="warning",
        lifespan="off",
        ws="none",
        server_header=False,
        ssl_certfile=str(pair.certificate),
        ssl_keyfile=str(pair.key),
    )
    server = uvicorn.Server(config)
    with socket.create_server((HOST, 0), backlog=256) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(10)


def _enable_soft_delete(port: int, certificate: Path, account: Account) -> None:
    """What the suite's instructions ask of one account: its deleted blobs are kept for two days."""
    url = f"https://{HOST}:{port}/{account.name}"
    client = BlobServiceClient(url, account.key1, connection_verify=str(certificate), retry_total=0)
    with client:
        client.set_service_properties(delete_retention_policy=RetentionPolicy(enabled=True, days=2))


def _make_certificate(directory: Path) -> _Pair:
    """A certificate of its own authority for every account's host."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, SUFFIX)])
    names = [x509.DNSName(f"*.{SUFFIX}"), x509.IPAddress(ipaddress.IPv4Address(HOST))]
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    pair = _Pair(directory / "server.pem", directory / "server.key")
    pair.certificate.write_bytes(certificate.public_bytes(Encoding.PEM))
    pair.key.write_bytes(pem)
    return pair
