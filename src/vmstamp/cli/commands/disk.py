"""inspect: a disk file before it becomes an image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from vmstamp.cli.options import FAILED, examples, follow_option, json_option
from vmstamp.cli.quantities import bytes_text
from vmstamp.cli.render import Console, shown

if TYPE_CHECKING:
    from vmstamp.cli.look import Look
    from vmstamp.guest.finding import Finding
    from vmstamp.guest.inspect import PartitionReport, Report

FILE = click.Path(path_type=Path, dir_okay=False)


@click.command(
    short_help="Look at a disk file without booting it.",
    epilog=examples("vmstamp inspect disk.vhdx", "vmstamp inspect --json disk.vhdx"),
)
@click.argument("file", type=FILE)
@follow_option
@json_option
@click.pass_context
def inspect(context: click.Context, file: Path, follow: bool, console: Console) -> None:
    """Look at a disk file without booting it: format, system, agent, what would fail on Azure.

    Any format, told by content: raw, VHD, VHDX, qcow2, VMDK, VDI, or one of these in a .gz, .xz, .zst, .bz2
    or .tar. `vmstamp doctor` tells more, and mends. Exit status 1 when something would fail that
    `vmstamp upload` does not mend by itself.
    """
    from vmstamp.cli.look import look_at
    from vmstamp.cli.sources import open_source

    with open_source(file, console, follow=follow) as source:
        look = look_at(source)
    document = {**look.report.to_json(), "mended_by_upload": sorted(look.mended)}
    console.result(document, look_lines(look))
    context.exit(FAILED if look.problems else 0)


def look_lines(look: Look) -> list[str]:
    """An inspection for people."""
    report = look.report
    sizes = report.sizes
    size = f"{bytes_text(sizes.virtual)} virtual"
    if sizes.file is not None and sizes.allocated is not None:
        size += f", file {bytes_text(sizes.file)}, {bytes_text(sizes.allocated)} allocated"
    os = report.os.pretty_name if report.os else "none that this version reads"
    lines = [
        f"{report.path}",
        f"  format      {report.subformat} {report.format}".rstrip(),
        f"  size        {size}",
        f"  partitions  {report.table or 'no table'}",
        *(f"    {_partition_text(part)}" for part in report.partitions),
        f"  generation  {' and '.join(map(str, report.generations)) or 'boots in none'}",
        f"  system      {os}",
        *_linux_lines(report),
        *(f"  note        {note}" for note in report.notes),
    ]
    bad = [finding for finding in report.findings if finding.status in ("fail", "warning")]
    told = [finding for finding in bad if _is_grave(finding)]
    passed = sum(finding.status == "pass" for finding in report.findings)
    lines += ["", f"{passed} checks passed, {len(told)} to look at"]
    if more := len(bad) - len(told):
        lines[-1] += f", {more} more of less weight: vmstamp doctor {report.path}"
    for finding in told:
        word = "MENDED" if finding.id in look.mended else finding.status.upper()
        lines.append(f"  {word:8} {finding.id}: {finding.found}")
        lines += [f"           {text}" for text in (finding.where, finding.why, finding.mend) if text]
    return lines


def _linux_lines(report: Report) -> list[str]:
    """What only a Linux has: a Windows brings its kernel, and its Setup provisions it."""
    if report.os is not None and report.os.kind == "Windows":
        return ["  provisioner Windows Setup"]
    agents = [
        *([f"cloud-init {report.cloud_init.version}"] if report.cloud_init else []),
        *([f"WALinuxAgent {report.waagent.version}"] if report.waagent else []),
    ]
    return [
        f"  kernels     {', '.join(report.kernels) or 'none'}",
        f"  agents      {', '.join(agents) or 'none'}",
        f"  provisioner {report.provisioner or 'none'}",
    ]


def _is_grave(finding: Finding) -> bool:
    """What `inspect` shows: what fails, and what may keep a VM from being made, booting and getting Ready."""
    return finding.status == "fail" or finding.severity in ("upload", "boot", "provision")


def _partition_text(part: PartitionReport) -> str:
    size = bytes_text(part.end - part.start)
    return f"{part.number}: {size} {part.content or 'unknown'} {shown(part.name)}".rstrip()
