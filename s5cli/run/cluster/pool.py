"""The actors of a run, as the process sees them that gives them work."""

import time
from collections import Counter, deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias, cast

from s5cli.errors import S5Error
from s5cli.run.cluster.machine import AHEAD, RemoteWorker, WorkerSpec
from s5cli.run.cluster.session import Allocation
from s5cli.run.folder import Outcome
from s5cli.run.plan import Batch
from s5cli.run.record import Failure, Notice
from s5cli.run.threads import CancelledError, Crew

RETRIES = 1  # of a batch whose worker died, before its clips are tried one by one, and of each of those
MAX_RESTARTS = 30  # of a worker; then the others do without it
POLL_S = 0.5  # how soon a run is left after a signal
PATIENCE_S = 180.0  # before it is said that no worker has answered yet
END_S = 10.0  # in which the processes of actors that are not needed any more end

Actor: TypeAlias = Any
"""Ray's handle of a `RemoteWorker`."""


@contextmanager
def started(spec: WorkerSpec, allocation: Allocation, n_batches: int) -> Iterator[list[Actor]]:
    """Actors, not more than there are batches. They end with the block."""
    import ray

    actor_class: Any = ray.remote(RemoteWorker).options(
        num_gpus=allocation.n_gpus or None,
        num_cpus=allocation.n_cpus or None,
        scheduling_strategy="SPREAD",
        max_restarts=MAX_RESTARTS,
        max_task_retries=RETRIES,
        max_concurrency=AHEAD,
    )
    actors = [actor_class.remote(spec) for _ in range(min(allocation.n_workers, n_batches))]
    try:
        yield actors
    finally:
        for actor in actors:
            ray.kill(actor)
        refused = [actor.separate.remote(Batch({})) for actor in actors]
        ray.wait(refused, num_returns=len(refused), timeout=END_S)


class Pool:
    """Actors, and what they have in work."""

    def __init__(self, actors: Sequence[Actor], crew: Crew) -> None:
        self._actors = dict(enumerate(actors))
        self._crew = crew
        self._running: dict[Any, tuple[int, Batch]] = {}  # number of the actor, by Ray's reference to its answer
        self._impatient_s = time.monotonic() + PATIENCE_S

    def separate(self, batches: Sequence[Batch]) -> Generator[Outcome]:
        """What becomes of every clip, in the order of the answers.

        Batches whose worker died again and again come last, clip by clip and with nothing else on the worker, so that
        only the clip that kills it fails.

        Raises:
            CancelledError: the crew stops.
            S5Error: a machine cannot take part, or no worker is left.
        """
        deadly = yield from self._through(batches, AHEAD)
        alone = [Batch({name: path}, batch.window_s) for batch in deadly for name, path in batch.clips.items()]
        for batch in (yield from self._through(alone, 1)):
            for name, path in batch.clips.items():
                reason = f"{path}: {1 + RETRIES} workers died of it, or of something else (memory?); see Ray's logs"
                yield Failure(name, str(path), reason)

    def _through(self, batches: Sequence[Batch], ahead: int) -> Generator[Outcome, None, list[Batch]]:
        """Returns the batches that no worker survived."""
        import ray

        waiting, deadly = deque(batches), list[Batch]()
        while waiting or self._running:
            self._hand_out(waiting, ahead)
            self._release_idle()
            ready, _ = ray.wait(list(self._running), timeout=POLL_S)
            if self._crew.stopping:
                raise CancelledError
            yield from self._impatience(bool(ready))
            for answer in ready:
                number, batch = self._running.pop(answer)
                try:
                    yield from _got(answer)
                except _WorkerGoneError as error:
                    self._bury(number, error)
                    waiting.appendleft(batch)
                except _WorkerDiedError:
                    deadly.append(batch)
        return deadly

    def _hand_out(self, waiting: deque[Batch], ahead: int) -> None:
        busy = Counter(number for number, _ in self._running.values())
        while waiting:
            number = min(self._actors, key=busy.__getitem__)
            if busy[number] >= ahead:
                return
            batch = waiting.popleft()
            self._running[self._actors[number].separate.remote(batch)] = number, batch
            busy[number] += 1

    def _release_idle(self) -> None:
        """Actors without work make room: another's GPU may have gone with its machine, and its work waits for one."""
        import ray

        busy = {number for number, _ in self._running.values()}
        for number in self._actors.keys() - busy:
            ray.kill(self._actors.pop(number))

    def _impatience(self, answered: bool) -> Iterator[Notice]:
        if answered:
            self._impatient_s = float("inf")
        elif time.monotonic() > self._impatient_s:
            self._impatient_s = float("inf")
            yield Notice(f"no worker has answered for {PATIENCE_S:.0f} s; is the cluster busy? `ray status` tells")

    def _bury(self, number: int, error: Exception) -> None:
        self._actors.pop(number, None)
        if not self._actors:
            raise S5Error(f"no Ray worker is left ({error}); the same command goes on where this run ended") from error


class _WorkerDiedError(Exception):
    """A worker's process, or its answer on the way, was lost more often than Ray was to try again."""


class _WorkerGoneError(Exception):
    """A worker that Ray will not start again."""


def _got(answer: Any) -> list[Outcome]:
    """Raises what the worker raised, and where it is Ray that has an error, one of those above."""
    import ray
    from ray.exceptions import ActorDiedError, ActorUnschedulableError, RayError, RayTaskError

    try:
        return cast(list[Outcome], ray.get(answer))
    except RayTaskError as error:
        if isinstance(error.cause, S5Error):
            raise error.cause from None
        raise
    except (ActorDiedError, ActorUnschedulableError) as error:
        raise _WorkerGoneError(str(error).strip().splitlines()[-1].strip()) from error
    except RayError as error:
        raise _WorkerDiedError from error
