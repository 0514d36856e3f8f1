"""The real `ssh` against a server that goes away before anybody has logged in."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from vmstamp.cli import ssh
from vmstamp.errors import MachineError


def target(directory: Path) -> ssh.Target:
    return ssh.Target("web", "me", "127.0.0.1", directory / "key", directory / "known_hosts")


def hang_up(listener: socket.socket, last: bytes, seen: list[int]) -> None:
    """Close every connection at once, the third after the words `last`."""
    while len(seen) < 3:
        connection, _ = listener.accept()
        seen.append(1)
        if len(seen) == 3:
            connection.sendall(last)
            connection.recv(64)
        connection.close()


def test_a_login_that_never_began_is_tried_again(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        seen: list[int] = []
        server = threading.Thread(target=hang_up, args=(listener, b"SSH-1.0-ancient\r\n", seen))
        server.start()
        port = listener.getsockname()[1]
        status = ssh.log_in_here(target(tmp_path), "--", "true", port=port, pause=0)
        server.join(timeout=30)
    assert status == ssh.SSH_FAILED
    assert len(seen) == 3
    said = capfd.readouterr().err
    assert "protocol" in said.lower()
    assert "kex_exchange_identification" not in said


def test_a_port_that_the_stamp_does_not_offer_is_told_at_once(tmp_path: Path) -> None:
    found = ssh.Target("web", "me", "127.99.41.7", tmp_path / "key", tmp_path / "known_hosts")
    with pytest.raises(MachineError, match=r"port 22 is not offered at 127\.99\.41\.7") as caught:
        ssh.require_offered(found)
    assert "az vm open-port -n web --port 22" in (caught.value.hint or "")
    with socket.create_server((found.address, 22 + ssh.OFFERED_HIGHER)):
        ssh.require_offered(found)
