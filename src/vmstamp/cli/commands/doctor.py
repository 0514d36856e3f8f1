"""doctor: what of a disk will fail on Azure, where, why, and how to mend it."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vmstamp.cli.commands.transfer import key_option, open_blob_named
from vmstamp.cli.completion import complete_file
from vmstamp.cli.names import DISK
from vmstamp.cli.options import (
    FAILED,
    answering,
    arm_client,
    examples,
    follow_option,
    group_option,
    json_option,
)
from vmstamp.cli.render import Console, to_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vmstamp.cli.doctor_fix import Fixed
    from vmstamp.disk import Disk
    from vmstamp.guest.doctor import Diagnosis
    from vmstamp.guest.facts import Mode, Target
    from vmstamp.guest.finding import Check

MODES = ("generalized", "specialized", "marketplace")


def complete_only(context: click.Context, parameter: click.Parameter, word: str) -> list[str]:
    """The ids and groups that the last word of a list may become, for a shell."""
    from vmstamp.guest.checks import CHECKS
    from vmstamp.guest.doctor import groups_of

    before, comma, last = word.rpartition(",")
    names = [*groups_of(CHECKS), *(check.id for check in CHECKS)]
    return [f"{before}{comma}{name}" for name in names if name.startswith(last)]


@click.command(
    short_help="What of a disk will fail on Azure, and how to mend it.",
    epilog=examples(
        "vmstamp doctor disk.vhdx",
        "vmstamp doctor disk.vhdx --mode generalized --generation 2",
        "vmstamp doctor disk.vhdx --admin azureuser",
        "vmstamp doctor disk.vhdx --only boot,fstab-device-names",
        "vmstamp doctor disk.vhdx --fix --plan",
        "vmstamp doctor disk.vhdx --fix -o fixed.vhdx",
        "vmstamp doctor disk:data-1 --json",
        "vmstamp doctor 'https://ACCOUNT.blob.core.windows.net/vhds/web.vhd?SAS' --junit > doctor.xml",
        "vmstamp doctor --list",
    ),
)
@click.argument("source", required=False, shell_complete=complete_file)
@click.option("--generation", type=click.Choice(["1", "2"]), help="Judge for VMs of this generation only.")
@click.option("--mode", type=click.Choice(MODES), help="What it is to become; see docs/doctor.md.")
@click.option("--admin", metavar="NAME", help="Whether this name is free for a deployment's administrator.")
@click.option(
    "--only",
    multiple=True,
    metavar="ID",
    shell_complete=complete_only,
    help="Only these checks or groups (upload, boot, provision, security, best, certification, generalized, "
    "linux, windows, gen1, gen2); may be given again, or a list with commas.",
)
@click.option("-a", "--all", "everything", is_flag=True, help="Show what passed as well.")
@click.option("--list", "listing", is_flag=True, help="Show all checks, and look at nothing.")
@click.option("--fix", is_flag=True, help="Mend what fails or warns and can be mended, on a copy.")
@click.option("--plan", is_flag=True, help="With --fix: say what would be done, do nothing.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="With --fix: the copy; by default SOURCE's name with .doctored before its end.",
)
@click.option("--in-place", is_flag=True, help="With --fix: replace SOURCE by the mended disk.")
@click.option("--junit", is_flag=True, help="Print JUnit XML instead of text.")
@click.option("--sarif", is_flag=True, help="Print SARIF 2.1.0 instead of text.")
@key_option
@follow_option
@group_option
@json_option
@click.pass_context
def doctor(
    context: click.Context,
    source: str | None,
    generation: str | None,
    mode: Mode | None,
    admin: str | None,
    only: tuple[str, ...],
    everything: bool,
    listing: bool,
    fix: bool,
    plan: bool,
    output: Path | None,
    in_place: bool,
    junit: bool,
    sarif: bool,
    account_key: str | None,
    follow: bool,
    group: str,
    console: Console,
) -> None:
    """What of a disk will fail on Azure: found where, why, and how to mend it. Offline, without root or boot.

    SOURCE is a disk file of any format (raw, VHD, VHDX, qcow2, VMDK, VDI, packed too), the URL of a page
    blob, or disk:NAME, a managed disk. What `vmstamp upload` mends on the way does not count as a failure.

    Exit status 0 fit for Azure, 1 something fails, 2 the disk cannot be read (and usage).
    """
    from vmstamp.guest.facts import Target

    _refuse_nonsense(source, listing, fix, plan, output, in_place, (console.as_json, junit, sarif))
    checks = _chosen(only)
    if listing:
        _list(checks, console)
        return
    assert source is not None
    words = _words(only)
    if mode is None and "generalized" in words:
        mode = "generalized"
    target = Target(int(generation) if generation else None, mode, admin)
    quiet = Console(console.as_json or junit or sarif)
    name = _name(source)
    with answering(), ExitStack() as opened:
        held = _open(source, account_key, group, follow, quiet, opened)
        found, fixed = _look(held, name, target, checks, quiet, fix, plan, bool(words), output, in_place)
        if fixed is not None and fixed.output is not None:
            name = str(fixed.output)
    if junit or sarif:
        _report(name, found, junit=junit)
    else:
        _tell(name, found, fixed, plan, everything, console)
    context.exit(0 if found.fit else FAILED)


def _refuse_nonsense(
    source: str | None,
    listing: bool,
    fix: bool,
    plan: bool,
    output: Path | None,
    in_place: bool,
    reports: tuple[bool, ...],
) -> None:
    if source is None and not listing:
        raise click.UsageError("what is to be looked at? give a disk file, a URL or disk:NAME")
    if source is not None and listing:
        raise click.UsageError("--list looks at no disk")
    if source == "-":
        raise click.UsageError("a disk is read by position, so '-' is not taken; ./- is a file")
    if not fix and (plan or output or in_place):
        raise click.UsageError("--plan, -o and --in-place go with --fix")
    if output and in_place:
        raise click.UsageError("either -o COPY or --in-place")
    if sum(reports) > 1:
        raise click.UsageError("one of --json, --junit and --sarif")
    if listing and any(reports[1:]):
        raise click.UsageError("--list is printed as text or --json")


def _words(only: tuple[str, ...]) -> list[str]:
    return [word.strip() for words in only for word in words.split(",") if word.strip()]


def _chosen(only: tuple[str, ...]) -> Sequence[Check]:
    from vmstamp.errors import VmstampError
    from vmstamp.guest.doctor import select

    try:
        return select(_words(only))
    except VmstampError as error:
        raise click.UsageError(f"{error.message}: {error.hint}") from None


def _list(checks: Sequence[Check], console: Console) -> None:
    from vmstamp.cli.doctor_text import check_document, list_lines, width_of_terminal

    console.result([check_document(check) for check in checks], list_lines(checks, width_of_terminal()))


def _name(source: str) -> str:
    """How the source is told: never with the secret of a URL's query."""
    return source.split("?", 1)[0] if "://" in source else source


