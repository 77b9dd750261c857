"""Many settings replayed by several processes, which share the evidence of the one that started them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor

import numpy as np

from s5cli.knobs import Setting
from s5cli.tune.form import Array
from s5cli.tune.replay import Replay
from s5cli.tune.score import Outcome

CHUNK = 32  # settings at most; large enough to hide what passing on a chunk costs
FEW = 16  # settings that are sooner done here

Stacked = tuple[Array, ...]  # the arrays of outcomes, [settings, b] each
_replay: Replay | None = None


def usable_workers() -> int:
    """Cores of this process where processes can share memory by forking, else one."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else 1


class Workers:
    """Processes that hold a replay. Started when there is enough to do, then kept, since a start takes 0.1 s."""

    def __init__(self, replay: Replay, count: int = 1) -> None:
        self.replay, self.count = replay, count
        self._pool: ProcessPoolExecutor | None = None

    def outcomes(self, settings: Sequence[Setting]) -> Iterator[Outcome]:
        """In the order of the settings."""
        if self.count < 2 or len(settings) <= FEW:
            yield from map(self.replay, settings)
            return
        size = min(CHUNK, -(-len(settings) // self.count))
        chunks = [settings[start : start + size] for start in range(0, len(settings), size)]
        for stacked in self._started().map(_outcomes, chunks):
            yield from (Outcome(*arrays) for arrays in zip(*stacked, strict=True))

    def close(self) -> None:
        """Ends the processes."""
        if self._pool is not None:
            self._pool.shutdown()
        self._pool = None

    def _started(self) -> ProcessPoolExecutor:
        if self._pool is None:
            fork = multiprocessing.get_context("fork")
            self._pool = ProcessPoolExecutor(self.count, fork, initializer=_adopt, initargs=(self.replay,))
        return self._pool


def _adopt(replay: Replay) -> None:
    """Ctrl-C is for the process that asked, which ends its workers; and without it they end too, however it died."""
    global _replay
    _replay = replay
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)


def _outcomes(settings: Sequence[Setting]) -> Stacked:
    """Stacked, since thousands of small arrays take long from one process to another."""
    if _replay is None:
        raise RuntimeError("a worker without evidence")
    outcomes = [_replay(setting) for setting in settings]
    return tuple(np.stack(arrays) for arrays in zip(*(outcome.arrays for outcome in outcomes), strict=True))
