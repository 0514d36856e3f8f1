"""vm create, list, show, start, stop, ssh, run-command, log, generalize, capture, delete."""

from __future__ import annotations

import base64
from pathlib import Path

import click

from vmstamp import settings
from vmstamp.cli.completion import complete_image, complete_vm
from vmstamp.cli.options import (
    FAILED,
    Group,
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
key_option = click.option("--identity", "-i", type=FILE, help="Private key; the stamp's own by default.")
user_option = click.option(
    "--user", default="", help="User; the one that the VM was created with by default."
)


@click.group(cls=Group, short_help="VMs: really booted, provisioned by their own agent.")
def vm() -> None:
    """Virtual machines: really booted, provisioned by their own guest agent."""


@vm.command(
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


@vm.command("list", epilog=examples("vmstamp vm list", "vmstamp vm list --json"))
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
                str(one["properties"].get("provisioningState", "")),
                network.public_address(arm, one) or "",
                str(one["properties"]["hardwareProfile"]["vmSize"]),
            ]
            for one in found
        ]
        none = "" if found else resources.none_in(arm, "VMs", group)
    header = ("NAME", "POWER", "PROVISIONING", "ADDRESS", "SIZE")
    console.result(found, table(header, rows) if rows else none)


@vm.command(
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


@vm.command(short_help="Start a stopped VM.", epilog=examples("vmstamp vm start web"))
@click.argument("name", shell_complete=complete_vm)
@group_option
@json_option
def start(name: str, group: str, console: Console) -> None:
    """Start a stopped VM. A generalized one never starts again."""
    from vmstamp.cli import vms

    with arm_client() as arm:
        vms.start_vm(arm, group, name)
    console.result({"name": name, "power": "running"}, f"VM {name} runs")


@vm.command(epilog=examples("vmstamp vm stop web"))
@click.argument("name", shell_complete=complete_vm)
@group_option
@json_option
def stop(name: str, group: str, console: Console) -> None:
    """Shut a VM down and deallocate it."""
    from vmstamp.cli import vms

    with arm_client() as arm:
        vms.stop_vm(arm, group, name)
    console.result({"name": name, "power": "deallocated"}, f"VM {name} is deallocated")


@vm.command(
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


@vm.command(
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


@vm.command(
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


@vm.command(
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


@vm.command(
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


@vm.command(
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
