"""kill -9 of the Blob service under load: what was answered is there afterwards, and nothing else is seen."""

import random
import socket
import sys
import threading
import time
from pathlib import Path

import pytest
from azure.core.exceptions import AzureError as SdkError
from azure.storage.blob import BlobClient, BlobServiceClient

from vmstamp.blob.page_blobs import SMALL
from vmstamp.blob.store import BlobRef, BlobStore
from vmstamp.db import Database
from vmstamp.run import Process, spawn

PAGE = 512
WRITERS = 4
REGION = 4 * 2**20  # bytes; each writer has one of its own
REF = BlobRef("acct", "vhds", "load.vhd")
SERVER = """
import socket, sys
from pathlib import Path
import uvicorn
from vmstamp.blob.protocol import BlobProtocol
from vmstamp.blob.rest import app
from vmstamp.blob.store import BlobStore
from vmstamp.db import Database
root = Path(sys.argv[1])
store = BlobStore(Database(root / "stamp.db"), root / "content")
store.recover()
config = uvicorn.Config(app(store), http=BlobProtocol, ws="none", lifespan="off", log_level="warning")
uvicorn.Server(config).run(sockets=[socket.socket(fileno=int(sys.argv[2]))])
"""


class Writer(threading.Thread):
    """Writes and clears at random in its own region until the service is gone; knows what it was answered."""

    def __init__(self, blob: BlobClient, number: int, seed: int, model: bytearray) -> None:
        super().__init__()
        self.blob, self.number, self.model = blob, number, model
        self.random = random.Random(seed)
        self.answered = 0
        self.ended_by: SdkError | None = None
        self.unknown = range(0)  # bytes of the request that was under way

    def run(self) -> None:
        try:
            while True:
                self.step()
        except SdkError as error:
            self.ended_by = error

    def step(self) -> None:
        pages = REGION // PAGE
        first = self.random.randrange(pages)
        count = min(self.random.choice([1, 3, 64, 1024]), pages - first)
        start, length = self.number * REGION + first * PAGE, count * PAGE
        clears = self.random.random() < 0.3
        data = bytes(length) if clears else self.random.randbytes(PAGE) * count
        self.unknown = range(start, start + length)
        if clears:
            self.blob.clear_page(start, length)
        else:
            self.blob.upload_page(data, start, length)
        self.model[start : start + length] = data
        self.unknown = range(0)
        self.answered += 1


class Copier(threading.Thread):
    """Copies and deletes the blob under load until the service is gone: each copy seals what is written."""

    def __init__(self, client: BlobServiceClient) -> None:
        super().__init__()
        self.client = client

    def run(self) -> None:
        source = self.client.get_blob_client(*REF[1:])
        copy = self.client.get_blob_client("vhds", "copy.vhd")
        try:
            while True:
                copy.start_copy_from_url(source.url)
                copy.delete_blob()
        except SdkError:
            pass


def start_server(root: Path) -> tuple[Process, str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        argv = [sys.executable, "-c", SERVER, str(root), str(listener.fileno())]
        process = spawn(argv, output=root / "server.log", pass_fds=[listener.fileno()])
        return process, f"http://127.0.0.1:{listener.getsockname()[1]}/acct"


def run_load_and_kill(root: Path, key: str, seed: int, model: bytearray) -> list[Writer]:
    process, url = start_server(root)
    try:
        with BlobServiceClient(url, key, retry_total=0) as client:
            writers = [
                Writer(client.get_blob_client(*REF[1:]), number, seed * 10 + number, model)
                for number in range(WRITERS)
            ]
            threads = [*writers, Copier(client)]
            for thread in threads:
                thread.start()
            deadline = time.monotonic() + 60
            wanted = 30 + random.Random(seed).randrange(60)
            while sum(writer.answered for writer in writers) < wanted and time.monotonic() < deadline:
                if not all(writer.is_alive() for writer in writers):
                    break
                writers[0].join(0.01)
            assert [writer.ended_by for writer in writers if not writer.is_alive()] == []
            process.kill()
            for thread in threads:
                thread.join(30)
            assert sum(writer.answered for writer in writers) >= wanted, "the service stands still"
            return writers
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("seed", [1, 2])
def test_what_was_answered_survives_kill_9(tmp_path: Path, seed: int) -> None:
    database = Database(tmp_path / "stamp.db")
    store = BlobStore(database, tmp_path / "content")
    key = store.create_account(REF.account).key1
    store.create_container(*REF[:2])
    store.create_page_blob(REF, WRITERS * REGION)
    model = bytearray(WRITERS * REGION)
    for life in range(3):
        writers = run_load_and_kill(tmp_path, key, seed * 100 + life, model)
        store.recover()
        found = store.read(REF, 0, len(model))
        for writer in writers:
            under_way = slice(writer.unknown.start, writer.unknown.stop)
            model[under_way] = found[under_way]
        assert found == model
        assert store.content_path(REF).read_bytes() == model
        blobs, _ = store.list_blobs(*REF[:2])
        assert {path.name for path in (tmp_path / "content").iterdir()} == {blob.content for blob in blobs}
    database.close()


def test_bytes_of_a_write_that_was_not_answered_are_gone_after_kill_9(tmp_path: Path) -> None:
    """A write that is larger than what is written inside of a transaction."""
    database = Database(tmp_path / "stamp.db")
    store = BlobStore(database, tmp_path / "content")
    key = store.create_account(REF.account).key1
    store.create_container(*REF[:2])
    file = tmp_path / "content" / store.create_page_blob(REF, REGION).content
    process, url = start_server(tmp_path)
    with BlobServiceClient(url, key, retry_total=0) as client:
        blob = client.get_blob_client(*REF[1:])
        assert blob.exists()
        writer = threading.Thread(target=try_to_write, args=(blob,))
        with database.write():  # the row of the write must wait, its bytes do not
            writer.start()
            deadline = time.monotonic() + 20
            while file.read_bytes()[:PAGE] != b"x" * PAGE and time.monotonic() < deadline:
                writer.join(0.01)
            process.kill()
            process.wait()
        writer.join()
    assert file.read_bytes()[:PAGE] == b"x" * PAGE
    store.recover()
    assert store.page_ranges(REF) == []
    assert store.content_path(REF).read_bytes() == bytes(REGION)
    database.close()


def try_to_write(blob: BlobClient) -> None:
    with pytest.raises(SdkError):
        blob.upload_page(b"x" * 2 * SMALL, 0, 2 * SMALL)
