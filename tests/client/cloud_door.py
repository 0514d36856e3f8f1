"""`vmstamp --cloud azure` for the tests of this directory: against a stamp's HTTPS door, or Azure itself.

Against a stamp everything is as in Azure but the URL of ARM: azure-identity's DefaultAzureCredential takes a
token of the stamp's authority with a client's secret, and trusts its certificate by REQUESTS_CA_BUNDLE.
"""

import json
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Mount
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.client.arm.conftest import FakeHost
from tests.client.blob_service import serving
from vmstamp.arm import rest
from vmstamp.arm.control_plane import build
from vmstamp.arm.engine import Settings
from vmstamp.cli.arm_client import ArmClient
from vmstamp.cli.cloud import Chosen, choose_subscription, cloud_endpoint, is_id, sign_in
from vmstamp.db import Database
from vmstamp.errors import VmstampError
from vmstamp.identity import Subscription, Tokens, load_certificates, load_subscription
from vmstamp.paths import Home
from vmstamp.run import Completed, Process, run, spawn
from vmstamp.sign_in import routes

VMSTAMP = Path(sys.executable).with_name("vmstamp")
TIMEOUT = 1800.0  # seconds of one command; Azure takes its time
AZURE_VARIABLES = ("AZURE_AUTHORITY_HOST", "AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET")


@dataclass
class CloudDoor:
    """`vmstamp` in a cloud, with a resource group and a storage account that only this run has."""

    env: dict[str, str]
    group: str
    root: Path

    def __call__(self, *words: str | Path, status: int = 0, **env: str) -> Completed:
        done = run([VMSTAMP, *words], env={**self.env, **env}, check=False, timeout=TIMEOUT)
        assert done.status == status, (words, done.text, done.stderr.decode())
        return done

    def json(self, *words: str | Path, status: int = 0) -> Any:
        return json.loads(self(*words, "--json", status=status).stdout)

    def error(self, *words: str | Path, status: int = 1, **env: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self(*words, "--json", status=status, **env).stderr)["error"]
        return found

    def begin(self, *words: str | Path, said: Path) -> Process:
        return spawn([VMSTAMP, *words], env=self.env, output=said)

    @contextmanager
    def arm(self) -> Iterator[ArmClient]:
        """ARM by the same credential, to look at what the commands did."""
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.env.items():
                patch.setenv(name, value)
            chosen = Chosen(
                os.environ["VMSTAMP_CLOUD"],
                os.environ.get("VMSTAMP_CLOUD_ENDPOINT", ""),
                os.environ.get("VMSTAMP_SUBSCRIPTION", ""),
            )
            endpoint = cloud_endpoint(chosen)
            with ArmClient(endpoint, sign_in(endpoint), scope=endpoint.scope) as arm:
                if not is_id(endpoint.subscription):
                    named = choose_subscription(arm.subscriptions(), endpoint.subscription)
                    arm.endpoint = cloud_endpoint(Chosen(chosen.cloud, chosen.endpoint, named))
                yield arm

    def find(self, kind: str, name: str) -> dict[str, Any] | None:
        """A resource of the run's own group."""
        with self.arm() as arm:
            return arm.find(arm.resource_id(self.group, kind, name))

    def find_group(self) -> dict[str, Any] | None:
        with self.arm() as arm:
            return arm.find(arm.group_id(self.group))


def new_door(env: dict[str, str], root: Path) -> CloudDoor:
    """A door whose group and account are of this run only, by their names; nothing is made yet."""
    mark = secrets.token_hex(4)
    group = f"vmstamp-test-{mark}"
    own = {
        "VMSTAMP_HOME": str(root / "none"),
        "VMSTAMP_GROUP": group,
        "VMSTAMP_STORAGE_ACCOUNT": f"vmstamptest{mark}",
        "VMSTAMP_LOCATION": env.get("VMSTAMP_LOCATION") or os.environ.get("VMSTAMP_LOCATION") or "westeurope",
        "VMSTAMP_ENV": "",
        "VMSTAMP_CLOUD": "azure",
    }
    return CloudDoor({**own, **env}, group, root)


@contextmanager
def own_group(door: CloudDoor) -> Iterator[CloudDoor]:
    """The door; its group goes at the end with all that was made, whatever happens."""
    try:
        yield door
    finally:
        with door.arm() as arm:
            arm.delete(arm.group_id(door.group))


