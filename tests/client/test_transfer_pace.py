"""A service that is busy: transfers wait as long as it says, send less at once, and are right in the end."""

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest
from azure.storage.blob import BlobClient
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.client.blob_service import BlobService, serving
from tests.client.test_transfer_upload import MIB, Pattern
from vmstamp.errors import TransferError
from vmstamp.extents import Extent
from vmstamp.transfer.blobs import open_blob
from vmstamp.transfer.copy import copy
from vmstamp.transfer.copy_source import CopySource
from vmstamp.transfer.download import download, verify
from vmstamp.transfer.pace import MOST, PATIENCE, RAISE_AFTER, Pace, Turn, retry_after
from vmstamp.transfer.page_blob_disk import PageBlobDisk
from vmstamp.transfer.pool import each, pause
from vmstamp.transfer.upload import upload

CONTENT = Pattern(40 * MIB, (0, 24 * MIB), (30 * MIB, 36 * MIB))


class Clock:
    """A clock that only sleeping moves. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self.now += seconds


class Busy:
    """Answers every `every`-th request with a status, and the header Retry-After; 0: none."""

    def __init__(self) -> None:
        self.every, self.status, self.after = 0, 503, b"7"
        self.clock = Clock()
        self.seen: list[tuple[float, bool]] = []  # when each request came, and whether it was refused

    def __call__(self, served: ASGIApp) -> ASGIApp:
        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            refused = bool(self.every) and len(self.seen) % self.every == self.every - 1
            self.seen.append((self.clock.now, refused))
            if not refused:
                await served(scope, receive, send)
                return
            while (await receive()).get("more_body"):
                pass
            headers = [(b"x-ms-error-code", b"ServerBusy"), (b"content-length", b"0")]
            headers += [(b"retry-after", self.after)] if self.after else []
            await send({"type": "http.response.start", "status": self.status, "headers": headers})
            await send({"type": "http.response.body", "body": b""})

        return answer


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Busy, BlobService]]:
    faults = Busy()
    with serving(tmp_path_factory.mktemp("busy"), faults) as service:
        yield faults, service


@pytest.fixture(params=[503, 429])
def busy(request: pytest.FixtureRequest, served: tuple[Busy, BlobService]) -> Iterator[Busy]:
    faults, _ = served
    faults.seen, faults.every, faults.status, faults.after = [], 4, request.param, b"7"
    yield faults
    faults.every = 0


def opened(served: tuple[Busy, BlobService], name: str) -> tuple[BlobClient, Pace]:
    faults, service = served
    pace = Pace(clock=faults.clock, sleep=faults.clock.sleep)
    return open_blob(f"{service.url}/vhds/{name}", key=service.key, pace=pace), pace


def waits_were_honoured(faults: Busy) -> bool:
    """Whether after every refusal, one at a time, the next request came when it was to."""
    pairs = pairwise(faults.seen)
    gaps = [after - before for (before, refused), (after, _) in pairs if refused]
    return len(gaps) >= 3 and all(gap >= 7 for gap in gaps)


def test_an_upload_and_a_download_wait_as_long_as_they_are_told(
    busy: Busy, served: tuple[Busy, BlobService], tmp_path: Path
) -> None:
    blob, pace = opened(served, f"one-{busy.status}.vhd")
    upload(CONTENT, blob, concurrency=1)
    assert waits_were_honoured(busy)
    busy.seen = []
    with PageBlobDisk(blob) as source:
        download(source, tmp_path / "a.raw", concurrency=1)
        assert waits_were_honoured(busy)
        assert verify(CONTENT, source) is None
    assert pace.limit < MOST


def test_many_at_once_are_right_in_the_end(
    busy: Busy, served: tuple[Busy, BlobService], tmp_path: Path
) -> None:
    blob, pace = opened(served, f"many-{busy.status}.vhd")
    upload(CONTENT, blob)
    assert pace.limit < 8
    other, _ = opened(served, f"copy-{busy.status}.vhd")
    copy(CopySource(blob), other, sleep=busy.clock.sleep)
    with PageBlobDisk(other) as source:
        assert verify(CONTENT, source) is None
        download(source, tmp_path / "a.vhdx")
        download(source, tmp_path / "a.vhd")
    busy.every = 0
    with PageBlobDisk(other) as source:
        assert verify(CONTENT, source) is None


def test_a_service_that_does_not_say_how_long_is_asked_less_and_less(
    served: tuple[Busy, BlobService],
) -> None:
    faults, _ = served
    blob, _ = opened(served, "always.vhd")
    faults.seen, faults.every, faults.status, faults.after = [], 1, 503, b""
    began = faults.clock.now
    try:
        with pytest.raises(TransferError, match="503 ServerBusy") as caught:
            upload(CONTENT, blob)
    finally:
        faults.every = 0
    assert "busy" in caught.value.message and "later" in caught.value.hint
    assert PATIENCE / 2 < faults.clock.now - began <= PATIENCE
    times = [at for at, _ in faults.seen]
    gaps = [after - before for before, after in pairwise(times)]
    assert gaps == sorted(gaps) and len(gaps) < 15


def test_a_service_that_says_too_long_is_not_waited_for(served: tuple[Busy, BlobService]) -> None:
    faults, _ = served
    blob, _ = opened(served, "never.vhd")
    faults.seen, faults.every, faults.after = [], 1, b"3600"
    began = faults.clock.now
    try:
        with pytest.raises(TransferError, match="503 ServerBusy"):
            upload(CONTENT, blob)
    finally:
        faults.every = 0
    assert (faults.clock.now, len(faults.seen)) == (began, 1)


def test_a_mistake_of_the_service_is_tried_again(served: tuple[Busy, BlobService]) -> None:
    faults, _ = served
    blob, pace = opened(served, "mistakes.vhd")
    faults.seen, faults.every, faults.status, faults.after = [], 3, 500, b""
    try:
        upload(CONTENT, blob, concurrency=2)
    finally:
        faults.every = 0
    assert pace.limit == MOST, "that is no reason to send less"
    with PageBlobDisk(blob) as source:
        assert verify(CONTENT, source) is None


# -- the pace itself


def test_all_that_were_in_flight_lower_it_once() -> None:
    clock = Clock()
    pace = Pace(8, clock=clock, sleep=clock.sleep)
    for _ in range(8):
        pace._try_enter()
    for _ in range(8):
        pace.busy(Turn(0), 1.0)
    assert pace.limit == 4
    pace.busy(Turn(1), 1.0)
    assert pace.limit == 2


def test_it_is_raised_slowly_and_not_above_its_most() -> None:
    pace = Pace(3, clock=lambda: 0.0)
    pace.limit = 1
    raised = []
    for _ in range(4 * RAISE_AFTER):
        pace.good()
        raised.append(pace.limit)
    assert [raised.index(2), raised.index(3), raised[-1]] == [RAISE_AFTER - 1, 2 * RAISE_AFTER - 1, 3]


def test_no_more_go_at_once_than_the_limit() -> None:
    pace = Pace(2)
    lock, running, most = threading.Lock(), 0, 0
    both = threading.Barrier(2, timeout=10)

    def work() -> None:
        nonlocal running, most
        with pace.turn():
            with lock:
                running += 1
                most = max(most, running)
            both.wait()
            with lock:
                running -= 1

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert (most, running) == (2, 0)


def test_a_pause_ends_with_the_transfer() -> None:
    """One worker fails while the others wait for a busy service: nobody waits for those."""
    began = time.monotonic()

    def work(piece: Extent) -> None:
        if piece.start:
            raise OSError("enough")
        pause(100)

    with pytest.raises(OSError, match="enough"):
        each([Extent(0, 1), Extent(1, 2)], work, 2, "paused")
    assert time.monotonic() - began < 50


NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7.0),
        ("Fri, 02 Jan 2026 03:04:35 GMT", 30.0),
        ("Fri, 02 Jan 2026 03:00:00 GMT", 0.0),
        ("", None),
        ("soon", None),
        ("-1", None),
    ],
)
def test_retry_after_is_a_count_or_a_date(text: str, seconds: float | None) -> None:
    assert retry_after(text, NOW) == seconds
