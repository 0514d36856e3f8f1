"""The edits of files on a directory: everything stays inside, whatever the guest has linked where."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vmstamp.guest.workshop.inside import files
from vmstamp.guest.workshop.inside.files import Tree

Edit = Callable[[Tree], bool]


@pytest.fixture
def guest(tmp_path: Path) -> Path:
    """A guest's root; beside it `outside`, which nothing may touch."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("host")
    root = tmp_path / "root"
    for name in ("etc", "var/log/deep", "run"):
        (root / name).mkdir(parents=True)
    (root / "etc/hostname").write_text("guest\n")
    (root / "var/log/syslog").write_text("line\n")
    (root / "var/log/deep/one").write_text("1")
    (root / "etc/file").write_text("not a directory")
    return root


@pytest.fixture
def tree(guest: Path) -> Iterator[Tree]:
    with Tree(str(guest)) as opened:
        yield opened


@pytest.mark.parametrize(
    "edit",
    [
        lambda tree: files.remove(tree, "/var/log/syslog"),
        lambda tree: files.remove(tree, "/var/log"),
        lambda tree: files.empty(tree, "/var/log"),
        lambda tree: files.truncate(tree, "/var/log/syslog"),
        lambda tree: files.write(tree, "/etc/hostname", b"other"),
        lambda tree: files.write(tree, "/etc/a/b/c", b"new"),
        lambda tree: files.symlink(tree, "/etc/link", "hostname"),
        lambda tree: files.symlink(tree, "/etc/hostname", "/run/hostname"),
    ],
)
def test_an_edit_changes_something_once(tree: Tree, edit: Edit) -> None:
    assert edit(tree)
    assert not edit(tree)


def test_what_is_absent_is_not_changed_and_not_made(tree: Tree, guest: Path) -> None:
    assert not files.remove(tree, "/no/such/thing")
    assert not files.remove(tree, "/etc/file/below")  # a file stands where a directory would
    assert not files.empty(tree, "/no/directory")
    assert not files.truncate(tree, "/no/file")
    assert not (guest / "no").exists()


def test_a_written_file_keeps_its_inode_mode_and_attributes(tree: Tree, guest: Path) -> None:
    path = guest / "etc/hostname"
    path.chmod(0o640)
    os.setxattr(path, "user.label", b"kept")
    before = path.stat().st_ino
    files.write(tree, "/etc/hostname", b"a longer name\n")
    files.write(tree, "/etc/hostname", b"short", 0o777)
    assert path.read_bytes() == b"short"
    assert (path.stat().st_ino, path.stat().st_mode & 0o7777) == (before, 0o640)
    assert os.getxattr(path, "user.label") == b"kept"


def test_a_new_file_has_its_mode_whatever_the_umask(tree: Tree, guest: Path) -> None:
    files.write(tree, "/etc/secret", b"", 0o600)
    files.write(tree, "/etc/open", b"", 0o666)
    assert [(guest / name).stat().st_mode & 0o7777 for name in ("etc/secret", "etc/open")] == [0o600, 0o666]


@pytest.mark.parametrize("target", ["/../../../../outside", "../../outside", "/proc/self/root/outside"])
def test_no_link_leads_out(tree: Tree, guest: Path, tmp_path: Path, target: str) -> None:
    """The links end inside of the guest, where there is no such directory yet."""
    (guest / "way").symlink_to(target)
    (guest / "etc/hostname").unlink()
    (guest / "etc/hostname").symlink_to(f"{target}/file")
    edits: tuple[Callable[[], bool], ...] = (
        lambda: files.remove(tree, "/way/file"),
        lambda: files.empty(tree, "/way"),
        lambda: files.truncate(tree, "/etc/hostname"),
        lambda: files.write(tree, "/way/file", b"taken"),
        lambda: files.write(tree, "/etc/hostname", b"taken"),
        lambda: files.symlink(tree, "/way/file", "/etc/shadow"),
    )
    for edit in edits:
        try:
            edit()
        except OSError as error:
            assert error.strerror
    assert [path.name for path in (tmp_path / "outside").iterdir()] == ["file"]
    assert (tmp_path / "outside/file").read_text() == "host"


