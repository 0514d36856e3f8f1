"""The command line's own ARM client against a live control plane: tokens, errors, operations, paging."""

import dataclasses
import gc
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount

from vmstamp.arm import rest
from vmstamp.arm.control_plane import ControlPlane
from vmstamp.arm.engine import Settings
from vmstamp.cli.arm_client import ArmClient
from vmstamp.cli.endpoint import Endpoint
from vmstamp.cli.process import answers
from vmstamp.db import Database
from vmstamp.errors import AzureError, StampError
from vmstamp.identity import Tokens, load_certificates, load_subscription
from vmstamp.paths import Home
from vmstamp.sign_in import routes


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    home = Home(tmp_path_factory.mktemp("home"))
    home.make()
    ids, files = load_subscription(home), load_certificates(home)
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    base = f"https://127.0.0.1:{listener.getsockname()[1]}"
    tokens = Tokens(ids, files.token_key.read_bytes(), f"{base}/adfs")
    database = Database(home.database)
    plane = ControlPlane(database, lambda catalog: (), Settings(ids.subscription, ids.tenant))
    arm = Mount("/", rest.app(plane, tokens.verify))
    config = uvicorn.Config(
        Starlette(routes=[*routes(tokens, base), arm]),
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
    yield Endpoint(
        pid=0,
        started=datetime.now(UTC),
        arm=base,
        blob="",
        blob_https="",
        ca=files.ca,
        subscription=ids.subscription,
        tenant=ids.tenant,
        client_id=ids.client_id,
        client_secret=ids.client_secret,
        location="local",
        accelerator="tcg",
        accelerator_reason="",
        version="",
    )
    gc.collect()  # a caught exception holds its connection open
    server.should_exit = True
    thread.join(10)
    plane.close()
    database.close()
    listener.close()


@pytest.fixture
def arm(endpoint: Endpoint) -> Iterator[ArmClient]:
    with ArmClient(endpoint) as client:
        yield client


def test_a_group_is_made_found_listed_and_deleted(arm: ArmClient) -> None:
    group = arm.group_id("one")
    assert arm.find(group) is None
    arm.put(group, {"location": "local"})
    assert arm.get(group)["name"] == "one"
    collection = f"/subscriptions/{arm.endpoint.subscription}/resourceGroups"
    assert "one" in {found["name"] for found in arm.list(collection)}
    assert arm.delete(group)
    assert arm.find(group) is None


def test_deleting_what_is_not_there_is_no_error(arm: ArmClient) -> None:
    assert not arm.delete(arm.group_id("never"))


def test_an_error_carries_azures_code_and_text(arm: ArmClient) -> None:
    with pytest.raises(AzureError, match=r"Resource group 'absent' could not be found\.") as caught:
        arm.get(arm.group_id("absent"))
    assert (caught.value.status, caught.value.code) == (404, "ResourceGroupNotFound")


def test_a_wrong_secret_is_refused(endpoint: Endpoint) -> None:
    wrong = dataclasses.replace(endpoint, client_secret="wrong")
    with ArmClient(wrong) as client, pytest.raises(StampError, match="adfs/oauth2/token: 401"):
        client.get(client.group_id("x"))


def test_a_certificate_of_another_authority_is_refused(endpoint: Endpoint, tmp_path: Path) -> None:
    other = Home(tmp_path)
    other.make()
    foreign = dataclasses.replace(endpoint, ca=load_certificates(other).ca)
    assert answers(endpoint)
    assert not answers(foreign)
    with ArmClient(foreign) as client, pytest.raises(StampError, match="does not answer"):
        client.get(client.group_id("x"))


def test_a_stamp_that_is_gone_is_said(endpoint: Endpoint) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        gone = dataclasses.replace(endpoint, arm=f"https://127.0.0.1:{free.getsockname()[1]}")
        with ArmClient(gone) as client, pytest.raises(StampError, match="does not answer"):
            client.get(client.group_id("x"))
