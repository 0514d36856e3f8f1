"""kill -9 of the store at any instant, a thousand times: every operation happened wholly or not at all.

A child process works on blobs of every kind with several threads and says before and after each operation
which it is. It is killed after a random time. The next life begins with `recover`; then each thread's blobs
are as they were after its last operation that was said to be done, or after the one that was under way.
`VMSTAMP_CRASH_ROUNDS` asks for more rounds, `VMSTAMP_CRASH_SEED` for other ones.
"""

import os
import random
import signal
import time
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread

from vmstamp.blob.records import HttpHeaders
from vmstamp.blob.store import BlobRef, BlobStore
from vmstamp.db import Database

PAGE = 512
PAGES = 64  # of a page blob, at most
WORKERS = 3
ROUNDS = int(os.environ.get("VMSTAMP_CRASH_ROUNDS", "1000"))
SEED = int(os.environ.get("VMSTAMP_CRASH_SEED", "1"))
LONGEST = 0.02  # seconds of a life, after its first operation


@dataclass
class Model:
    """One thread's blobs: a page blob with snapshots, a copy of it, an append blob, a block blob."""

    pages: bytes = b""
    snapshots: list[bytes] = field(default_factory=list)
    copy: bytes | None = None
    appended: bytes = b""
    blocks: bytes = b""
    staged: dict[str, bytes] = field(default_factory=dict)

    def after(self, step: "Step") -> "Model":
        new = deepcopy(self)
        step.change(new)
        return new


class Step:
    """The n-th operation of a thread: chosen by seed, number and what its blobs hold."""

    def __init__(self, worker: int, number: int, model: Model) -> None:
        self.worker = worker
        self.random = random.Random(f"{SEED}/{worker}/{number}")
        size = len(model.pages) // PAGE
        kinds = ["append", "stage", "commit", "put", "resize", "snapshot", "copy", "drop"]
        self.kind = self.random.choice([*kinds, *(["write", "write", "clear"] * 3 if size else ["resize"])])
        self.first = self.random.randrange(size) if size else 0
        self.count = self.random.randint(1, size - self.first) if size else 0
        self.size = self.random.randint(1, PAGES) * PAGE
        self.data = self.random.randbytes(self.random.randint(1, 4) * PAGE)
        self.bytes = (self.data * self.count)[: self.count * PAGE]
        self.staged = sorted(model.staged)

    def change(self, model: Model) -> None:
        start, end = self.first * PAGE, (self.first + self.count) * PAGE
        if self.kind in ("write", "clear"):
            middle = self.bytes if self.kind == "write" else bytes(end - start)
            model.pages = model.pages[:start] + middle + model.pages[end:]
        elif self.kind == "resize":
            model.pages = model.pages[: self.size].ljust(self.size, b"\0")
        elif self.kind == "snapshot":
            model.snapshots.append(model.pages)
        elif self.kind == "drop":
            model.snapshots.clear()
        elif self.kind == "copy":
            model.copy = None if model.copy is not None else model.pages
        elif self.kind == "append":
            model.appended += self.data
        elif self.kind == "stage":
            model.staged[f"{self.size:06}"] = self.data
        elif self.kind == "commit":
            model.blocks = b"".join(model.staged[name] for name in self.staged)
            model.staged.clear()
        elif self.kind == "put":
            model.blocks = self.data
            model.staged.clear()

    def do(self, store: BlobStore) -> None:
        pages, copy, log, blocks = (ref(self.worker, name) for name in ("pages", "copy", "log", "blocks"))
        if self.kind == "write":
            store.write_pages(pages, self.first * PAGE, self.bytes)
        elif self.kind == "clear":
            store.clear_pages(pages, self.first * PAGE, self.count * PAGE)
        elif self.kind == "resize":
            store.resize(pages, self.size)
        elif self.kind == "snapshot":
            store.snapshot_blob(pages)
        elif self.kind == "drop":
            store.delete_blob(*pages, snapshots="only")
        elif self.kind == "copy":
            if store.find_blob(*copy) is None:
                store.share(pages, copy)
            else:
                store.delete_blob(*copy)
        elif self.kind == "append":
            store.append_block(log, self.data)
        elif self.kind == "stage":
            store.put_block(blocks, f"{self.size:06}", self.data)
        elif self.kind == "commit":
            wanted = [
                ("Uncommitted" if number % 2 else "Latest", name) for number, name in enumerate(self.staged)
            ]
            store.put_block_list(blocks, wanted, metadata={}, headers=HttpHeaders())  # type: ignore[arg-type]
        elif self.kind == "put":
            store.put_block_blob(blocks, self.data)


