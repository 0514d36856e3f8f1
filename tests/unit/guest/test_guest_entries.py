"""Boot entries of every loader, unified kernels, and the kernel command line as it is changed."""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence
from typing import Any

import pytest

from vmstamp.guest.boot.cmdline import change_command_lines, change_defaults, drop_words, set_words
from vmstamp.guest.boot.entries import find_boot_entries
from vmstamp.guest.boot.grub import find_default, format_environment, is_named, parse_environment, parse_grub
from vmstamp.guest.boot.kernel import Kernels, find_loader_path
from vmstamp.guest.boot.modules import comment_out, find_forbidden, find_modules, parse_forbidden
from vmstamp.guest.boot.uki import read_executable, read_section_text
from vmstamp.guest.edits import Write

GRUB = """\
function load_video {
  insmod all_video
}
if [ x = y ]; then
  set default="0"
fi
menuentry 'First' --class x $menuentry_id_option 'first-id' {
\tlinux /boot/vmlinuz-6.1 root=UUID=1 ro
\tinitrd /boot/early.img /boot/initrd.img-6.1
}
submenu 'More' $menuentry_id_option 'more-id' {
\tmenuentry 'Second' --id second-id {
\t\tlinuxefi ($root)/vmlinuz-6.0 root=UUID=1 single
\t\tinitrdefi ($root)/initrd.img-6.0
\t}
\tmenuentry "Memory test" {
\t\tlinux16 /memtest86+.bin
\t}
}
menuentry 'Windows' {
\tchainloader +1
}
"""


def test_grubs_menus_are_read_with_their_places() -> None:
    first, second = parse_grub(GRUB, "/boot/grub/grub.cfg")
    assert (first.kernel, first.initrds) == ("/boot/vmlinuz-6.1", ("/boot/early.img", "/boot/initrd.img-6.1"))
    assert first.command_line.where == "/boot/grub/grub.cfg:8"
    assert (first.place, first.titles, first.identifiers) == ((0,), ("First",), ("first-id",))
    assert (second.place, second.identifiers) == ((1, 0), ("more-id", "second-id"))
    assert (second.titles, second.is_rescue, second.release) == (("More", "Second"), True, "6.0")


@pytest.mark.parametrize("wanted", ["1>0", "More>Second", "more-id>second-id", "1", "More", "1>second-id"])
def test_a_default_names_an_entry_or_a_menu_above_it(wanted: str) -> None:
    first, second = parse_grub(GRUB, "x")
    assert is_named(second, wanted)
    assert not is_named(first, wanted)


@pytest.mark.parametrize(
    ("text", "environment", "default"),
    [
        ("", None, "0"),
        ('set default="2"\n', None, "2"),
        ('set default="${next_entry}"\nset default="0"\n', None, "0"),
        ('set default="${saved_entry}"\n', "saved_entry=a>b\n", "a>b"),
        ('set default="${saved_entry}"\n', None, "0"),
        ("\n" * 100_000, None, "0"),
    ],
)
def test_the_default(make_files: Any, text: str, environment: str | None, default: str) -> None:
    files = {"/boot/grub/grub.cfg": text}
    if environment:
        files["/boot/grub/grubenv"] = environment
    assert find_default(make_files(files)) == default


def test_grub_1_and_extlinux(make_files: Any) -> None:
    menu = "default=0\ntitle CentOS\n\troot (hd0,0)\n"
    menu += "\tkernel /vmlinuz-2.6.32 ro root=/dev/sda1\n\tinitrd /i.img\n"
    (entry,) = find_boot_entries(make_files({"/boot/grub/menu.lst": menu}))
    assert (entry.kernel, entry.initrds, entry.release) == ("/vmlinuz-2.6.32", ("/i.img",), "2.6.32")
    assert (entry.command_line.text, entry.command_line.where) == (
        "ro root=/dev/sda1",
        "/boot/grub/menu.lst:4",
    )
    config = "DEFAULT l0\nLABEL l0\n  LINUX ../vmlinuz-lts\n  INITRD /initramfs-lts\n  APPEND root=UUID=1\n"
    (entry,) = find_boot_entries(make_files({"/boot/extlinux/extlinux.conf": config}))
    assert (entry.kernel, entry.initrds) == ("../vmlinuz-lts", ("/initramfs-lts",))
    assert (entry.command_line.text, entry.command_line.where[-2:]) == ("root=UUID=1", ":5")


