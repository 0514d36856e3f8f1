"""vm ssh, run-command, log, generalize: what goes into a VM's guest, or comes out of it."""

from __future__ import annotations

from pathlib import Path

import click

from vmstamp import settings
from vmstamp.cli.commands.vm import FILE
from vmstamp.cli.completion import complete_vm
from vmstamp.cli.options import (
    FAILED,
    arm_client,
    examples,
    group_option,
    json_option,
    plan_option,
)
from vmstamp.cli.render import Console, table

key_option = click.option("--identity", "-i", type=FILE, help="Private key; the stamp's own by default.")
user_option = click.option(
    "--user", default="", help="User; the one that the VM was created with by default."
)


@click.command(
    context_settings={"ignore_unknown_options": True},
    short_help="Log in to a VM, or run a command in it.",
    epilog=examples("vmstamp vm ssh web", "vmstamp vm ssh web -- sudo cloud-init status --long"),
)
@click.argument("name", shell_complete=complete_vm)
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@key_option
@user_option
@click.option(
    "--timeout", type=click.FloatRange(0), default=300.0, show_default=True, help="Seconds to wait for SSH."
)
@group_option
@json_option
@click.pass_context
def ssh(
    context: click.Context,
    name: str,
    command: tuple[str, ...],
    identity: Path | None,
    user: str,
    timeout: float,
    group: str,
    console: Console,
) -> None:
    """Log in to a VM, or run COMMAND in it; ends with its exit status.

    Waits for a VM that is still starting. Own known_hosts per VM; ~/.ssh is neither read nor changed.
    """
    from vmstamp.cli import ssh as shell
    from vmstamp.cli import vms

    with arm_client() as arm:
        vm = vms.get_vm(arm, group, name)
        target = shell.target_of(arm, settings.home(), vm, key=identity, user=user)
    vms.require_running(vm)
    port = shell.find_port(target.address)
    if port is None:
        if vms.status_of(vm, "PowerState") == "running":
            shell.require_offered(target)
        waiting = f"waiting for SSH of VM {name}: agents report Ready before a guest has started everything"
        click.echo(waiting, err=True)  # standard output is the command's in the VM
        port = shell.wait_port(target, timeout)
    if console.as_json:
        if not command:
            raise click.UsageError("--json needs a COMMAND")
        done = shell.run_in(target, " ".join(command), port=port, check=False)
        console.result(
            {"status": done.status, "stdout": done.text, "stderr": done.stderr.decode(errors="replace")}
        )
        context.exit(done.status)
    context.exit(shell.log_in_here(target, *(["--", " ".join(command)] if command else []), port=port))


@click.command(
    "run-command",
    short_help="Run a script in a VM, by its guest agent.",
    epilog=examples(
        "vmstamp vm run-command web --script 'systemctl is-system-running'",
        "vmstamp vm run-command web --script @setup.sh",
        "vmstamp --cloud azure vm run-command web --script 'uptime; df -h /'",
    ),
)
@click.argument("name", shell_complete=complete_vm)
@click.option("--script", required=True, metavar="@FILE|TEXT", help="The script, or @ and its file.")
@group_option
@json_option
def run_command(name: str, script: str, group: str, console: Console) -> None:
    """Run a script in a VM as root, by its guest agent; needs no SSH and no way in.

    Prints what it wrote, of which Azure tells the last 4 KiB; not its exit status, which Azure does not tell.
    """
    from vmstamp.cli import run_commands

    console.aside = True
    text = run_commands.read_script(script)
    with arm_client() as arm:
        told = run_commands.run_command(arm, group, name, text)
    console.result(told.to_json(), told.stdout.splitlines())
    if told.stderr and not console.as_json:
        click.echo(told.stderr, err=True, nl=not told.stderr.endswith("\n"))


@click.command(
    epilog=examples("vmstamp vm log web", "vmstamp vm log web | tail -n 40", "vmstamp vm log web --follow")
)
@click.argument("name", shell_complete=complete_vm)
@click.option("-f", "--follow", is_flag=True, help="Go on with what it writes, until the VM stops.")
@group_option
@json_option
def log(name: str, follow: bool, group: str, console: Console) -> None:
    """Print the serial console of a VM."""
    from vmstamp.cli import vms

    if follow and console.as_json:
        raise click.UsageError("--json is one document, which --follow never has")
    with arm_client() as arm:
        if follow:
            for part in vms.follow_log(arm, group, name):
                click.echo(part.replace("\r\n", "\n"), nl=False)
            return
        text = vms.serial_log(arm, group, name)
    console.result({"name": name, "serial": text}, text.replace("\r\n", "\n"))


@click.command(
    short_help="Remove a VM's identity, so that it can be captured.",
    epilog=examples("vmstamp vm generalize web --plan", "vmstamp vm generalize web"),
)
@click.argument("name", shell_complete=complete_vm)
@plan_option
@key_option
@user_option
@group_option
@json_option
@click.pass_context
def generalize(
    context: click.Context,
    name: str,
    plan: bool,
    identity: Path | None,
    user: str,
    group: str,
    console: Console,
) -> None:
    """Remove a VM's identity, so that it can be captured; it can never start again.

    Cleans the guest over SSH, deallocates the VM, marks it generalized, and then looks at the disk and
    says what is left. Exit status 1 when identity is left.
    """
    from vmstamp.cli import generalize as work

    if plan:
        from vmstamp.cli import vms

        with arm_client(read_only=True) as arm:
            steps = work.steps_for(vms.get_vm(arm, group, name))
        console.result({"plan": steps}, [f"{number}. {step}" for number, step in enumerate(steps, 1)])
        return
    with arm_client() as arm:
        done = work.generalize(arm, settings.home(), group, name, console, key=identity, user=user)
    rows = [[one.severity, one.id, one.where, one.detail] for one in done.identity.leftovers]
    console.result(
        done.to_json(),
        [f"VM {name}: {work.verdict(done.identity)}", *table(("KIND", "WHAT", "WHERE", "DETAIL"), rows)],
    )
    context.exit(0 if done.identity.generalized else FAILED)