def ref(worker: int, name: str) -> BlobRef:
    return BlobRef("acct", "c", f"{worker}-{name}")


def held(store: BlobStore, worker: int) -> Model:
    """What is in the store, as a model."""

    def read(name: BlobRef) -> bytes:
        return store.read(name, 0, store.get_blob(*name).size)

    pages, copy, log, blocks = (ref(worker, name) for name in ("pages", "copy", "log", "blocks"))
    listed, _ = store.list_blobs("acct", "c", prefix=pages.name, snapshots=True)
    lists = store.block_lists(blocks)
    return Model(
        read(pages),
        [read(blob.ref) for blob in listed if blob.ref.snapshot],
        None if store.find_blob(*copy) is None else read(copy),
        read(log),
        read(blocks),
        dict.fromkeys((block.id for block in lists.uncommitted), b""),
    )


def same(found: Model, expected: Model) -> bool:
    """Whether two models agree; of blocks that are not committed only the ids are known."""
    left, right = deepcopy(found), deepcopy(expected)
    left.staged, right.staged = (dict.fromkeys(sorted(model.staged), b"") for model in (found, expected))
    return left == right


def live(root: Path, models: list[Model], numbers: list[int], said: int) -> None:
    """Work until killed; says `worker` in capitals before and in small letters after each operation."""
    store = BlobStore(Database(root / "stamp.db"), root / "content")

    def work(worker: int) -> None:
        model, number = models[worker], numbers[worker]
        while True:
            step = Step(worker, number, model)
            os.write(said, b"ABC"[worker : worker + 1])
            step.do(store)
            os.write(said, b"abc"[worker : worker + 1])
            model, number = model.after(step), number + 1

    threads = [Thread(target=work, args=(worker,)) for worker in range(WORKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def run_and_kill(root: Path, models: list[Model], numbers: list[int], seconds: float) -> bytes:
    """One life; all that it said."""
    ours, its = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            live(root, models, numbers, its)
        finally:
            os._exit(1)
    os.close(its)
    said = os.read(ours, 1)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    while piece := os.read(ours, 65536):
        said += piece
    os.close(ours)
    assert os.WIFSIGNALED(status), "the child ended by itself: an operation failed"
    return said


def test_each_operation_happens_wholly_or_not_at_all(tmp_path: Path) -> None:
    database = Database(tmp_path / "stamp.db")
    store = BlobStore(database, tmp_path / "content")
    store.create_account("acct")
    store.create_container("acct", "c")
    for worker in range(WORKERS):
        store.create_page_blob(ref(worker, "pages"), 0)
        store.create_append_blob(ref(worker, "log"), metadata={}, headers=HttpHeaders())
        store.put_block_blob(ref(worker, "blocks"), b"")
    database.close()
    models, numbers = [Model() for _ in range(WORKERS)], [0] * WORKERS
    times = random.Random(SEED)
    for life in range(ROUNDS):
        said = run_and_kill(tmp_path, models, numbers, times.random() * LONGEST)
        database = Database(tmp_path / "stamp.db")
        store = BlobStore(database, tmp_path / "content")
        store.recover()
        for worker in range(WORKERS):
            done = said.count(b"abc"[worker : worker + 1])
            under_way = said.count(b"ABC"[worker : worker + 1]) > done
            for _ in range(done):
                models[worker] = models[worker].after(Step(worker, numbers[worker], models[worker]))
                numbers[worker] += 1
            step = Step(worker, numbers[worker], models[worker])
            found = held(store, worker)
            if under_way and not same(found, models[worker]):
                models[worker] = models[worker].after(step)
                numbers[worker] += 1
            assert same(found, models[worker]), f"life {life}, worker {worker}, under way: {step.kind}"
        with database.read() as connection:
            known = {row["id"] for row in connection.execute("SELECT id FROM content")}
        assert {path.name for path in (tmp_path / "content").iterdir()} == known, f"life {life}"
        database.close()
        for worker, model in enumerate(models):
            if len(model.appended) > 2**18:  # another log, so that lives stay short
                restart_log(tmp_path, worker)
                models[worker].appended = b""
    assert sum(numbers) > ROUNDS, "the lives did too little"


def restart_log(root: Path, worker: int) -> None:
    database = Database(root / "stamp.db")
    BlobStore(database, root / "content").create_append_blob(
        ref(worker, "log"), metadata={}, headers=HttpHeaders()
    )
    database.close()
