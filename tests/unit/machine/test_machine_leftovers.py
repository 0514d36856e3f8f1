from pathlib import Path

import pytest

from vmstamp.machine.leftovers import is_ours

HOME = [Path("/srv/a/machines"), Path("/srv/a/networks")]
QEMU = "/usr/bin/qemu-system-x86_64"


@pytest.mark.parametrize(
    "line",
    [
        [QEMU, "-chardev", "file,id=serial0,path=/srv/a/machines/1/serial.log,append=on"],
        [QEMU, "-blockdev", '{"file": {"filename": "/srv/a/machines/1/os.qcow2"}}'],
        ["/usr/sbin/dnsmasq", "--conf-file=/srv/a/networks/1/dnsmasq.conf"],
        ["/usr/bin/slirp4netns", "--netns-type=path", "/srv/a/networks/1/net.ns", "out0"],
        ["/v/bin/python3", "-I", "-S", "/v/vmstamp/machine/holder.py", "5", "/srv/a/networks/1"],
    ],
)
def test_what_we_start_is_known_by_its_path(line: list[str]) -> None:
    assert is_ours([word.encode() for word in line], HOME)


@pytest.mark.parametrize(
    "line",
    [
        [QEMU, "-drive", "file=/backup/srv/a/machines/1/os.qcow2"],
        [QEMU, "-drive", "file=/srv/a/machines2/1/os.qcow2"],
        [QEMU, "-drive", "file=/srv/b/machines/1/os.qcow2"],
        ["/usr/bin/vim", "/srv/a/machines/1/serial.log"],
        ["/usr/bin/python3", "/srv/a/machines/1/qemu-system-x86_64"],
        ["tail", "-f", "/srv/a/networks/1/dnsmasq.log"],
        [],
    ],
)
def test_what_others_run_is_left_alone(line: list[str]) -> None:
    assert not is_ours([word.encode() for word in line], HOME)
