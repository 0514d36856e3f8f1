from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from vmstamp.timeline import Event, Stage, Timeline

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def ticking() -> Callable[[], datetime]:
    """A clock that is a second later at each look."""
    times = (START + timedelta(seconds=n) for n in range(1000))
    return lambda: next(times)


def test_the_first_mark_of_a_stage_wins() -> None:
    timeline = Timeline(ticking())
    assert timeline.mark(Stage.KERNEL, "Linux 6.1")
    assert not timeline.mark(Stage.KERNEL, "Linux 6.1 again, after a reboot")
    assert timeline.find(Stage.KERNEL) == Event(Stage.KERNEL, START, "Linux 6.1")
    assert timeline.find(Stage.READY) is None


def test_events_are_in_the_order_of_their_times() -> None:
    timeline = Timeline(ticking())
    for stage in (Stage.STARTED, Stage.DHCP, Stage.FIRMWARE):
        timeline.mark(stage)
    assert [event.stage for event in timeline.events()] == [Stage.STARTED, Stage.DHCP, Stage.FIRMWARE]


def test_each_new_event_is_told_once_and_the_hook_may_look_at_the_timeline() -> None:
    told: list[tuple[Stage, int]] = []

    def hook(event: Event) -> None:
        told.append((event.stage, len(timeline.events())))

    timeline = Timeline(ticking(), hook)
    timeline.mark(Stage.STARTED)
    timeline.mark(Stage.STARTED)
    timeline.mark(Stage.READY)
    assert told == [(Stage.STARTED, 1), (Stage.READY, 2)]


def test_waiting_ends_with_the_stage_that_another_thread_marks() -> None:
    timeline = Timeline(ticking())
    marker = threading.Thread(target=timeline.mark, args=(Stage.FAILED, "no DVD"))
    marker.start()
    event = timeline.wait(Stage.READY, Stage.FAILED, timeout=10)
    marker.join()
    assert event is not None
    assert (event.stage, event.detail) == (Stage.FAILED, "no DVD")


def test_waiting_prefers_the_stage_that_is_named_first() -> None:
    timeline = Timeline(ticking())
    timeline.mark(Stage.STOPPED)
    timeline.mark(Stage.READY)
    event = timeline.wait(Stage.READY, Stage.STOPPED, timeout=0)
    assert event is not None
    assert event.stage is Stage.READY


def test_waiting_in_vain_ends_at_the_time_out() -> None:
    timeline = Timeline(ticking())
    timeline.mark(Stage.KERNEL)
    assert timeline.wait(Stage.READY, timeout=0.01) is None


def test_many_threads_mark_a_stage_once() -> None:
    timeline = Timeline(ticking())
    won: list[bool] = []
    threads = [threading.Thread(target=lambda: won.append(timeline.mark(Stage.READY))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert won.count(True) == 1
