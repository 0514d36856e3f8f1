"""try and demo: the whole road in one command."""

from __future__ import annotations

from pathlib import Path

import click

from vmstamp import settings
from vmstamp.cli.options import FAILED, examples, follow_option, generation_option, json_option, only_stamp
from vmstamp.cli.render import Console


@click.command(
    "try",
    short_help="Boot a disk file, have its agent provision it, log in.",
    epilog=examples(
        "vmstamp try disk.vhdx", "vmstamp try disk.qcow2 --user me --json", "vmstamp try d.vhd --keep"
    ),
)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--user", default="azureuser", show_default=True, help="User to provision and log in as.")
@generation_option
@click.option("--size", default="Standard_B1ms", show_default=True, help="Size of the VM.")
@click.option("--keep", is_flag=True, help="Leave the VM, image and blob.")
@follow_option
@json_option
@click.pass_context
def try_(
    context: click.Context,
    file: Path,
    user: str,
    generation: int | None,
    size: str,
    keep: bool,
    follow: bool,
    console: Console,
) -> None:
    """Boot a disk file as a VM, have its agent provision it, and log in.

    Exit status 0 only when the agent reported Ready and SSH answers. Otherwise it says the stage that was
    reached, the end of the console, the probable cause and the files to read. Starts a stamp when none runs.
    """
    from vmstamp.cli.trial import TrialRequest, outcome_lines, try_disk

    only_stamp("try", "vmstamp image create NAME --source FILE, then vmstamp vm create: both take --plan")
    outcome = try_disk(settings.home(), TrialRequest(file, user, generation, size, keep, follow), console)
    console.result(outcome.to_json(), outcome_lines(outcome))
    context.exit(0 if outcome.ok else FAILED)


@click.command(
    short_help="Take a real Debian down the whole road.",
    epilog=examples("vmstamp demo", "vmstamp demo --keep", "vmstamp demo --json"),
)
@click.option("--keep", is_flag=True, help="Leave everything, and say how to go on.")
@json_option
def demo(keep: bool, console: Console) -> None:
    """Take a real Debian down the whole road, and prove each step.

    Builds a disk, starts a stamp, inspects, uploads, makes an image and a VM, logs in, generalizes, captures,
    and stamps out two VMs. Nothing is left running.
    """
    from vmstamp.cli import demo as story

    only_stamp("demo", "vmstamp image create, vm create, vm generalize and vm capture are its steps")
    done = story.demo(settings.home(), console, keep=keep)
    console.result(done.to_json(), story.summary(done))
