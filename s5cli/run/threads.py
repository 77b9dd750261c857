"""Threads that work one after the other on a stream of items, and that stop together."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

T = TypeVar("T")


class CancelledError(Exception):
    """What a thread meets at a channel when the others have stopped; no error of its own."""


class Channel(Generic[T]):
    """A bounded queue that can be closed behind its last item, or cancelled at once.

    Built of SimpleQueue, as a signal may be answered in the middle of its calls, which Queue does not stand.

    >>> channel = Channel[str](size=2)
    >>> channel.put("a"); channel.put("b"); channel.close()
    >>> list(channel)
    ['a', 'b']
    """

    def __init__(self, size: int) -> None:
        self._items: SimpleQueue[tuple[T] | None] = SimpleQueue()
        self._room: SimpleQueue[None] = SimpleQueue()
        self._cancelled = False
        for _ in range(size):
            self._room.put(None)

    def put(self, item: T) -> None:
        """Waits for room. Raises CancelledError once the channel is cancelled."""
        self._room.get()
        self._check()
        self._items.put((item,))

    def __iter__(self) -> Iterator[T]:
        """Items until the channel is closed; several threads may share them. Raises CancelledError."""
        while (found := self._items.get()) is not None:
            self._check()
            self._room.put(None)
            yield found[0]
        self._items.put(None)  # for the others who wait
        self._check()

    def close(self) -> None:
        """Nothing more will be put."""
        self._items.put(None)

    def cancel(self) -> None:
        """Whoever puts or waits now or later is sent away."""
        self._cancelled = True
        self._items.put(None)
        self._room.put(None)

    def _check(self) -> None:
        if self._cancelled:
            self._room.put(None)  # for the others who wait
            raise CancelledError


class Crew:
    """Threads on common channels. Leaving the block waits for all of them; any error cancels the rest and is raised."""

    def __init__(self, *channels: Channel[Any]) -> None:
        self._channels = channels
        self._threads: list[threading.Thread] = []
        self._errors: list[BaseException] = []
        self.stopping = False

    def start(self, work: Callable[[], None], name: str) -> threading.Thread:
        """A thread that does the work; the error it ends with is the crew's."""
        thread = threading.Thread(target=self._guarded, args=(work,), name=name)
        with _signals_waiting():  # or one that comes between the two would leave a thread that cannot be waited for
            self._threads.append(thread)
            thread.start()
        return thread

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except CancelledError:
            pass
        except BaseException as error:  # raised again by the thread that waits for this one
            self._errors.append(error)
            self.cancel()

    def cancel(self) -> None:
        """Everybody stops at the next item."""
        self.stopping = True
        for channel in self._channels:
            channel.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> bool:
        if error is not None:
            self.cancel()
        for thread in self._threads:
            thread.join()
        if self._errors and (error is None or isinstance(error, CancelledError)):
            raise self._errors[0]
        return isinstance(error, CancelledError)


@contextmanager
def _signals_waiting() -> Iterator[None]:
    """SIGINT and SIGTERM are answered after the block, where the system can do that. Threads begun in it get none."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
