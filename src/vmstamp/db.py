"""The stamp's database: SQLite in write-ahead mode, one writer at a time, migrated on open.

Nothing else in vmstamp imports `sqlite3`. Each thread has a connection of its own. `write()` holds a
process-wide lock and an IMMEDIATE transaction: it commits when the block ends and rolls back when the
block raises. A committed transaction survives the death of this process at any instant (the log is
written by the kernel); a power loss may lose the last ones, never half of one (synchronous=NORMAL).
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.resources import files
from pathlib import Path

from vmstamp.errors import StampError

Connection = sqlite3.Connection
Row = sqlite3.Row

SCHEMA_VERSION = 2
BUSY_TIMEOUT = 10.0  # seconds


class Database:
    """One stamp's database file. Safe to share between threads.

    Raises StampError when the file is no database, cannot be opened, or is a newer vmstamp's.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()
        self._unclean = False  # what was deleted or replaced is to be gone from the log too
        self._writer = threading.RLock()
        self._ended: list[Callable[[], None]] = []  # of the one transaction that there is
        self._opened: list[tuple[threading.Thread, sqlite3.Connection]] = []
        self._opening = threading.Lock()
        try:
            self._migrate()
        except sqlite3.DatabaseError as error:
            self.close()
            raise StampError(
                f"{path}: the stamp's database cannot be opened: {error}",
                hint="restore the file, or choose another VMSTAMP_HOME",
            ) from error
        except StampError:
            self.close()
            raise

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = sqlite3.connect(
                self._path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False
            )
            self._keep(connection)
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA secure_delete = ON")  # what is deleted or replaced is overwritten
            self._local.connection = connection
        return connection

    def _keep(self, connection: sqlite3.Connection) -> None:
        """Remember a connection for `close`; those of threads that have ended are closed now."""
        with self._opening:
            ended = [old for thread, old in self._opened if not thread.is_alive()]
            self._opened = [entry for entry in self._opened if entry[0].is_alive()]
            self._opened.append((threading.current_thread(), connection))
        for old in ended:
            old.close()

    def _migrate(self) -> None:
        with self.write() as connection:
            found = connection.execute("PRAGMA user_version").fetchone()[0]
            if found > SCHEMA_VERSION:
                raise StampError(
                    f"{self._path}: the database has schema version {found}, "
                    f"this vmstamp knows up to {SCHEMA_VERSION}",
                    hint="use the newer vmstamp that wrote it, or another VMSTAMP_HOME",
                )
            for script in _scripts(found):
                for statement in _statements(files("vmstamp").joinpath(script).read_text()):
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection for queries; each statement sees the last committed state."""
        yield self._connection()

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction. Nested blocks of the same thread join the outer one."""
        with self._writer:
            connection = self._connection()
            if connection.in_transaction:
                yield connection
                return
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:  # without space SQLite has rolled it back already
                    connection.execute("ROLLBACK")
                raise
            finally:
                ended, self._ended = self._ended, []
                for function in ended:
                    function()
                self._clean()

    def scrub(self) -> None:
        """Have what was deleted or replaced gone from the log too, where older copies of it stand.

        Where a reader still needs them, they go with the first transaction that ends after it. Never waits.
        """
        with self._writer:
            self._unclean = True
            self._clean()

    def _clean(self) -> None:
        """Empty the log if something is to be gone from it, and no reader needs it. Called with the lock."""
        if not self._unclean:
            return
        connection = self._connection()
        connection.execute("PRAGMA busy_timeout = 0")
        try:
            busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            self._unclean = bool(busy)
        except sqlite3.OperationalError:  # locked: as busy
            pass
        finally:
            connection.execute(f"PRAGMA busy_timeout = {int(BUSY_TIMEOUT * 1000)}")

    def flush(self) -> None:
        """Have every committed transaction on the disk before this returns; they are in the log first."""
        for name in (f"{self._path}-wal", str(self._path)):
            with suppress(FileNotFoundError):
                descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)

    @contextmanager
    def reserved(self) -> Iterator[bool]:
        """Keep other threads' transactions out, if none is under way: whether that is so. Never waits."""
        taken = self._writer.acquire(blocking=False)
        try:
            yield taken
        finally:
            if taken:
                self._writer.release()

    def when_ended(self, function: Callable[[], None]) -> None:
        """Call `function` when this thread's transaction has been committed or rolled back."""
        self._ended.append(function)

    def close(self) -> None:
        """Close every thread's connection; the database must not be used afterwards."""
        with self._opening:
            opened, self._opened = self._opened, []
        for _, connection in opened:
            connection.close()


def _scripts(version: int) -> list[str]:
    """What brings a database of this version to the current one; version 0 is an empty file."""
    if version == 0:
        return ["schema.sql"]
    return [f"schema-{number}.sql" for number in range(version + 1, SCHEMA_VERSION + 1)]


def _statements(script: str) -> Iterator[str]:
    """The statements of an SQL script, one by one, so that they run inside a transaction."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
