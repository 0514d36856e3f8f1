from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from vmstamp.db import SCHEMA_VERSION, Database
from vmstamp.errors import StampError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "stamp.db"


@pytest.fixture
def db(path: Path) -> Iterator[Database]:
    database = Database(path)
    with database.write() as connection:
        connection.execute("CREATE TABLE notes (text TEXT)")
    yield database
    database.close()


def notes(database: Database) -> list[str]:
    with database.read() as connection:
        return [row["text"] for row in connection.execute("SELECT text FROM notes ORDER BY rowid")]


def add(database: Database, text: str) -> None:
    with database.write() as connection:
        connection.execute("INSERT INTO notes VALUES (?)", (text,))


def test_a_new_database_has_the_schema_and_its_version(path: Path) -> None:
    database = Database(path)
    with database.read() as connection:
        assert connection.execute("PRAGMA user_version").fetchone()[0] == SCHEMA_VERSION
        assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        assert connection.execute("PRAGMA foreign_keys").fetchone()[0] == 1
        assert connection.execute("SELECT count(*) FROM sqlite_schema WHERE type = 'table'").fetchone()[0] > 0
    database.close()


def test_a_block_that_ends_is_committed_and_found_after_opening_anew(db: Database, path: Path) -> None:
    add(db, "kept")
    db.close()
    again = Database(path)
    assert notes(again) == ["kept"]
    again.close()


def test_a_block_that_raises_is_rolled_back(db: Database) -> None:
    with pytest.raises(KeyError), db.write() as connection:
        connection.execute("INSERT INTO notes VALUES ('lost')")
        raise KeyError
    add(db, "next")
    assert notes(db) == ["next"]


def test_a_nested_block_joins_the_outer_one(db: Database) -> None:
    with pytest.raises(KeyError), db.write():
        add(db, "inner, which ended well")
        raise KeyError
    assert notes(db) == []
    with db.write():
        add(db, "inner")
        add(db, "inner too")
    assert notes(db) == ["inner", "inner too"]


def test_another_thread_sees_nothing_before_the_commit(db: Database) -> None:
    seen: list[list[str]] = []
    with db.write() as connection:
        connection.execute("INSERT INTO notes VALUES ('soon')")
        reader = threading.Thread(target=lambda: seen.append(notes(db)))
        reader.start()
        reader.join()
    assert seen == [[]]
    assert notes(db) == ["soon"]


