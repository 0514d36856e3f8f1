"""The account databases: one user's lines go, every other byte stays."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmstamp.guest.identity.accounts import (
    User,
    decode,
    encode,
    own_group,
    users_of,
    with_password,
    without_member,
    without_user,
)

BOB = User("bob", 1000, "/home/bob", 1000)
names = st.from_regex(r"[a-z_][a-z0-9_-]{0,8}", fullmatch=True)
fields = st.text(st.characters(exclude_characters=":\n", exclude_categories=["Cs"]), max_size=8)
others = st.builds(
    lambda name, rest: ":".join((f"x{name}", *rest)), names, st.lists(fields, min_size=1, max_size=6)
)
lines = st.lists(
    st.one_of(others, st.sampled_from(["", "# bob", "+::::::", "bobby:x:1:1::/:", "bob"])), max_size=8
)


@given(st.binary(max_size=200))
def test_any_bytes_come_back_as_they_were(data: bytes) -> None:
    assert encode(decode(data)) == data
    assert encode(without_user(decode(data), "nobody at all")) == data
    assert encode(with_password(decode(data), "nobody at all", "!*")) == data
    assert encode(without_member(decode(data), "nobody at all", (3,))) == data


@given(lines, lines, st.booleans())
def test_only_the_users_line_goes(before: list[str], after: list[str], newline: bool) -> None:
    end = "\n" if newline else ""
    text = "\n".join((*before, "bob:x:1000:1000::/home/bob:/bin/sh", *after)) + end
    left = without_user(text, "bob")
    assert [line for line in left.split("\n") if line] == [line for line in (*before, *after) if line]
    assert without_user(left, "bob") == left


@given(lines, st.lists(names.filter(lambda name: name != "bob"), max_size=4))
def test_only_the_member_leaves_a_group(other: list[str], members: list[str]) -> None:
    text = "\n".join((*other, f"sudo:x:27:{','.join(('bob', *members))}", ""))
    left = without_member(text, "bob", (3,))
    assert left == "\n".join((*other, f"sudo:x:27:{','.join(members)}", ""))


@given(lines, fields)
def test_only_one_hash_changes(other: list[str], hashed: str) -> None:
    text = "\n".join((*other, f"bob:{hashed}:19000:0:99999:7:::", ""))
    left = with_password(text, "bob", "!*")
    assert left == "\n".join((*other, "bob:!*:19000:0:99999:7:::", ""))


def test_an_administrator_of_a_group_leaves_it_too() -> None:
    assert without_member("dev:!:bob,eve:bob\n", "bob", (2, 3)) == "dev:!:eve:\n"


@pytest.mark.parametrize(
    ("group", "own"),
    [
        ("bob:x:1000:\n", "bob"),
        ("bob:x:1000:bob\n", "bob"),
        ("bob:x:1000:eve\n", ""),
        ("bob:x:1001:\n", ""),
        ("staff:x:1000:\n", ""),
    ],
)
def test_a_users_own_group_is_one_that_nobody_else_is_in(group: str, own: str) -> None:
    assert own_group(group, BOB, ()) == own


def test_a_group_that_is_anothers_own_group_too_stays() -> None:
    assert own_group("bob:x:1000:\n", BOB, (User("eve", 1001, "/home/eve", 1000),)) == ""


@pytest.mark.parametrize("name", ["../../etc", "..", ".", "a/b"])
def test_a_name_that_leads_elsewhere_is_no_user(name: str) -> None:
    assert users_of(f"{name}:x:1000:1000::/home/x:/bin/sh\n") == ()


def test_lines_that_are_no_users_are_passed_over() -> None:
    assert users_of("+::::::\n# a\nx:y\nbob:x:1000:1000::/home/bob/:/bin/sh\nbig:x:99999999999:1::/:\n") == (
        BOB,
    )
