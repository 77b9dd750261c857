"""Channels keep order and bounds; a crew ends together, whatever ends it."""

import signal
import threading
import time

import pytest

from s5cli.run.threads import CancelledError, Channel, Crew


def test_items_come_in_order_through_a_narrow_channel():
    channel = Channel[int](1)
    with Crew(channel) as crew:
        crew.start(lambda: ([channel.put(n) for n in range(1000)], channel.close())[-1], "put")
        assert list(channel) == list(range(1000))


def test_a_channel_holds_no_more_than_its_size():
    channel, n_put = Channel[int](3), [0]

    def put() -> None:
        for n in range(10):
            channel.put(n)
            n_put[0] = n + 1
        channel.close()

    with Crew(channel) as crew:
        crew.start(put, "put")
        time.sleep(0.2)
        assert n_put == [3]
        assert len(list(channel)) == 10


def test_several_share_a_channel_and_all_of_them_end():
    channel, taken = Channel[int](2), [[], [], []]
    with Crew(channel) as crew:
        for found in taken:
            crew.start(lambda found=found: found.extend(channel), "take")
        for n in range(300):
            channel.put(n)
        channel.close()
    assert sorted(n for found in taken for n in found) == list(range(300))


@pytest.mark.parametrize("n_waiting", [1, 3])
def test_cancelling_frees_those_who_wait_at_either_end(n_waiting):
    full, empty = Channel[int](1), Channel[int](1)
    full.put(0)
    ended = []

    def put() -> None:
        with pytest.raises(CancelledError):
            full.put(1)
        ended.append("put")

    def take() -> None:
        with pytest.raises(CancelledError):
            next(iter(empty))
        ended.append("take")

    with Crew(full, empty) as crew:
        for _ in range(n_waiting):
            crew.start(put, "put")
            crew.start(take, "take")
        time.sleep(0.1)
        crew.cancel()
    assert sorted(ended) == ["put"] * n_waiting + ["take"] * n_waiting


def test_the_error_of_a_thread_stops_the_others_and_surfaces():
    channel = Channel[int](1)

    def fail() -> None:
        channel.put(0)
        raise ZeroDivisionError

    def work() -> None:
        with Crew(channel) as crew:
            crew.start(fail, "fail")
            list(channel)

    with pytest.raises(ZeroDivisionError):
        work()


def test_the_error_of_the_caller_stops_the_threads_and_stays_his():
    channel = Channel[int](1)

    def put_for_ever() -> None:
        while True:
            channel.put(0)

    def work() -> None:
        with Crew(channel) as crew:
            crew.start(put_for_ever, "put for ever")
            next(iter(channel))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert all(thread.name != "put for ever" for thread in threading.enumerate())


def test_leaving_waits_for_the_threads():
    done = []
    with Crew() as crew:
        crew.start(lambda: (time.sleep(0.1), done.append(1))[-1], "slow")
    assert done == [1]


def test_a_signal_that_comes_while_a_thread_is_started_is_answered_after_it(monkeypatch):
    class StoppedError(Exception):
        pass

    def stop(number, frame):
        raise StoppedError

    started, channel = threading.Thread.start, Channel[int](1)

    def interrupted_start(thread):
        signal.raise_signal(signal.SIGINT)
        started(thread)

    before = signal.signal(signal.SIGINT, stop)
    monkeypatch.setattr(threading.Thread, "start", interrupted_start)
    try:
        with pytest.raises(StoppedError), Crew(channel) as crew:
            crew.start(lambda: list(channel), "take")
    finally:
        signal.signal(signal.SIGINT, before)
    assert not [thread for thread in threading.enumerate() if thread.name == "take"]
