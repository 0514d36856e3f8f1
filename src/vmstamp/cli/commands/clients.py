"""env, az, azcopy: Azure's own clients, turned to the stamp."""

from __future__ import annotations

import os
from pathlib import Path

import click

from vmstamp import settings
from vmstamp.cli.options import arm_client, examples, json_option, only_stamp
from vmstamp.cli.render import Console

PASSING = {"ignore_unknown_options": True, "allow_interspersed_args": False}


@click.command(
    short_help="Point az, azcopy and the SDKs at the stamp, in this shell.",
    epilog=examples(
        'eval "$(vmstamp env)"',
        'eval "$(vmstamp env --undo)"',
        "vmstamp env --shell fish | source",
        "vmstamp env --json",
    ),
)
@click.option("--undo", is_flag=True, help="Give the variables back what they were.")
@click.option(
    "--shell",
    type=click.Choice(["bash", "zsh", "fish"]),
    default="bash",
    show_default=True,
    help="Whose commands to print; bash's are every POSIX shell's.",
)
@json_option
def env(undo: bool, shell: str, console: Console) -> None:
    """Print shell commands that turn az, the Azure SDKs and azcopy to the stamp, in this shell alone.

    az is signed in at once, as the stamp's own service principal. Its configuration, its token and a bundle
    of certificates lie in the stamp's home; the user's own ~/.azure is not touched. With --json the
    variables, as {"NAME": "VALUE"}.
    """
    from vmstamp.cli import client_environment as clients

    if undo:
        lines = list(clients.undoing(os.environ, clients.SHELLS[shell]))
        console.result({"unset": clients.NAMES if lines else []}, lines)
        return
    _refuse_cloud("env")
    found = _prepare()
    console.result(found, list(clients.setting(found, settings.home(), os.environ, clients.SHELLS[shell])))


def _refuse_cloud(command: str) -> None:
    only_stamp(command, "Azure's own clients need no help there: az login, then az and azcopy")


def _prepare() -> dict[str, str]:
    """Write what the clients need; the variables. Raises StampError when the stamp does not run."""
    from vmstamp.cli import client_environment as clients
    from vmstamp.cli.endpoint import get_endpoint

    home = settings.home()
    endpoint = get_endpoint(home)
    with arm_client() as arm:
        known = {one["subscriptionId"]: one["displayName"] for one in arm.list("/subscriptions")}
    clients.write_files(endpoint, home, os.environ, known)
    return clients.variables(endpoint, home, os.environ)


@click.command(
    context_settings=PASSING,
    short_help="Run one az command against the stamp.",
    epilog=examples("vmstamp az -- vm list -o table", "vmstamp az -- storage account create -n web -g rg"),
)
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def az(context: click.Context, words: tuple[str, ...]) -> None:
    """Run one az command against the stamp; exits as az does."""
    context.exit(_call("az", words))


@click.command(
    context_settings=PASSING,
    short_help="Run one azcopy command against the stamp.",
    epilog=examples("vmstamp azcopy -- copy disk.vhd BLOB_URL --from-to LocalBlob --blob-type PageBlob"),
)
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def azcopy(context: click.Context, words: tuple[str, ...]) -> None:
    """Run one azcopy command against the stamp; exits as azcopy does.

    URLs need a SAS, and --from-to, because the stamp's host name does not tell azcopy what it is.
    """
    context.exit(_call("azcopy", words))


def _call(program: str, words: tuple[str, ...]) -> int:
    from vmstamp.run import call, find_program

    _refuse_cloud(program)
    found = Path(find_program(program))
    return call([found, *words], env=_prepare())
