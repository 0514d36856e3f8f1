"""Files that Hyper-V, Virtual PC and disk2vhd wrote, and a log that was left: QEMU's own samples.

They come with QEMU's source, which apt fetches once; they are kept beside the recipes that tests build.
"""

from __future__ import annotations

import bz2
import os
import re
import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from vmstamp import disk
from vmstamp.disk.check import check, repair
from vmstamp.errors import ProgramError, ProgramMissing
from vmstamp.run import run

CACHE = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "vmstamp" / "qemu-samples"
APT = Path("/etc/apt")
MIB = 1024 * 1024
GIB = 1024 * MIB


@dataclass(frozen=True)
class Sample:
    """A file, what it is, and what check says of it."""

    name: str
    format: str
    size: int
    block_size: int
    creator: str
    state: str = "sound"


SAMPLES = (
    Sample("iotest-dynamic-1G.vhdx", "vhdx", GIB, 32 * MIB, "Microsoft Windows 6.2.9200.16384"),
    Sample("test-disk2vhd.vhdx", "vhdx", 256 * MIB, 2 * MIB, "d2v", "repairable"),  # headers of one number
    Sample("iotest-dirtylog-10G-4M.vhdx", "vhdx", 10 * GIB, MIB, "QEMU v1.6.50", "repairable"),
    Sample("hyperv2012r2-dynamic.vhd", "vhd", 127 * GIB, 2 * MIB, "win"),
    Sample("virtualpc-dynamic.vhd", "vhd", 127 * GIB, 2 * MIB, "vpc"),
    Sample("d2v-zerofilled.vhd", "vhd", 263454720, 2 * MIB, "d2v"),
)


def fetch(place: Path) -> None:
    """Put the samples into `place`, which is not there yet. Raises ProgramError, ProgramMissing."""
    work = place.with_name(f"{place.name}.{os.getpid()}")
    try:
        for part in ("parts", "state/lists/partial", "cache/archives/partial"):
            (work / part).mkdir(parents=True)
        for listed in (*APT.glob("sources.list.d/*"), APT / "sources.list"):
            if listed.is_file():
                text = re.sub(r"^Types:.*", "Types: deb-src", listed.read_text(), flags=re.MULTILINE)
                text = re.sub(r"^deb\s", "deb-src ", text, flags=re.MULTILINE)
                (work / "parts" / listed.name.replace("sources.list", "main.list")).write_text(text)
        options = {
            "Dir::Etc::sourcelist": "/dev/null",
            "Dir::Etc::sourceparts": str(work / "parts"),
            "Dir::State": str(work / "state"),
            "Dir::State::status": "/var/lib/dpkg/status",
            "Dir::Cache": str(work / "cache"),
            "APT::Sandbox::User": "",
        }
        apt = ["apt-get", "-q", *(word for pair in options.items() for word in ("-o", "=".join(pair)))]
        run([*apt, "update"], timeout=120)
        run([*apt, "source", "--download-only", "qemu"], cwd=work, timeout=300)
        (source,) = work.glob("qemu_*.orig.tar.*")
        samples = work / "samples"
        samples.mkdir()
        with tarfile.open(source) as archive:
            for member in archive:
                name = Path(member.name)
                if name.parent.name == "sample_images" and name.suffix == ".bz2":
                    (samples / name.name).write_bytes(archive.extractfile(member).read())  # type: ignore[union-attr]
        if not place.exists():
            samples.rename(place)
    finally:
        shutil.rmtree(work, ignore_errors=True)


@pytest.fixture(scope="session")
def samples() -> Path:
    if not CACHE.exists():
        CACHE.parent.mkdir(parents=True, exist_ok=True)
        try:
            fetch(CACHE)
        except (ProgramError, ProgramMissing) as error:
            pytest.skip(f"QEMU's source cannot be fetched here: {error.message}")
    return CACHE


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_it_is_read_as_qemu_reads_it(samples: Path, tmp_path: Path, sample: Sample) -> None:
    path, theirs, plain = tmp_path / sample.name, tmp_path / "theirs", tmp_path / "plain"
    path.write_bytes(bz2.decompress((samples / f"{sample.name}.bz2").read_bytes()))
    before = path.read_bytes()
    report = check(path)
    assert report.state == sample.state, report.problems
    shutil.copyfile(path, theirs)
    if sample.state == "repairable":
        run(["qemu-img", "check", "-q", "-r", "all", "-f", sample.format, theirs])
    name = "vpc" if sample.format == "vhd" else "vhdx"
    run(["qemu-img", "convert", "-f", name, "-O", "raw", theirs, plain])
    with disk.open(path) as opened, disk.open(plain) as expected:
        told = disk.describe(opened)
        assert (told.virtual_size, told.block_size, told.creator) == (
            sample.size,
            sample.block_size,
            sample.creator,
        )
        assert disk.compare(opened, expected) is None
        if sample.state == "repairable":
            repair(path, tmp_path / "mended")
            assert check(tmp_path / "mended").state == "sound"
            with disk.open(tmp_path / "mended") as mended:
                assert disk.compare(mended, expected) is None
    assert path.read_bytes() == before
