"""This process as a driver of Ray, and what the cluster has to give."""

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, TextIO, cast

from s5cli.errors import UsageError
from s5cli.run.cluster.watch import watched

REACH_S = 10.0  # for a connection to the cluster's head; Ray itself would try for minutes
STORE_BYTES = 256 * 2**20  # shared memory of a Ray of our own, for stems on their way; what is more goes to its disk


@dataclass(frozen=True)
class Allocation:
    """How many workers there are, and what each of them has of its machine."""

    n_workers: int
    n_gpus: int
    n_cpus: int  # 0: as Ray likes

    @property
    def device(self) -> str:
        """For `s5cli.weights.device`; of a machine's GPUs, Ray shows a worker only its own."""
        return "cuda" if self.n_gpus else "cpu"

    @property
    def told(self) -> str:
        """
        >>> Allocation(8, n_gpus=1, n_cpus=0).told, Allocation(1, n_gpus=0, n_cpus=4).told
        ('8 workers on a GPU each', '1 worker on 4 CPUs')
        """
        room = "a GPU" if self.n_gpus else "a CPU" if self.n_cpus == 1 else f"{self.n_cpus} CPUs"
        return f"1 worker on {room}" if self.n_workers == 1 else f"{self.n_workers} workers on {room} each"


def allocated(n_workers: int | None, device: str) -> Allocation:
    """One GPU for each worker or, without GPUs, an equal number of the CPUs of the machine that has the fewest.

    Raises:
        UsageError: the cluster that was joined has not enough of them.
    """
    import ray

    n_gpus = int(ray.cluster_resources().get("GPU", 0))
    if device == "cuda" or (device == "auto" and n_gpus):
        if n_gpus < (n_workers or 1):
            raise UsageError(f"{n_gpus} GPUs in the cluster, not {n_workers or 'any'}; add machines, or --device cpu")
        return Allocation(n_workers or n_gpus, n_gpus=1, n_cpus=0)
    machines = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    machines = [n_cpus for n_cpus in machines if n_cpus]
    if sum(machines) < (n_workers or 1):
        raise UsageError(f"{sum(machines)} CPUs in the cluster, not {n_workers or 'any'}; give fewer --cluster-workers")
    n_workers = n_workers or len(machines)
    most_on_one = -(-n_workers // len(machines))
    return Allocation(n_workers, n_gpus=0, n_cpus=max(1, min(machines) // most_on_one))


@contextmanager
def joined(address: str) -> Iterator[None]:
    """Makes this process a driver of the cluster. Where it is one already, that is used, and left as it is.

    Raises:
        UsageError: there is no such cluster.
    """
    import ray

    if ray.is_initialized():
        yield
        return
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    check_reachable(address)
    with watched() if address == "local" else nullcontext(lambda: None) as is_up:
        _join(address)
        is_up()
        try:
            yield
        finally:
            ray.shutdown()


def check_reachable(address: str) -> None:
    """Does nothing if there is something at that address.

    Raises:
        UsageError: there is not, or it is no address.
    """
    if address in ("auto", "local"):
        return
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdecimal():
        raise UsageError(f"{address!r} is no address of a Ray cluster; give its head's host:port, auto or local")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=REACH_S).close()
    except (OSError, OverflowError, ValueError) as error:
        raise _nothing_at(address, error) from error


def _nothing_at(address: str, error: Exception) -> UsageError:
    reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
    if address == "local":
        return UsageError(f"Ray does not start on this machine ({reason}); call again, or without --cluster")
    advice = "give another --cluster-address, or RAY_AUTH_MODE=token to a cluster that wants one"
    return UsageError(f"no Ray cluster at {address!r} ({reason}); {advice}")


def _join(address: str) -> None:
    import ray

    own = address == "local"
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(
            address,
            object_store_memory=STORE_BYTES if own else None,
            include_dashboard=False if own else None,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except Exception as error:  # Ray raises Exception itself, too, where a machine is too busy for it to start in 30 s
        raise _nothing_at(address, error) from error
    finally:
        if threading.current_thread() is threading.main_thread() and on_sigterm is not None:
            signal.signal(signal.SIGTERM, on_sigterm)  # Ray puts its own there


class _NotRays:
    """A stream for all threads but Ray's own."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        by_ray = threading.current_thread().name.startswith("ray_")
        return len(text) if by_ray else self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def own_stdout() -> Iterator[None]:
    """Keeps out of this process's output what Ray prints there, whatever it is told, of workers that died.

    The run says so itself, and Ray's logs have all of it.
    """
    stdout = sys.stdout
    sys.stdout = cast(TextIO, _NotRays(stdout))
    try:
        yield
    finally:
        sys.stdout = stdout
