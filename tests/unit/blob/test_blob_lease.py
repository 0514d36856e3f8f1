"""The states of a lease, as the table in Azure's documentation of Lease Blob has them."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from vmstamp.blob import lease
from vmstamp.blob.lease import INFINITE, Lease
from vmstamp.errors import AzureError

NOW = datetime(2026, 5, 4, 12, 0, 0, tzinfo=UTC)
LATER = NOW + timedelta(seconds=20)
MINE, OTHERS, THIRD = "mine", "others", "third"
FIXED = lease.acquire(None, MINE, 60, NOW)
FOREVER = lease.acquire(None, MINE, INFINITE, NOW)
EXPIRED = lease.acquire(None, MINE, 15, NOW - timedelta(seconds=15))
BREAKING = lease.break_(FIXED, 10, NOW)[0]
BROKEN = lease.break_(FIXED, 0, NOW)[0]


@pytest.mark.parametrize(
    ("held", "expected"),
    [
        (None, "available"),
        (FIXED, "leased"),
        (FOREVER, "leased"),
        (EXPIRED, "expired"),
        (BREAKING, "breaking"),
        (BROKEN, "broken"),
    ],
)
def test_the_state_follows_from_the_clock(held: Lease | None, expected: str) -> None:
    assert lease.state(held, NOW) == expected


def test_an_infinite_lease_does_not_expire_and_a_breaking_one_breaks() -> None:
    assert lease.state(FOREVER, NOW + timedelta(days=1000)) == "leased"
    assert lease.state(BREAKING, LATER) == "broken"


@pytest.mark.parametrize("held", [None, EXPIRED, BROKEN])
def test_a_free_lease_is_for_anybody(held: Lease | None) -> None:
    assert lease.acquire(held, OTHERS, 60, NOW).id == OTHERS


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda: lease.acquire(FIXED, OTHERS, 60, NOW), "LeaseAlreadyPresent"),
        (lambda: lease.acquire(BREAKING, MINE, 60, NOW), "LeaseIsBreakingAndCannotBeAcquired"),
        (lambda: lease.acquire(None, MINE, 14, NOW), "InvalidHeaderValue"),
        (lambda: lease.acquire(None, MINE, 61, NOW), "InvalidHeaderValue"),
        (lambda: lease.renew(FIXED, OTHERS, NOW), "LeaseIdMismatchWithLeaseOperation"),
        (lambda: lease.renew(BROKEN, MINE, NOW), "LeaseIsBrokenAndCannotBeRenewed"),
        (lambda: lease.change(FIXED, OTHERS, THIRD, NOW), "LeaseIdMismatchWithLeaseOperation"),
        (lambda: lease.change(BREAKING, MINE, THIRD, NOW), "LeaseIsBreakingAndCannotBeChanged"),
        (lambda: lease.change(EXPIRED, MINE, THIRD, NOW), "LeaseNotPresentWithLeaseOperation"),
        (lambda: lease.release(FIXED, OTHERS), "LeaseIdMismatchWithLeaseOperation"),
        (lambda: lease.release(None, MINE), "LeaseIdMismatchWithLeaseOperation"),
        (lambda: lease.break_(None, None, NOW), "LeaseNotPresentWithLeaseOperation"),
        (lambda: lease.break_(FIXED, 61, NOW), "InvalidHeaderValue"),
        (lambda: lease.check(FIXED, None, NOW, write=True), "LeaseIdMissing"),
        (lambda: lease.check(FIXED, OTHERS, NOW, write=False), "LeaseIdMismatchWithBlobOperation"),
        (lambda: lease.check(EXPIRED, MINE, NOW, write=True), "LeaseLost"),
        (lambda: lease.check(None, MINE, NOW, write=True), "LeaseNotPresentWithBlobOperation"),
    ],
)
def test_what_the_state_does_not_allow_is_refused(call: Callable[[], object], code: str) -> None:
    with pytest.raises(AzureError) as caught:
        call()
    assert caught.value.code == code


def test_the_holder_writes_and_everybody_reads() -> None:
    lease.check(FIXED, MINE, NOW, write=True)
    lease.check(BREAKING, MINE, NOW, write=True)
    lease.check(FIXED, None, NOW, write=False)
    lease.check(EXPIRED, None, NOW, write=True)


@pytest.mark.parametrize(
    ("held", "period", "seconds"),
    [(FIXED, None, 60), (FIXED, 10, 10), (FOREVER, None, 0), (FOREVER, 30, 30), (EXPIRED, 5, 0)],
)
def test_a_break_takes_the_shorter_time(held: Lease, period: int | None, seconds: int) -> None:
    assert lease.break_(held, period, NOW)[1] == seconds


def test_a_second_break_may_only_shorten_the_first() -> None:
    assert lease.break_(BREAKING, 5, NOW)[1] == 5
    assert lease.break_(BREAKING, 60, NOW)[1] == 10


def test_renewing_starts_the_time_anew_even_of_an_expired_lease() -> None:
    assert lease.renew(EXPIRED, MINE, LATER).until == LATER + timedelta(seconds=15)
