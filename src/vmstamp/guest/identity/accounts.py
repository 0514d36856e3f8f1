"""The account databases as text: lines taken out or changed, every other byte kept.

Texts come from `decode` and go through `encode`, so that bytes that are not UTF-8 survive. Lines are what
newlines part: no other character ends one.

Spec: passwd(5), shadow(5), group(5), gshadow(5), subuid(5).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

FIRST_USER, LAST_USER = 1000, 59_999  # uids of people; Spec: login.defs(5), systemd UIDS-GIDS
LOCKED = "!*"  # matches no password, and says that it is locked on purpose


@dataclass(frozen=True)
class User:
    """A line of passwd(5)."""

    name: str
    uid: int
    home: str
    gid: int = -1

    @property
    def is_person(self) -> bool:
        return FIRST_USER <= self.uid <= LAST_USER


def decode(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def users_of(passwd: str) -> tuple[User, ...]:
    """The users, in their order; lines that are no users' (comments, NIS) are left out, and so are names that
    would lead out of a directory of files named for users."""
    rows = (line.split(":") for line in passwd.split("\n"))
    return tuple(
        User(row[0], int(row[2]), row[5].rstrip("/"), int(row[3]) if _is_number(row[3]) else -1)
        for row in rows
        if len(row) >= 6 and _is_name(row[0]) and _is_number(row[2])
    )


def _is_name(text: str) -> bool:
    return text not in ("", ".", "..") and not set(text) & {"/", "\0"}


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 10


def passwords_of(shadow: str) -> dict[str, str]:
    """The hash field by name."""
    rows = (line.split(":") for line in shadow.split("\n"))
    return {row[0]: row[1] for row in rows if len(row) >= 2}


def has_password(hashed: str | None) -> bool:
    """Somebody can log in by this field: what begins with ! or * matches none, an empty one needs none."""
    return hashed is not None and not hashed.startswith(("!", "*"))


def without_lines(text: str, unwanted: Callable[[str], bool]) -> str:
    """The text without the lines that are unwanted, their newlines with them."""
    lines = text.split("\n")
    last = lines.pop()  # what follows the last newline
    kept = [line + "\n" for line in lines if not unwanted(line)]
    return "".join(kept) + ("" if last and unwanted(last) else last)


def without_user(text: str, name: str) -> str:
    """passwd, shadow, subuid or subgid without the user's lines."""
    return without_lines(text, lambda line: line.split(":", 1)[0] == name and ":" in line)


def own_group(group: str, user: User, others: tuple[User, ...]) -> str:
    """The name of the group that is the user's alone and goes with it, or ''.

    It has the user's name and group id, no other member, and is nobody else's own group. Spec: userdel(8),
    USERGROUPS_ENAB.
    """
    for line in group.split("\n"):
        row = line.split(":")
        if len(row) >= 4 and row[0] == user.name and row[2] == str(user.gid):
            members = {one for one in row[3].split(",") if one}
            shared = any(other.gid == user.gid and other.name != user.name for other in others)
            return "" if shared or members - {user.name} else user.name
    return ""


def without_member(text: str, name: str, lists: tuple[int, ...], group: str = "") -> str:
    """group(5) or gshadow(5) without a member in the fields `lists`, and without the line of `group`."""
    if group:
        text = without_user(text, group)
    return "\n".join(_leave(line, name, lists) for line in text.split("\n"))


def _leave(line: str, name: str, lists: tuple[int, ...]) -> str:
    row = line.split(":")
    if len(row) != 4 or not any(name in row[index].split(",") for index in lists):
        return line
    for index in lists:
        row[index] = ",".join(one for one in row[index].split(",") if one != name)
    return ":".join(row)


def with_password(shadow: str, name: str, hashed: str) -> str:
    """shadow(5) with the hash field of `name` changed; the ageing fields are kept."""

    def change(line: str) -> str:
        row = line.split(":")
        if len(row) < 2 or row[0] != name:
            return line
        return ":".join((row[0], hashed, *row[2:]))

    return "\n".join(change(line) for line in shadow.split("\n"))
