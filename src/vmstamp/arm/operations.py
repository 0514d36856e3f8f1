"""Asynchronous operations: rows in the database, run on a bounded pool of threads.

A row is written in the transaction that accepts a request, so an acknowledged operation survives a
crash. At most one operation per resource is open; the exception is a DELETE, which may preempt a PUT
that is under way: the PUT is told to stop, the DELETE waits for it. How an operation ends is written
together with what it did to its resource, in one transaction: never one without the other.
"""

from __future__ import annotations

import json
import logging
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

from vmstamp.arm.catalog import Clock, timestamp, utc_now
from vmstamp.arm.resource import Json
from vmstamp.arm.types import Work, azure_fault
from vmstamp.db import Database, Row
from vmstamp.errors import AzureError, Detail, VmstampError
from vmstamp.resource_id import ResourceId, parse_resource_id

log = logging.getLogger("vmstamp.arm")

WORKERS = 64  # each VM that is provisioned, or waits for its turn, holds one

Body = Callable[[Work], Json | None]
Finish = Callable[[AzureError | None], None]


@dataclass(frozen=True)
class Operation:
    """One operation as stored. `input` is what its function needs again after a crash."""

    id: str
    resource: ResourceId
    kind: str
    status: str
    started: str
    ended: str | None
    input: Json
    output: Json | None
    error: AzureError | None

    @property
    def is_open(self) -> bool:
        return self.status == "InProgress"


def error_document(error: AzureError) -> Json:
    """The `error` member of Azure's envelope."""
    document: Json = {"code": error.code, "message": error.message}
    if error.target:
        document["target"] = error.target
    if error.details:
        document["details"] = [_detail(detail) for detail in error.details]
    if error.additional_info:
        document["additionalInfo"] = list(error.additional_info)
    return document


def _detail(detail: Detail) -> Json:
    found: Json = {"code": detail.code, "message": detail.message}
    if detail.target:
        found["target"] = detail.target
    if detail.details:
        found["details"] = [_detail(inner) for inner in detail.details]
    return found


def read_detail(document: Json) -> Detail:
    """A detail from an `error` member, or from one of its `details`."""
    inner = tuple(read_detail(d) for d in document.get("details", []))
    return Detail(document["code"], document["message"], document.get("target"), inner)


def _stored_error(error: AzureError) -> Json:
    return {**error_document(error), "status": error.status}


def _read_error(document: Json | None) -> AzureError | None:
    if not document:
        return None
    return AzureError(
        document["status"],
        document["code"],
        document["message"],
        target=document.get("target"),
        details=read_detail(document).details,
        additional_info=document.get("additionalInfo", ()),
    )


def _operation(row: Row) -> Operation:
    document = json.loads(row["document"])
    return Operation(
        id=row["id"],
        resource=parse_resource_id(document["resource"]),
        kind=row["kind"],
        status=row["status"],
        started=row["started"],
        ended=row["ended"],
        input=document.get("input", {}),
        output=document.get("output"),
        error=_read_error(document.get("error")),
    )


class Preempted(VmstampError):
    """Raised by an operation's function when it stopped because `cancelled()` turned true."""


PREEMPTED = "OperationPreempted"


def preempted() -> AzureError:
    return AzureError(409, PREEMPTED, "The operation has been preempted by a more recent operation.")


@dataclass
class _Running:
    id: str
    resource: str
    cancel: threading.Event
    future: Future[None]
    finish: Finish


