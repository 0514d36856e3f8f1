"""ARM resource ids: parse, format, compare.

An id is `/subscriptions/S[/resourceGroups/G][/providers/NAMESPACE/TYPE/NAME[/TYPE/NAME...]]`. Ids are
compared without case; the case that was given is kept. `key` is what to compare and to look up by.

An extension resource lies on another one (a lock, tags): `ID/providers/NAMESPACE/TYPE/NAME`, where ID may be
a subscription's, a group's or a resource's. On a resource, its words stand in `types` and `names` like a
child's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property


@dataclass(frozen=True)
class ResourceId:
    """One id. `group` is '' at the subscription's scope; `types` and `names` have the same length.

    A resource group's own id has provider '' and no types; the same goes for a subscription's.
    """

    subscription: str
    group: str = ""
    provider: str = ""
    types: tuple[str, ...] = ()
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self._text

    @cached_property
    def _text(self) -> str:
        text = f"/subscriptions/{self.subscription}"
        if self.group:
            text += f"/resourceGroups/{self.group}"
        if self.provider:
            text += f"/providers/{self.provider}"
        return text + "".join(f"/{kind}/{name}" for kind, name in zip(self.types, self.names, strict=True))

    @cached_property
    def key(self) -> str:
        return self._text.lower()

    @property
    def type(self) -> str:
        """`Microsoft.Network/virtualNetworks/subnets`; a group's is Microsoft.Resources/resourceGroups."""
        if self.provider:
            mark = self._extension
            if mark is not None:
                return "/".join((self.names[mark], *self.types[mark + 1 :]))
            return "/".join((self.provider, *self.types))
        return "Microsoft.Resources/resourceGroups" if self.group else "Microsoft.Resources/subscriptions"

    @property
    def _extension(self) -> int | None:
        """Where in `types` the provider of an extension of a resource stands; None when it is none."""
        marks = [i for i, word in enumerate(self.types) if word.lower() == "providers"]
        return marks[-1] if marks else None

    @property
    def is_extension(self) -> bool:
        """Whether it lies on a resource; on a group or a subscription an id does not tell."""
        return self._extension is not None

    @property
    def scope(self) -> ResourceId:
        """What an extension resource lies on: a resource, a group, or the subscription."""
        mark = self._extension
        if mark is None:
            return ResourceId(self.subscription, self.group)
        return replace(self, types=self.types[:mark], names=self.names[:mark])

    def extension(self, provider: str, type: str, name: str) -> ResourceId:
        """An extension resource on this one, which may be a group or a subscription."""
        if not self.provider:
            return ResourceId(self.subscription, self.group, provider, (type,), (name,))
        types = (*self.types, "providers", type)
        return replace(self, types=types, names=(*self.names, provider, name))

    def covers(self, other: ResourceId) -> bool:
        """Whether the other is this one or lies in it."""
        return f"{other.key}/".startswith(f"{self.key}/")

    @property
    def name(self) -> str:
        """The last name: that of the resource itself."""
        return self.names[-1] if self.names else (self.group or self.subscription)

    @property
    def group_key(self) -> str:
        """The key of the group it lies in ('' at the subscription's scope, and of a group itself)."""
        if not (self.group and self.provider):
            return ""
        return ResourceId(self.subscription, self.group).key

    @property
    def parent(self) -> ResourceId:
        """The enclosing resource of a child resource, else the resource group."""
        if len(self.types) > 1:
            return replace(self, types=self.types[:-1], names=self.names[:-1])
        return ResourceId(self.subscription, self.group)

    def child(self, type: str, name: str) -> ResourceId:
        return replace(self, types=(*self.types, type), names=(*self.names, name))

    def sibling(self, provider: str, type: str, name: str) -> ResourceId:
        """A resource of another type in the same group."""
        return ResourceId(self.subscription, self.group, provider, (type,), (name,))


def stored_id(text: str, key: str) -> ResourceId:
    """An id that was written by `str` and has this key: what both are is not worked out again."""
    id = parse_resource_id(text)
    id.__dict__.update(_text=text, key=key)
    return id


def parse_resource_id(text: str) -> ResourceId:
    """Parse an id, whatever its case, double slashes or trailing slash. Raises ValueError."""
    words = [word for word in text.split("/") if word]
    if not text.startswith("/") or len(words) < 2 or words[0].lower() != "subscriptions":
        raise ValueError(f"{text!r} does not start with /subscriptions/")
    subscription, words = words[1], words[2:]
    group = ""
    if len(words) >= 2 and words[0].lower() == "resourcegroups":
        group, words = words[1], words[2:]
    if not words:
        return ResourceId(subscription, group)
    if words[0].lower() != "providers" or len(words) < 4 or len(words) % 2:
        raise ValueError(f"{text!r} does not name a resource")
    return ResourceId(subscription, group, words[1], tuple(words[2::2]), tuple(words[3::2]))
