"""Evidence on disk: what a step once made of a clip, content-addressed, in one SQLite file that any search adds to.

A pass is filed under the hash of the clip's content, of the weights behind the step, and of what was asked. SQLite
commits whole passes or none, whenever the process ends, and lets several searches write at once.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load, save

from s5cli.errors import OutputError, UsageError
from s5cli.scene import Floats

FORMAT = 1
FILE = "evidence.sqlite"
WAIT_S = 60.0  # for another search that is writing
SDR, SDRI = "sdr_db", "sdri_db"

Inputs = tuple[tuple[int | str, ...], ...]
"""What a step was asked of one clip, an entry for each input: class indices, or names of waveforms (`take_name`)."""


@dataclass(frozen=True)
class Pass:
    """What a step made of one clip, once."""

    key: str
    step: str  # hash of the step and of the weights behind it
    clip: str  # hash of mixture and references
    inputs: Inputs
    arrays: Mapping[str, npt.NDArray[Any]]  # the result's arrays without the clip axis; of waveforms their numbers
    sdr_db: Floats  # [n, m], every waveform of the pass against every reference
    sdri_db: Floats  # [n, m], over mixture channel 0


def pass_key(step: str, clip: str, inputs: Inputs) -> str:
    """The address of a pass."""
    return digest([FORMAT, step, clip, inputs])


def digest(content: Any) -> str:
    """SHA-256 of plain values."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def take_name(key: str, number: int) -> str:
    """The address of one waveform of a pass."""
    return f"{key}:{number}"


class Store:
    """The evidence of a cache folder.

    Raises:
        UsageError: the folder cannot be made, or its file is not evidence.
        OutputError: a pass cannot be written.
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
                "CREATE TABLE IF NOT EXISTS passes"
                " (key TEXT PRIMARY KEY, step TEXT, clip TEXT, inputs TEXT, evidence BLOB) WITHOUT ROWID"
            )
            database.execute("CREATE INDEX IF NOT EXISTS by_step ON passes (step, clip)")

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

    def add(self, passes: Sequence[Pass]) -> None:
        """Keeps them, all or none; what is there already stays."""
        rows = [(one.key, one.step, one.clip, json.dumps(one.inputs), save(_tensors(one))) for one in passes]
        with self._database() as database:
            database.executemany("INSERT OR IGNORE INTO passes VALUES (?, ?, ?, ?, ?)", rows)

    def passes(self, steps: Collection[str], clips: Collection[str]) -> Iterator[Pass]:
        """What there is of these steps and clips."""
        wanted = set(clips)
        with self._database() as database:
            for step in steps:
                found = database.execute("SELECT key, clip, inputs, evidence FROM passes WHERE step = ?", (step,))
                for key, clip, inputs, evidence in found:
                    if clip in wanted:
                        yield _pass(key, step, clip, inputs, evidence)

    def __len__(self) -> int:
        with self._database() as database:
            return int(database.execute("SELECT count(*) FROM passes").fetchone()[0])


def _tensors(one: Pass) -> dict[str, npt.NDArray[Any]]:
    arrays = {**one.arrays, SDR: one.sdr_db, SDRI: one.sdri_db}
    return {name: np.asarray(array, order="C") for name, array in arrays.items()}


def _pass(key: str, step: str, clip: str, inputs: str, evidence: bytes) -> Pass:
    arrays = load(evidence)
    asked = tuple(tuple(column) for column in json.loads(inputs))
    return Pass(key, step, clip, asked, arrays, arrays.pop(SDR), arrays.pop(SDRI))