@contextmanager
def azure_itself(root: Path) -> Iterator[CloudDoor]:
    """Azure, as who is signed in; skipped when nobody is, or no subscription is meant."""
    door = new_door({"VMSTAMP_CLOUD": os.environ.get("VMSTAMP_CLOUD") or "azure"}, root)
    try:
        door.find_group()
    except VmstampError as error:
        pytest.skip(f"--azure: {error.message}; {error.hint}")
    with own_group(door):
        yield door


@contextmanager
def live_stamp(root: Path) -> Iterator[CloudDoor]:
    """A stamp by `vmstamp up`, spoken to as to Azure: its variables of `vmstamp env`, and its URL of ARM."""
    own = {
        "VMSTAMP_HOME": str(root / "home"),
        "VMSTAMP_ARM_PORT": "0",
        "VMSTAMP_BLOB_PORT": "0",
        "VMSTAMP_WAY_OUT": "0",
        "VMSTAMP_CLOUD": "",
    }
    run([VMSTAMP, "up"], env=own, timeout=240)
    try:
        clients = json.loads(run([VMSTAMP, "env", "--json"], env=own).stdout)
        env = {name: clients[name] for name in (*AZURE_VARIABLES, "REQUESTS_CA_BUNDLE")}
        env["VMSTAMP_CLOUD_ENDPOINT"] = clients["AZURE_AUTHORITY_HOST"]
        with own_group(new_door(env, root)) as door:
            yield door
    finally:
        run([VMSTAMP, "down"], env=own, timeout=320)


@dataclass(frozen=True)
class Fault:
    """An answer in ARM's place, to the next request of a method whose path ends so; `header` is one more."""

    method: str
    end: str
    status: int
    code: str
    header: tuple[str, str] = ("Cache-Control", "no-cache")


@dataclass
class Faults:
    """ARM's door, where each of `coming` is the answer to one request."""

    app: ASGIApp
    coming: list[Fault] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        for fault in self.coming if scope["type"] == "http" else ():
            if scope["method"] == fault.method and scope["path"].lower().endswith(fault.end.lower()):
                self.coming.remove(fault)
                body = {"error": {"code": fault.code, "message": f"{fault.code}, by the tests."}}
                answer = JSONResponse(body, fault.status, dict([fault.header]))
                await answer(scope, receive, send)
                return
        await self.app(scope, receive, send)


@dataclass
class FakeCloud:
    """A door to a control plane whose guests boot at once, that host, and faults to come."""

    door: CloudDoor
    host: FakeHost
    faults: Faults


@contextmanager
def fake_guests(root: Path) -> Iterator[FakeCloud]:
    """A cloud in this process: sign-in, ARM and Blob as a stamp serves them; no guest is booted."""
    home = Home(root / "plane")
    home.make()
    host = FakeHost(root)
    database = Database(home.database)
    service = root / "blob"
    (service / "content").mkdir(parents=True)
    ids, files = load_subscription(home), load_certificates(home)
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    base = f"https://127.0.0.1:{listener.getsockname()[1]}"
    with serving(service) as blobs:
        parts = urlsplit(blobs.url)
        settings = Settings(ids.subscription, ids.tenant)
        plane = build(database, blobs.store, host, settings, f"{parts.scheme}://{parts.netloc}")
        tokens = Tokens(ids, files.token_key.read_bytes(), f"{base}/adfs")
        faults = Faults(rest.app(plane, tokens.verify))
        config = uvicorn.Config(
            Starlette(routes=[*routes(tokens, base), Mount("/", faults)]),
            log_level="warning",
            lifespan="off",
            ssl_certfile=str(files.server),
            ssl_keyfile=str(files.server_key),
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            env = {**_signed_in(ids, base), "REQUESTS_CA_BUNDLE": str(files.ca)}
            with own_group(new_door(env, root)) as found:
                yield FakeCloud(found, host, faults)
        finally:
            server.should_exit = True
            thread.join(10)
            plane.close()
            listener.close()
    database.close()


def _signed_in(ids: Subscription, base: str) -> dict[str, str]:
    return {
        "AZURE_AUTHORITY_HOST": base,
        "AZURE_TENANT_ID": "adfs",
        "AZURE_CLIENT_ID": ids.client_id,
        "AZURE_CLIENT_SECRET": ids.client_secret,
        "VMSTAMP_CLOUD_ENDPOINT": base,
    }
