"""A stored resource, and who refers to whom."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from vmstamp.resource_id import ResourceId

Json = dict[str, Any]


@dataclass(frozen=True)
class Resource:
    """A stored resource: `document` is what clients see, `state` what the stamp keeps to itself.

    `document` holds tags, sku, kind, properties, ... but neither id, name, type nor location.
    """

    id: ResourceId
    location: str
    etag: str
    created: str
    document: Json
    state: Json
    changed: str = ""  # when it was saved last

    @cached_property
    def type(self) -> str:
        return self.id.type.lower()

    @property
    def name(self) -> str:
        return self.id.name

    @property
    def properties(self) -> Json:
        found: Json = self.document.get("properties", {})
        return found

    @property
    def provisioning_state(self) -> str:
        return str(self.properties.get("provisioningState", "Succeeded"))

    @property
    def stateless_document(self) -> Json:
        """What a type shows that tells no provisioningState."""
        shown = {name: value for name, value in self.properties.items() if name != "provisioningState"}
        return {**self.document, "properties": shown}

    def with_properties(self, **properties: Any) -> Resource:
        return self._with({**self.document, "properties": {**self.properties, **properties}}, self.state)

    def with_state(self, **state: Any) -> Resource:
        return self._with(self.document, {**self.state, **state})

    def _with(self, document: Json, state: Json) -> Resource:
        # `replace` looks at every field, and a list of thousands comes by here for each.
        return Resource(self.id, self.location, self.etag, self.created, document, state, self.changed)


@dataclass(frozen=True)
class Reference:
    """That a resource uses another: `kind` says how, `target` is the other's id in lower case.

    `part` is the id of the very part of the source that does (an IP configuration), as shown to people.
    """

    kind: str
    target: str
    part: str


@dataclass(frozen=True)
class Referrer:
    """A reference seen from its target: `source` is the id of the resource that refers."""

    kind: str
    source: ResourceId
    part: str
    target: str