def _open(
    source: str, key: str | None, group: str, follow: bool, console: Console, opened: ExitStack
) -> Disk:
    if source.startswith(DISK) or "://" in source:
        from vmstamp.cli.copies import read_disk
        from vmstamp.transfer.page_blob_disk import PageBlobDisk

        if source.startswith(DISK):
            arm = opened.enter_context(arm_client())
            blob = opened.enter_context(read_disk(arm, group, source.removeprefix(DISK)))
        else:
            blob = opened.enter_context(open_blob_named(source, key))
        return opened.enter_context(PageBlobDisk(blob))
    from vmstamp.cli.sources import open_source

    return opened.enter_context(open_source(Path(source), console, follow=follow))


def _look(
    held: Disk,
    name: str,
    target: Target,
    checks: Sequence[Check],
    console: Console,
    fix: bool,
    plan: bool,
    named: bool,
    output: Path | None,
    in_place: bool,
) -> tuple[Diagnosis, Fixed | None]:
    """The diagnosis, and with `fix` what was mended; then the diagnosis is that of the mended disk."""
    from vmstamp.guest.doctor import diagnose

    found = diagnose(held, target, checks)
    if not fix:
        return found, None
    from vmstamp.cli import doctor_fix
    from vmstamp.cli.doctor_text import patience_lines, plan_lines, width_of_terminal

    planned = doctor_fix.plan(found, named=named)
    if plan or not planned.plan.mends:
        return found, planned
    place = doctor_fix.choose_place(name, held, output, in_place=in_place)
    if not console.as_json:
        width = width_of_terminal()
        lines = [*plan_lines(planned.plan.mends, width), *patience_lines(planned.plan, width)]
        click.echo("\n".join(lines))
    from vmstamp.guest.workshop.rework import rework

    fixed = doctor_fix.carry_out(held, planned, place, console, rework)
    return fixed.last, fixed


def _report(name: str, found: Diagnosis, *, junit: bool) -> None:
    from vmstamp.cli.doctor_reports import junit_report, sarif_report

    click.echo(junit_report(name, found) if junit else to_json(sarif_report(name, found)))


def _tell(
    name: str, found: Diagnosis, fixed: Fixed | None, plan: bool, everything: bool, console: Console
) -> None:
    from vmstamp.cli import doctor_text

    width = doctor_text.width_of_terminal()
    if fixed is None:
        lines = doctor_text.diagnosis_lines(name, found, everything=everything, width=width)
        console.result({"source": name, **found.to_json()}, lines)
        return
    document = {"source": name, "plan": plan, **fixed.to_json()}
    if fixed.after is None:
        lines = [
            *doctor_text.planned_lines(fixed.plan, found, fixed.expected, width),
            "",
            *doctor_text.summary_lines(name, found, width),
        ]
    else:
        lines = ["", *doctor_text.change_lines(fixed.before, found), ""]
        lines += doctor_text.diagnosis_lines(name, found, everything=everything, width=width)
    console.result(document, lines)
