"""Command lines in processes of their own that need not import PyTorch again, which takes most of a short one's time.

A process that has imported the program is forked for each (`multiprocessing`'s fork server): its own descriptors,
environment, folder, memory and exit code, and real signals. What such a process does before the program is imported is
not tested by this; `subprocess` is there for that.
"""

from __future__ import annotations

import atexit
import io
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import Any

PRELOADED = [
    "s5cli.cli.quick", "torch", "torch._meta_registrations", "s5cli.cli", "s5cli.run.pipeline", "s5cli.run.folder",
    "s5cli.systems.baseline", "s5cli.systems.tagging_driven", "s5cli.weights.build", "s5cli.cli.stems",
    "s5cli.study.studies", "s5cli.synth.write", "s5cli.report.write", "s5cli.tune.tuner", "tests.toy",
]  # fmt: skip


def run(command: Sequence[object], **how: Any) -> subprocess.CompletedProcess[Any]:
    """As `subprocess.run`, of a command line of `s5` with captured output."""
    timeout, check = how.pop("timeout", 120), how.pop("check", False)
    with Popen(command, **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | how) as process:
        try:
            out, err = process.communicate(timeout=timeout)
        except BaseException:
            process.kill()
            raise
    if check and process.returncode:
        raise subprocess.CalledProcessError(process.returncode, process.args, out, err)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


class Popen(subprocess.Popen[Any]):
    """As `subprocess.Popen`, of a command line of `s5`: the words after the program's name."""

    def __init__(self, command: Sequence[object], **how: Any) -> None:
        super().__init__([os.fspath(word) if isinstance(word, os.PathLike) else str(word) for word in command], **how)

    def _execute_child(  # type: ignore[override]  # the place where CPython 3.11 makes the process
        self, args: list[str], executable: object, preexec_fn: object, close_fds: bool, pass_fds: object, cwd: Any,
        env: Mapping[str, str] | None, startupinfo: object, creationflags: int, shell: bool, p2cread: int,
        p2cwrite: int, c2pread: int, c2pwrite: int, errread: int, errwrite: int, *others: Any,
    ) -> None:  # fmt: skip
        own = [own if own != -1 else number for number, own in enumerate((p2cread, c2pwrite, errwrite))]
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
        start = _Start(args, own, dict(os.environ if env is None else env), os.fspath(cwd or Path.cwd()))
        self._forked = context.Process(target=start)
        self._forked.start()
        assert self._forked.pid is not None
        self.pid = self._forked.pid
        self._child_created = True
        self._close_pipe_fds(p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite)

    def _internal_poll(self, *_: object, **__: object) -> int | None:
        if self.returncode is None:
            self.returncode = self._forked.exitcode
        return self.returncode

    def _wait(self, timeout: float | None) -> int | None:
        self._forked.join(timeout)
        if self._internal_poll() is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return self.returncode


class _Start:
    """What the new process does; pickled on its way there, with its descriptors."""

    def __init__(self, args: list[str], descriptors: list[int], environment: dict[str, str], folder: str) -> None:
        self.args, self.descriptors, self.environment, self.folder = args, descriptors, environment, folder
        self.hangup = signal.getsignal(signal.SIGHUP)  # which nohup ignores, and so do the children of who ignores it

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"descriptors": [DupFd(number) for number in self.descriptors]}

    def __call__(self) -> None:
        for number, given in enumerate([duplicate.detach() for duplicate in self.descriptors]):
            os.dup2(given, number)
            os.close(given)
        os.environ.clear()
        os.environ.update(self.environment)
        os.chdir(self.folder)
        signal.signal(signal.SIGHUP, self.hangup)
        encoding = self.environment.get("PYTHONIOENCODING")
        sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)), encoding)
        sys.stdout = sys.__stdout__ = _written(1, encoding, "strict")
        sys.stderr = sys.__stderr__ = _written(2, encoding, "backslashreplace")
        sys.argv = ["s5", *self.args]
        try:
            runpy.run_module("s5cli", run_name="__main__")
        finally:
            atexit._run_exitfuncs()


def _written(number: int, encoding: str | None, errors: str) -> io.TextIOWrapper:
    raw = io.BufferedWriter(io.FileIO(number, "w", closefd=False))
    return io.TextIOWrapper(raw, encoding, errors, line_buffering=number == 2 or os.isatty(number))
