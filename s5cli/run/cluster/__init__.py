"""A run spread over the GPUs of a Ray cluster: one actor a GPU reads and separates, this process alone writes.

Ray places the actors, starts one again whose process died, gives it again what it had in work, and carries the stems
here. The rest is that of any run: `results.todo` says what is to be done, `work` does it, `results.take` writes it, so
that names, decisions, resuming and the list of failures are those of a single process. docs/cluster.md tells more.
"""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, replace

from s5cli.api import LoadedSystem
from s5cli.errors import UsageError
from s5cli.run.cluster.machine import AHEAD, WorkerSpec
from s5cli.run.cluster.pool import Pool, started
from s5cli.run.cluster.session import Allocation, allocated, joined, own_stdout
from s5cli.run.folder import Outcome, Results, Watch, opened, silent
from s5cli.run.plan import Job
from s5cli.run.record import Notice, RunResult
from s5cli.run.threads import Channel, Crew


@dataclass(frozen=True)
class Cluster:
    """Where a run is spread to."""

    address: str = ""  # host:port, auto, local; empty: RAY_ADDRESS, or a Ray on this machine that lasts for the run
    n_workers: int | None = None  # None: one for each GPU, or for each machine where there are none
    device: str = "auto"  # cuda, cpu, or auto: CUDA if the cluster has GPUs

    def separate_all(self, job: Job, loaded: Sequence[LoadedSystem], watch: Watch = silent) -> RunResult:
        """`pipeline.separate_all` on the workers of the cluster, with the same results.

        Stems may differ in their last bits where machines compute differently; not by more than one 16-bit step.

        Args:
            job: what is to be done; its recordings and its output folder are at the same place on every machine.
            loaded: one system, on this machine; it separates nothing, so the CPU is enough. The workers build their
                own, which have to be the same.
            watch: told of every clip; not always by the caller's thread.

        Raises:
            UsageError: as `pipeline.separate_all`; or no cluster there, too few GPUs or CPUs in it, or a machine in it
                that has another version, other weights, or not the same folders.
            WeightsError: a machine that lacks weights.
            OutputError: the output folder cannot be written to any more. What is finished by then stays.
            S5Error: no worker is left.
        """
        with own_stdout(), joined(self.address):
            allocation = allocated(self.n_workers, self.device)
            with opened(job, (replace(loaded[0], device=f"ray: {allocation.told}"),), watch) as results:
                _separate_with_actors(
                    results, WorkerSpec.of(job, loaded[0], allocation.device, results.stage), allocation, watch
                )
        return results.result


def chosen(kind: str | None, address: str | None, n_workers: int | None, device: str) -> Cluster | None:
    """What `--cluster`, `--cluster-address`, `--cluster-workers` and `--device` ask for; None: no cluster.

    Raises:
        UsageError: they do not go together, or Ray is not installed.

    >>> chosen(None, None, None, "cuda:0,cuda:1") is None
    True
    """
    if kind is None:
        if address is not None or n_workers is not None:
            raise UsageError("--cluster-address and --cluster-workers go with --cluster ray; give that too")
        return None
    if device not in ("auto", "cpu", "cuda"):
        raise UsageError(f"device {device!r} with --cluster ray; give auto, cpu or cuda: Ray chooses the GPUs")
    if importlib.util.find_spec("ray") is None:
        raise UsageError("--cluster ray needs Ray: pip install 's5cli[cluster]'")
    return Cluster(address or "", n_workers, device)


def _separate_with_actors(results: Results, spec: WorkerSpec, allocation: Allocation, watch: Watch) -> None:
    batches = results.todo
    if not batches:
        return
    watch(Notice(f"Ray: {allocation.told}"))
    n_at_once = max(len(batch.clips) for batch in batches)
    separated = Channel[Outcome](AHEAD * allocation.n_workers * n_at_once)
    crew = Crew(separated)
    with started(spec, allocation, len(batches)) as actors, crew:
        pool = Pool(actors, crew)

        def separate() -> None:
            for outcome in pool.separate(batches):
                separated.put(outcome)
            separated.close()

        def write() -> None:
            for outcome in separated:
                results.take(outcome)

        crew.start(write, "s5-write")
        crew.start(separate, "s5-spread").join()  # inside Ray this thread would miss a signal
