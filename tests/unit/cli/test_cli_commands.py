"""The command line without a stamp: help, usage, errors, exit statuses."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from vmstamp.cli.main import cli
from vmstamp.cli.options import end_of
from vmstamp.errors import AzureError, StampError
from vmstamp.run import run as program


def leaves(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of all commands that do something."""
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            yield from leaves(child, (*path, name))
    else:
        yield path


@pytest.fixture
def run(tmp_path: Path) -> Iterator[CliRunner]:
    yield CliRunner(env={"VMSTAMP_HOME": str(tmp_path / "home")})


def call(runner: CliRunner, *words: str) -> Result:
    return runner.invoke(cli, words, prog_name="vmstamp")


def test_the_commands_are_those_of_the_product() -> None:
    assert {" ".join(path) for path in leaves(cli)} == {
        "up", "down", "status", "demo", "try", "inspect", "doctor", "upload", "download", "verify", "copy",
        "env", "az", "azcopy", "completion", "generalize",
        "disk info", "disk map", "disk compare", "disk convert", "disk create", "disk resize",
        "disk merge", "disk check",
        "image build", "image create", "image list", "image show", "image delete",
        "vm create", "vm list", "vm show", "vm start", "vm stop", "vm ssh", "vm run-command", "vm log",
        "vm generalize", "vm capture", "vm delete",
        "subscription create", "subscription list", "subscription delete",
    }  # fmt: skip


PASSING = (("completion",), ("az",), ("azcopy",))  # what they print is another's


@pytest.mark.parametrize("path", list(leaves(cli)), ids=" ".join)
def test_every_command_has_help_with_examples_and_json(run: CliRunner, path: tuple[str, ...]) -> None:
    result = call(run, *path, "--help")
    assert result.exit_code == 0
    assert "Examples:" in result.output
    assert f"vmstamp {' '.join(path)}" in result.output
    assert "--json" in result.output or path in PASSING


@pytest.mark.parametrize("group", ["", "disk", "image", "vm", "subscription"])
def test_the_summary_of_every_command_fits_a_terminal(run: CliRunner, group: str) -> None:
    result = run.invoke(cli, [*group.split(), "--help"], prog_name="vmstamp", terminal_width=80)
    assert result.exit_code == 0
    _, heading, commands = result.output.partition("Commands:\n")
    assert heading
    assert "...\n" not in commands


def test_commands_are_listed_in_the_order_of_their_use(run: CliRunner) -> None:
    lines = call(run, "vm", "--help").output.partition("Commands:\n")[2].splitlines()
    assert [line.split()[0] for line in lines if line][:3] == ["create", "list", "show"]


def test_help_imports_no_sdk_and_no_disk_reader() -> None:
    code = (
        "import sys; import vmstamp.cli.main; "
        "print([m for m in sys.modules if m.split('.')[0] in ('azure', 'rich', 'requests', 'sqlite3') "
        "or m.startswith(('vmstamp.disk', 'vmstamp.guest'))])"
    )
    assert program([sys.executable, "-c", code]).text == "[]\n"


def test_commands_about_vms_and_the_stamp_import_no_blob_client_and_no_disk_reader() -> None:
    rooms = ("process", "vms", "vm_text", "images", "run_commands")
    code = (
        f"import sys; import {', '.join(f'vmstamp.cli.{room}' for room in rooms)}; "
        "print([m for m in sys.modules if m.startswith(('azure.storage', 'vmstamp.disk', 'vmstamp.guest'))])"
    )
    assert program([sys.executable, "-c", code]).text == "[]\n"


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_completion_prints_a_script(run: CliRunner, shell: str) -> None:
    result = call(run, "completion", shell)
    assert result.exit_code == 0
    assert "_VMSTAMP_COMPLETE" in result.output


def test_an_unknown_option_is_a_usage_error(run: CliRunner) -> None:
    result = call(run, "status", "--nonsense")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert "hint: vmstamp status --help" in result.stderr


def test_status_of_no_stamp_exits_with_3(run: CliRunner) -> None:
    result = call(run, "status", "--json")
    assert result.exit_code == 3
    assert json.loads(result.stdout)["running"] is False


@pytest.mark.parametrize("words", [("vm", "list"), ("image", "list"), ("vm", "delete", "x")], ids=" ".join)
def test_a_command_that_needs_the_stamp_says_how_to_start_it(run: CliRunner, words: tuple[str, ...]) -> None:
    result = call(run, *words)
    assert result.exit_code == 1
    assert "error: the stamp is not running" in result.stderr
    assert "hint: start it: vmstamp up" in result.stderr


def test_an_error_with_json_is_a_document_on_standard_error(run: CliRunner) -> None:
    result = call(run, "vm", "list", "--json")
    assert result.stdout == ""
    error = json.loads(result.stderr)["error"]
    assert error["code"] == "StampError"
    assert error["hint"] == "start it: vmstamp up"


def test_down_without_a_stamp_is_done_already(run: CliRunner) -> None:
    result = call(run, "down")
    assert (result.exit_code, result.stdout) == (0, "the stamp was not running\n")


@pytest.mark.parametrize(
    ("content", "said"), [(b"", "empty"), (b"\0" * 1000, "error:"), (None, "No such file")]
)
def test_a_bad_disk_file_is_told_before_a_stamp_is_asked(
    run: CliRunner, tmp_path: Path, content: bytes | None, said: str
) -> None:
    path = tmp_path / "disk.vhdx"
    if content is not None:
        path.write_bytes(content)
    for words in (("upload", str(path)), ("inspect", str(path)), ("try", str(path))):
        result = call(run, *words)
        assert result.exit_code == 1
        assert result.stderr.startswith("error: ") and "stamp" not in result.stderr.split("disk.vhdx")[1]
        assert said.lower() in result.stderr.lower()


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (KeyboardInterrupt(), 130, "error: interrupted"),
        (click.exceptions.Abort(), 130, "error: interrupted"),
        (AzureError(409, "Conflict", "no"), 1, "error: Conflict: no"),
        (StampError("down", hint="up"), 1, "error: down\nhint: up"),
        (OSError(28, "No space left on device", "/x"), 1, "error: /x: No space left on device\nhint: free"),
        (RuntimeError("oops"), 1, "error: a mistake in vmstamp itself: RuntimeError: oops"),
    ],
)
def test_every_end_has_its_status_and_words(
    capsys: pytest.CaptureFixture[str], error: BaseException, status: int, said: str
) -> None:
    assert end_of(error, as_json=False) == status
    assert capsys.readouterr().err.startswith(said)


def test_an_interruption_tells_what_was_noted(capsys: pytest.CaptureFixture[str]) -> None:
    inner, outer = KeyboardInterrupt(), click.exceptions.Abort()
    inner.add_note("what was sent is kept: the same command continues")
    outer.__cause__ = inner
    assert end_of(outer, as_json=False) == 130
    assert capsys.readouterr().err == (
        "error: interrupted\nhint: what was sent is kept: the same command continues\n"
    )
