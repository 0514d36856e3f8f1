"""The `vmstamp` program: its commands, its version, its one way to end."""

from __future__ import annotations

import os
import signal

import click

from vmstamp import __version__, settings
from vmstamp.cli.commands import (
    clients,
    copy,
    disk,
    disk_look,
    disk_make,
    doctor,
    generalize,
    image,
    road,
    stamp,
    subscription,
    transfer,
    vm,
    vm_guest,
)
from vmstamp.cli.options import Group, examples, location_option, place_options


@click.group(
    cls=Group,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog=examples(
        "vmstamp demo                               the whole road, once",
        "vmstamp doctor disk.vhdx                   what of it will fail on Azure?",
        "vmstamp try disk.vhdx                      does this disk come up on Azure?",
        "vmstamp up                                 start the stamp, then:",
        "vmstamp image create web --source disk.vhdx",
        "vmstamp vm create web-1 --image web",
        "vmstamp vm ssh web-1",
        "vmstamp --cloud azure vm list              the same, on Azure",
    ),
)
@click.version_option(__version__, prog_name="vmstamp")
@click.option(
    "--home", envvar=settings.HOME.variable, metavar="DIRECTORY", help="State of the stamp. [~/.vmstamp]"
)
@place_options
@location_option
def cli(home: str | None) -> None:
    """A local Azure for VM images.

    Takes any disk file, tells what would fail on Azure, boots it in a VM that a real guest agent provisions,
    captures it as an image and stamps out VMs from it: on one Linux machine, without a subscription.

    Exit status: 0 done, 1 failed, 2 usage, 3 not running (status), 130 interrupted.
    """
    if home:
        os.environ[settings.HOME.variable] = home


@click.group("disk", cls=Group, short_help="Look at, convert and compare disk files.")
def disk_group() -> None:
    """Look at, convert and compare disk files: raw, VHD, VHDX, qcow2, VMDK, VDI.

    Needs no stamp; raw, VHD and VHDX need no QEMU either.
    """


for command in (
    disk_look.info,
    disk_look.map_,
    disk_look.compare,
    disk_make.convert,
    disk_make.create,
    disk_make.resize,
    disk_make.merge,
    disk_make.check,
):
    disk_group.add_command(command)


@click.group("vm", cls=Group, short_help="VMs: really booted, provisioned by their own agent.")
def vm_group() -> None:
    """Virtual machines: really booted, provisioned by their own guest agent."""


for command in (
    vm.create,
    vm.list_,
    vm.show,
    vm.start,
    vm.stop,
    vm_guest.ssh,
    vm_guest.run_command,
    vm_guest.log,
    vm_guest.generalize,
    vm.capture,
    vm.delete,
):
    vm_group.add_command(command)

for command in (
    stamp.up,
    stamp.down,
    stamp.status,
    road.demo,
    road.try_,
    disk.inspect,
    doctor.doctor,
    generalize.generalize,
    transfer.upload,
    transfer.download,
    transfer.verify,
    copy.copy,
    disk_group,
    image.image,
    vm_group,
    subscription.subscription,
    clients.env,
    clients.az,
    clients.azcopy,
    stamp.completion,
):
    cli.add_command(command)


def main() -> None:
    """Run the command line of this process and end it.

    A request to end (SIGTERM, a closed terminal) is a Ctrl-C: what is half done is undone.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup
            signal.signal(number, signal.default_int_handler)
    cli.main(prog_name="vmstamp")
