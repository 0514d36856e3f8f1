from __future__ import annotations

import random
import tarfile
from pathlib import Path

import pytest

from vmstamp.recipes import debian
from vmstamp.recipes.bootstrap import Bootstrap, argv, explain, find_step, script_hook
from vmstamp.recipes.catalogue import RecipeError
from vmstamp.recipes.layout import new_ids
from vmstamp.recipes.mirror import Source

IDS = new_ids(random.Random(1))
PLAN = Bootstrap("minbase", ("a", "b"), ("force-unsafe-io",), (("customize", "tar-in f /"),))


def test_root_and_plain_user_differ_in_the_mode_only() -> None:
    as_root, as_user = argv(PLAN, (), root=True), argv(PLAN, (), root=False)
    assert "--mode=root" in as_root
    assert [word.replace("=root", "=unshare") for word in as_root] == as_user


def test_sources_follow_the_release_and_none_means_the_default_mirror() -> None:
    assert argv(PLAN, (), root=True)[-2:] == ["bookworm", "-"]
    words = argv(PLAN, (Source("http://m.test/d", "bookworm"),), root=True)
    assert words[-3:] == ["bookworm", "-", "deb http://m.test/d bookworm main"]


def test_packages_options_and_hooks_are_passed_on() -> None:
    words = argv(PLAN, (), root=True)
    assert {"--include=a,b", "--dpkgopt=force-unsafe-io", "--customize-hook=tar-in f /"} <= set(words)


def test_a_script_sees_its_variables_quoted() -> None:
    assert script_hook("echo $name\n", {"name": "it's $x"}) == (
        "root=\"$1\"\nname='it'\"'\"'s $x'\necho $name\n"
    )


def test_the_step_is_the_last_that_was_begun() -> None:
    output = "I: running apt-get update...\nI: downloading packages with apt...\nGet:1 x\n"
    assert find_step(output) == ("downloading the base system", 0.05)
    assert find_step("nothing yet") is None


@pytest.mark.parametrize(
    ("output", "reason", "hint"),
    [
        (
            "E: Failed to fetch http://x  Could not resolve 'x'\nE: mmdebstrap failed to run\n",
            "Failed to fetch",
            "VMSTAMP_DEBIAN_MIRROR",
        ),
        ("tar: write error: No space left on device\nE: setup failed\n", "setup failed", "make room"),
        ("E: failed to find /etc/subuid entry\n", "subuid", "uidmap"),
        ("I: nothing said\n", "exit status 7", ""),
    ],
)
def test_a_failure_is_explained(output: str, reason: str, hint: str) -> None:
    error = explain(output, 7)
    assert reason in error.message
    assert hint in error.hint
    assert "mmdebstrap failed to run" not in error.message


@pytest.mark.parametrize("provisioner", ["cloud-init", "waagent"])
def test_the_plan_of_debian_is_carried_out_in_order(provisioner: str) -> None:
    plan = debian.plan_bootstrap(
        provisioner, Path("early"), Path("late"), Path("esp"), "/proc/self/fd/9", 4 << 30, IDS
    )
    assert ("cloud-init" in plan.packages) is (provisioner == "cloud-init")
    commands = [command for _, command in plan.hooks]
    order = [
        next(i for i, command in enumerate(commands) if word in command)
        for word in ("tar-in early /", "debconf-set-selections", "tar-in late /", "grub-mkconfig", "tar-out")
    ]
    assert order == sorted(order)
    assert "mkfs.ext4" in commands[-1]
    assert f"root_uuid={IDS.root}" in commands[-1]
    # mmdebstrap ties its apt to the root by a file there; without it apt works on the host.
    assert not any(word.startswith('"$root"/tmp') for command in commands for word in command.split())


def test_only_the_serial_console_is_added_to_the_kernels_command_line() -> None:
    text = (debian.TREE / "common/etc/default/grub.d/50-azure.cfg").read_text()
    line = next(line for line in text.splitlines() if line.startswith("GRUB_CMDLINE_LINUX="))
    assert "console=ttyS0,115200n8 earlyprintk=ttyS0" in line
    assert "rootdelay" not in line


def test_files_of_the_guest_are_roots(tmp_path: Path) -> None:
    debian.write_tar(tmp_path / "t.tar", [debian.TREE / "cloud-init"], {"etc/fstab": "x\n"})
    with tarfile.open(tmp_path / "t.tar") as archive:
        members = {member.name: member for member in archive}
    assert set(members) == {"./etc/cloud/cloud.cfg.d/91-azure_datasource.cfg", "./etc/fstab"}
    assert {(m.uid, m.gid, m.mode) for m in members.values()} == {(0, 0, 0o644)}


def test_fstab_names_file_systems_by_uuid() -> None:
    fstab = debian.generated_files(IDS)["etc/fstab"]
    assert f"UUID={IDS.root} / ext4 " in fstab
    assert f"UUID={IDS.esp_uuid} /boot/efi vfat " in fstab


def test_a_name_that_leads_out_of_the_tree_is_refused(tmp_path: Path) -> None:

    debian.write_tar(tmp_path / "good.tar", [], {"a/b": "x"})
    debian.unpack_files(tmp_path / "good.tar", tmp_path / "tree")
    assert (tmp_path / "tree/a/b").read_text() == "x"
    debian.write_tar(tmp_path / "bad.tar", [], {"a/../../out": "x"})
    with pytest.raises(RecipeError, match="leads out"):
        debian.unpack_files(tmp_path / "bad.tar", tmp_path / "tree")
