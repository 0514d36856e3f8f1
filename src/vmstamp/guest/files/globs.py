"""Shell patterns of paths, expanded inside the guest. Spec: glob(7)."""

from __future__ import annotations

from fnmatch import fnmatchcase

from vmstamp.guest.files.fs import Files

MATCH_LIMIT = 500  # paths of one pattern
PATTERN_LIMIT = 1024  # characters
_MAGIC = frozenset("*?[")


def expand(files: Files, pattern: str) -> list[str]:
    """The existing paths that an absolute pattern names, sorted; at most MATCH_LIMIT.

    A name that begins with a dot is matched only by a pattern that does.
    """
    if not pattern.startswith("/") or len(pattern) > PATTERN_LIMIT:
        return []
    found = [""]
    for part in (part for part in pattern.split("/") if part):
        if _MAGIC.isdisjoint(part):
            found = [f"{path}/{part}" for path in found]
            continue
        found = [
            f"{path}/{name}"
            for path in found
            for name in files.list(path or "/")
            if matches(name, part) and (part.startswith(".") or not name.startswith("."))
        ][:MATCH_LIMIT]
    return sorted(path for path in found if files.exists(path))


def matches(name: str, pattern: str) -> bool:
    """One name against one pattern, by case; a pattern that is too long matches nothing."""
    return len(pattern) <= PATTERN_LIMIT and fnmatchcase(name, pattern)
