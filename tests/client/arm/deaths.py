"""A server that dies at a step of an operation, and the next one: the machinery of the tests of deaths.

A stamp's home is brought back to what it was before the request, the request is sent, and the server dies at
the first step, then at the second, until it lives to the end. A death is one instant: the files and the host
are kept as they are then, whatever a thread that is ended by an exception tidies up afterwards. After each
death the next server takes up what is open; the request, sent again where it had not been done, must lead to
what it leads to otherwise.
"""

from __future__ import annotations

import copy
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.client.arm.invariants import violations
from tests.client.arm.parity.machines import settle
from tests.client.arm.parity.row import SUBSCRIPTION
from vmstamp.arm.control_plane import ControlPlane, build
from vmstamp.arm.engine import Settings
from vmstamp.arm.types import Request
from vmstamp.blob.store import BlobStore
from vmstamp.db import Connection, Database
from vmstamp.errors import AzureError
from vmstamp.run import run

ENDPOINT = "http://127.0.0.1:10000"
OF_HOST = ("plans", "up", "written", "backing", "plugged", "offered", "_handlers", "_goal")
STOPPED = "is said to be running; its guest runs: False"
BEFORE, DEATH = "before", "death"  # the moments that a home is brought back to
MOST = 200  # steps that an operation may have


class Dead(BaseException):
    """Ends a thread as kill -9 ends the server."""


class MortalDatabase(Database):
    """A database whose server dies at a step: odd ones are before a commit, even ones after it."""

    def __init__(self, path: Path) -> None:
        self.lives: int | None = None
        self.dying: Callable[[], object] = lambda: None
        super().__init__(path)

    @property
    def dead(self) -> bool:
        return self.lives is not None and self.lives <= 0

    def _step(self) -> None:
        if self.lives is None:
            return
        self.lives -= 1
        if self.lives == 0:
            self.dying()
        if self.lives <= 0:
            raise Dead

    @contextmanager
    def write(self) -> Iterator[Connection]:
        with self._writer:
            outermost = not self._connection().in_transaction
            if outermost and self.dead:
                raise Dead
            with super().write() as connection:
                yield connection
                if outermost:
                    self._step()
            if outermost:
                self._step()


@dataclass(frozen=True)
class Story:
    """`before` makes what there is; the request is sent; `holds` tells whether it has done its work.

    `eve` does what the request needs when it is sent again: a guest ends with its server. `twice`: it is
    sent once more when its work is done, and goes through.
    """

    name: str
    before: Callable[[Any], object]
    method: str
    path: str
    body: Any
    holds: Callable[[ControlPlane, BlobStore], bool]
    eve: Callable[[ControlPlane], object] = lambda plane: None
    twice: bool = False

    def shows(self, plane: ControlPlane) -> Any:
        return shown(plane, self.path) if self.method == "PUT" else None


def shown(plane: ControlPlane, path: str, **query: str) -> Any:
    """What a GET gives; None when there is nothing."""
    try:
        return plane.handle(request("GET", path, None, **query)).body
    except AzureError as error:
        assert error.status == 404, error
        return None


def request(method: str, path: str, body: Any, **query: str) -> Request:
    return Request(method, path, {"api-version": "2024-07-01", **query}, {}, body, "https://stamp")


def succeeded(path: str) -> Callable[[ControlPlane, BlobStore], bool]:
    def holds(plane: ControlPlane, store: BlobStore) -> bool:
        found = shown(plane, path)
        return found is not None and found["properties"]["provisioningState"] == "Succeeded"

    return holds


def gone(path: str) -> Callable[[ControlPlane, BlobStore], bool]:
    return lambda plane, store: shown(plane, path) is None


def _copy(files: list[Path], to: Path) -> None:
    run(["cp", "-a", "--sparse=auto", *map(str, files), str(to)])


class Home:
    """A stamp's home and its host, kept at moments that have names."""

    def __init__(self, directory: Path, host: Any) -> None:
        self._directory = directory
        self._host = host
        self._known: dict[str, dict[str, Any]] = {}

    def _files(self) -> list[Path]:
        return [*self._directory.glob("stamp.db*"), self._directory / "content"]

    def keep(self, moment: str) -> None:
        kept = self._directory / moment
        shutil.rmtree(kept, ignore_errors=True)
        kept.mkdir()
        _copy([path for path in self._files() if not path.name.endswith("-shm")], kept)
        self._known[moment] = {name: copy.deepcopy(getattr(self._host, name)) for name in OF_HOST}

    def restore(self, moment: str) -> None:
        for path in self._files():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        _copy(list((self._directory / moment).iterdir()), self._directory)
        for name, value in self._known[moment].items():
            setattr(self._host, name, copy.deepcopy(value))

    @contextmanager
    def server(self, kind: type[Database]) -> Iterator[tuple[ControlPlane, BlobStore]]:
        db = kind(self._directory / "stamp.db")
        store = BlobStore(db, self._directory / "content")
        store.recover()
        plane = build(db, store, self._host, Settings(SUBSCRIPTION, "t"), ENDPOINT)
        plane.recover()
        try:
            yield plane, store
        finally:
            with suppress(Dead):
                plane.close()
            db.close()


def dies(home: Home, story: Story, step: int) -> bool:
    """Send the request to a server that dies at a step; whether it came to that."""
    with home.server(MortalDatabase) as (plane, _):
        database = plane.engine.db
        assert isinstance(database, MortalDatabase)
        database.lives, database.dying = step, lambda: home.keep(DEATH)
        with suppress(Dead):
            plane.handle(request(story.method, story.path, story.body))
        rest(plane, lambda: database.dead)
        return database.dead


def live_through(arm: Any, story: Story, directory: Path) -> None:
    """Tell a story with a death at each step of it; `directory` is the home of `arm`."""
    story.before(arm)
    settle(arm)
    arm.plane.close()
    arm.plane.engine.db.close()
    home = Home(directory, arm.host)
    home.keep(BEFORE)
    for step in range(1, MOST):
        home.restore(BEFORE)
        if not dies(home, story, step):
            assert step > 2, "nothing was killed"
            return
        home.restore(DEATH)
        arm.host.up.clear()  # a guest ends with its server
        with home.server(Database) as (plane, store):
            rest(plane)
            assert amiss(plane, store, arm.host) == [], step
            if not story.holds(plane, store):
                again(plane, story)
            assert story.holds(plane, store), (step, story.shows(plane))
            if story.twice:
                again(plane, story)
                assert story.holds(plane, store), (step, story.shows(plane))
            assert amiss(plane, store, arm.host) == [], step
    raise AssertionError("it never came to its end")


def amiss(plane: ControlPlane, store: BlobStore, host: Any) -> list[str]:
    """The violations, but for this: a guest ended with its server, and a view tells so, not the state."""
    return [said for said in violations(plane, store, host) if not said.endswith(STOPPED)]


def rest(plane: ControlPlane, dead: Callable[[], bool] = lambda: False) -> None:
    """Wait until no operation is open, or its server is dead."""
    deadline = time.monotonic() + 30
    while not dead() and any(plane.engine.operations.unfinished()):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    plane.engine.operations.wait(timeout=20)


def again(plane: ControlPlane, story: Story) -> None:
    """Send the request a second time."""
    story.eve(plane)
    plane.handle(request(story.method, story.path, story.body))
    rest(plane)
