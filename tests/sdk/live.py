"""A live Blob service for the SDK's own tests: HTTPS, host style, one account for each part that they name.

The tests expect `https://ACCOUNT.blob.core.windows.net`. The server has a certificate for those names, and
the process that runs the tests looks them up at this server's port (shim/devtools_testutils/wire.py).
"""

from __future__ import annotations

import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from vmstamp.blob.rest import app
from vmstamp.blob.store import BlobStore
from vmstamp.db import Database
from vmstamp.identity import Subscription, Tokens

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


@contextmanager
def serving(root: Path) -> Iterator[dict[str, str]]:
    """Serve a new store below `root`; yields what the tests' process needs in its environment."""
    certificate, key = _make_certificate(root)
    subscription = Subscription(*(str(uuid.uuid4()) for _ in range(4)))
    tokens = Tokens(subscription, key.read_bytes(), f"https://{SUFFIX}/adfs")
    database = Database(root / "stamp.db")
    store = BlobStore(database, root / "content")
    accounts = {part: store.create_account(name) for part, name in ACCOUNTS.items()}
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    port = listener.getsockname()[1]
    environment = {
        "VMSTAMP_SDK_PORT": str(port),
        "VMSTAMP_SDK_TOKEN": tokens.issue("https://storage.azure.com")[0],
        "AZURE_TENANT_ID": subscription.tenant,
        "AZURE_SUBSCRIPTION_ID": subscription.subscription,
        "REQUESTS_CA_BUNDLE": str(certificate),
        "SSL_CERT_FILE": str(certificate),
        "STORAGE_RESOURCE_GROUP_NAME": "sdk",
    }
    for part, account in accounts.items():
        environment |= {f"{part}_ACCOUNT_NAME": account.name, f"{part}_ACCOUNT_KEY": account.key1}
    server = uvicorn.Server(
        uvicorn.Config(
            app(store, (), tokens.verify),
            http="h11",
            log_level="warning",
            lifespan="off",
            ws="none",
            ssl_certfile=str(certificate),
            ssl_keyfile=str(key),
        )
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield environment
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()
        database.close()


def _make_certificate(directory: Path) -> tuple[Path, Path]:
    """A certificate of its own authority for every account's host, and its key, as PEM files."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, SUFFIX)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(f"*.{SUFFIX}")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    files = directory / "server.pem", directory / "server.key"
    for file, content in zip(files, (certificate.public_bytes(Encoding.PEM), pem), strict=True):
        file.write_bytes(content)
    return files