def test_an_absolute_link_is_followed_inside(tree: Tree, guest: Path) -> None:
    (guest / "data").mkdir()
    (guest / "logs").symlink_to("/../../data")
    (guest / "etc/alias").symlink_to("/data/new")
    files.write(tree, "/logs/file", b"x")
    files.write(tree, "/etc/alias", b"y")
    assert (guest / "data/file").read_bytes() == b"x"
    assert (guest / "data/new").read_bytes() == b"y"


def test_a_loop_of_links_is_an_error(tree: Tree, guest: Path) -> None:
    (guest / "one").symlink_to("two")
    (guest / "two").symlink_to("one")
    with pytest.raises(OSError, match="Too many levels"):
        files.write(tree, "/one/file", b"")
    with pytest.raises(OSError, match="Too many levels"):
        files.remove(tree, "/one/file")
    assert files.remove(tree, "/one")  # the link itself
    assert not (guest / "one").is_symlink()


def test_removing_a_link_leaves_what_it_points_to(tree: Tree, guest: Path) -> None:
    (guest / "link").symlink_to("/var/log")
    (guest / "var/log/out").symlink_to("/etc")
    assert files.remove(tree, "/link")
    assert files.remove(tree, "/var/log")
    assert (guest / "etc/hostname").exists()


def test_a_write_below_a_file_is_an_error(tree: Tree) -> None:
    with pytest.raises(NotADirectoryError):
        files.write(tree, "/etc/file/below", b"")


def test_a_directory_is_not_replaced(tree: Tree, guest: Path) -> None:
    with pytest.raises(IsADirectoryError):
        files.symlink(tree, "/var/log", "elsewhere")
    with pytest.raises(IsADirectoryError):
        files.write(tree, "/var/log", b"")
    assert (guest / "var/log/syslog").exists()


def test_a_pipe_is_neither_waited_for_nor_written(tree: Tree, guest: Path) -> None:
    os.mkfifo(guest / "etc/pipe")
    with pytest.raises(OSError, match="is no regular file"):
        files.write(tree, "/etc/pipe", b"x")


def test_a_tree_deeper_than_there_are_descriptors_is_removed(tree: Tree, guest: Path) -> None:
    directory = os.open(guest / "var/log", os.O_RDONLY)
    for _ in range(2000):
        os.mkdir("d", dir_fd=directory)
        inner = os.open("d", os.O_RDONLY, dir_fd=directory)
        os.close(directory)
        directory = inner
    os.close(os.open("leaf", os.O_CREAT | os.O_WRONLY, dir_fd=directory))
    os.close(directory)
    assert files.empty(tree, "/var/log")
    assert list((guest / "var/log").iterdir()) == []


def test_names_match_without_regard_to_case_where_asked(guest: Path) -> None:
    (guest / "Windows/System32").mkdir(parents=True)
    (guest / "Windows/System32/File").write_text("old")
    with Tree(str(guest), ignore_case=True) as tree:
        assert files.write(tree, "/WINDOWS/system32/file", b"new")
        assert files.write(tree, "/windows/SYSTEM32/Other/New", b"new")
        assert (guest / "Windows/System32/File").read_text() == "new"
        assert (guest / "Windows/System32/Other/New").exists()
        assert files.remove(tree, "/windows/system32/FILE")
    assert not (guest / "Windows/System32/File").exists()
    assert not (guest / "WINDOWS").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="security attributes need root")
def test_a_new_file_and_its_directories_get_their_context(guest: Path) -> None:
    def label(path: str, kind: int) -> str:
        return f"system_u:object_r:{path.strip('/').replace('/', '_')}_t:s0:{kind:o}"

    with Tree(str(guest), label) as tree:
        files.write(tree, "/etc/new/file", b"")
        files.symlink(tree, "/etc/link", "file")
        files.write(tree, "/etc/hostname", b"kept")
    found = {
        name: os.getxattr(guest / name, "security.selinux", follow_symlinks=False)
        for name in ("etc/new", "etc/new/file", "etc/link")
    }
    assert found == {
        "etc/new": b"system_u:object_r:etc_new_t:s0:40000\0",
        "etc/new/file": b"system_u:object_r:etc_new_file_t:s0:100000\0",
        "etc/link": b"system_u:object_r:etc_link_t:s0:120000\0",
    }
    with pytest.raises(OSError, match="No data"):
        os.getxattr(guest / "etc/hostname", "security.selinux")
