"""Requests to Microsoft.Compute at the subscription's scope: sizes by location, and what is sold where."""

from __future__ import annotations

from vmstamp.arm.compute.disks import NAME as DISKS
from vmstamp.arm.compute.extension_images import extension_image_calls
from vmstamp.arm.compute.run_command import DOCUMENTS
from vmstamp.arm.compute.sizes import SIZES, Size, vm_sizes
from vmstamp.arm.compute.virtual_machines import NAME as MACHINES
from vmstamp.arm.engine import Engine
from vmstamp.arm.faults import not_found, unsupported
from vmstamp.arm.resource import Json
from vmstamp.arm.types import Call, Reply, Request
from vmstamp.errors import AzureError


def compute_calls(engine: Engine) -> list[Call]:
    """The calls, for the routes."""

    def check(location: str) -> str:
        name = engine.locations.normalize(location)
        if not engine.locations.known(name):
            raise AzureError(400, "InvalidLocation", f"The location '{location}' is not one of this stamp's.")
        return name

    def sizes(request: Request, words: tuple[str, ...]) -> Reply:
        check(words[0])
        return Reply(200, vm_sizes())

    def machines(request: Request, words: tuple[str, ...]) -> Reply:
        location = check(words[0])
        found = [vm for vm in engine.catalog.select(type=MACHINES) if vm.location == location]
        return Reply(200, {"value": [engine.show(vm) for vm in found]})

    def commands(request: Request, words: tuple[str, ...]) -> Reply:
        check(words[0])
        brief = [{k: v for k, v in one.items() if k not in ("script", "parameters")} for one in DOCUMENTS]
        return Reply(200, {"value": brief})

    def command(request: Request, words: tuple[str, ...]) -> Reply:
        check(words[0])
        for one in DOCUMENTS:
            if one["id"].lower() == words[1].lower():
                return Reply(200, one)
        raise not_found()

    def skus(request: Request, words: tuple[str, ...]) -> Reply:
        text = request.query.get("$filter", "")
        locations = engine.locations.names()
        if text:
            location = text.removeprefix("location eq ").strip("'")
            if not text.startswith("location eq '"):
                raise unsupported(f"The filter '{text}' (supported: location eq 'NAME')", target="$filter")
            locations = [check(location)]
        return Reply(200, {"value": [sku for name in locations for sku in _skus(name)]})

    return [
        Call("GET", "Microsoft.Compute", ("locations", "{}", "vmSizes"), sizes),
        Call("GET", "Microsoft.Compute", ("locations", "{}", "virtualMachines"), machines),
        Call("GET", "Microsoft.Compute", ("locations", "{}", "runCommands"), commands),
        Call("GET", "Microsoft.Compute", ("locations", "{}", "runCommands", "{}"), command),
        Call("GET", "Microsoft.Compute", ("skus",), skus),
        *extension_image_calls(engine.settings.subscription, check),
    ]


def _skus(location: str) -> list[Json]:
    disk = {
        "resourceType": DISKS.split("/")[1],
        "name": "Standard_LRS",
        "tier": "Standard",
        "locations": [location],
    }
    return [disk, *(_machine_sku(size, location) for size in SIZES)]


def _machine_sku(size: Size, location: str) -> Json:
    generations = ",".join(f"V{number}" for number in size.generations)
    capabilities = {
        "vCPUs": str(size.vcpus),
        "MemoryGB": f"{size.memory_mib / 1024:g}",
        "MaxDataDiskCount": str(size.data_disks),
        "HyperVGenerations": generations,
        "CpuArchitectureType": "x64",
        "PremiumIO": "False",
    }
    return {
        "resourceType": MACHINES.split("/")[1],
        "name": size.name,
        "tier": "Standard",
        "size": size.name.removeprefix("Standard_"),
        "locations": [location],
        "locationInfo": [{"location": location, "zones": []}],
        "capabilities": [{"name": name, "value": value} for name, value in capabilities.items()],
        "restrictions": [],
    }
