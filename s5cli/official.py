"""The challenge's grammar, once: names of stem files, the two result files, and the checks made on them.

A stem of slot 0 of soundscape `eval_0000` is `eval_0000_0_Speech.wav`: mono, 32 kHz, PCM 16 bit. A float sample x
becomes clip(floor(x · 32768), -32768, 32767) there: rounded down, saturated, neither dithered nor normalised, which is
what libsndfile does when it is given floats. Here are names and JSON only; audio is read and written elsewhere.

Source: DCASE 2026 Task 4, the published baseline's output and the checks it makes after generation.
"""

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from s5cli.errors import InputError, UsageError
from s5cli.labels import CLASSES, N_SLOTS, SILENCE

WAV = (".wav",)
"""What the challenge reads. Folders of the user's own may hold other kinds too, see `soundscapes`."""
RESIDUAL = "_residual"  # ends the name of a file that is no source: a mixture minus its stems
EVAL_RESULTS = "eval_results.json"
DEV_RESULTS = "dev_set_test_results.json"

T = TypeVar("T")


# ------------------------------------------------------------------------------------------------------------- names
@dataclass(frozen=True)
class SourceFile:
    """A file with one source of a soundscape, an oracle target or an estimate alike."""

    path: Path
    label: str
    number: int | None = None  # in the file's name, where there is one


def is_audio(path: Path, suffixes: Collection[str]) -> bool:
    """Whether a file is called like audio, in any case; hidden ones, as some systems lay beside every file, are not.

    >>> is_audio(Path("a.WAV"), WAV), is_audio(Path("._a.wav"), WAV)
    (True, False)
    """
    return path.suffix.lower() in suffixes and not path.name.startswith(".")


def stem_file_name(soundscape: str, slot: int, label: str, file_format: str = "wav") -> str:
    """Name of the stem file of a slot, counted from 0 over the stems that are written. Submissions hold WAV alone.

    Raises:
        UsageError: the label is not one of the 18 classes (silence is never written).

    >>> stem_file_name("eval_0000", 0, "Speech")
    'eval_0000_0_Speech.wav'
    """
    if label not in CLASSES:
        raise UsageError(f"no stem file can be named after {label!r}: it is not one of the 18 classes")
    return f"{soundscape}_{slot}_{label}.{file_format}"


def parse_stem_file_name(name: str, soundscape: str, suffixes: Collection[str] = WAV) -> str | None:
    """The label in a file name if it names a source of that soundscape, with a number or without, else None.

    >>> parse_stem_file_name("a_b_0_Speech.wav", "a_b"), parse_stem_file_name("a_b_Speech.wav", "a_b")
    ('Speech', 'Speech')
    >>> parse_stem_file_name("a_b_0_Speech.wav", "a") is None
    True
    """
    endings = "|".join(map(re.escape, suffixes))
    match = re.fullmatch(rf"{re.escape(soundscape)}(?:_\d+)?_(.+)(?:{endings})", name)
    return match[1] if match and match[1] in CLASSES else None


@dataclass(frozen=True)
class StemName:
    """What the name of a submitted stem says."""

    soundscape: str
    slot: int
    label: str


def parse_numbered_name(name: str) -> StemName | None:
    """Inverse of `stem_file_name`, whatever the label; None for any other name, one without a number for instance.

    >>> parse_numbered_name("eval_0000_0_Speech.wav")
    StemName(soundscape='eval_0000', slot=0, label='Speech')
    """
    match = re.fullmatch(r"(.+)_(0|[1-9]\d*)_([^_]+)\.wav", name)
    return StemName(match[1], int(match[2]), match[3]) if match else None


def soundscapes(folder: Path, suffixes: Collection[str] = WAV) -> dict[str, Path]:
    """Path of each soundscape of a folder by its name, in name order. Files of other kinds are ignored.

    Raises:
        UsageError: the folder does not exist, or two of its files have one name.
    """
    paths: dict[str, Path] = {}
    for path in _files(folder, suffixes):
        if path.stem in paths:
            both = f"{paths[path.stem].name} and {path.name}"
            raise UsageError(f"{both} in {folder} have the same name; keep one of them")
        paths[path.stem] = path
    return dict(sorted(paths.items()))


