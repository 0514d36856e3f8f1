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
from vmstamp.cli.cloud import NAMES, Chosen, find_cloud
from vmstamp.cli.render import Console, to_json
from vmstamp.errors import AzureError, VmstampError

if TYPE_CHECKING:
    from vmstamp.cli.arm_client import ArmClient
    from vmstamp.cli.wanted import Wanted

FAILED, USAGE, NOT_RUNNING, INTERRUPTED = 1, 2, 3, 130
NO_ANSWER = 2  # of a command whose 1 is an answer
PLACE, MADE = "vmstamp.place.", "vmstamp.made"  # what click's context keeps for a command
LEFT = "vmstamp_left"  # at an error: lines about what was made, stays and costs

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

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of their making, in which a user meets them; not by their letters."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Like click's; what was made in a cloud when a command failed is noted at the error."""
        if ctx.parent is not None:
            return super().invoke(ctx)
        try:
            return super().invoke(ctx)
        except BaseException as error:
            if not isinstance(error, SystemExit | click.exceptions.Exit | click.UsageError):
                note_left(ctx, error)
            raise


def note_left(context: click.Context, error: BaseException) -> None:
    """Note at an error what the command made in a cloud, which stays and costs."""
    made: dict[str, Wanted] = context.meta.get(MADE, {})
    cloud = context.meta.get(PLACE + settings.CLOUD.name) or settings.CLOUD.text()
    if not made or cloud == settings.CLOUD.default:
        return
    from vmstamp.cli.wanted import left_lines

    left: list[str] = getattr(error, LEFT, [])
    setattr(error, LEFT, [*left, *left_lines(made.values(), cloud)])


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
    left = left_of(error)
    if isinstance(error, NoAnswer):
        setattr(error.cause, LEFT, left)
        end_of(error.cause, as_json)
        return NO_ANSWER
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else FAILED
    if isinstance(error, KeyboardInterrupt | click.exceptions.Abort):
        show("Interrupted", "interrupted", note_of(error), as_json, left)
        return INTERRUPTED
    if isinstance(error, click.UsageError):
        command = error.ctx.command_path if error.ctx else "vmstamp"
        show("Usage", error.format_message(), f"{command} --help", as_json)
        return USAGE
    if isinstance(error, click.ClickException):
        show("Failed", error.format_message(), "", as_json)
        return FAILED
    if isinstance(error, AzureError):
        show(error.code, f"{error.code}: {error.message}", error.hint, as_json, left)
        return FAILED
    if isinstance(error, VmstampError):
        show(type(error).__name__, error.message, error.hint, as_json, left)
        return FAILED
    if isinstance(error, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader of our output went away
        return FAILED
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        hint = "free some space, or set VMSTAMP_HOME to another file system" if error.errno == 28 else ""
        show("OSError", f"{where}{error.strerror or error}", hint, as_json, left)
        return FAILED
    if os.environ.get("VMSTAMP_DEBUG"):
        raise error
    show(
        "InternalError",
        f"a mistake in vmstamp itself: {type(error).__name__}: {error}",
        "run it again with VMSTAMP_DEBUG=1 and report what it prints",
        as_json,
        left,
    )
    return FAILED


def left_of(error: BaseException | None) -> list[str]:
    """What was noted at an error, or at its cause, about what stays and costs."""
    while error is not None:
        if left := getattr(error, LEFT, []):
            return list(left)
        error = error.__cause__
    return []


def note_of(error: BaseException | None) -> str:
    """What was noted at an interruption, such as that the same command continues; '' when nothing was."""
    while error is not None:  # click's Abort has the KeyboardInterrupt as its cause
        if notes := getattr(error, "__notes__", []):
            return str(notes[0])
        error = error.__cause__
    return ""


def show(code: str, message: str, hint: str, as_json: bool, left: Sequence[str] = ()) -> None:
    """An error on standard error, in words or as {"error": {...}}; `left`: what was made, stays and costs."""
    if as_json:
        found = {"code": code, "message": message, "hint": hint or None}
        click.echo(to_json({"error": found | ({"left": left} if left else {})}), err=True)
        return
    click.echo(f"error: {message}", err=True)
    if hint:
        click.echo(f"hint: {hint}", err=True)
    for line in left:
        click.echo(line, err=True)


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


plan_option = click.option("--plan", is_flag=True, help="Say what would be done, and do nothing.")

generation_option = click.option(
    "--generation",
    type=click.IntRange(1, 2),
    metavar="[1|2]",
    help="Hyper-V generation; the newest that the disk can be by default.",
)


def _place(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    """Keep where a command acts; a command's own option wins over that of `vmstamp`."""
    if value:
        context.meta[f"{PLACE}{parameter.name}"] = value


def _place_option(
    setting: settings.Setting, metavar: str, help: str, **more: Any
) -> Callable[[Command], Command]:
    """An option that says where a command acts. The command does not get it: `chosen` tells."""
    return click.option(setting.flag, metavar=metavar, callback=_place, expose_value=False, help=help, **more)


cloud_option = _place_option(
    settings.CLOUD,
    "CLOUD",
    f"Where to act: {', '.join(NAMES[:-1])} or {NAMES[-1]}. [{settings.CLOUD.default}]",
    type=click.Choice(NAMES, case_sensitive=False),
)
subscription_option = _place_option(
    settings.SUBSCRIPTION, "ID|NAME", "Subscription; the only one there is by default."
)
location_option = _place_option(
    settings.LOCATION,
    "REGION",
    "Region of what is made; that of the stamp, or of the resource group, by default.",
)


def place_options(command: Command) -> Command:
    """`--cloud` and `--subscription`, for the whole program or one command."""
    return cloud_option(subscription_option(command))


def group_option(command: Command) -> Command:
    """`-g/--resource-group`, from the setting's environment variable or default; and the place options."""
    return click.option(
        "-g",
        "--resource-group",
        "group",
        metavar="NAME",
        envvar=settings.GROUP.variable,
        default=settings.GROUP.default,
        show_default=True,
        help="Resource group.",
    )(place_options(command))


def chosen() -> Chosen:
    """Where the command acts, by its options, those of `vmstamp`, and the settings."""
    context = click.get_current_context(silent=True)
    given = context.meta if context else {}

    def text(setting: settings.Setting) -> str:
        return str(given.get(PLACE + setting.name) or setting.text())

    cloud = text(settings.CLOUD)
    if cloud.lower() != settings.CLOUD.default:
        cloud = find_cloud(cloud).name
    return Chosen(
        cloud.lower() if cloud.lower() == settings.CLOUD.default else cloud,
        settings.CLOUD_ENDPOINT.text(),
        text(settings.SUBSCRIPTION),
        text(settings.LOCATION),
    )


def only_stamp(command: str, instead: str) -> None:
    """Refuse a command that only a stamp has, in a cloud; `instead` is what to do there."""
    where = chosen()
    if not where.is_stamp:
        raise VmstampError(f"vmstamp {command} is of a stamp only, not of {where.cloud}", hint=instead)


def made_so_far() -> dict[str, Wanted]:
    """What the command made so far, by id or URL; told when it fails in a cloud."""
    context = click.get_current_context(silent=True)
    found: dict[str, Wanted] = {} if context is None else context.meta.setdefault(MADE, {})
    return found


@contextlib.contextmanager
def arm_client(*, read_only: bool = False, any_subscription: bool = False) -> Iterator[ArmClient]:
    """ARM where the command acts: of the running stamp, or of a cloud. The one place that makes its clients.

    `read_only`: for a plan, which sends nothing that changes anything. `any_subscription`: what is asked for
    is of none. Raises StampError when no stamp runs, CloudError when nobody is signed in or no subscription
    is meant.
    """
    from dataclasses import replace

    from vmstamp.cli import cloud
    from vmstamp.cli.arm_client import ArmClient

    where, console = chosen(), _console()
    say = console.say if console else None
    if where.is_stamp:
        at_stamp = cloud.stamp_endpoint(where)
        with ArmClient(at_stamp, say=say, made=made_so_far(), read_only=read_only) as arm:
            if not cloud.is_id(at_stamp.subscription):
                named = cloud.choose_subscription(arm.subscriptions(), at_stamp.subscription)
                arm.endpoint = replace(at_stamp, subscription=named)
            yield arm
        return
    cloud.refuse_foreign_environment(where, dict(os.environ))
    endpoint = cloud.cloud_endpoint(where)
    with ArmClient(
        endpoint,
        cloud.sign_in(endpoint),
        scope=endpoint.scope,
        say=say,
        made=made_so_far(),
        read_only=read_only,
    ) as arm:
        if not any_subscription and not cloud.is_id(endpoint.subscription):
            named = cloud.choose_subscription(arm.subscriptions(), endpoint.subscription)
            arm.endpoint = replace(endpoint, subscription=named)
        yield arm


def _console() -> Console | None:
    """The console of the command that runs."""
    context = click.get_current_context(silent=True)
    found = context.params.get("console") if context else None
    return found if isinstance(found, Console) else None