def unified(**sections: bytes) -> bytes:
    table, body, at = b"", b"", 4096
    for name, data in sections.items():
        table += struct.pack("<8sIIII16x", b"." + name.encode(), len(data), 0, len(data), at)
        body += data
        at += len(data)
    header = b"PE\0\0" + struct.pack("<HH12xHH", 0x8664, len(sections), 0, 0)
    return (b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x40) + header + table).ljust(4096, b"\0") + body


def test_a_unified_kernel_is_an_entry_with_its_own_initramfs(make_files: Any, guests: Any) -> None:
    archive = guests.cpio("init", "hv_vmbus.ko")
    image = unified(linux=b"MZ", cmdline=b"root=UUID=1 quiet\n\0\0", initrd=archive)
    esp = make_files(
        {
            "/EFI/Linux/debian-6.1.efi": image,
            "/EFI/Linux/debian-6.1.efi.extra.d/x.addon.efi": unified(cmdline=b"console=ttyS0"),
            "/EFI/Linux/none.efi": b"MZ",
        }
    )
    (entry,) = find_boot_entries(make_files({"/etc/fstab": ""}), esp)
    assert (entry.kernel, entry.command_line.text) == (
        "/EFI/Linux/debian-6.1.efi",
        "root=UUID=1 quiet console=ttyS0",
    )
    files = make_files({"/efi/EFI/Linux/debian-6.1.efi": image})
    (entry,) = find_boot_entries(files)
    kernel = Kernels(files, ("6.1",), (entry,)).default
    assert kernel is not None
    assert "hv_vmbus" in kernel.early_modules


@pytest.mark.parametrize("seed", range(40))
def test_damaged_executables_are_read_or_are_none(guests: Any, seed: int) -> None:
    rng = random.Random(seed)
    data = bytearray(unified(linux=b"x" * 100, cmdline=b"root=1"))
    for _ in range(rng.randrange(1, 9)):
        data[rng.randrange(0x3C, 0x40 + 24 + 80)] = rng.choice([0, 0xFF, rng.randrange(256)])
    image = read_executable(guests.node(bytes(data[: rng.choice([10, 0x40, 0x60, 5000])])))
    if image is not None:
        assert len(read_section_text(image, ".cmdline")) <= 65536


@pytest.mark.parametrize("seed", range(40))
def test_damaged_menus_give_entries_or_none(seed: int) -> None:
    rng = random.Random(seed)
    text = GRUB
    for _ in range(rng.randrange(1, 20)):
        at = rng.randrange(len(text))
        text = (
            text[:at]
            + rng.choice(["{", "}\n", "'", "\n}\n", "menuentry ", "\0", ""])
            + text[at + rng.randrange(4) :]
        )
    assert len(list(parse_grub(text, "x"))) <= 10


def test_a_loaders_path_is_found_where_boot_lies(make_files: Any) -> None:
    files = make_files({"/boot/vmlinuz-1": "", "/boot/efi/k": ""})
    for path in (
        "/boot/vmlinuz-1",
        "/vmlinuz-1",
        "(hd0,gpt2)/vmlinuz-1",
        "/@/boot/vmlinuz-1",
        "($root)/vmlinuz-1",
    ):
        assert find_loader_path(files, path) == "/boot/vmlinuz-1"
    assert find_loader_path(files, "/k") == "/boot/efi/k"
    assert find_loader_path(files, "/gone") is None


# -- changing command lines


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ('GRUB_CMDLINE_LINUX=""\n', 'GRUB_CMDLINE_LINUX="a=2"\n'),
        ("GRUB_CMDLINE_LINUX='quiet a=1' # why\n", 'GRUB_CMDLINE_LINUX="a=2"\n'),
        ("# none\nGRUB_TIMEOUT=1", '# none\nGRUB_TIMEOUT=1\nGRUB_CMDLINE_LINUX="a=2"\n'),
        (
            'GRUB_CMDLINE_LINUX_DEFAULT="quiet x"\nGRUB_CMDLINE_LINUX="y"\n',
            'GRUB_CMDLINE_LINUX_DEFAULT="x"\nGRUB_CMDLINE_LINUX="y a=2"\n',
        ),
        ('GRUB_CMDLINE_LINUX="a=2"\n', 'GRUB_CMDLINE_LINUX="a=2"\n'),
        ('GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX x"\n', 'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX x a=2"\n'),
        ('GRUB_CMDLINE_LINUX="broken\n', 'GRUB_CMDLINE_LINUX="broken\n'),
        ("", 'GRUB_CMDLINE_LINUX="a=2"\n'),
    ],
)
def test_the_defaults_are_changed_as_a_shell_reads_them(text: str, after: str) -> None:
    change = set_words("a=2", drop=("a=", "quiet"))
    assert change_defaults({"/etc/default/grub": text}, change) == {"/etc/default/grub": after}


