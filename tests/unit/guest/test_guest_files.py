"""Paths, symbolic links and mounts inside the guest; windows; os-release, fstab, agents' configuration."""

from __future__ import annotations

from typing import Any

import pytest

from vmstamp.errors import GuestError
from vmstamp.guest.boot.entries import find_boot_entries
from vmstamp.guest.files.fs import Files
from vmstamp.guest.files.fstab import KERNEL_NAME, parse_fstab
from vmstamp.guest.files.window import CACHED_CHUNKS, CHUNK, Window
from vmstamp.guest.identity.step import Choice, Guest
from vmstamp.guest.provisioning.agents import find_cloud_init, find_datasource_list, find_waagent, provisioner
from vmstamp.guest.services import find_package_version
from vmstamp.guest.system import find_architecture, find_kernels, find_operating_system


@pytest.fixture
def tree(make_files: Any) -> Files:
    files: Files = make_files(
        {
            "/etc/passwd": "guest",
            "/etc/relative": "-> ../usr/target",
            "/etc/absolute": "-> /usr/target",
            "/etc/above": "-> ../../../../etc/passwd",
            "/usr/target": "here",
            "/lib": "-> usr/lib",
            "/usr/lib/x": "x",
            "/a": "-> b",
            "/b": "-> /a",
            "/self": "-> self/x",
            "/dangling": "-> nowhere",
            "/usr/up": "-> ..",
        }
    )
    return files


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("/etc/relative", b"here"),
        ("/etc/absolute", b"here"),
        ("/etc/above", b"guest"),
        ("/../../etc/passwd", b"guest"),
        ("//lib/./x", b"x"),
        ("/lib/../target", b"here"),
        ("/usr/up/etc/passwd", b"guest"),
        ("/usr/up/up/../usr/target", None),
    ],
)
def test_links_stay_inside_the_guest(tree: Files, path: str, content: bytes | None) -> None:
    if content is None:
        assert tree.find(path) is None
    else:
        assert tree.read_bytes(path) == content


@pytest.mark.parametrize("path", ["/a", "/self", "/a/x"])
def test_loops_of_links_are_an_error(tree: Files, path: str) -> None:
    with pytest.raises(GuestError, match="may form a loop"):
        tree.exists(path)


def test_links_that_point_nowhere_are_absent_but_can_be_read(tree: Files) -> None:
    assert not tree.exists("/dangling")
    assert tree.readlink("/dangling") == "nowhere"
    assert tree.readlink("/etc/passwd") is None


@pytest.mark.parametrize(("path", "why"), [("/none", "no such file"), ("/etc", "not a regular file")])
def test_reading_what_is_no_file_says_so(tree: Files, path: str, why: str) -> None:
    with pytest.raises(GuestError, match=why):
        tree.read_bytes(path)


def test_a_file_over_the_limit_is_not_read(tree: Files) -> None:
    with pytest.raises(GuestError, match="5 bytes long, at most 4"):
        tree.read_bytes("/etc/passwd", 4)
    assert tree.read_part("/etc/passwd", 1, 3) == b"ues"