def test_writers_take_turns(db: Database) -> None:
    def count_up() -> None:
        for _ in range(20):
            with db.write() as connection:
                found = connection.execute("SELECT count(*) FROM notes").fetchone()[0]
                connection.execute("INSERT INTO notes VALUES (?)", (str(found),))

    threads = [threading.Thread(target=count_up) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert notes(db) == [str(number) for number in range(80)]


def test_a_newer_schema_is_refused_and_left_alone(db: Database, path: Path) -> None:
    add(db, "of a newer version")
    with db.write() as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    db.close()
    with pytest.raises(StampError, match=f"has schema version {SCHEMA_VERSION + 1}") as refused:
        Database(path)
    assert "VMSTAMP_HOME" in refused.value.hint


def test_a_database_that_cannot_be_made_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(StampError, match=r"nowhere/stamp\.db: .*unable to open"):
        Database(tmp_path / "nowhere" / "stamp.db")


def test_what_is_no_database_is_refused_by_name(path: Path) -> None:
    path.write_bytes(b"not a database, but long enough to look at" * 100)
    with pytest.raises(StampError, match=r"stamp\.db: "):
        Database(path)


def test_connections_of_ended_threads_are_closed(tmp_path: Path) -> None:
    database = Database(tmp_path / "stamp.db")
    before = len(list(Path("/proc/self/fd").iterdir()))

    def ask() -> None:
        with database.read() as connection:
            connection.execute("SELECT count(*) FROM account").fetchone()

    for _ in range(20):
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
    assert len(list(Path("/proc/self/fd").iterdir())) < before + 10
    database.close()


def test_a_database_of_the_first_schema_is_brought_to_the_current_one(path: Path) -> None:
    old = """
        CREATE TABLE account (name TEXT PRIMARY KEY, key1 TEXT NOT NULL, key2 TEXT NOT NULL,
            hidden INTEGER NOT NULL DEFAULT 0, created TEXT NOT NULL) STRICT;
        CREATE TABLE container (account TEXT NOT NULL REFERENCES account(name) ON DELETE CASCADE,
            name TEXT NOT NULL, etag TEXT NOT NULL, last_modified TEXT NOT NULL, document TEXT NOT NULL,
            PRIMARY KEY (account, name)) STRICT;
        CREATE TABLE content (id TEXT PRIMARY KEY, size INTEGER NOT NULL,
            sealed INTEGER NOT NULL DEFAULT 0) STRICT;
        CREATE TABLE page (content TEXT NOT NULL REFERENCES content(id) ON DELETE CASCADE,
            start INTEGER NOT NULL, end INTEGER NOT NULL, PRIMARY KEY (content, start)) STRICT, WITHOUT ROWID;
        CREATE TABLE blob (account TEXT NOT NULL, container TEXT NOT NULL, name TEXT NOT NULL,
            type TEXT NOT NULL, content TEXT NOT NULL REFERENCES content(id), size INTEGER NOT NULL,
            etag TEXT NOT NULL, created TEXT NOT NULL, last_modified TEXT NOT NULL, document TEXT NOT NULL,
            PRIMARY KEY (account, container, name),
            FOREIGN KEY (account, container) REFERENCES container(account, name) ON DELETE CASCADE) STRICT;
        CREATE INDEX blob_by_content ON blob (content);
        INSERT INTO account VALUES ('a', 'k', 'k', 0, '2026-01-01T00:00:00.000000+00:00');
        INSERT INTO container VALUES ('a', 'c', 'e', '2026-01-01T00:00:00.000000+00:00', '{}');
        INSERT INTO content VALUES ('x', 1024, 1);
        INSERT INTO page VALUES ('x', 512, 1024);
        INSERT INTO blob VALUES ('a', 'c', 'b', 'PageBlob', 'x', 1024, 'e', 't', 't', '{}');
        PRAGMA user_version = 1;
    """
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(old)
    with (
        closing(Database(path)) as database,
        closing(Database(path.with_name("new.db"))) as new,
        database.read() as connection,
        new.read() as fresh,
    ):
        blob = connection.execute("SELECT name, snapshot, content FROM blob").fetchone()
        assert tuple(blob) == ("b", "", "x")
        page = connection.execute("SELECT start, end, generation FROM page").fetchone()
        assert tuple(page) == (512, 1024, 0)
        for table in ("account", "content", "page", "blob", "block", "staged_block"):
            columns = f"SELECT name, type FROM pragma_table_info('{table}') ORDER BY name"
            found = [tuple(row) for row in connection.execute(columns)]
            assert found == [tuple(row) for row in fresh.execute(columns)]


def test_what_is_to_be_gone_from_the_log_goes_when_no_reader_needs_it(tmp_path: Path) -> None:
    path = tmp_path / "stamp.db"
    database = Database(path)
    with database.write() as connection:
        connection.execute("CREATE TABLE kept (word TEXT)")
        connection.execute("INSERT INTO kept VALUES ('planted-word'), ('another')")
    with ThreadPoolExecutor(1) as reader:
        cursor = reader.submit(lambda: _first_of(database)).result()
        with database.write() as connection:
            connection.execute("DELETE FROM kept")
        database.scrub()
        assert any(b"planted-word" in file.read_bytes() for file in tmp_path.iterdir()), "it is being read"
        reader.submit(cursor.close).result()
        with database.write() as connection:
            connection.execute("INSERT INTO kept VALUES ('later')")
    assert not any(b"planted-word" in file.read_bytes() for file in tmp_path.iterdir())
    database.close()


def _first_of(database: Database) -> sqlite3.Cursor:
    """A query that has given one row of two."""
    with database.read() as connection:
        cursor = connection.execute("SELECT word FROM kept")
        cursor.fetchone()
        return cursor
