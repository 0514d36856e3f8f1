"""vm create, list, show, start, stop, capture, delete; `vm_guest` has what goes into a VM's guest."""

from __future__ import annotations

import base64
from pathlib import Path

import click

from vmstamp import settings
from vmstamp.cli.completion import complete_image, complete_vm
from vmstamp.cli.options import (
    arm_client,
    chosen,
    examples,
    group_option,
    json_option,
    location_option,
    plan_option,
)
from vmstamp.cli.render import Console, table

FILE = click.Path(path_type=Path, dir_okay=False, exists=True)


@click.command(
    short_help="Create a VM, and wait until its agent reports Ready.",
    epilog=examples(
        "vmstamp vm create web --image debian-12",
        "vmstamp vm create web --image debian-12 --user me --ssh-key ~/.ssh/id_ed25519.pub",
        "vmstamp vm create web --image Debian:debian-12:12-gen2:latest",
        "vmstamp vm create db --image debian-12 --data-disk-size 16 --no-wait",
        "vmstamp --cloud azure vm create web --image debian-12 --plan",
    ),
)
@click.argument("name")
@click.option(
    "--image",
    required=True,
    shell_complete=complete_image,
    help="Name or id of an image, or PUBLISHER:OFFER:SKU:VERSION.",
)
@click.option("--user", default="azureuser", show_default=True, help="User to make.")
@click.option("--ssh-key", type=FILE, help="Public key to log in with; the stamp's own by default.")
@click.option("--specialized", is_flag=True, help="The image is specialized: give no provisioning data.")
@click.option("--size", default="Standard_B1ms", show_default=True, help="Size of the VM.")
@click.option(
    "--data-disk-size",
    type=click.IntRange(1, 32767),
    multiple=True,
    metavar="GIB",
    help="A new empty data disk.",
)
@click.option("--custom-data", type=FILE, help="A file for cloud-init: cloud-config, script, ...")
@plan_option
@location_option
@click.option("--no-wait", is_flag=True, help="Do not wait until the agent reports Ready.")
@group_option
@json_option
def create(
    name: str,
    image: str,
    user: str,
    ssh_key: Path | None,
    specialized: bool,
    size: str,
    data_disk_size: tuple[int, ...],
    custom_data: Path | None,
    plan: bool,
    no_wait: bool,
    group: str,
    console: Console,
) -> None:
    """Create a VM from an image, with its network, and wait until its agent reports Ready.

    Made along with it, by derived names: NAME-nic, NAME-ip, NAME-nsg (SSH is let in) and the group's
    virtual network vmstamp-vnet.
    """
    from vmstamp.cli import keys, vms
    from vmstamp.cli.vm_text import vm_lines

    key = keys.read_public_key(ssh_key) if ssh_key else None
    if key is None and not plan:
        key = keys.ensure_key(settings.home())
    with arm_client(read_only=plan) as arm:
        request = vms.VmRequest(
            name=name,
            group=group,
            image=image,
            user="" if specialized else user,
            public_key=key.public if key else "",
            size=size,
            data_disk_sizes=data_disk_size,
            custom_data=base64.b64encode(custom_data.read_bytes()).decode() if custom_data else "",
            location=chosen().location,
        )
        if plan:
            from vmstamp.cli import plans

            plans.tell(plans.of_vm(arm, request), console)
            return
        made = vms.create_vm(arm, request, console, no_wait=no_wait)
        lines = [f"VM {name} is being created: vmstamp vm show {name}"] if no_wait else vm_lines(arm, made)
    console.result(made, lines)


@click.command("list", epilog=examples("vmstamp vm list", "vmstamp vm list --json"))
@group_option
@json_option
def list_(group: str, console: Console) -> None:
    """List the VMs of a resource group."""
    from vmstamp.cli import network, resources, vms

    with arm_client() as arm:
        found = vms.list_vms(arm, group)
        rows = [
            [
                str(one["name"]),
                vms.status_of(one, "PowerState"),
                f"{one['properties'].get('provisioningState', '')}{', waits' if vms.waits_of(one) else ''}",
                network.public_address(arm, one) or "",
                str(one["properties"]["hardwareProfile"]["vmSize"]),
            ]
            for one in found
        ]
        none = "" if found else resources.none_in(arm, "VMs", group)
    header = ("NAME", "POWER", "PROVISIONING", "ADDRESS", "SIZE")
    console.result(found, table(header, rows) if rows else none)


