"""Operations: one transaction with what they do, preempted and resumed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from vmstamp.arm.operations import Operations, Preempted
from vmstamp.arm.types import Work
from vmstamp.db import Database
from vmstamp.errors import AzureError, Detail, MachineError
from vmstamp.resource_id import parse_resource_id

VM = parse_resource_id("/subscriptions/s/resourceGroups/g/providers/p/t/n")


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "stamp.db")
    yield database
    database.close()


@pytest.fixture
def operations(db: Database) -> Iterator[Operations]:
    made = Operations(db, workers=1)
    yield made
    made.close()


def failing(work: Work) -> None:
    raise AzureError(409, "Code", "text", target="t", details=[Detail("a", "b", "c")])


def test_success_keeps_its_output(operations: Operations) -> None:
    id = operations.record(VM, "act", input={"a": 1})
    operations.submit(id, lambda work: {"got": work.input["a"]}, lambda error: None)
    operations.wait(timeout=10)
    found = operations.find(id)
    assert found is not None and found.ended is not None
    assert (found.status, found.output) == ("Succeeded", {"got": 1})


def test_failure_keeps_the_whole_error(operations: Operations) -> None:
    ends: list[AzureError | None] = []
    id = operations.record(VM, "act")
    operations.submit(id, failing, ends.append)
    operations.wait(timeout=10)
    found = operations.find(id)
    assert found is not None and found.error is not None
    error = found.error
    assert (found.status, error.status, error.code, error.message, error.target) == (
        "Failed",
        409,
        "Code",
        "text",
        "t",
    )
    assert error.details == (Detail("a", "b", "c"),)
    assert ends[0] is not None and ends[0].code == "Code"


def test_failures_of_ours_are_told_and_bugs_are_not(operations: Operations) -> None:
    def ours(work: Work) -> None:
        raise MachineError("QEMU is gone", hint="look at its log")

    def bug(work: Work) -> None:
        raise KeyError("password")

    for body, code, text in (
        (ours, "InternalExecutionError", "QEMU is gone. look at its log"),
        (bug, "InternalServerError", "An internal execution error occurred."),
    ):
        id = operations.record(VM, "act")
        operations.submit(id, body, lambda error: None)
        operations.wait(timeout=10)
        found = operations.find(id)
        assert found is not None and found.error is not None
        assert (found.error.code, found.error.message) == (code, text)


def test_end_that_cannot_be_written_leaves_the_operation_open(operations: Operations, db: Database) -> None:
    def finish(error: AzureError | None) -> None:
        with db.write() as connection:
            connection.execute("INSERT INTO account VALUES ('lost', 'a', 'b', 0, 'c')")
        raise OSError("no space")

    id = operations.record(VM, "act")
    operations.submit(id, lambda work: None, finish)
    operations.wait(timeout=10)
    found = operations.find(id)
    assert found is not None and found.is_open
    with db.read() as connection:
        assert connection.execute("SELECT count(*) FROM account").fetchone()[0] == 0


def test_running_operation_is_preempted_and_waited_for(operations: Operations) -> None:
    begun = threading.Event()

    def body(work: Work) -> None:
        begun.set()
        while not work.cancelled():
            threading.Event().wait(0.01)
        raise Preempted("told to stop")

    id = operations.record(VM, "put")
    operations.submit(id, body, lambda error: None)
    assert begun.wait(10)
    operations.preempt(VM)()
    found = operations.find(id)
    assert found is not None and found.error is not None
    assert found.error.code == "OperationPreempted"


def test_queued_operation_is_preempted_without_waiting(operations: Operations) -> None:
    free = threading.Event()
    other = parse_resource_id("/subscriptions/s/resourceGroups/g/providers/p/t/other")

    def hold(work: Work) -> None:
        free.wait(10)

    operations.submit(operations.record(other, "put"), hold, lambda error: None)
    id = operations.record(VM, "put")
    operations.submit(id, lambda work: None, lambda error: None)
    operations.preempt(VM)()
    found = operations.find(id)
    assert found is not None and found.status == "Failed"
    free.set()


def test_closing_leaves_what_is_under_way_open(db: Database) -> None:
    operations = Operations(db, workers=1)
    begun = threading.Event()

    def body(work: Work) -> None:
        begun.set()
        while not work.cancelled():
            threading.Event().wait(0.01)
        raise Preempted("told to stop")

    first, second = operations.record(VM, "put"), operations.record(VM, "act")
    operations.submit(first, body, lambda error: None)
    operations.submit(second, lambda work: None, lambda error: None)
    assert begun.wait(10)
    operations.close()
    assert [operation.id for operation in operations.unfinished()] == [first, second]
