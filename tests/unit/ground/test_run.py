from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from vmstamp.errors import ProgramError, ProgramMissing
from vmstamp.run import PACKAGES, call, find_program, run, spawn


def test_a_missing_program_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vmstamp.run.SYSTEM_DIRECTORIES", ())
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ProgramMissing, match="the program dnsmasq is not installed") as missing:
        find_program("dnsmasq")
    assert missing.value.hint == "install it: apt-get install dnsmasq-base"
    with pytest.raises(ProgramMissing) as unknown:
        run(["no-such-program"])
    assert unknown.value.hint == "install it, or put it on PATH"


def test_every_program_that_we_start_has_a_package() -> None:
    listed = (Path(__file__).parents[3] / "tools" / "debian-packages.txt").read_text().split()
    assert set(PACKAGES.values()) <= set(listed)


def test_output_and_status_come_back_and_input_goes_in() -> None:
    done = run(["sh", "-c", "cat; echo said >&2; exit 0"], input=b"given")
    assert (done.status, done.text, done.stderr) == (0, "given", b"said\n")


def test_without_input_a_program_reads_nothing() -> None:
    assert run(["cat"]).stdout == b""


def test_a_failure_carries_the_last_words_of_the_program() -> None:
    with pytest.raises(ProgramError, match=r"sh failed with exit status 3: the reason$") as failed:
        run(["sh", "-c", "echo before >&2; echo the reason >&2; exit 3"])
    assert failed.value.status == 3
    assert failed.value.stderr == "before\nthe reason\n"
    assert run(["sh", "-c", "exit 3"], check=False).status == 3


def test_a_signal_is_told_from_an_exit_status() -> None:
    with pytest.raises(ProgramError, match=r"was ended by signal 9$") as failed:
        run(["sh", "-c", "kill -9 $$"])
    assert failed.value.status == -signal.SIGKILL


def test_a_program_that_does_not_end_is_ended() -> None:
    with pytest.raises(ProgramError, match=r"no end within 0\.1 s"):
        run(["sleep", "60"], timeout=0.1)


def test_environment_is_added_and_directory_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEPT", "1")
    done = run(["sh", "-c", 'echo "$KEPT$MORE"; pwd'], env={"MORE": "2"}, cwd=tmp_path)
    assert done.text == f"12\n{tmp_path}\n"


def test_call_gives_the_exit_status() -> None:
    assert call(["sh", "-c", 'exit "$STATUS"'], env={"STATUS": "7"}) == 7


def test_what_is_spawned_leads_its_own_session_and_appends_its_output(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("before\n")
    program = "import os; print(os.getpid() == os.getsid(0), flush=True); os.write(2, b'error\\n')"
    process = spawn([sys.executable, "-c", program], output=log)
    assert process.wait() == 0
    assert log.read_text() == "before\nTrue\nerror\n"


def test_what_is_spawned_keeps_pipes_for_the_caller() -> None:
    with spawn(["cat"], stdin_pipe=True, stdout_pipe=True) as process:
        assert process.communicate(b"there and back")[0] == b"there and back"
