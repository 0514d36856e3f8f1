"""Edits carried out on a guest in memory: the mapping of paths to contents that the tests make trees of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from vmstamp.guest.edits import Edit, Empty, Remove, Symlink, Truncate, Write

LINK = "-> "


def apply(edits: Iterable[Edit], tree: Mapping[str, str | bytes]) -> dict[str, str | bytes]:
    """The tree after the edits; links on the way are not followed, programs are not run."""
    after = dict(tree)
    for edit in edits:
        match edit:
            case Remove(path):
                after = {name: c for name, c in after.items() if name != path and not _is_below(name, path)}
            case Empty(path):
                after = {name: content for name, content in after.items() if not _is_below(name, path)}
            case Truncate(path):
                after.update({path: b""} if path in after else {})
            case Write(path, data):
                after[path] = data
            case Symlink(path, target):
                after[path] = f"{LINK}{target}"
            case _:
                raise AssertionError(f"cannot be applied to a tree: {edit}")
    return after


def _is_below(name: str, directory: str) -> bool:
    return name.startswith(f"{directory.rstrip('/')}/")
