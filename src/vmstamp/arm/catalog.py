"""The stored resources and who refers to whom: the only module of this room that writes SQL for them.

Every write happens in the caller's transaction (`Database.write`). The references of a resource are
derived from its document at each save, so the two cannot disagree.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime

from vmstamp.arm.resource import Json, Reference, Referrer, Resource
from vmstamp.db import Database, Row
from vmstamp.resource_id import ResourceId, parse_resource_id, stored_id

Clock = Callable[[], datetime]

# References over which the bytes of disks are shared: what works on one end keeps the other from changing.
COUPLING = ("disk", "image source", "copy source")


def utc_now() -> datetime:
    return datetime.now(UTC)


def timestamp(moment: datetime) -> str:
    """ISO 8601 in UTC with microseconds, as all of the stamp's times are written."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f+00:00")


def new_etag() -> str:
    return f'W/"{uuid.uuid4()}"'


def _resource(row: Row) -> Resource:
    document = json.loads(row["document"])
    return Resource(
        id=stored_id(document.pop("id"), row["id"]),
        location=row["location"],
        etag=row["etag"],
        created=row["created"],
        changed=document.pop("changed", row["created"]),
        document=document,
        state=json.loads(row["state"]) if row["state"] != "{}" else {},
    )


class Catalog:
    """Resources by id, by type and by group; references by target."""

    def __init__(
        self,
        db: Database,
        references: Callable[[Resource], Iterable[Reference]] = lambda resource: (),
        clock: Clock = utc_now,
    ) -> None:
        self.db = db
        self._references = references
        self._clock = clock
        self._known = threading.local()  # `of`: referrers by target, within `knowing_referrers`

    def now(self) -> str:
        return timestamp(self._clock())

    def new(self, id: ResourceId, location: str, document: Json, state: Json) -> Resource:
        """A resource that is not stored yet."""
        return Resource(id, location, new_etag(), self.now(), document, state)

    def find(self, id: ResourceId | str) -> Resource | None:
        """The resource with this id (compared without case), or None."""
        key = id.key if isinstance(id, ResourceId) else id.lower().rstrip("/")
        with self.db.read() as connection:
            row = connection.execute("SELECT * FROM resource WHERE id = ?", (key,)).fetchone()
        return _resource(row) if row else None

    def select(
        self, *, type: str = "", group: str = "", scope: str = "", after: str = "", limit: int = -1
    ) -> list[Resource]:
        """Resources by id: of a type, of a group (its key), below a scope (an id); ids after `after` only."""
        below = scope.lower().rstrip("/")
        # "0" is the character after "/": what begins with the scope and a slash is a range of ids.
        # A page is read in the order of ids; "+" keeps SQLite from sorting all of a type for each page.
        by_id = "+" if below and limit >= 0 else ""
        terms = {
            f"{by_id}type = :type": type,
            "grp = :grp": group,
            "id > :after": after,
            "id > :below || '/' AND id < :below || '0'": below,
        }
        where = " AND ".join(term for term, given in terms.items() if given) or "TRUE"
        values = {"type": type.lower(), "grp": group, "after": after, "below": below, "limit": limit}
        query = f"SELECT * FROM resource WHERE {where} ORDER BY id LIMIT :limit"
        with self.db.read() as connection:
            return [_resource(row) for row in connection.execute(query, values)]

    def save(self, resource: Resource, *, touch: bool = True) -> Resource:
        """Insert or replace; with `touch` its ETag changes. In the caller's transaction."""
        if touch:
            resource = replace(resource, etag=new_etag())
        key = resource.id.key
        with self.db.write() as connection:
            connection.execute(
                "INSERT INTO resource (id, type, grp, name, location, etag, created, document, state) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET location = "
                "excluded.location, etag = excluded.etag, document = excluded.document, state = "
                "excluded.state",
                (
                    key,
                    resource.type,
                    resource.id.group_key,
                    resource.name,
                    resource.location,
                    resource.etag,
                    resource.created,
                    json.dumps({**resource.document, "id": str(resource.id), "changed": self.now()}),
                    json.dumps(resource.state),
                ),
            )
            connection.execute("DELETE FROM reference WHERE source = ?", (key,))
            connection.executemany(
                "INSERT OR IGNORE INTO reference (source, kind, target, part) VALUES (?, ?, ?, ?)",
                [(key, r.kind, r.target.lower(), r.part) for r in self._references(resource)],
            )
        return resource

    def delete(self, id: ResourceId) -> None:
        with self.db.write() as connection:
            connection.execute("DELETE FROM reference WHERE source = ?", (id.key,))
            connection.execute("DELETE FROM resource WHERE id = ?", (id.key,))

    def coupled(self, id: ResourceId) -> list[str]:
        """Keys of the resources whose bytes are this one's too: those it uses, and others that use them."""
        kinds = ", ".join("?" * len(COUPLING))
        query = (
            f"SELECT target FROM reference WHERE source = ? AND kind IN ({kinds}) UNION "
            "SELECT other.source FROM reference AS own JOIN reference AS other ON other.target = own.target "
            f"WHERE own.source = ? AND own.kind IN ({kinds}) AND other.kind IN ({kinds})"
        )
        with self.db.read() as connection:
            rows = connection.execute(query, (id.key, *COUPLING, id.key, *COUPLING, *COUPLING)).fetchall()
        return [row[0] for row in rows if row[0] != id.key]

    def coupled_to(self, id: ResourceId) -> list[str]:
        """The keys of resources that use this one's bytes."""
        return [referrer.source.key for referrer in self.referrers(id, *COUPLING)]

    def referrers(self, target: ResourceId | str, *kinds: str) -> list[Referrer]:
        """Who refers to a resource (in one of these ways), by source id."""
        key = target.key if isinstance(target, ResourceId) else target.lower()
        known: dict[str, list[Referrer]] = getattr(self._known, "of", {})
        found = known[key] if key in known else self._referrers("target = :key", {"key": key})
        return [referrer for referrer in found if not kinds or referrer.kind in kinds]

    @contextmanager
    def knowing_referrers(self, targets: Iterable[ResourceId]) -> Iterator[None]:
        """Within the block, this thread's `referrers` of these resources are as they are now: one query."""
        of: dict[str, list[Referrer]] = {target.key: [] for target in targets}
        query = "target IN (SELECT value FROM json_each(:keys))"
        for found in self._referrers(query, {"keys": json.dumps(list(of))}):
            of[found.target].append(found)
        self._known.of = of
        try:
            yield
        finally:
            self._known.of = {}

    def parts(self, target: ResourceId | str, *kinds: str) -> list[str]:
        """The parts that refer to a resource in one of these ways, each once: of ten thousand in one pass."""
        key = target.key if isinstance(target, ResourceId) else target.lower()
        query = (
            "SELECT DISTINCT part FROM reference WHERE target = ? "
            f"AND kind IN ({', '.join('?' * len(kinds))}) ORDER BY part"
        )
        with self.db.read() as connection:
            return [row[0] for row in connection.execute(query, (key, *kinds)).fetchall()]

    def referring_values(
        self, target: ResourceId | str, kind: str, parts: str, path: str
    ) -> list[tuple[str, str, str | None]]:
        """Of each reference to a resource: the source's key, its part, and what the part has at a path.

        Paths are SQLite's, `parts` that of the list in the source's document in which the part is found by
        its id: $.properties.ipConfigurations. Nothing of the documents is read but that.
        """
        key = target.key if isinstance(target, ResourceId) else target.lower()
        query = (
            "SELECT source, part, (SELECT json_extract(value, ?) FROM json_each(document, ?) "
            "WHERE json_extract(value, '$.id') = part) FROM reference JOIN resource ON resource.id = source "
            "WHERE target = ? AND kind = ? ORDER BY source, part"
        )
        with self.db.read() as connection:
            return [tuple(row) for row in connection.execute(query, (path, parts, key, kind)).fetchall()]

    def any_state(self, type: str, member: str, value: str) -> bool:
        """Whether a resource of a type has that in its state."""
        query = "SELECT 1 FROM resource WHERE type = ? AND json_extract(state, ?) = ? LIMIT 1"
        with self.db.read() as connection:
            return connection.execute(query, (type.lower(), f"$.{member}", value)).fetchone() is not None

    def any_target(self, beginning: str, kind: str) -> bool:
        """Whether there is a reference of a kind to something whose key begins so."""
        begun = beginning.lower()
        query = "SELECT 1 FROM reference WHERE target >= ? AND target < ? AND kind = ? LIMIT 1"
        with self.db.read() as connection:
            found = connection.execute(query, (begun, f"{begun}\U0010ffff", kind)).fetchone()
        return found is not None

    def referrers_within(self, target: ResourceId) -> list[Referrer]:
        """Who refers to a resource or to a part of it, by source id."""
        within = "(target = :key OR (target > :key || '/' AND target < :key || '0'))"
        return list(self._referrers(within, {"key": target.key}))

    def _referrers(self, where: str, values: Mapping[str, str]) -> Iterator[Referrer]:
        with self.db.read() as connection:
            rows = connection.execute(
                "SELECT reference.kind, reference.part, reference.target, resource.document FROM reference "
                f"JOIN resource ON resource.id = reference.source WHERE {where} ORDER BY source, part",
                values,
            ).fetchall()
        for row in rows:
            source = parse_resource_id(json.loads(row["document"])["id"])
            yield Referrer(row["kind"], source, row["part"], row["target"])

    def naming(self, text: str) -> list[Resource]:
        """The resources in whose document or state a text in lower case stands, whatever its case there."""
        query = (
            "SELECT * FROM resource WHERE instr(lower(document), :text) OR instr(lower(state), :text) "
            "ORDER BY id"
        )
        with self.db.read() as connection:
            return [_resource(row) for row in connection.execute(query, {"text": text}).fetchall()]
