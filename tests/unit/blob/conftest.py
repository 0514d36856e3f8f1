"""A store with one account and its container `vhds`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from vmstamp.blob.store import BlobStore
from vmstamp.db import Database


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "stamp.db")
    yield database
    database.close()


@pytest.fixture
def vhds(database: Database, tmp_path: Path) -> BlobStore:
    store = BlobStore(database, tmp_path / "content")
    store.create_account("acct")
    store.create_container("acct", "vhds")
    return store