def read_sources(
    folder: Path, names: Iterable[str], suffixes: Collection[str] = WAV
) -> dict[str, tuple[SourceFile, ...]]:
    """The sources of each named soundscape in slot order, which is the plain string order of the file names.

    Where one soundscape's name begins with another's, a file belongs to the longest name that fits; `a_1_Speech.wav`,
    though, is number 1 of `a`, and not one of `a_1` without a number, where all files have numbers.

    Raises:
        UsageError: the folder does not exist.
        InputError: files of these kinds that belong to no soundscape, or two of one soundscape with one number.
    """
    sources: dict[str, list[SourceFile]] = {name: [] for name in names}
    strangers = []
    paths = _files(folder, suffixes)
    numbered = are_numbered(paths)
    for path in paths:
        match owner(path, sources, suffixes, numbered):
            case None if not (path.stem.endswith(RESIDUAL) and path.stem[: -len(RESIDUAL)] in sources):
                strangers.append(path.name)
            case name, source:
                sources[name].append(source)
    if strangers:
        raise InputError(
            f"{folder}: {some_of(strangers)}: no such soundscape or class; "
            "sources are named <soundscape>_<number>_<Class> with one of the 18 classes"
        )
    for files in sources.values():
        seen: dict[int, Path] = {}
        for file in files:
            if file.number is not None and (other := seen.setdefault(file.number, file.path)) != file.path:
                raise InputError(f"{other} and {file.path.name} have one number; remove the one that is not meant")
    return {name: tuple(files) for name, files in sources.items()}


def _files(folder: Path, suffixes: Collection[str]) -> list[Path]:
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder")
    found = (path for path in folder.iterdir() if is_audio(path, suffixes) and path.is_file())
    return sorted(found, key=lambda path: path.name)


def are_numbered(paths: Iterable[Path]) -> bool:
    """Whether all sources, by what stands before their labels, may have a number."""
    ends = [path.stem.rpartition("_") for path in paths]
    return all(re.search(r"_\d+$", name) for name, _, label in ends if label in CLASSES)


def owner(
    path: Path, names: Collection[str], suffixes: Collection[str], numbered: bool = False
) -> tuple[str, SourceFile] | None:
    """The soundscape whose source a file is; of two that are possible the shorter one where files are numbered."""
    unnumbered, _, number = path.stem.rpartition("_")[0].rpartition("_")
    for name in sorted((path.stem.rpartition("_")[0], unnumbered), key=len, reverse=not numbered):
        label = parse_stem_file_name(path.stem + path.suffix.lower(), name, suffixes) if name in names else None
        if label is not None:
            return name, SourceFile(path, label, int(number) if name == unnumbered else None)
    return None