@click.command(
    short_help="Show a VM: state, timeline, why it failed.",
    epilog=examples("vmstamp vm show web", "vmstamp vm show web --json"),
)
@click.argument("name", shell_complete=complete_vm)
@group_option
@json_option
def show(name: str, group: str, console: Console) -> None:
    """Show a VM: instance view, provisioning timeline, who reported Ready and when.

    Of a VM that failed, Azure's code and message, the end of its console and the probable cause.
    """
    from vmstamp.cli import vms
    from vmstamp.cli.vm_text import vm_lines

    with arm_client() as arm:
        found = vms.get_vm(arm, group, name)
        console.result(found, [] if console.as_json else vm_lines(arm, found))


@click.command(short_help="Start a stopped VM.", epilog=examples("vmstamp vm start web"))
@click.argument("name", shell_complete=complete_vm)
@group_option
@json_option
def start(name: str, group: str, console: Console) -> None:
    """Start a stopped VM. A generalized one never starts again."""
    from vmstamp.cli import vms

    with arm_client() as arm:
        vms.start_vm(arm, group, name)
    console.result({"name": name, "power": "running"}, f"VM {name} runs")


@click.command(epilog=examples("vmstamp vm stop web"))
@click.argument("name", shell_complete=complete_vm)
@group_option
@json_option
def stop(name: str, group: str, console: Console) -> None:
    """Shut a VM down and deallocate it."""
    from vmstamp.cli import vms

    with arm_client() as arm:
        vms.stop_vm(arm, group, name)
    console.result({"name": name, "power": "deallocated"}, f"VM {name} is deallocated")


@click.command(
    short_help="Make an image of a generalized VM.",
    epilog=examples(
        "vmstamp vm capture web web-image",
        "vmstamp vm capture web web-2 --storage-account mine",
        "vmstamp vm capture web web-3 --classic",
        "vmstamp vm capture web web-4 --classic --os-state Specialized",
        "vmstamp --cloud azure vm capture web web-5 --plan",
    ),
)
@click.argument("name", shell_complete=complete_vm)
@click.argument("image")
@click.option("--storage-account", default="", help="Account for the VHDs; the VM's own by default.")
@click.option("--classic", is_flag=True, help="As the classic model: a generalized VM is deleted at the end.")
@click.option(
    "--os-state",
    type=click.Choice(["generalized", "specialized"], case_sensitive=False),
    default="generalized",
    show_default=True,
    help="With --classic: what the VM's system is. A specialized VM may run, and stays.",
)
@plan_option
@group_option
@json_option
def capture(
    name: str,
    image: str,
    storage_account: str,
    classic: bool,
    os_state: str,
    plan: bool,
    group: str,
    console: Console,
) -> None:
    """Make IMAGE of a generalized VM: its OS disk and every data disk.

    The VHDs are named IMAGE-os-YYYY-MM-DD.vhd and IMAGE-datadisk-LUN-YYYY-MM-DD.vhd. A capture that was ended
    at any point is continued by the same command.
    """
    from vmstamp.cli import plans
    from vmstamp.cli.capture import capture as work

    if os_state != "generalized" and not classic:
        raise click.UsageError("--os-state needs --classic: Azure's own images are generalized")
    state = os_state.capitalize()
    with arm_client(read_only=plan) as arm:
        if plan:
            planned = plans.of_capture(
                arm, group, name, image, account=storage_account, classic=classic, os_state=state
            )
            plans.tell(planned, console)
            return
        done = work(
            arm, group, name, image, console, account=storage_account, classic=classic, os_state=state
        )
    console.result(done.to_json(), [one.url for one in done.disks])


@click.command(
    short_help="Delete a VM, its disks and what was made with it.",
    epilog=examples("vmstamp vm delete web --plan", "vmstamp vm delete web"),
)
@click.argument("name", shell_complete=complete_vm)
@plan_option
@group_option
@json_option
def delete(name: str, plan: bool, group: str, console: Console) -> None:
    """Delete a VM, its disks, and the network interface, address and rules made with it."""
    from vmstamp.cli import vms

    with arm_client() as arm:
        doomed = vms.deletion_plan(arm, group, name) if plan else vms.delete_vm(arm, group, name, console)
    console.result(
        {"plan": plan, "deleted": doomed}, [f"would delete {one}" for one in doomed] if plan else []
    )
