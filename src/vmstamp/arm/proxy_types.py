"""The record of a type of proxy resources: children that another room keeps, such as an account's containers.

ARM tells tracked resources, which it lists and tags, from proxy resources, which it only passes on. Nothing
of a proxy resource is stored here, so it is never another than what its own service shows. It has neither a
location nor tags, no list over all types has it, and it goes with the resource that it belongs to.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vmstamp.arm.resource import Json, Resource
from vmstamp.arm.types import Request
from vmstamp.resource_id import ResourceId


@dataclass(frozen=True)
class Page:
    """One page of a list: names with what is shown of them, and where to go on ("": nowhere)."""

    items: tuple[tuple[str, Json], ...]
    following: str = ""


@dataclass(frozen=True)
class ProxyAction:
    """A POST on a proxy resource: it answers 200 with what `run` returns of the id and the body."""

    name: str
    run: Callable[[ResourceId, Json], Json]


@dataclass(frozen=True)
class ProxyType:
    """One type of proxy resources. `owner` is the tracked type that they belong to.

    What is shown of one is what a GET shows beside id, name and type. The owner is there when any of the
    functions is called. `put`, `change` and actions run in the transaction that saw it; `remove` is given
    that check, for a transaction of its own.
    """

    name: str
    owner: str
    api_versions: tuple[str, ...]
    parse: Callable[[Json], Json]  # pure: what a body says. Raises AzureError (400)
    find: Callable[[ResourceId], Json]  # what is shown. Raises AzureError (404)
    page: Callable[[ResourceId, Request], Page]  # of those below an id
    put: Callable[[ResourceId, Json, Resource], tuple[Json, bool]]  # what is shown, and whether it is new
    change: Callable[[ResourceId, Json, Resource], Json] | None = None  # None: there is no PATCH
    remove: Callable[[ResourceId, Callable[[], None]], bool] | None = None  # whether it was there
    # What a template would say of those that belong to an owner.
    exported: Callable[[ResourceId], list[tuple[ResourceId, Json]]] = lambda owner: []
    actions: tuple[ProxyAction, ...] = ()

    @property
    def key(self) -> str:
        return self.name.lower()

    @property
    def provider(self) -> str:
        return self.name.split("/", 1)[0]

    @property
    def words(self) -> tuple[str, ...]:
        """The types of an id, as Azure spells them."""
        return tuple(self.name.split("/")[1:])
