"""up, down, status, completion."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from vmstamp import settings
from vmstamp.cli.options import NOT_RUNNING, examples, json_option
from vmstamp.cli.render import Console, seconds_text, table

if TYPE_CHECKING:
    from vmstamp.cli.endpoint import Endpoint


@click.command(epilog=examples("vmstamp up", "vmstamp up --arm-port 0 --blob-port 0", "vmstamp up --json"))
@click.option(
    "--arm-port", type=click.IntRange(0, settings.HIGHEST_PORT), help="Port of ARM; 0: any free one."
)
@click.option(
    "--blob-port", type=click.IntRange(0, settings.HIGHEST_PORT), help="Port of Blob; 0: any free one."
)
@json_option
def up(arm_port: int | None, blob_port: int | None, console: Console) -> None:
    """Start the stamp: one local Azure, on loopback only.

    Its whole state lies under VMSTAMP_HOME. Says whether VMs will run with KVM or in software emulation.
    """
    from vmstamp.cli import process
    from vmstamp.cli.trial import accelerator_text

    given = {settings.ARM_PORT.variable: arm_port, settings.BLOB_PORT.variable: blob_port}
    ports = {name: port for name, port in given.items() if port is not None}
    endpoint, started = process.start(settings.home(), ports)
    head = f"the stamp {'runs' if started else 'runs already'} (pid {endpoint.pid})"
    console.result(
        {"started": started, **endpoint_document(endpoint)},
        [head, *endpoint_lines(endpoint), accelerator_text(endpoint)],
    )


def endpoint_document(endpoint: Endpoint) -> dict[str, Any]:
    """The endpoint for --json, without its secret."""
    return {
        "running": True,
        "pid": endpoint.pid,
        "started_at": endpoint.started.isoformat(),
        "home": str(settings.home().root),
        "arm": endpoint.arm,
        "blob": endpoint.blob,
        "ca": str(endpoint.ca),
        "subscription": endpoint.subscription,
        "tenant": endpoint.tenant,
        "location": endpoint.location,
        "accelerator": {"name": endpoint.accelerator, "reason": endpoint.accelerator_reason},
        "version": endpoint.version,
    }


def endpoint_lines(endpoint: Endpoint) -> list[str]:
    return [
        f"  ARM           {endpoint.arm}",
        f"  Blob          {endpoint.blob}",
        f"  subscription  {endpoint.subscription}",
        f"  home          {settings.home().root}",
    ]


@click.command(epilog=examples("vmstamp down"))
@json_option
def down(console: Console) -> None:
    """Stop the stamp and its VMs; its state stays for the next `vmstamp up`."""
    from vmstamp.cli import process

    stopped = process.stop(settings.home(), console)
    text = "the stamp is stopped" if stopped else "the stamp was not running"
    console.result({"stopped": stopped is not None, "pid": stopped.pid if stopped else None}, text)


@click.command(epilog=examples("vmstamp status", "vmstamp status --json"))
@json_option
@click.pass_context
def status(context: click.Context, console: Console) -> None:
    """Show the stamp: process, endpoints, accelerator and VMs. Exit status 3 when it is not running."""
    from vmstamp.cli.endpoint import find_endpoint

    home = settings.home()
    endpoint = find_endpoint(home)
    if endpoint is None:
        console.result(
            {"running": False, "home": str(home.root)}, f"the stamp is not running (home {home.root})"
        )
        context.exit(NOT_RUNNING)
    from vmstamp.cli.arm_client import ArmClient
    from vmstamp.cli.trial import accelerator_text
    from vmstamp.cli.vms import all_vms, status_of

    with ArmClient(endpoint) as arm:
        vms = [
            {
                "name": vm["name"],
                "resource_group": vm["id"].split("/")[4],
                "power": status_of(vm, "PowerState"),
            }
            for vm in all_vms(arm)
        ]
    uptime = (datetime.now(UTC) - endpoint.started).total_seconds()
    rows = [[str(vm["name"]), str(vm["resource_group"]), str(vm["power"])] for vm in vms]
    console.result(
        {**endpoint_document(endpoint), "uptime_seconds": round(uptime, 1), "vms": vms},
        [
            f"the stamp runs (pid {endpoint.pid}, up {seconds_text(uptime)}, vmstamp {endpoint.version})",
            *endpoint_lines(endpoint),
            accelerator_text(endpoint),
            *(["", *table(("VM", "RESOURCE GROUP", "POWER"), rows)] if rows else ["no virtual machines"]),
        ],
    )


@click.command(
    epilog=examples(
        "vmstamp completion bash > ~/.local/share/bash-completion/completions/vmstamp",
        'eval "$(vmstamp completion zsh)"',
        "vmstamp completion fish > ~/.config/fish/completions/vmstamp.fish",
    )
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the shell completion script for a shell."""
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None  # the three of the choice come with click
    click.echo(found(context.find_root().command, {}, "vmstamp", "_VMSTAMP_COMPLETE").source())
