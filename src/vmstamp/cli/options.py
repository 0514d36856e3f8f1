"""What commands have in common: the group that catches errors, shared options, lines of examples.

Exit statuses: 0 done, 1 failed, 2 usage, 3 the stamp is not running (`status`), 130 interrupted; where 1 is
an answer (`disk check`, `disk compare`), 2 failed. `vm ssh` ends with the status of the command in the VM.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from vmstamp import settings
from vmstamp.cli.render import Console, to_json
from vmstamp.errors import AzureError, VmstampError

if TYPE_CHECKING:
    from vmstamp.cli.arm_client import ArmClient

FAILED, USAGE, NOT_RUNNING, INTERRUPTED = 1, 2, 3, 130
NO_ANSWER = 2  # of a command whose 1 is an answer

Command = TypeVar("Command", bound=Callable[..., Any])


def examples(*lines: str) -> str:
    """The `Examples:` block at the end of a command's help."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


class Group(click.Group):
    """A group whose commands end with an error in words, never with a traceback."""

    def main(self, args: Sequence[str] | None = None, *rest: Any, **options: Any) -> NoReturn:
        words = list(sys.argv[1:] if args is None else args)
        options["standalone_mode"] = False
        try:
            status = super().main(words, *rest, **options)
        except BaseException as error:
            own = words[: words.index("--")] if "--" in words else words
            status = end_of(error, as_json="--json" in own)
        with contextlib.suppress(BrokenPipeError):
            sys.stdout.flush()
        sys.exit(status if isinstance(status, int) else 0)


class NoAnswer(Exception):
    """What went wrong in a command whose exit status 1 is an answer: it ends with NO_ANSWER."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


@contextlib.contextmanager
def answering() -> Iterator[None]:
    """Around the work of a command whose exit status 1 is an answer."""
    try:
        yield
    except (VmstampError, OSError) as error:
        raise NoAnswer(error) from error


def end_of(error: BaseException, as_json: bool) -> int:
    """Show an exception as people or programs read it; the exit status."""
    if isinstance(error, NoAnswer):
        end_of(error.cause, as_json)
        return NO_ANSWER
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else FAILED
    if isinstance(error, KeyboardInterrupt | click.exceptions.Abort):
        show("Interrupted", "interrupted", note_of(error), as_json)
        return INTERRUPTED
    if isinstance(error, click.UsageError):
        command = error.ctx.command_path if error.ctx else "vmstamp"
        show("Usage", error.format_message(), f"{command} --help", as_json)
        return USAGE
    if isinstance(error, click.ClickException):
        show("Failed", error.format_message(), "", as_json)
        return FAILED
    if isinstance(error, AzureError):
        show(error.code, f"{error.code}: {error.message}", error.hint, as_json)
        return FAILED
    if isinstance(error, VmstampError):
        show(type(error).__name__, error.message, error.hint, as_json)
        return FAILED
    if isinstance(error, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader of our output went away
        return FAILED
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        hint = "free some space, or set VMSTAMP_HOME to another file system" if error.errno == 28 else ""
        show("OSError", f"{where}{error.strerror or error}", hint, as_json)
        return FAILED
    if os.environ.get("VMSTAMP_DEBUG"):
        raise error
    show(
        "InternalError",
        f"a mistake in vmstamp itself: {type(error).__name__}: {error}",
        "run it again with VMSTAMP_DEBUG=1 and report what it prints",
        as_json,
    )
    return FAILED


def note_of(error: BaseException | None) -> str:
    """What was noted at an interruption, such as that the same command continues; '' when nothing was."""
    while error is not None:  # click's Abort has the KeyboardInterrupt as its cause
        if notes := getattr(error, "__notes__", []):
            return str(notes[0])
        error = error.__cause__
    return ""


def show(code: str, message: str, hint: str, as_json: bool) -> None:
    """An error on standard error, in words or as {"error": {...}}."""
    if as_json:
        click.echo(to_json({"error": {"code": code, "message": message, "hint": hint or None}}), err=True)
        return
    click.echo(f"error: {message}", err=True)
    if hint:
        click.echo(f"hint: {hint}", err=True)


def json_option(command: Command) -> Command:
    """`--json`; the command gets a Console as `console`."""

    def to_console(_: click.Context, __: click.Parameter, value: bool) -> Console:
        return Console(value)

    return click.option(
        "--json",
        "console",
        is_flag=True,
        default=False,
        callback=to_console,
        help="Print one JSON document instead of text.",
    )(command)


follow_option = click.option(
    "--follow",
    is_flag=True,
    help="Read the other files that FILE names: backing files, extents, parents elsewhere.",
)


def group_option(command: Command) -> Command:
    """`-g/--resource-group`, from the setting's environment variable or default."""
    return click.option(
        "-g",
        "--resource-group",
        "group",
        envvar=settings.GROUP.variable,
        default=settings.GROUP.default,
        show_default=True,
        help="Resource group.",
    )(command)


@contextlib.contextmanager
def arm_client() -> Iterator[ArmClient]:
    """ARM of the running stamp; StampError when none runs."""
    from vmstamp.cli.arm_client import ArmClient
    from vmstamp.cli.endpoint import get_endpoint

    with ArmClient(get_endpoint(settings.home())) as arm:
        yield arm
