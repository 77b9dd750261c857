"""What the rows of a study found, clip by clip, in the file that keeps a search's evidence.

So a study that was stopped goes on, and a row that was computed once is not computed again.
"""

import hashlib
import inspect
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, is_dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np

import s5cli
from s5cli.score.clip import ClipResult
from s5cli.study.rows import Variant
from s5cli.tune.clips import Clip
from s5cli.tune.evidence import Store, digest
from s5cli.tune.tuner import part_fingerprint
from s5cli.weights.build import resolve

ASIDE = {"cli", "report", "challenge", "train", "run", "synth"}  # packages in which nothing of a row is computed


@dataclass(frozen=True)
class KeptRow:
    """What there is of one row."""

    store: Store | None  # None: nothing is kept
    fingerprint: str

    def results(self, clips: Iterable[Clip]) -> dict[str, ClipResult]:
        """Of these clips as far as they are known, by the hash of their content."""
        texts = {} if self.store is None else self.store.scores(self.fingerprint)
        return {clip.key: read(texts[clip.key]) for clip in clips if clip.key in texts}

    def add(self, clip: Clip, result: ClipResult) -> None:
        """Keeps one clip's result, whole or not at all."""
        if self.store is not None:
            self.store.add_score(self.fingerprint, clip.key, text(result))


@dataclass(frozen=True)
class Kept:
    """Where results are kept, and on what kind of device they are computed."""

    store: Store | None
    device_type: str

    def row(self, variant: Variant) -> KeptRow:
        """A row is known by its weights, knobs, options and labels, the kind of device, and the program's own lines."""
        entry = variant.entry
        parts = {role: part_fingerprint(part, self.device_type) for role, part in entry.parts.items()}
        _, _, setting, *rest = variant.content
        about = [program(), source(entry.flow), entry.flow, parts, repr(setting), rest]
        return KeptRow(self.store, digest(about))


# --- the program ------------------------------------------------------------------------------------------------------


@lru_cache
def program() -> str:
    """Hash of the code that rows go through; other fingerprints know of a program's version only."""
    folder = Path(s5cli.__file__).parent
    files = sorted(path for path in folder.rglob("*.py") if path.relative_to(folder).parts[0] not in ASIDE)
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in files)).hexdigest()


def source(flow: str) -> str:
    """Hash of the file that a flow stands in, which need not be the program's own."""
    return hashlib.sha256(Path(inspect.getfile(resolve(flow))).read_bytes()).hexdigest()


# --- a result as text -------------------------------------------------------------------------------------------------


def text(result: ClipResult) -> str:
    """A clip's result as JSON; `read` gives an equal one back."""
    return json.dumps(asdict(result), default=lambda array: array.tolist())


def read(content: str) -> ClipResult:
    """The result of a text written by `text`."""
    found: ClipResult = _read(ClipResult, json.loads(content))
    return found


def _read(kind: Any, value: Any) -> Any:
    """A value of that type from JSON."""
    if get_origin(kind) is tuple:
        return tuple(_read(get_args(kind)[0], one) for one in value)
    if get_origin(kind) is np.ndarray:
        return np.array(value, dtype=np.float64)
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        return kind(**{name: _read(hints[name], one) for name, one in value.items()})  # type: ignore[operator]
    return value
