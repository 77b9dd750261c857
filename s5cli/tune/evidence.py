"""Evidence on disk: results of steps for single clips, content-addressed, in one SQLite file that any search adds to.

A result is filed under the hash of the clip's content, of the step with its weights and options, and of what was asked;
what a whole system scored on a clip (`s5 study`) under the hash of the clip's content and of the row.
SQLite commits whole results or none, whenever the process ends, and lets several searches write at once.
"""

import hashlib
import json
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load, save

from s5cli.errors import OutputError, UsageError
from s5cli.scene import Floats

FORMAT = 2
FILE = "evidence.sqlite"
WAIT_S = 60.0  # for another search that is writing
SDR, SDRI = "sdr_db", "sdri_db"

Inputs = tuple[Any, ...]
"""What a step was asked of one clip, an entry for each input, as JSON holds it: whole numbers nested as in the array
(classes, say), names of waveforms (`waveform_name`), or of other numbers the digest of their bytes."""


@dataclass(frozen=True)
class CachedResult:
    """What a step once gave for one clip."""

    key: str
    step: str  # hash of the step and of the weights behind it
    clip: str  # hash of mixture and references
    inputs: Inputs
    arrays: Mapping[str, npt.NDArray[Any]]  # of one clip; in the place of waveforms their numbers within the result
    sdr_db: Floats  # [n, m], every waveform of the result against every reference
    sdri_db: Floats  # [n, m], over mixture channel 0

    @cached_property
    def input_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Of each input; a digest counts as one number."""
        return tuple(() if isinstance(one, str) else np.shape(one) for one in self.inputs)

    @cached_property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Of each array."""
        return tuple(array.shape for array in self.arrays.values())


def result_key(step: str, clip: str, inputs: Inputs) -> str:
    """The address of a result."""
    return digest([FORMAT, step, clip, inputs])


def digest(content: Any) -> str:
    """SHA-256 of plain values."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def digest_of_bytes(content: bytes) -> str:
    """SHA-256 of an array's bytes, marked so that it is no waveform's name."""
    return f"sha256={hashlib.sha256(content).hexdigest()}"


def waveform_name(key: str, number: int) -> str:
    """The address of one waveform of a result."""
    return f"{key}:{number}"


def waveform_place(name: str) -> tuple[str, int]:
    """Inverse of `waveform_name`: the key of the result and the waveform's number in it."""
    key, _, number = name.rpartition(":")
    return key, int(number)


class Store:
    """The evidence of a cache folder.

    Raises:
        UsageError: the folder cannot be made, or its file is not evidence.
        OutputError: a result cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = error.strerror or error
            raise UsageError(f"{folder}: cannot be written to ({reason}); give another --cache") from error
        with self._database() as database:
            database.execute(
                "CREATE TABLE IF NOT EXISTS results"
                " (key TEXT PRIMARY KEY, step TEXT, clip TEXT, inputs TEXT, evidence BLOB) WITHOUT ROWID"
            )
            database.execute("CREATE INDEX IF NOT EXISTS of_step ON results (step, clip)")
            database.execute(
                "CREATE TABLE IF NOT EXISTS scores"
                " (row TEXT, clip TEXT, score TEXT, PRIMARY KEY (row, clip)) WITHOUT ROWID"
            )

    @contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        """A connection for one piece of work, committed at its end. None is kept open, so a fork shares none."""
        try:
            database = sqlite3.connect(self.path, timeout=WAIT_S)
            try:
                with database:
                    yield database
            finally:
                database.close()
        except sqlite3.OperationalError as error:
            raise OutputError(
                f"{self.path}: evidence cannot be read or kept ({error}); check space and rights"
            ) from error
        except sqlite3.DatabaseError as error:
            raise UsageError(f"{self.path}: damaged ({error}); remove it, or give another --cache") from error

    def add(self, results: Sequence[CachedResult]) -> None:
        """Keeps them, all or none; what is there already stays."""
        rows = [(one.key, one.step, one.clip, json.dumps(one.inputs), save(_tensors(one))) for one in results]
        with self._database() as database:
            database.executemany("INSERT OR IGNORE INTO results VALUES (?, ?, ?, ?, ?)", rows)

    def results(self, steps: Collection[str], clips: Collection[str]) -> Iterator[CachedResult]:
        """What there is of these steps and clips."""
        wanted = set(clips)
        with self._database() as database:
            for step in steps:
                found = database.execute("SELECT key, clip, inputs, evidence FROM results WHERE step = ?", (step,))
                for key, clip, inputs, evidence in found:
                    if clip in wanted:
                        yield _result(key, step, clip, inputs, evidence)

    def add_score(self, row: str, clip: str, score: str) -> None:
        """Keeps what a row of a study found of a clip, as text."""
        with self._database() as database:
            database.execute("INSERT OR REPLACE INTO scores VALUES (?, ?, ?)", (row, clip, score))

    def scores(self, row: str) -> dict[str, str]:
        """What there is of a row, by clip."""
        with self._database() as database:
            return dict(database.execute("SELECT clip, score FROM scores WHERE row = ?", (row,)))

    def __len__(self) -> int:
        with self._database() as database:
            return int(database.execute("SELECT count(*) FROM results").fetchone()[0])


def _tensors(one: CachedResult) -> dict[str, npt.NDArray[Any]]:
    arrays = {**one.arrays, SDR: one.sdr_db, SDRI: one.sdri_db}
    return {name: np.asarray(array, order="C") for name, array in arrays.items()}


def _result(key: str, step: str, clip: str, inputs: str, evidence: bytes) -> CachedResult:
    arrays = load(evidence)
    return CachedResult(key, step, clip, tuple(json.loads(inputs)), arrays, arrays.pop(SDR), arrays.pop(SDRI))
