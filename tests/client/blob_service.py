"""A live Blob service for the tests of this directory: uvicorn on a thread, on a free port of 127.0.0.1."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from urllib.parse import quote, urlsplit

import uvicorn
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobClient, BlobServiceClient, ContainerClient
from starlette.types import ASGIApp

from vmstamp.blob.protocol import BlobProtocol
from vmstamp.blob.rest import app
from vmstamp.blob.store import BlobRef, BlobStore
from vmstamp.db import Database
from vmstamp.errors import AzureError
from vmstamp.identity import Bearer

ACCOUNT = "acct"


def refusal(error: HttpResponseError) -> tuple[int | None, str]:
    """The status and Azure's code of an error; the SDK gives the codes that it knows as an enumeration."""
    code = getattr(error, "error_code", "")
    return error.status_code, str(getattr(code, "value", code))


@dataclass(frozen=True)
class BlobService:
    url: str  # of the account
    key: str
    store: BlobStore
    root: Path

    def client(self, credential: str | None = "key") -> BlobServiceClient:
        """By default with key1; None: anonymous; else a key or a SAS."""
        found = self.key if credential == "key" else credential
        return BlobServiceClient(self.url, found, retry_total=0)

    def signed(self, name: str, container: str = "vhds") -> str:
        """A URL with a SAS that allows everything on one blob."""
        expiry = datetime.now(UTC) + timedelta(hours=1)
        ref = BlobRef(ACCOUNT, container, name)
        sas = self.store.sign_sas(ref, permissions="rcwd", start=None, expiry=expiry, policy=None)
        return f"{self.url}/{container}/{quote(name)}?{sas}"

    def container(self, name: str = "vhds") -> ContainerClient:
        return self.client().get_container_client(name)

    def blob(self, name: str, container: str = "vhds", credential: str | None = "key") -> BlobClient:
        return self.client(credential).get_blob_client(container, name)


def verify_token(token: str) -> Bearer:
    """The judge of bearer tokens: one is good."""
    if token != "good":
        raise AzureError(401, "InvalidAuthenticationToken", "The access token is invalid.")
    return Bearer("an-object", "a-tenant")


def ask(method: str, url: str, headers: dict[str, str] | None = None, body: bytes = b"") -> HTTPResponse:
    """One request with exactly these headers, which the SDK would not send; the reply is read."""
    parts = urlsplit(url)
    connection = HTTPConnection(parts.netloc, timeout=20)
    connection.request(method, f"{parts.path}?{parts.query}", body or None, headers or {})
    response = connection.getresponse()
    response.read()
    connection.close()
    return response


@contextmanager
def serving(root: Path, wrap: Callable[[ASGIApp], ASGIApp] = lambda served: served) -> Iterator[BlobService]:
    """Serve a new store below `root` with the account ACCOUNT and its container `vhds`.

    `wrap` puts something before it, such as faults.
    """
    database = Database(root / "stamp.db")
    store = BlobStore(database, root / "content")
    account = store.create_account(ACCOUNT)
    store.create_container(ACCOUNT, "vhds")
    try:
        with at_a_door(store, wrap) as url:
            yield BlobService(f"{url}/{ACCOUNT}", account.key1, store, root)
    finally:
        database.close()


@contextmanager
def at_a_door(store: BlobStore, wrap: Callable[[ASGIApp], ASGIApp] = lambda served: served) -> Iterator[str]:
    """Serve a store; the URL without a slash."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    door = app(store, verify_token=verify_token)
    config = uvicorn.Config(
        wrap(door),
        http=BlobProtocol,
        log_level="warning",
        lifespan="off",
        ws="none",
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        door.close()
        listener.close()
