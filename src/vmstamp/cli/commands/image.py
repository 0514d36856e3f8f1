"""image build, create, list, show, delete."""

from __future__ import annotations

from pathlib import Path

import click

from vmstamp import settings
from vmstamp.cli.completion import complete_file, complete_image
from vmstamp.cli.options import (
    Group,
    arm_client,
    chosen,
    examples,
    follow_option,
    generation_option,
    group_option,
    json_option,
    location_option,
    only_stamp,
    plan_option,
)
from vmstamp.cli.quantities import bytes_text
from vmstamp.cli.render import Console, table


@click.group(cls=Group)
def image() -> None:
    """Images: VHDs from which VMs are stamped out."""


@image.command(
    short_help="Build a disk from a distribution's own packages.",
    epilog=examples(
        "vmstamp image build debian-12 -o debian-12.vhdx", "vmstamp image build debian-12 --json"
    ),
)
@click.argument("recipe")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="The VHDX file to write."
)
@click.option(
    "--publish/--no-publish",
    default=None,
    help="Put it into the running stamp as a platform image; so without -o.",
)
@group_option
@json_option
def build(recipe: str, output: Path | None, publish: bool | None, group: str, console: Console) -> None:
    """Build a disk for Azure from a distribution's own packages, as a dynamic VHDX.

    Built once and kept under the stamp's home. When a stamp runs, it is put into its catalogue, from which
    `az vm create --image PUBLISHER:OFFER:SKU:latest` takes it. RECIPE: debian-12, debian-12-waagent, tiny.
    """
    from vmstamp.cli import platform_images
    from vmstamp.cli.endpoint import find_endpoint
    from vmstamp.cli.recipes import built_disk

    if publish:
        only_stamp("image build --publish", "vmstamp image create NAME --source FILE makes an image there")
    home = settings.home()
    wanted = publish if publish is not None else output is None
    runs = chosen().is_stamp and find_endpoint(home) is not None
    path = built_disk(home, recipe, console, output)
    held = path.stat()
    document = {"recipe": recipe, "path": path, "size": held.st_size, "allocated": held.st_blocks * 512}
    lines = [f"{path} ({bytes_text(held.st_size)})"]
    if wanted and (runs or publish):
        with arm_client() as arm:
            document["urn"] = platform_images.publish(arm, group, recipe, path, console)
        lines.append(f"platform image {document['urn']}")
    console.result(document, lines)


@image.command(
    short_help="Make an image of a disk file or of a VHD's blob.",
    epilog=examples(
        "vmstamp image create web --source disk.vhdx",
        "vmstamp image create web --source http://127.0.0.1:10000/ACCOUNT/vhds/web.vhd --generation 2",
        "vmstamp --cloud azure image create web --source disk.vhdx --location westeurope --plan",
    ),
)
@click.argument("name")
@click.option(
    "--source",
    required=True,
    metavar="FILE|URL",
    shell_complete=complete_file,
    help="A disk file, or the URL of a VHD's blob.",
)
@generation_option
@click.option(
    "--os-state",
    type=click.Choice(["generalized", "specialized"], case_sensitive=False),
    default="generalized",
    show_default=True,
    help="Whether the machine's identity was removed from it.",
)
@click.option("--overwrite", is_flag=True, help="Replace the blob of an earlier upload.")
@plan_option
@location_option
@follow_option
@group_option
@json_option
def create(
    name: str,
    source: str,
    generation: int | None,
    os_state: str,
    overwrite: bool,
    plan: bool,
    follow: bool,
    group: str,
    console: Console,
) -> None:
    """Make an image of a disk file (inspected and uploaded first) or of a VHD's blob."""
    from vmstamp.cli import image_upload, images, look, plans
    from vmstamp.cli.sources import open_source

    def request(number: int) -> images.ImageRequest:
        return images.ImageRequest(name, group, number, os_state.capitalize())

    if "://" in source:
        with arm_client(read_only=plan) as arm:
            images.refuse_existing(arm, request(generation or 2))
            if plan:
                plans.tell(plans.of_image(arm, request(generation or 2), source), console)
                return
            made = images.create_image(arm, request(generation or 2), source)
        console.result(made, f"image {name} is there")
        return
    with open_source(Path(source), console, follow=follow) as opened, arm_client(read_only=plan) as arm:
        number = look.choose_generation(look.look_bootable(opened).report, generation)
        if plan:
            images.refuse_existing(arm, request(number))
            plans.tell(plans.of_image_of_disk(arm, request(number), opened), console)
            return
        done = image_upload.create_image_of_disk(
            arm, request(number), opened, overwrite=overwrite, report=console
        )
    console.result(done.to_json(), done.uploaded.url)


@image.command("list", epilog=examples("vmstamp image list", "vmstamp image list -g prod --json"))
@group_option
@json_option
def list_(group: str, console: Console) -> None:
    """List the images of a resource group."""
    from vmstamp.cli import images, resources

    with arm_client() as arm:
        found = images.list_images(arm, group)
        none = "" if found else resources.none_in(arm, "images", group)
    rows = [
        [
            str(one["name"]),
            str(one["properties"].get("hyperVGeneration", "")),
            str(one["properties"]["storageProfile"]["osDisk"].get("osState", "")),
            str(len(one["properties"]["storageProfile"].get("dataDisks", []))),
            str(one["properties"].get("provisioningState", "")),
        ]
        for one in found
    ]
    header = ("NAME", "GENERATION", "OS STATE", "DATA DISKS", "STATE")
    console.result(found, table(header, rows) if rows else none)


@image.command(epilog=examples("vmstamp image show web", "vmstamp image show web --json"))
@click.argument("name", shell_complete=complete_image)
@group_option
@json_option
def show(name: str, group: str, console: Console) -> None:
    """Show an image and its VHDs."""
    from vmstamp.cli import images

    with arm_client() as arm:
        found = images.get_image(arm, group, name)
    properties = found["properties"]
    lines = [
        f"{found['name']}",
        f"  id          {found['id']}",
        f"  location    {found['location']}",
        f"  generation  {properties.get('hyperVGeneration')}",
        f"  os state    {properties['storageProfile']['osDisk'].get('osState')}",
        f"  state       {properties.get('provisioningState')}",
        *(f"  VHD         {url}" for url in images.vhds_of(found)),
    ]
    console.result(found, lines)


@image.command(
    short_help="Delete an image.",
    epilog=examples(
        "vmstamp image delete web", "vmstamp image delete web --vhds", "vmstamp image delete web --plan"
    ),
)
@click.argument("name", shell_complete=complete_image)
@click.option("--vhds", is_flag=True, help="Delete the VHDs that it was made of as well.")
@plan_option
@group_option
@json_option
def delete(name: str, vhds: bool, plan: bool, group: str, console: Console) -> None:
    """Delete an image. VMs that were made of it keep their disks."""
    from vmstamp.cli import images, storage

    with arm_client() as arm:
        found = images.get_image(arm, group, name)
        doomed = [str(found["id"]), *(images.vhds_of(found) if vhds else ())]
        if not plan:
            arm.delete(doomed[0])
            for url in doomed[1:]:
                storage.delete_blob(arm, url)
    console.result(
        {"plan": plan, "deleted": doomed},
        [f"{'would delete' if plan else 'deleted'} {one}" for one in doomed],
    )
