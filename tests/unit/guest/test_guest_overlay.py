"""Edits laid over a guest's files in memory."""

from __future__ import annotations

from typing import Any

import pytest

from vmstamp.errors import GuestError
from vmstamp.guest.edits import CopyKey, Edit, Empty, Remove, Run, Symlink, Truncate, Write, describe
from vmstamp.guest.facts import gather_guest
from vmstamp.guest.overlay import Overlay, lay_over

FILES = {
    "/etc/a": "one\n",
    "/etc/b/c": "two\n",
    "/etc/b/d/e": "three\n",
    "/etc/link": "-> a",
    "/etc/up": "-> ../../../../var/x",
    "/etc/loop": "-> loop",
    "/var/x": "x",
    "/lib": "-> usr/lib",
    "/usr/lib/": "",
}


@pytest.fixture
def overlay(make_files: Any) -> Overlay:
    return Overlay(make_files(FILES))


def seen(overlay: Overlay, path: str) -> str | list[str] | None:
    return overlay.list(path) if overlay.is_directory(path) else overlay.find_text(path)


@pytest.mark.parametrize(
    ("edit", "path", "expected"),
    [
        (Write("/etc/a", b"new"), "/etc/a", "new"),
        (Write("/etc/link", b"new"), "/etc/a", "new"),
        (Write("/etc/link", b"new"), "/etc/link", "new"),
        (Write("/etc/up", b"new"), "/var/x", "new"),
        (Write("/etc/f/g/h", b"new"), "/etc/f/g/h", "new"),
        (Write("/lib/m", b"new"), "/usr/lib/m", "new"),
        (Remove("/etc/a"), "/etc", ["b", "link", "loop", "up"]),
        (Remove("/etc/link"), "/etc/a", "one\n"),
        (Remove("/etc/b"), "/etc/b/c", None),
        (Remove("/no/such/file"), "/etc/a", "one\n"),
        (Empty("/etc/b"), "/etc/b", []),
        (Empty("/etc/a"), "/etc/a", "one\n"),
        (Truncate("/etc/b/c"), "/etc/b/c", ""),
        (Truncate("/etc/none"), "/etc/none", None),
        (Symlink("/etc/a", "/var/x"), "/etc/a", "x"),
        (Symlink("/etc/new/link", "/var/x"), "/etc/new/link", "x"),
    ],
)
def test_an_edit_is_seen(overlay: Overlay, edit: Edit, path: str, expected: str | list[str] | None) -> None:
    overlay.apply([edit])
    assert seen(overlay, path) == expected
    overlay.apply([edit])
    assert seen(overlay, path) == expected, "done twice, it is done"


def test_the_files_beneath_stay_as_they_are(make_files: Any) -> None:
    files = make_files(FILES)
    Overlay(files).apply([Write("/etc/a", b"new"), Remove("/etc/b"), Empty("/etc")])
    assert files.find_text("/etc/a") == "one\n"
    assert files.list("/etc/b") == ["c", "d"]


def test_edits_compose_in_order(overlay: Overlay) -> None:
    overlay.apply([Remove("/etc/b"), Write("/etc/b/c", b"1"), Write("/etc/b/c", b"12")])
    assert overlay.list("/etc/b") == ["c"]
    assert overlay.find_text("/etc/b/c") == "12"


@pytest.mark.parametrize(
    "edit", [Write("/etc/loop", b""), Write("/etc/b", b""), Write("/etc/a/x", b""), Symlink("/etc/a/x", "y")]
)
def test_an_edit_that_cannot_be_done_is_an_error(overlay: Overlay, edit: Edit) -> None:
    with pytest.raises(GuestError):
        overlay.apply([edit])


def test_a_program_of_the_guest_is_remembered_and_not_run(overlay: Overlay) -> None:
    overlay.apply([Run(("update-grub",))])
    assert overlay.unforeseen == [Run(("update-grub",))]


def test_what_lies_in_another_partition_or_in_a_hive_is_remembered(overlay: Overlay) -> None:
    edits: list[Edit] = [Write("/etc/a", b"", partition=1), CopyKey("/etc/a", "x", "y")]
    before = overlay.find_text("/etc/a")
    overlay.apply(edits)
    assert overlay.unforeseen == edits
    assert overlay.find_text("/etc/a") == before
    assert describe(edits[0]) == "write partition 1: /etc/a (0 bytes)"
    assert describe(edits[1]) == "copy /etc/a\\x to y"


def test_a_write_keeps_the_mode_of_a_file_that_is_there(overlay: Overlay) -> None:
    overlay.apply([Write("/etc/a", b"", 0o600), Write("/etc/new", b"", 0o600)])
    modes = [node.mode for path in ("/etc/a", "/etc/new") if (node := overlay.find(path))]
    assert modes == [0o644, 0o600]


def test_the_facts_of_the_edited_guest_are_read_anew(guests: Any) -> None:
    facts = guests.facts({})
    overlay = Overlay(facts.guest)
    overlay.apply([Write("/etc/fstab", b"/dev/sda1 / ext4 defaults 0 1\n"), Remove("/usr/sbin/waagent")])
    after = lay_over(facts, overlay)
    assert [mount.source for mount in after.fstab] == ["/dev/sda1"]
    assert after.waagent is None
    assert facts.waagent is not None
    assert gather_guest(facts).fstab == facts.fstab
