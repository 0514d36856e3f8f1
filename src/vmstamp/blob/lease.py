"""Leases on blobs and containers: pure functions from a lease and the time to the next lease.

A lease is stored as the facts that its holder caused; its state follows from the clock.
REST: Lease Blob; Lease Container, 2021-12-02.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Literal

from vmstamp.blob import faults

State = Literal["available", "leased", "expired", "breaking", "broken"]

INFINITE: Final = -1
MINIMUM_SECONDS: Final = 15
MAXIMUM_SECONDS: Final = 60
MAXIMUM_BREAK_SECONDS: Final = 60


@dataclass(frozen=True)
class Lease:
    """A lease that was acquired once. `seconds` is INFINITE or its length; `until` its end (None: never).

    `breaks` is when it counts as broken, if somebody broke it.
    """

    id: str
    seconds: int
    until: datetime | None
    breaks: datetime | None = None

    def state(self, now: datetime) -> State:
        if self.breaks is not None:
            return "breaking" if now < self.breaks else "broken"
        return "expired" if self.until is not None and now >= self.until else "leased"

    def locks(self, now: datetime) -> bool:
        """Whether writers must show the lease's id."""
        return self.state(now) in ("leased", "breaking")


def state(lease: Lease | None, now: datetime) -> State:
    return "available" if lease is None else lease.state(now)


def acquire(lease: Lease | None, lease_id: str, seconds: int, now: datetime) -> Lease:
    """Take the lease, or extend one's own. Raises 409 LeaseAlreadyPresent, 400 for a length out of range."""
    if seconds != INFINITE and not MINIMUM_SECONDS <= seconds <= MAXIMUM_SECONDS:
        raise faults.invalid_header("x-ms-lease-duration", str(seconds))
    if lease is not None and lease.locks(now):
        if lease.id != lease_id:
            raise faults.fault("LeaseAlreadyPresent")
        if lease.breaks is not None:
            raise faults.fault("LeaseIsBreakingAndCannotBeAcquired")
    return Lease(lease_id, seconds, _end(seconds, now))


def renew(lease: Lease | None, lease_id: str, now: datetime) -> Lease:
    """Start the lease's time anew; an expired one too, if nobody else has taken it."""
    held = _own(lease, lease_id)
    if held.breaks is not None:
        raise faults.fault("LeaseIsBrokenAndCannotBeRenewed")
    return replace(held, until=_end(held.seconds, now))


def change(lease: Lease | None, lease_id: str, proposed: str, now: datetime) -> Lease:
    """Give the lease another id; asking twice is allowed."""
    if lease is None or not lease.locks(now):
        raise faults.fault("LeaseNotPresentWithLeaseOperation")
    if lease.id not in (lease_id, proposed):
        raise faults.fault("LeaseIdMismatchWithLeaseOperation")
    if lease.breaks is not None:
        raise faults.fault("LeaseIsBreakingAndCannotBeChanged")
    return replace(lease, id=proposed)


def release(lease: Lease | None, lease_id: str) -> None:
    """Check that `lease_id` may end the lease; afterwards there is none."""
    _own(lease, lease_id)


def break_(lease: Lease | None, period: int | None, now: datetime) -> tuple[Lease, int]:
    """End the lease whoever holds it, after `period` seconds at most; and the seconds it still has."""
    if period is not None and not 0 <= period <= MAXIMUM_BREAK_SECONDS:
        raise faults.invalid_header("x-ms-lease-break-period", str(period))
    if lease is None:
        raise faults.fault("LeaseNotPresentWithLeaseOperation")
    left = _seconds_left(lease, now)
    wait = left if period is None else min(period, left) if lease.seconds != INFINITE else period
    if lease.breaks is not None:
        wait = left if period is None else min(period, left)
    return replace(lease, breaks=now + timedelta(seconds=wait)), wait


def check(
    lease: Lease | None,
    lease_id: str | None,
    now: datetime,
    *,
    write: bool,
    what: Literal["Blob", "Container"] = "Blob",
) -> None:
    """Raise 412 unless a request with `lease_id` (None: it has none) may go on."""
    locked = lease is not None and lease.locks(now)
    if lease_id is None:
        if locked and write:
            raise faults.fault("LeaseIdMissing", what.lower())
        return
    if lease is None:
        raise faults.fault(f"LeaseNotPresentWith{what}Operation")
    if lease.id != lease_id:
        raise faults.fault(f"LeaseIdMismatchWith{what}Operation")
    if not locked:
        raise faults.fault("LeaseLost")


def _own(lease: Lease | None, lease_id: str) -> Lease:
    if lease is None or lease.id != lease_id:
        raise faults.fault("LeaseIdMismatchWithLeaseOperation")
    return lease


def _end(seconds: int, now: datetime) -> datetime | None:
    return None if seconds == INFINITE else now + timedelta(seconds=seconds)


def _seconds_left(lease: Lease, now: datetime) -> int:
    """Whole seconds until the lease ends by itself; 0 for an infinite one, which breaks at once."""
    end = lease.breaks or lease.until
    return 0 if end is None else max(0, -int((now - end).total_seconds() // 1))