def test_a_window_reads_across_chunks_and_is_short_only_at_its_end(guests: Any) -> None:
    disk = guests.disk(size=CHUNK * (CACHED_CHUNKS + 8))
    window = Window(disk, CHUNK // 2, CHUNK * CACHED_CHUNKS)
    assert len(window.read_at(CHUNK - 1, CHUNK + 2)) == CHUNK + 2
    assert len(window.read_at(0, window.size + 1)) == window.size
    assert window.read_at(window.size, 1) == b""
    assert window.seek(-3, 2) == window.size - 3
    assert len(window.read(100)) == 3


def test_a_window_ends_what_would_never_end(guests: Any) -> None:
    window = Window(guests.disk(), 0, CHUNK, reads=3)
    with pytest.raises(GuestError, match="too many reads"):
        for _ in range(4):
            window.read_at(0, 1)
    window.renew()
    with pytest.raises(GuestError, match="too many reads"):
        window.read_at(0, 1)


def test_each_operation_on_a_window_has_the_whole_budget(guests: Any) -> None:
    window = Window(guests.disk(), 0, CHUNK, reads=3)
    for _ in range(9):
        window.renew()
        assert window.read_at(0, 1) == b"\0"


def test_fstab_is_read_as_mount_reads_it() -> None:
    text = (
        '# a comment\nUUID="A-B" /with\\040space ext4 defaults,nofail 0 2\n\nLABEL=x none\n/dev/sda1 / xfs\n'
    )
    first, second = parse_fstab(text)
    assert (first.line, first.source, first.target, first.is_optional) == (2, "UUID=A-B", "/with space", True)
    assert (second.line, second.options, second.is_optional) == (5, (), False)


@pytest.mark.parametrize(
    "name", ["/dev/sda", "/dev/sdaa1", "/dev/vda2", "/dev/xvda1", "/dev/nvme0n1p1", "/dev/hda"]
)
def test_kernel_names_are_known(name: str) -> None:
    assert KERNEL_NAME.match(name)


@pytest.mark.parametrize("name", ["/dev/mapper/vg-root", "/dev/disk/by-uuid/x", "UUID=sda", "/dev/sdfoo/x"])
def test_stable_names_are_no_kernel_names(name: str) -> None:
    assert not KERNEL_NAME.match(name)


def test_os_release_is_read_as_a_shell_reads_it(make_files: Any) -> None:
    files = make_files(
        {"/usr/lib/os-release": 'ID=\'sles\'\n# no\nNAME="Big \\"L\\""\nVERSION_ID=15.5\nBAD="x\n'}
    )
    found = find_operating_system(files)
    assert found is not None
    assert (found.id, found.version_id, found.pretty_name) == ("sles", "15.5", 'Big "L"')


def test_architecture_is_that_of_the_programs(make_files: Any) -> None:
    arm = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x03\x00\xb7\x00"
    assert find_architecture(make_files({"/usr/bin/sh": "-> bash", "/usr/bin/bash": arm})) == "aarch64"
    assert find_architecture(make_files({"/usr/bin/sh": "#!x"})) is None


def test_kernels_are_ordered_by_version(make_files: Any) -> None:
    names = ("6.1.0-9-amd64", "6.1.0-10-amd64", "5.10.0-99-amd64")
    files = make_files({f"/boot/vmlinuz-{name}": "" for name in names})
    assert find_kernels(files) == ("5.10.0-99-amd64", "6.1.0-9-amd64", "6.1.0-10-amd64")


def test_bls_entries_get_the_options_of_grubs_environment(make_files: Any) -> None:
    files = make_files(
        {
            "/boot/loader/entries/a-5.14.conf": "title A\nlinux /vmlinuz-5.14\noptions $kernelopts quiet\n",
            "/boot/grub2/grubenv": "# GRUB Environment Block\nkernelopts=root=UUID=1 ro\n####\n",
        }
    )
    (entry,) = find_boot_entries(files)
    assert (entry.kernel, entry.command_line.text) == ("/vmlinuz-5.14", "root=UUID=1 ro quiet")


def test_the_last_file_decides_the_datasource_list(make_files: Any) -> None:
    files = make_files(
        {
            "/etc/cloud/cloud.cfg": "datasource_list: [ Ec2 ]\n",
            "/etc/cloud/cloud.cfg.d/10.cfg": "datasource_list: [ NoCloud ]\n",
            "/etc/cloud/cloud.cfg.d/90.cfg": "x: &a [1]\ny: *a\ndatasource_list: ['Azure', None]\n",
            "/etc/cloud/cloud.cfg.d/99.cfg.bak": "datasource_list: [ Ec2 ]\n",
        }
    )
    found = find_datasource_list(files)
    assert found is not None
    assert (found.names, found.where) == (("Azure", "None"), "/etc/cloud/cloud.cfg.d/90.cfg")


def test_deep_yaml_is_an_error_and_not_a_crash(make_files: Any) -> None:
    text = "datasource_list: [Azure]\nx: " + "[" * 60_000 + "\n"
    found = find_datasource_list(make_files({"/etc/cloud/cloud.cfg": text}))
    assert found is not None
    assert found.error


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("cloud_init-24.1.egg-info", "24.1"),
        ("cloud_init-23.4-py3.12.egg-info", "23.4"),
        ("other-1.dist-info", ""),
    ],
)
def test_versions_come_from_the_metadata_of_python_packages(make_files: Any, name: str, version: str) -> None:
    files = make_files(
        {
            f"/usr/lib/python3.12/site-packages/{name}/METADATA": "",
            "/usr/lib/systemd/system/cloud-init-local.service": "",
        }
    )
    found = find_cloud_init(files)
    assert found is not None
    assert (found.version, found.enabled) == (version, False)


def test_dpkg_tells_versions_of_installed_packages_only(make_files: Any) -> None:
    status = (
        "Package: waagent-x\nStatus: install ok installed\nVersion: 9\n\n"
        "Package: waagent\nStatus: install ok installed\nDescription: x\n Version: 8\nVersion: 2.7\n\n"
        "Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n"
    )
    files = make_files({"/var/lib/dpkg/status": status})
    assert find_package_version(files, "waagent") == "2.7"
    assert find_package_version(files, "gone") == ""
    assert find_package_version(files, "agent") == ""


@pytest.mark.parametrize(
    ("configuration", "agent"),
    [
        ("Provisioning.Agent=waagent", "waagent"),
        ('Provisioning.Agent = "Auto" # x', "auto"),
        ("#Provisioning.Agent=waagent", "auto"),
        ("Provisioning.Enabled=n", "disabled"),
        ("Provisioning.Enabled=n\nProvisioning.UseCloudInit=y", "cloud-init"),
    ],
)
def test_waagent_is_told_who_provisions(make_files: Any, configuration: str, agent: str) -> None:
    files = make_files(
        {
            "/usr/sbin/waagent": "",
            "/etc/waagent.conf": configuration,
            "/lib/systemd/system/waagent.service": "",
            "/etc/systemd/system/x.wants/waagent.service": "-> /lib/systemd/system/waagent.service",
        }
    )
    found = find_waagent(files)
    assert found is not None
    assert (found.provisioning_agent, found.enabled) == (agent, True)
    assert provisioner(None, found) == ("waagent" if agent in ("waagent", "auto") else "")


def test_a_directory_that_holds_itself_is_no_end_but_an_error(make_files: Any) -> None:
    """As in a damaged file system, where two directories have one block."""
    files = make_files({"/etc/a/b/c": "x", "/etc/a/b.bak": "y"})
    inner = files.find("/etc/a/b")
    assert [path for path, _ in Guest(files, Choice()).walk("/etc")] == ["/etc/a/b.bak", "/etc/a/b/c"]
    inner.children["b"] = inner
    with pytest.raises(GuestError, match=r"^/etc: more than 128 directories below each other"):
        list(Guest(files, Choice()).walk("/etc"))