def test_a_word_that_is_moved_to_the_end_is_moved_in_the_defaults_too() -> None:
    texts = {
        "/etc/default/grub": 'GRUB_CMDLINE_LINUX="console=ttyS0 a b"\nGRUB_CMDLINE_LINUX_DEFAULT="c"\n',
        "/etc/default/grub.d/x.cfg": 'GRUB_CMDLINE_LINUX="console=ttyS0 console=tty0 d"\n',
    }

    def last(words: Sequence[str]) -> list[str]:
        return [*(word for word in words if word != "console=ttyS0"), "console=ttyS0"]

    after = change_defaults(texts, last)
    assert after["/etc/default/grub.d/x.cfg"] == 'GRUB_CMDLINE_LINUX="console=tty0 d console=ttyS0"\n'


def test_words_are_added_to_the_last_file_that_sets_them() -> None:
    texts = {
        "/etc/default/grub": 'GRUB_CMDLINE_LINUX="x quiet"\n',
        "/etc/default/grub.d/50.cfg": 'GRUB_CMDLINE_LINUX="y"\nGRUB_CMDLINE_LINUX_DEFAULT="quiet"\n',
        "/etc/default/grub.d/60.cfg": 'GRUB_CMDLINE_LINUX_DEFAULT="z"\n',
    }
    after = change_defaults(texts, set_words("a", drop=("quiet",)))
    assert after["/etc/default/grub.d/50.cfg"].startswith('GRUB_CMDLINE_LINUX="y a"\n')
    assert after["/etc/default/grub.d/60.cfg"] == texts["/etc/default/grub.d/60.cfg"]


def test_every_place_of_a_command_line_is_changed_and_nothing_else(make_files: Any) -> None:
    files = make_files(
        {
            "/boot/grub/grub.cfg": GRUB,
            "/boot/grub/menu.lst": "title x\n\tkernel /vmlinuz-1 ro single\n",
            "/boot/extlinux/extlinux.conf": "LABEL l\n  LINUX /v\n  APPEND ro single\n",
            "/boot/loader/entries/a.conf": "title A\nlinux /v\noptions ro single\n",
            "/etc/kernel/cmdline": "ro single\n",
            "/etc/default/grub": 'GRUB_CMDLINE_LINUX="single"\n',
        }
    )
    edits = list(change_command_lines(files, drop_words(lambda word: word == "single")))
    texts = {edit.path: edit.data.decode() for edit in edits if isinstance(edit, Write)}
    assert len(texts) == len(edits) == 6
    assert all("single" not in text for text in texts.values())
    assert texts["/boot/grub/grub.cfg"] == GRUB.replace(" single", "")
    assert list(change_command_lines(files, lambda words: list(words))) == []


def test_an_environment_block_keeps_its_size_or_is_not_written() -> None:
    data = format_environment({"saved_entry": "x", "kernelopts": "root=1 a=b"})
    assert data is not None
    assert len(data) == 1024
    assert parse_environment(data.decode()) == {"saved_entry": "x", "kernelopts": "root=1 a=b"}
    assert format_environment({"kernelopts": "x" * 1024}) is None


# -- modules


def test_modules_and_what_they_need(make_files: Any) -> None:
    files = make_files(
        {
            "/lib/modules/6/modules.builtin": "kernel/fs/ext4/ext4.ko\n",
            "/lib/modules/6/modules.dep": "a/hv-x.ko.zst: b/hv_y.ko.zst\nb/hv_y.ko.zst:\n",
        }
    )
    found = find_modules(files, "6")
    assert "ext4" in found
    assert "hv_x" in found
    assert "hv-x" not in found
    assert found.loadable["hv_x"] == ("hv_y",)
    assert not find_modules(files, "7")


def test_a_file_in_etc_hides_one_of_its_name(make_files: Any) -> None:
    files = make_files(
        {
            "/usr/lib/modprobe.d/a.conf": "blacklist udf\n",
            "/etc/modprobe.d/a.conf": "# blacklist udf\n\ninstall sr-mod /usr/bin/false\n",
            "/etc/modprobe.d/b.txt": "blacklist isofs\n",
        }
    )
    (found,) = find_forbidden(files)
    assert (found.module, found.where) == ("sr_mod", "/etc/modprobe.d/a.conf:3")


def test_lines_that_forbid_nothing() -> None:
    text = "install a /sbin/modprobe -i a\noptions b x=1\nblacklist\nalias c d\n#blacklist e\n"
    assert list(parse_forbidden(text)) == []
    assert comment_out("a\nb\n", {2}) == "a\n# b\n"
