"""What it costs to give a VM its disk: the image's content is shared, an overlay laid over it."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.figure import Figure, timed
from vmstamp.blob.store import BlobRef, BlobStore
from vmstamp.db import Database
from vmstamp.machine.overlay import create_overlay

GIB = 1 << 30
SIZES = {"1 GiB": GIB, "1 TiB": 1024 * GIB}
FOOTER = 512
RUNS = 15
ACCOUNT = "bench"


def measure() -> Iterator[Figure]:
    """The disk of a VM from an image of 1 GiB and of 1 TiB, in turns."""
    with tempfile.TemporaryDirectory(prefix="vmstamp-bench-") as name:
        directory = Path(name)
        db = Database(directory / "stamp.db")
        content = directory / "content"
        content.mkdir()
        store = BlobStore(db, content)
        store.create_account(ACCOUNT)
        store.create_container(ACCOUNT, "images")
        store.create_container(ACCOUNT, "disks")
        images = {label: _image(store, label, size) for label, size in SIZES.items()}
        seconds: dict[str, list[float]] = {label: [] for label in SIZES}
        for number in range(RUNS):
            for label, size in SIZES.items():
                made = BlobRef(ACCOUNT, "disks", f"{label}-{number}")
                overlay = directory / f"{label}-{number}.qcow2"

                def make(
                    image: BlobRef = images[label],
                    made: BlobRef = made,
                    overlay: Path = overlay,
                    size: int = size,
                ) -> None:
                    store.share(image, made)
                    create_overlay(overlay, store.content_path(made), size)

                seconds[label].append(timed(make))
        db.close()
    medians = {label: statistics.median(times) for label, times in seconds.items()}
    for label, value in medians.items():
        yield Figure(f"a VM's disk from an image of {label}", 1000 * value, "ms", 100, f"median of {RUNS}")
    yield Figure(
        "a VM's disk, 1 TiB / 1 GiB", medians["1 TiB"] / medians["1 GiB"], "x", 1.5, f"median of {RUNS}"
    )


def _image(store: BlobStore, label: str, size: int) -> BlobRef:
    """A page blob as large as a fixed VHD of `size` bytes, with a MiB of data at both ends."""
    image = BlobRef(ACCOUNT, "images", label)
    store.create_page_blob(image, size=size + FOOTER)
    for offset in (0, size - (1 << 20)):
        store.write_pages(image, offset, b"\xa5" * (1 << 20))
    return image
