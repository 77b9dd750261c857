"""A finished run, as its JSON files tell of it: what may be submitted, and every reason why it may not."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import soundfile

from s5cli import official
from s5cli.errors import InputError, UsageError
from s5cli.scene import RATE_HZ

RUN_FILE = "run.json"
SUBMITTED_SUBTYPE = "PCM_16"
_CONFIG = ("system", "weights", "knobs", "channel_order", "resample", "subtype", "fingerprint", "versions")
"""What of `run.json` is told to the organisers: how stems were made, not where and when."""


@dataclass(frozen=True)
class RunClip:
    """A clip of a run."""

    name: str
    stems: tuple[official.EvalStem, ...]
    rejected: tuple[float, ...]  # confidences of what was proposed and is no stem, 0…1
    mixture: Path | None  # None: an older version did not say

    @property
    def silence(self) -> float:
        """The probability of an empty slot: what the surest rejected proposal leaves; 1 where nothing was proposed.

        >>> RunClip("a", (), (0.25, 0.5), None).silence
        0.5
        """
        return 1.0 - max(self.rejected, default=0.0)


@dataclass(frozen=True)
class FinishedRun:
    """A folder of stems in which every clip is done."""

    folder: Path
    about: Mapping[str, Any]  # run.json
    clips: tuple[RunClip, ...]  # in name order

    @property
    def system(self) -> str:
        return str(self.about["system"])

    @property
    def nparams(self) -> int:
        """Parameters as the official code counts them."""
        return int(self.about["nparams"])

    @property
    def config(self) -> dict[str, Any]:
        return {key: self.about[key] for key in _CONFIG if key in self.about}

    @property
    def identity(self) -> dict[str, Any]:
        """What two runs share that one system made; older versions do not tell the window."""
        weights = {part["part"]: part["sha256"] for part in self.about.get("weights", ())}
        window = {"window_s": told["window_s"]} if "window_s" in (told := self.about.get("fingerprint", {})) else {}
        return {"system": self.system, "weights": weights, "knobs": self.about.get("knobs"), **window}


def read_run(folder: Path) -> FinishedRun:
    """A run whose clips are all done, with stems that the system found by itself.

    Raises:
        UsageError: there is no such folder, or it holds no run.
        InputError: the run is not finished, some of its clips failed, its labels were named by a user, or its files do
            not agree.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder")
    clips = tuple(_clips(folder))
    about = _about(folder, len(clips))
    failed = [str(failure.get("name")) for failure in about.get("failed", ())]
    if failed:
        n_clips = len(clips) + len(failed)
        raise InputError(f"{folder}: {len(failed)} of {n_clips} clips failed ({_listed(failed)}); {_CONTINUE}")
    if (told := about["clips"].get("done")) != len(clips):
        raise InputError(
            f"{folder}: {RUN_FILE} tells of {told} clips, but {len(clips)} are there; separate all of them in one call"
        )
    if about.get("labels"):
        raise InputError(f"{folder}: its labels were named with --labels, not found by the system; run it without")
    return FinishedRun(folder, about, clips)


_CONTINUE = "continue it with the same `s5 separate` command first"


def _about(folder: Path, n_clips: int) -> dict[str, Any]:
    path = folder / RUN_FILE
    if not path.is_file() and not n_clips:
        raise UsageError(f"{folder}: holds no run; name the output folder of `s5 separate`")
    if not path.is_file():
        raise InputError(f"{folder}: not finished, {n_clips} clips are done and there is no {RUN_FILE}; {_CONTINUE}")
    about = _json(path)
    expected = {"system": str, "nparams": int, "clips": dict}
    if not isinstance(about, dict) or not all(isinstance(about.get(key), kind) for key, kind in expected.items()):
        raise InputError(f"{path}: does not tell {', '.join(expected)}, so nobody knows what made these stems")
    return about


def _clips(folder: Path) -> Iterator[RunClip]:
    for path in sorted(folder.glob("*.json"), key=lambda path: path.stem):
        content = _json(path) if path.name != RUN_FILE and not path.name.startswith(".") else None
        if isinstance(content, dict) and content.get("name") == path.stem and "stems" in content:
            yield _clip(content, path)


def _clip(content: Mapping[str, Any], path: Path) -> RunClip:
    try:
        stems = tuple(
            official.EvalStem(stem["file"], stem["label"], float(stem["confidence"])) for stem in content["stems"]
        )
        rejected = tuple(float(query["confidence"]) for query in content.get("dropped", ()))
    except (LookupError, TypeError, ValueError) as error:
        raise InputError(f"{path}: no report of a clip ({type(error).__name__}: {error}); {_CONTINUE}") from error
    for number, stem in enumerate(stems):
        if stem.filename != official.stem_file_name(path.stem, number, stem.label):
            raise InputError(f"{path}: names its stem {number} {stem.filename!r}; {_CONTINUE}")
        if not (path.parent / stem.filename).is_file():
            raise InputError(f"{path.parent / stem.filename}: missing, but {path.name} tells of it; {_CONTINUE}")
    mixture = content.get("file")
    return RunClip(path.stem, stems, rejected, Path(mixture) if mixture else None)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read ({error}); {_CONTINUE}") from error


def _listed(names: Sequence[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def check_submittable(run: FinishedRun) -> None:
    """Stems of a submission are 16-bit, mono, 32 kHz.

    Raises:
        InputError: some are not, and how to make them so.
    """
    for clip in run.clips:
        for stem in clip.stems:
            found = _format(run.folder / stem.filename)
            if found != (SUBMITTED_SUBTYPE, 1, RATE_HZ):
                raise InputError(
                    f"{run.folder / stem.filename}: {found[0]}, {found[1]} channels, {found[2]} Hz; a submission takes"
                    f" {SUBMITTED_SUBTYPE}, 1 channel, {RATE_HZ} Hz; separate again with --subtype {SUBMITTED_SUBTYPE}"
                )


def _format(path: Path) -> tuple[str, int, int]:
    try:
        info = soundfile.info(path)
    except soundfile.LibsndfileError as error:
        raise InputError(f"{path}: not audio, or damaged ({error.error_string.rstrip('.')}); {_CONTINUE}") from error
    return info.subtype, info.channels, info.samplerate


def check_alike(run: FinishedRun, dev_run: FinishedRun) -> None:
    """Scores on the development set speak for the run only if the same system made both.

    Raises:
        InputError: they were made by different systems, weights or knobs.
    """
    theirs = dev_run.identity
    differing = [name for name, value in run.identity.items() if name in theirs and theirs[name] != value]
    if differing:
        raise InputError(
            f"{dev_run.folder} (system {dev_run.system!r}) differs from {run.folder} (system {run.system!r}) in "
            f"{', '.join(differing)}; give a development run of the same system"
        )
