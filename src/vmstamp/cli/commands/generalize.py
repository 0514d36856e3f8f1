"""generalize: a disk file made a model to stamp out VMs, offline."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vmstamp.cli.commands.disk_look import FILE
from vmstamp.cli.commands.disk_make import overwrite_option, refuse_dash
from vmstamp.cli.options import FAILED, answering, examples, follow_option, json_option
from vmstamp.cli.render import Console, shown

if TYPE_CHECKING:
    from vmstamp.guest.identity.step import Choice


def _ids(context: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> frozenset[str]:
    """Ids of steps, each option one or a list with commas."""
    from vmstamp.errors import GuestError
    from vmstamp.guest.generalize import check_ids

    words = [word.strip() for one in value for word in one.split(",") if word.strip()]
    try:
        return check_ids(words)
    except GuestError as error:
        raise click.BadParameter(f"{error.message}. {error.hint}".strip(), context, parameter) from None


@click.command(
    short_help="Remove a machine's identity from a disk file.",
    epilog=examples(
        "vmstamp generalize disk.vhdx --plan              what would be done, and what would be left",
        "vmstamp generalize disk.vhdx                     writes disk.generalized.vhdx",
        "vmstamp generalize disk.vhd -o model.vhd --user builder",
        "vmstamp generalize disk.vhdx --in-place --all-users --also cloud-credentials",
        "vmstamp generalize disk.vhdx --only machine-id,ssh-host-keys -o copy.vhdx",
        "vmstamp generalize --list",
    ),
)
@click.argument("file", type=FILE, required=False)
@click.option("--plan", "planning", is_flag=True, help="Say what would be done, and write nothing.")
@click.option("--keep", multiple=True, metavar="ID", callback=_ids, help="Leave this step out.")
@click.option("--only", multiple=True, metavar="ID", callback=_ids, help="Do only this step.")
@click.option("--also", multiple=True, metavar="ID", callback=_ids, help="Do this step, which is off.")
@click.option("--user", "users", multiple=True, metavar="NAME", help="Remove this user too.")
@click.option("--all-users", is_flag=True, help="Remove every person (uid 1000 to 59999).")
@click.option(
    "--machine-id",
    type=click.Choice(["empty", "uninitialized"]),
    default="empty",
    show_default=True,
    help="What is left in /etc/machine-id; with 'uninitialized' systemd presets all units again.",
)
@click.option(
    "--zero-free/--no-zero-free",
    default=True,
    help="Give free space back, so that nothing deleted is in it. [yes]",
)
@click.option("--answer-file", type=FILE, help="Windows: place this answer file for Setup.")
@click.option("-o", "--output", type=FILE, help="The copy. [FILE's name with .generalized before its end]")
@click.option("--in-place", is_flag=True, help="Replace FILE; it is as it was until the new one is whole.")
@click.option("--list", "listing", is_flag=True, help="Show all steps, and look at nothing.")
@overwrite_option
@follow_option
@json_option
@click.pass_context
def generalize(
    context: click.Context,
    file: Path | None,
    planning: bool,
    keep: frozenset[str],
    only: frozenset[str],
    also: frozenset[str],
    users: tuple[str, ...],
    all_users: bool,
    machine_id: str,
    zero_free: bool,
    answer_file: Path | None,
    output: Path | None,
    in_place: bool,
    listing: bool,
    overwrite: bool,
    follow: bool,
    console: Console,
) -> None:
    """Remove a machine's identity from a disk file: users, keys, ids, agents' state, histories, logs.

    Offline: nothing is booted, no root is needed, and FILE is kept unless --in-place. The result is read
    again, and what is left is told. What --keep keeps is identity all the same, if it is of that kind.

    Exit status 0 generalized (with --plan: would be), 1 identity is left, 2 it cannot be done (and usage).
    """
    from vmstamp.guest.generalize import steps_to_json
    from vmstamp.guest.identity import STEPS, WINDOWS_STEPS
    from vmstamp.guest.identity.step import Choice

    if listing:
        from vmstamp.cli.generalize_disk import list_lines

        if file is not None:
            raise click.UsageError("--list looks at no disk")
        steps = (*STEPS, *WINDOWS_STEPS)
        console.result(steps_to_json(steps), list_lines(steps))
        return
    if file is None:
        raise click.UsageError("which disk is to be generalized? give a file, or --list")
    if output and in_place:
        raise click.UsageError("either -o COPY or --in-place")
    if "root" in users:
        raise click.UsageError("root is not removed; its password and keys are")
    refuse_dash(file, *([output] if output else []))
    choice = Choice(keep, only, also, frozenset(users), all_users, machine_id)
    where = (output, in_place, overwrite)
    context.exit(_run(file, choice, answer_file, where, zero_free, planning, follow, console))


def _run(
    file: Path,
    choice: Choice,
    answer_file: Path | None,
    where: tuple[Path | None, bool, bool],
    zero_free: bool,
    planning: bool,
    follow: bool,
    console: Console,
) -> int:
    """Plan, show, carry out, show again; the exit status."""
    from vmstamp.cli import generalize_disk as flow
    from vmstamp.cli.sources import open_source

    with answering(), ExitStack() as opened:
        flow.refuse_elsewhere(file)
        held = opened.enter_context(open_source(file, console, follow=follow))
        output, in_place, overwrite = where
        place = None
        if not planning:
            place = flow.choose_place(file, held, output, in_place=in_place, overwrite=overwrite)
        answer = flow.read_answer_file(answer_file) if answer_file else None
        found, planned = flow.make_plan(held, choice, answer)
        absent = flow.absent_users(found, choice)
        if not console.as_json:
            notes = [f"there is no user {shown(name)} on it" for name in absent]
            console.result(None, [*notes, *flow.plan_lines(planned), ""])
        if place is None:
            done = flow.Generalized(file, planned, None, planned.left)
        else:
            done = flow.carry_out(held, file, found, planned, place, console, zero_free=zero_free)
    would = planning and bool(planned.edits)
    console.result(
        {**done.to_json(), "plan": planning, "absent_users": absent},
        flow.verdict_lines(done.output or file, done.left, planned=would),
    )
    return 0 if done.left.generalized else FAILED
