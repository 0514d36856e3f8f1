"""The extension handlers' program as an agent calls it, from the package that the fabric serves."""

from __future__ import annotations

import base64
import functools
import gzip
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.client.guest_agent import Installed, install
from vmstamp.fabric.extensions import CUSTOM_SCRIPT, RUN_COMMAND


def pack(script: bytes) -> str:
    return base64.b64encode(script).decode()


@pytest.fixture
def custom_script(tmp_path: Path) -> Installed:
    return install(tmp_path, CUSTOM_SCRIPT)


@pytest.fixture
def files(tmp_path: Path) -> Iterator[str]:
    """The URL of a server of the files in `tmp_path/served`."""
    served = tmp_path / "served"
    served.mkdir()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(served))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_command_is_run_once_for_its_number(custom_script: Installed, tmp_path: Path) -> None:
    public = {"commandToExecute": f"echo out; echo err >&2; echo run >> {tmp_path}/runs"}
    told = custom_script.enable(3, publicSettings=public)
    assert told == ("success", "Enable succeeded: \n[stdout]\nout\n\n[stderr]\nerr\n")
    for older in (3, 2):
        custom_script.call("enable", older, publicSettings=public)
    assert (tmp_path / "runs").read_text() == "run\n"
    assert "echo run" not in (custom_script.directory / "config" / "3.settings").read_text()
    custom_script.enable(4, publicSettings=public)
    assert (tmp_path / "runs").read_text() == "run\nrun\n"


def test_numbers_of_another_machine_do_not_count(custom_script: Installed) -> None:
    custom_script.data.mkdir()
    (custom_script.data / "mrseq").write_text("the-captured-one 9\n")
    assert custom_script.enable(0, publicSettings={"commandToExecute": "true"})[0] == "success"


def test_a_failing_command_fails_an_extension_and_not_a_run_command(tmp_path: Path) -> None:
    public = {"script": pack(b"echo out\nexit 5\n")}
    failed = "Enable failed: failed to execute command: command terminated with exit status=5"
    extension = install(tmp_path / "one", CUSTOM_SCRIPT).enable(publicSettings=public)
    assert extension == ("error", f"{failed}\n[stdout]\nout\n\n[stderr]\n")
    command = install(tmp_path / "two", RUN_COMMAND).enable(publicSettings=public)
    assert command == ("success", "Enable succeeded: \n[stdout]\nout\n\n[stderr]\n")


def test_the_end_of_an_output_is_told(custom_script: Installed) -> None:
    public = {"commandToExecute": "yes | head -c 5000; printf end"}
    _, message = custom_script.enable(publicSettings=public)
    output = message.partition("[stdout]\n")[2].partition("\n[stderr]")[0]
    assert len(output) == 4096 and output.endswith("y\nend")


@pytest.mark.parametrize("packed", [False, True])
def test_a_script_may_be_packed_and_have_lines_of_dos(custom_script: Installed, packed: bool) -> None:
    script = b"\xef\xbb\xbf#!/bin/sh\r\necho unix\r\n"
    public = {"script": pack(gzip.compress(script) if packed else script)}
    assert "[stdout]\nunix\n\n" in custom_script.enable(publicSettings=public)[1]
    kept = custom_script.enable(1, publicSettings={**public, "skipDos2Unix": True})[1]
    assert "[stdout]\nunix\r\n\n" in kept


def test_protected_settings_are_decrypted_and_leave_no_trace(custom_script: Installed) -> None:
    settings = custom_script.seal({"commandToExecute": "echo a-secret-word | tr a-z A-Z"})
    sealed = settings["protectedSettings"]
    assert "[stdout]\nA-SECRET-WORD\n" in custom_script.enable(publicSettings={}, **settings)[1]
    kept = [path for path in custom_script.directory.parent.parent.rglob("*") if path.is_file()]
    for path in kept:
        text = path.read_bytes()
        assert b"a-secret-word" not in text and sealed.encode() not in text, path
    settings["protectedSettingsCertThumbprint"] = "00" * 20
    told = custom_script.enable(1, publicSettings={}, **settings)
    assert told == (
        "error",
        "Enable failed: failed to get configuration: protected settings cannot be decrypted",
    )


def test_files_are_fetched_beside_the_command(custom_script: Installed, files: str, tmp_path: Path) -> None:
    (tmp_path / "served" / "hello.sh").write_bytes(b"#!/bin/sh\r\ncat data.bin\r\n")
    (tmp_path / "served" / "data.bin").write_bytes(b"as it is\r\n")
    uris = [f"{files}/hello.sh?sig=x", f"{files}/data.bin"]
    public = {"fileUris": uris, "commandToExecute": "./hello.sh | od -c"}
    _, message = custom_script.enable(publicSettings=public)
    assert "a   s       i   t       i   s  \\r  \\n" in message
    told = custom_script.enable(1, publicSettings={**public, "fileUris": [f"{files}/absent"]})
    assert told[0] == "error"
    assert told[1].startswith(
        "Enable failed: processing file downloads failed: failed to download file[0]: HTTP"
    )


@pytest.mark.parametrize(
    ("public", "said"),
    [
        ({}, "invalid configuration: 'commandToExecute' or 'script' is not specified"),
        ({"commandToExecute": "true", "script": "dHJ1ZQ=="}, "invalid configuration: 'commandToExecute' and"),
        ({"commandToExecute": "true", "managedIdentity": {}}, "managedIdentity is not known"),
    ],
)
def test_settings_that_cannot_be_run_are_told(
    custom_script: Installed, public: dict[str, Any], said: str
) -> None:
    status, message = custom_script.enable(publicSettings=public)
    assert status == "error"
    assert message.startswith("Enable failed: failed to get configuration: ") and said in message


def test_uninstall_leaves_nothing(custom_script: Installed) -> None:
    custom_script.enable(publicSettings={"commandToExecute": "true"})
    custom_script.call("uninstall", 0)
    assert not custom_script.data.exists()