class Operations:
    """The operations of one stamp. Safe to share between threads."""

    def __init__(self, db: Database, clock: Clock = utc_now, workers: int = WORKERS) -> None:
        self._db = db
        self._clock = clock
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="arm-operation")
        self._lock = threading.Lock()
        self._running: dict[str, _Running] = {}
        self._unwanted: set[str] = set()  # preempted between their record and their submission
        self._closing = False

    def find(self, id: str) -> Operation | None:
        with self._db.read() as connection:
            row = connection.execute("SELECT * FROM operation WHERE id = ?", (id.lower(),)).fetchone()
        return _operation(row) if row else None

    def find_open(self, resource: ResourceId) -> Operation | None:
        """The open operation on a resource, if any (of two, the later: a preempting DELETE)."""
        with self._db.read() as connection:
            row = connection.execute(
                "SELECT * FROM operation WHERE resource = ? AND status = 'InProgress' ORDER BY started "
                "DESC LIMIT 1",
                (resource.key,),
            ).fetchone()
        return _operation(row) if row else None

    def any_open(self, resources: Iterable[str]) -> bool:
        """Whether an operation is open on one of these resources (keys)."""
        keys = list(resources)
        marks = ", ".join("?" * len(keys))
        query = f"SELECT 1 FROM operation WHERE status = 'InProgress' AND resource IN ({marks}) LIMIT 1"
        with self._db.read() as connection:
            return bool(keys) and connection.execute(query, keys).fetchone() is not None

    def _open_ids(self, resource: ResourceId) -> set[str]:
        with self._db.read() as connection:
            rows = connection.execute(
                "SELECT id FROM operation WHERE resource = ? AND status = 'InProgress'", (resource.key,)
            ).fetchall()
        return {row["id"] for row in rows}

    def unfinished(self) -> Iterator[Operation]:
        """What a crash left open, oldest first."""
        with self._db.read() as connection:
            rows = connection.execute(
                "SELECT * FROM operation WHERE status = 'InProgress' ORDER BY started"
            ).fetchall()
        return map(_operation, rows)

    def record(
        self, resource: ResourceId, kind: str, *, input: Json | None = None, done: bool = False
    ) -> str:
        """Write a new operation in the caller's transaction; its id. `done`: it has already succeeded."""
        id = str(uuid.uuid4())
        now = timestamp(self._clock())
        document = {"resource": str(resource), "input": input or {}}
        status, ended = ("Succeeded", now) if done else ("InProgress", None)
        with self._db.write() as connection:
            connection.execute(
                "INSERT INTO operation (id, resource, kind, status, started, ended, document) VALUES (?, "
                "?, ?, ?, ?, ?, ?)",
                (id, resource.key, kind, status, now, ended, json.dumps(document)),
            )
        return id

    def submit(
        self, id: str, body: Body, finish: Finish, *, resumed: bool = False, first: bool = True
    ) -> None:
        """Run a recorded operation. `finish` is called in the transaction that ends it."""
        operation = self.find(id)
        if operation is None or self._closing:
            return
        cancel = threading.Event()
        work = Work(cancel.is_set, resumed, operation.input, first)
        with self._lock:
            unwanted = id in self._unwanted
            self._unwanted.discard(id)
            if not unwanted:
                future = self._pool.submit(self._run, id, body, finish, work)
                self._running[id] = _Running(id, operation.resource.key, cancel, future, finish)
        if unwanted:
            self._end(id, None, preempted(), finish)

    def _run(self, id: str, body: Body, finish: Finish, work: Work) -> None:
        output: Json | None = None
        error: AzureError | None = None
        try:
            if work.cancelled():
                raise Preempted("preempted before it began")
            output = body(work)
        except Preempted:
            error = preempted()
        except Exception as failure:
            error = azure_fault(failure)
            if not isinstance(failure, VmstampError):
                log.exception("operation %s failed", id)
        try:
            if not (self._closing and error is not None and error.code == PREEMPTED):
                self._end(id, output, error, finish)
        except Exception:
            log.exception("the end of operation %s could not be written", id)
        finally:
            with self._lock:
                self._running.pop(id, None)

    def _end(self, id: str, output: Json | None, error: AzureError | None, finish: Finish) -> None:
        with self._db.write():
            finish(error)
            self.end(id, output=output, error=error)

    def end(self, id: str, *, output: Json | None = None, error: AzureError | None = None) -> None:
        """Write how an operation ended; in the caller's transaction, if there is one."""
        with self._db.write() as connection:
            row = connection.execute("SELECT document FROM operation WHERE id = ?", (id,)).fetchone()
            document: dict[str, Any] = json.loads(row["document"])
            document |= {"output": output} if output is not None else {}
            document |= {"error": _stored_error(error)} if error else {}
            connection.execute(
                "UPDATE operation SET status = ?, ended = ?, document = ? WHERE id = ?",
                (
                    "Failed" if error else "Succeeded",
                    timestamp(self._clock()),
                    json.dumps(document),
                    id,
                ),
            )

    def preempt(self, resource: ResourceId) -> Callable[[], None]:
        """Tell what runs on a resource to stop; the function returned waits until it has.

        An operation that is recorded and not yet submitted will not begin.
        """
        recorded = self._open_ids(resource)
        with self._lock:
            running = [r for r in self._running.values() if r.resource == resource.key]
            self._unwanted |= recorded - self._running.keys()
        waited = []
        for one in running:
            one.cancel.set()
            if one.future.cancel():  # still in the queue: nothing to wait for
                self._end(one.id, None, preempted(), one.finish)
            else:
                waited.append(one.future)
        return lambda: _wait(waited)

    def wait(self, resource: ResourceId | None = None, timeout: float | None = None) -> None:
        """Wait for what is under way now (on one resource): for tests and for a tidy end."""
        with self._lock:
            running = list(self._running.values())
        wait([r.future for r in running if resource is None or r.resource == resource.key], timeout)

    def close(self) -> None:
        """Stop taking work, cancel what runs and wait for it. Its rows stay open, to be resumed."""
        self._closing = True
        with self._lock:
            for running in self._running.values():
                running.cancel.set()
        self._pool.shutdown(wait=True, cancel_futures=True)


def _wait(futures: list[Future[None]]) -> None:
    wait(futures)
