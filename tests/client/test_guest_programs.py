"""The handlers of managed run commands and of accounts, as an agent calls them."""

from __future__ import annotations

import functools
import http.server
import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.client.guest_agent import Installed, install, wait_until
from vmstamp.fabric.extensions import MANAGED_COMMAND, VM_ACCESS
from vmstamp.fabric.guest_access import set_option


@pytest.fixture
def command(tmp_path: Path) -> Installed:
    return install(tmp_path, MANAGED_COMMAND, "hello")


def run_script(command: Installed, script: str, sequence: int = 0, **public: Any) -> tuple[str, Any]:
    status, message = command.enable(sequence, publicSettings={"source": {"script": script}, **public})
    return status, json.loads(message)


# Managed run commands


def test_a_script_gets_its_parameters_and_tells_its_outputs(command: Installed) -> None:
    parameters = [{"name": "one", "value": "a b"}, {"name": "", "value": "$one"}, {"name": "", "value": "c"}]
    status, view = run_script(command, "echo $one, $1, $2; echo err >&2", parameters=parameters)
    assert status == "success"
    assert (view["executionState"], view["executionMessage"]) == ("Succeeded", "Execution completed")
    assert (view["output"], view["error"], view["exitCode"]) == ("a b, a, b\n", "err\n", 0)
    assert view["startTime"] <= view["endTime"]


@pytest.mark.parametrize(("fails", "status"), [(False, "success"), (True, "error")])
def test_a_script_that_fails_fails_the_extension_only_where_asked(
    command: Installed, fails: bool, status: str
) -> None:
    told, view = run_script(command, "echo out; exit 5", treatFailureAsDeploymentFailure=fails)
    assert (told, view["executionState"], view["exitCode"], view["output"]) == (status, "Failed", 5, "out\n")
    assert view["executionMessage"] == (
        "Execution failed: failed to execute command: command terminated with exit status=5"
    )


def test_a_script_is_ended_at_its_time_out(command: Installed) -> None:
    _, view = run_script(command, "echo begun; sleep 600 & wait", timeoutInSeconds=1)
    assert (view["executionState"], view["exitCode"], view["output"]) == ("Failed", -1, "begun\n")


def test_a_script_that_is_not_waited_for_is_a_success_at_once(command: Installed, tmp_path: Path) -> None:
    script = f"echo $$ > {tmp_path}/pid; cat {tmp_path}/pipe"
    os.mkfifo(tmp_path / "pipe")
    status, view = run_script(command, script, asyncExecution=True)
    assert (status, view["executionState"], view["endTime"]) == ("success", "Running", "")
    (tmp_path / "pipe").write_text("at last")
    _, message = command.wait(0, lambda status, message: "Running" not in message)
    assert json.loads(message)["output"] == "at last"


def test_a_command_that_is_disabled_or_set_anew_is_ended(command: Installed, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    script = f"echo $$ > {pid}.new; mv {pid}.new {pid}; exec sleep 600"
    run_script(command, script, asyncExecution=True)
    first = _read_when_there(pid)
    pid.unlink()
    run_script(command, script, sequence=1, asyncExecution=True)
    second = _read_when_there(pid)
    wait_until(lambda: not _runs(first))
    assert _runs(second)
    command.call("disable", 1)
    wait_until(lambda: not _runs(second))
    assert not (command.data / "download" / "hello").exists()


def _read_when_there(path: Path) -> int:
    wait_until(path.exists)
    return int(path.read_text())


def _runs(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_an_unknown_account_is_told_of(command: Installed) -> None:
    _, view = run_script(command, "true", runAsUser="nobody-of-that-name")
    assert view["executionState"] == "Failed"
    assert "Failed to lookup RunAs user 'nobody-of-that-name'." in view["executionMessage"]


def test_two_commands_have_numbers_of_their_own(command: Installed) -> None:
    other = Installed(command.directory, command.data, "other")
    for one in (command, other):
        assert run_script(one, "echo $0")[1]["output"].endswith(f"/download/{one.name}/0/script.sh\n")


def test_a_script_is_fetched_with_its_sas(command: Installed, tmp_path: Path) -> None:
    asked: list[str] = []

    class Server(http.server.SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            super().do_GET()

    served = tmp_path / "served"
    served.mkdir()
    (served / "one.sh").write_bytes(b"#!/bin/sh\r\necho fetched\r\n")
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Server, directory=str(served))
    ) as server:
        threading.Thread(target=server.serve_forever).start()
        url = f"http://127.0.0.1:{server.server_port}"
        sealed = command.seal({"sourceSASToken": "sig=a-secret-word"})
        told = [
            json.loads(command.enable(n, publicSettings={"source": {"scriptUri": uri}}, **sealed)[1])
            for n, uri in enumerate((f"{url}/one.sh", f"{url}/absent.sh"))
        ]
        server.shutdown()
    assert told[0]["output"] == "fetched\n"
    assert asked[0] == "/one.sh?sig=a-secret-word"
    assert told[1]["executionState"] == "Failed" and "a-secret-word" not in json.dumps(told)
    assert "File downloads failed." in told[1]["executionMessage"]


def test_protected_parameters_leave_no_trace(command: Installed) -> None:
    secret = {"protectedParameters": [{"name": "secret", "value": "a-secret-word"}]}
    script = {"source": {"script": "echo $secret | wc -c"}}
    _, message = command.enable(publicSettings=script, **command.seal(secret))
    assert json.loads(message)["output"] == "14\n"
    for path in command.directory.parent.parent.rglob("*"):
        assert not path.is_file() or b"a-secret-word" not in path.read_bytes(), path


# VMAccess


@pytest.mark.parametrize(
    ("protected", "said"),
    [
        ({"username": "ann"}, "No password or ssh_key is specified."),
        (
            {"remove_user": "ann", "reset_ssh": True},
            "Cannot reset sshd_config and remove a user in one operation.",
        ),
        ({"user_name": "ann"}, "the setting user_name is not known to this handler"),
    ],
)
def test_what_cannot_be_set_is_told(tmp_path: Path, protected: dict[str, Any], said: str) -> None:
    access = install(tmp_path, VM_ACCESS)
    told = access.enable(publicSettings={}, **access.seal(protected))
    assert told == ("error", f"Enable failed: {said}")


def test_disks_are_not_checked(tmp_path: Path) -> None:
    told = install(tmp_path, VM_ACCESS).enable(publicSettings={"check_disk": True})
    assert told == ("error", "Enable failed: the setting check_disk is not known to this handler")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "PasswordAuthentication yes\n"),
        ("Port 22\npasswordauthentication no\n", "Port 22\nPasswordAuthentication yes\n"),
        ("#PasswordAuthentication no\n", "#PasswordAuthentication no\nPasswordAuthentication yes\n"),
        (
            "Match User a\nPasswordAuthentication no\n",
            "PasswordAuthentication yes\nMatch User a\nPasswordAuthentication no\n",
        ),
    ],
)
def test_an_option_of_sshd_stands_before_the_first_match(text: str, expected: str) -> None:
    assert set_option(text, "PasswordAuthentication", "yes") == expected
