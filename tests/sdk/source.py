"""The source distribution of the Azure SDK, which carries its tests: fetched once, checked by its hash.

It is kept unpacked in .sdk, which git ignores. `python -m tests.sdk.source` fetches it if it is not there;
requirements.txt beside this file names its version and hash.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
REQUIREMENTS: Final = Path(__file__).with_name("requirements.txt")
CACHE: Final = ROOT / ".sdk"
_PINNED: Final = re.compile(r"^azure-storage-blob==(\S+)", re.MULTILINE)


def version() -> str:
    """The version that requirements.txt pins."""
    found = _PINNED.search(REQUIREMENTS.read_text())
    if found is None:
        raise ValueError(f"{REQUIREMENTS}: azure-storage-blob is not pinned")
    return found[1]


def tests() -> Path:
    """Where the SDK's tests are, or would be."""
    return CACHE / f"azure_storage_blob-{version()}" / "tests"


def fetch() -> None:
    """Download and unpack what is not there. Raises CalledProcessError when pip cannot get it."""
    if tests().is_dir():
        return
    CACHE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        _download(Path(scratch))
        (archive,) = Path(scratch).glob("*.tar.gz")
        unpacked = Path(scratch) / "unpacked"
        with tarfile.open(archive) as file:
            file.extractall(unpacked, filter="data")
        (unpacked / tests().parent.name).rename(tests().parent)


def _download(directory: Path) -> None:
    words = ["download", "-q", "--disable-pip-version-check", "--no-deps", "--no-binary", ":all:"]
    words += ["--no-build-isolation", "--require-hashes", "-r", str(REQUIREMENTS), "-d", str(directory)]
    subprocess.run([sys.executable, "-m", "pip", *words], check=True)


if __name__ == "__main__":
    fetch()