def some_of(names: Sequence[str], most: int = 3) -> str:
    """The first names of a list, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


# -------------------------------------------------------------------------------------------------- eval_results.json
@dataclass(frozen=True)
class EvalStem:
    """One written stem of an evaluation soundscape."""

    filename: str
    label: str
    probability: float  # 0…1


@dataclass(frozen=True)
class EvalClip:
    """The stems of an evaluation soundscape in slot order; none where nothing was detected."""

    soundscape: str
    stems: tuple[EvalStem, ...]


@dataclass(frozen=True)
class EvalResults:
    """The content of `eval_results.json`; every evaluation soundscape is listed, in name order."""

    nparams: int
    clips: tuple[EvalClip, ...]
    config: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The official fields."""
        return {
            "nparams": self.nparams,
            "probabilities": [
                {"soundscape": clip.soundscape, "estimate": [vars(stem) for stem in clip.stems]} for clip in self.clips
            ],
            "config": dict(self.config),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "EvalResults":
        """Inverse of `to_json`."""
        clips = tuple(
            EvalClip(clip["soundscape"], tuple(EvalStem(**stem) for stem in clip["estimate"]))
            for clip in content["probabilities"]
        )
        return cls(content["nparams"], clips, content["config"])


# ------------------------------------------------------------------------------------------ dev_set_test_results.json
@dataclass(frozen=True)
class DevClip:
    """What was found in a development soundscape. Labels are without silence; `probabilities` has a value per slot."""

    soundscape: str
    ref_labels: tuple[str, ...]
    est_labels: tuple[str, ...]
    probabilities: tuple[float, ...]  # at least three: silent slots have one too
    capi_sdri_db: float | None
    tp: int
    fp: int
    fn: int

    def to_json(self) -> dict[str, Any]:
        """The official fields: labels padded with silence to three slots, the two metrics in official order."""
        counts = {"acc": self.fp + self.fn == 0, "tp": self.tp, "fp": self.fp, "fn": self.fn}
        return {
            "soundscape": self.soundscape,
            "ref_labels": list(padded(self.ref_labels, SILENCE)),
            "est_labels": list(padded(self.est_labels, SILENCE)),
            "probabilities": list(self.probabilities),
            "metrics": [
                {"metric": "CAPI-SDRi", "value": self.capi_sdri_db},
                {"metric": "label_metrics", "value": counts},
            ],
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "DevClip":
        """Inverse of `to_json`."""
        value = {metric["metric"]: metric["value"] for metric in content["metrics"]}
        counts = value["label_metrics"]
        return cls(
            soundscape=content["soundscape"],
            ref_labels=tuple(label for label in content["ref_labels"] if label != SILENCE),
            est_labels=tuple(label for label in content["est_labels"] if label != SILENCE),
            probabilities=tuple(content["probabilities"]),
            capi_sdri_db=value["CAPI-SDRi"],
            **{name: counts[name] for name in ("tp", "fp", "fn")},
        )


@dataclass(frozen=True)
class DevResults:
    """The content of `dev_set_test_results.json`; `nparams` is None where stored waveforms are scored."""

    clips: tuple[DevClip, ...]
    capi_sdri_db: float | None
    accuracy_mixture_percent: float | None
    accuracy_source_percent: float | None
    nparams: int | None = None
    config: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The official fields. With no clips the CAPI-SDRi summary is null, as the baseline has it."""
        labels = {"accuracy_mix": self.accuracy_mixture_percent, "accuracy_src": self.accuracy_source_percent}
        return {
            "CAPI-SDRi": {"mean": self.capi_sdri_db} if self.clips else None,
            "label_metrics": labels,
            **({} if self.nparams is None else {"nparams": self.nparams}),
            "details": [clip.to_json() for clip in self.clips],
            "config": dict(self.config),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "DevResults":
        """Inverse of `to_json`."""
        return cls(
            clips=tuple(DevClip.from_json(clip) for clip in content["details"]),
            capi_sdri_db=content["CAPI-SDRi"] and content["CAPI-SDRi"]["mean"],
            accuracy_mixture_percent=content["label_metrics"]["accuracy_mix"],
            accuracy_source_percent=content["label_metrics"]["accuracy_src"],
            nparams=content.get("nparams"),
            config=content["config"],
        )


def padded(values: Sequence[T], filler: T) -> tuple[T, ...]:
    """At least three values, as many as a clip has slots.

    >>> padded(("Speech",), SILENCE)
    ('Speech', 'silence', 'silence')
    """
    return (*values, *[filler] * (N_SLOTS - len(values)))


# ------------------------------------------------------------------------------------------------------ read and check
def dumps(results: EvalResults | DevResults) -> str:
    """The text of a result file: JSON with an indentation of 4."""
    return json.dumps(results.to_json(), indent=4)


def name_problem(wav: str, names: Collection[str]) -> str | None:
    """What is wrong with the name of a submitted stem; `names` are the soundscapes, best as a set.

    The official check is stricter than the grammar: no other soundscape's name may even begin the file's name.
    """
    beginnings = [wav[:end] for end in range(1, len(wav) + 1) if wav[:end] in names]
    if len(beginnings) != 1:
        return f"{wav} begins with the names of {len(beginnings)} soundscapes instead of one"
    if parse_stem_file_name(wav, beginnings[0]) is None:
        return f"{wav} is not named {beginnings[0]}_<number>_<Class>.wav with one of the 18 classes"
    return None
