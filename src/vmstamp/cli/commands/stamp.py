"""up, down, status, completion."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from vmstamp import settings
from vmstamp.cli.options import (
    NOT_RUNNING,
    arm_client,
    chosen,
    examples,
    json_option,
    only_stamp,
    place_options,
)
from vmstamp.cli.quantities import seconds_text
from vmstamp.cli.render import Console, table

if TYPE_CHECKING:
    from vmstamp.cli.arm_client import ArmClient
    from vmstamp.cli.endpoint import Endpoint

LEAVE_AWAY = "Azure runs already: nothing is to be started; leave --cloud and VMSTAMP_CLOUD away for a stamp"


@click.command(
    short_help="Start the stamp.",
    epilog=examples("vmstamp up", "vmstamp up --arm-port 0 --blob-port 0", "vmstamp up --json"),
)
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

    only_stamp("up", LEAVE_AWAY)
    given = {settings.ARM_PORT.variable: arm_port, settings.BLOB_PORT.variable: blob_port}
    ports = {name: port for name, port in given.items() if port is not None}
    endpoint, started = process.start(settings.home(), ports)
    head = f"the stamp {'runs' if started else 'runs already'} (pid {endpoint.pid})"
    console.result(
        {"started": started, **endpoint_document(endpoint)},
        [head, *endpoint_lines(endpoint), endpoint.accelerator_text],
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


@click.command(
    short_help="Stop the stamp and its VMs; its state stays.",
    epilog=examples("vmstamp down", "vmstamp down --force"),
)
@click.option("--force", is_flag=True, help="Pull the plug of each VM, instead of waiting for its shutdown.")
@json_option
def down(force: bool, console: Console) -> None:
    """Stop the stamp and its VMs; its state stays for the next `vmstamp up`.

    Each guest has 60 seconds to answer its power button (180 in software emulation), then its plug is pulled;
    after five seconds where no system was seen and nothing was written. A stamp that is stopping already is
    waited for.
    """
    from vmstamp.cli import process

    only_stamp("down", "vmstamp vm stop NAME deallocates a VM, vmstamp vm delete NAME deletes it")
    stopped = process.stop(settings.home(), console, force=force)
    text = "the stamp is stopped" if stopped else "the stamp was not running"
    console.result({"stopped": stopped is not None, "pid": stopped}, text)


@click.command(
    short_help="Show the stamp: endpoints, accelerator and VMs.",
    epilog=examples("vmstamp status", "vmstamp status --json", "vmstamp status --cloud azure"),
)
@place_options
@json_option
@click.pass_context
def status(context: click.Context, console: Console) -> None:
    """Show the stamp: process, endpoints, accelerator and VMs. Exit status 3 when it is not running.

    Of a cloud: its endpoint, the subscription and its VMs.
    """
    from vmstamp.cli.endpoint import find_endpoint, find_server

    if not chosen().is_stamp:
        _cloud_status(console)
        return
    home = settings.home()
    endpoint = find_endpoint(home)
    if endpoint is None:
        busy = find_server(home)
        said = f"is starting or stopping (pid {busy})" if busy else "is not running"
        console.result(
            {"running": False, "pid": busy, "home": str(home.root)}, f"the stamp {said} (home {home.root})"
        )
        context.exit(NOT_RUNNING)
    from vmstamp.cli.arm_client import ArmClient

    with ArmClient(endpoint) as arm:
        vms = _vms(arm)
    uptime = (datetime.now(UTC) - endpoint.started).total_seconds()
    console.result(
        {**endpoint_document(endpoint), "uptime_seconds": round(uptime, 1), "vms": vms},
        [
            f"the stamp runs (pid {endpoint.pid}, up {seconds_text(uptime)}, vmstamp {endpoint.version})",
            *endpoint_lines(endpoint),
            endpoint.accelerator_text,
            *_vm_lines(vms),
        ],
    )


def _cloud_status(console: Console) -> None:
    with arm_client() as arm:
        vms = _vms(arm)
        where = {
            "cloud": arm.endpoint.cloud,
            "arm": arm.endpoint.arm,
            "subscription": arm.endpoint.subscription,
        }
    lines = [f"{where['cloud']}", *(f"  {word:12}  {where[word]}" for word in ("arm", "subscription"))]
    console.result({**where, "vms": vms}, [*lines, *_vm_lines(vms)])


def _vms(arm: ArmClient) -> list[dict[str, str]]:
    """Every VM of the subscription, in short."""
    from vmstamp.cli.vms import all_vms, status_of

    return [
        {
            "name": str(vm["name"]),
            "resource_group": str(vm["id"]).split("/")[4],
            "power": status_of(vm, "PowerState"),
        }
        for vm in all_vms(arm)
    ]


def _vm_lines(vms: list[dict[str, str]]) -> list[str]:
    rows = [list(vm.values()) for vm in vms]
    return ["", *table(("VM", "RESOURCE GROUP", "POWER"), rows)] if rows else ["no virtual machines"]


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
