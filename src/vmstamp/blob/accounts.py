"""Storage accounts and containers: the names under which the store keeps blobs."""

from __future__ import annotations

import base64
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, TypeVar, cast

from vmstamp.blob import faults, tables
from vmstamp.blob.content import ContentDirectory
from vmstamp.blob.records import AccessPolicy, Account, Container, PublicAccess, account_of
from vmstamp.db import Connection, Database
from vmstamp.errors import AzureError

T = TypeVar("T")

MAXIMUM_POLICIES: Final = 5
_UNIX_EPOCH_TICKS: Final = 621_355_968_000_000_000  # 100 ns since year 1, the unit of Azure's ETags


@dataclass(frozen=True)
class Page:
    """One page of a listing; `following` is the name after the last one, "" at the end."""

    names: tuple[str, ...]
    following: str


class Accounts:
    """The accounts and containers of one stamp: the lowest layer of `store.BlobStore`. Thread-safe."""

    def __init__(
        self,
        db: Database,
        content_directory: Path,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._db = db
        self._contents = ContentDirectory(content_directory)
        self._clock = clock
        self._ticks = 0
        self._ticks_lock = threading.Lock()
        self._cache: dict[str | tuple[str, str], Any] = {}
        self._cache_lock = threading.Lock()
        self._changes = 0
        # Whether a container, by its account and name, is kept for what uses its blobs: the disks of VMs.
        self.keeps_container: Callable[[str, str], bool] = lambda account, name: False

    def now(self) -> datetime:
        return self._clock()

    def new_etag(self) -> str:
        """An ETag that no blob of this store had before."""
        return f'"0x{self._tick():X}"'

    def new_snapshot(self) -> str:
        """A time that no snapshot of this store has, as clients name snapshots: ISO 8601, seven decimals."""
        seconds, part = divmod(self._tick() - _UNIX_EPOCH_TICKS, 10_000_000)
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{part:07}Z"

    def _tick(self) -> int:
        """The time in units of 100 ns, later than any before."""
        now = self.now() - datetime(1970, 1, 1, tzinfo=UTC)
        with self._ticks_lock:
            self._ticks = max(self._ticks + 1, _UNIX_EPOCH_TICKS + now // timedelta(microseconds=1) * 10)
            return self._ticks

    # -- rows of accounts and containers, which every request asks for and few change

    def _cached(self, key: str | tuple[str, str], find: Callable[[Connection], T]) -> T:
        found = self._cache.get(key)
        if found is None:
            changes = self._changes
            with self._db.read() as connection:
                found = find(connection)
            with self._cache_lock:
                if found is not None and changes == self._changes:
                    self._cache[key] = found
        return cast(T, found)

    @contextmanager
    def _changing(self) -> Iterator[Connection]:
        """A transaction that changes accounts or containers."""
        try:
            with self._db.write() as connection:
                self._db.when_ended(self._forget)
                yield connection
        finally:
            self._forget()  # for the rest of a transaction around this one

    def _forget(self) -> None:
        with self._cache_lock:
            self._changes += 1
            self._cache.clear()

    # -- accounts

    def create_account(self, name: str, *, hidden: bool = False) -> Account:
        """A new storage account with two keys. Raises 409 StorageAccountAlreadyTaken."""
        secret = _new_key()
        account = Account(name, _new_key(), _new_key(), hidden, self.now(), delegation_secret=secret)
        with self._changing() as connection:
            if tables.find_account(connection, name) is not None:
                raise AzureError(
                    409, "StorageAccountAlreadyTaken", f"The storage account named {name} is already taken."
                )
            tables.insert_account(connection, account)
        return account

    def find_account(self, name: str) -> Account | None:
        return self._cached(name, lambda connection: tables.find_account(connection, name))

    def get_account(self, name: str) -> Account:
        account = self.find_account(name)
        if account is None:
            raise faults.fault("ResourceNotFound", f"There is no storage account {name}.")
        return account

    def list_accounts(self, *, hidden: bool = False) -> list[Account]:
        """All accounts by name; with `hidden` the stamp's own instead."""
        with self._db.read() as connection:
            rows = connection.execute("SELECT * FROM account WHERE hidden = ? ORDER BY name", (int(hidden),))
            return [account_of(row) for row in rows]

    def update_account(self, name: str, change: Callable[[Account], Account]) -> Account:
        """Store what `change` makes of the account: keys, kind, service properties."""
        with self._changing() as connection:
            found = tables.find_account(connection, name)
            if found is None:
                raise faults.fault("ResourceNotFound", f"There is no storage account {name}.")
            new = change(found)
            tables.update_account(connection, new)
        return new

    def regenerate_key(self, name: str, key: str) -> Account:
        """Replace "key1" or "key2"; the old one is worth nothing from now on."""
        if key not in ("key1", "key2"):
            raise AzureError(400, "InvalidValuesForRequestParameters", f"There is no key named {key}.")
        return self.update_account(
            name,
            lambda found: (
                replace(found, key1=_new_key()) if key == "key1" else replace(found, key2=_new_key())
            ),
        )

    def delete_account(self, name: str) -> None:
        """Delete an account and all that is in it."""
        self.get_account(name)
        with self._changing() as connection:
            contents = tables.contents_of(connection, name)
            connection.execute("DELETE FROM account WHERE name = ?", (name,))
            unused = tables.delete_unused(connection, contents)
        self._remove_files(unused)

    # -- containers

    def create_container(
        self,
        account: str,
        name: str,
        *,
        metadata: dict[str, str] | None = None,
        public_access: PublicAccess = "",
    ) -> Container:
        """A new container. Raises 409 ContainerAlreadyExists."""
        container = Container(account, name, self.new_etag(), self.now(), metadata or {}, public_access)
        self.get_account(account)
        with self._changing() as connection:
            if tables.find_container(connection, account, name) is not None:
                raise faults.fault("ContainerAlreadyExists")
            tables.insert_container(connection, container)
        return container

    def find_container(self, account: str, name: str) -> Container | None:
        return self._cached(
            (account, name), lambda connection: tables.find_container(connection, account, name)
        )

    def get_container(self, account: str, name: str) -> Container:
        container = self.find_container(account, name)
        if container is None:
            raise faults.fault("ContainerNotFound")
        return container

    def list_containers(self, account: str, *, prefix: str = "", start: str = "", count: int = 5000) -> Page:
        """Names from `start` on, at most `count`."""
        with self._db.read() as connection:
            rows = connection.execute(
                "SELECT name FROM container WHERE account = ? AND name >= ? AND substr(name, 1, ?) = ? "
                "ORDER BY name LIMIT ?",
                (account, max(start, prefix), len(prefix), prefix, count + 1),
            ).fetchall()
        names = [row["name"] for row in rows]
        return Page(tuple(names[:count]), names[count] if len(names) > count else "")

    def update_container(
        self,
        account: str,
        name: str,
        change: Callable[[Container], Container],
        check: Callable[[Container], None] = lambda container: None,
        *,
        touch: bool = True,
    ) -> Container:
        """Store what `change` makes of the container: metadata, public access, policies, lease.

        `touch`: the container counts as modified (a lease does not modify it).
        """
        with self._changing() as connection:
            found = tables.find_container(connection, account, name)
            if found is None:
                raise faults.fault("ContainerNotFound")
            check(found)
            new = change(found)
            if touch:
                new = replace(new, etag=self.new_etag(), last_modified=self.now())
            tables.update_container(connection, new)
        return new

    def set_access_policy(
        self,
        account: str,
        container: str,
        policy: str,
        permissions: str,
        start: datetime | None,
        expiry: datetime | None,
    ) -> None:
        """Add or replace one stored access policy. Raises 400 when the container has five others."""
        new = AccessPolicy(policy, permissions, start, expiry)

        def change(found: Container) -> Container:
            others = tuple(other for other in found.policies if other.id != policy)
            if len(others) >= MAXIMUM_POLICIES:
                raise faults.fault("OutOfRangeInput", f"A container has at most {MAXIMUM_POLICIES} policies.")
            return replace(found, policies=(*others, new))

        self.update_container(account, container, change)

    def clear_access_policies(self, account: str, container: str) -> None:
        """Remove all stored access policies: every SAS that rests on one is refused from now on."""
        self.remove_access_policies(account, container, lambda policy: True)

    def remove_access_policies(
        self, account: str, container: str, gone: Callable[[AccessPolicy], bool]
    ) -> None:
        """Remove those stored access policies that `gone` chooses."""

        def change(found: Container) -> Container:
            return replace(found, policies=tuple(policy for policy in found.policies if not gone(policy)))

        self.update_container(account, container, change)

    def delete_container(
        self, account: str, name: str, check: Callable[[Container], None] = lambda container: None
    ) -> None:
        """Delete a container and its blobs, at once. Raises 412 while something keeps it."""
        with self._changing() as connection:
            found = tables.find_container(connection, account, name)
            if found is None:
                raise faults.fault("ContainerNotFound")
            check(found)
            if self.keeps_container(account, name):
                raise faults.fault("LeaseIdMissing", "container")
            contents = tables.contents_of(connection, account, name)
            connection.execute("DELETE FROM container WHERE account = ? AND name = ?", (account, name))
            unused = tables.delete_unused(connection, contents)
        self._remove_files(unused)

    def _remove_files(self, contents: list[str]) -> None:
        for content in contents:
            self._contents.remove(content)


def _new_key() -> str:
    return base64.b64encode(secrets.token_bytes(64)).decode()
