"""What finished runs tell a submission: whether they may be submitted, and the two result files."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import soundfile

from s5cli import official
from s5cli.dataset import ORACLE_TARGET, SOUNDSCAPE
from s5cli.errors import InputError
from s5cli.official import DevResults, EvalClip, EvalResults, EvalStem
from s5cli.run.record import RUN_FILE, About, ClipReport, read_folder
from s5cli.scene import RATE_HZ
from s5cli.score.evaluate import Progress, evaluate, official_results

SUBMITTED = ("WAV", "PCM_16", 1, RATE_HZ)
"""File and sample format, channels and rate of a submitted stem."""
_CONFIG = ("system", "weights", "knobs", "options", "channel_order", "resample", "subtype", "fingerprint", "versions")
"""What of `run.json` is told to the organisers: how stems were made, not where and when."""
_IDENTITY = ("system", "weights", "knobs", "options", "window_s")
"""What two runs share that one system made."""
_CONTINUE = "continue it with the same `s5 separate` command first"


@dataclass(frozen=True)
class FinishedRun:
    """A folder of stems in which every clip is done."""

    folder: Path
    about: About
    clips: tuple[ClipReport, ...]  # in name order

    @property
    def config(self) -> dict[str, Any]:
        return {key: self.about.content[key] for key in _CONFIG if key in self.about.content}


def read_run(folder: Path) -> FinishedRun:
    """A run whose clips are all done, with stems that the system found by itself.

    Raises:
        UsageError: there is no such folder, or it holds no run.
        InputError: the run is not finished, some of its clips failed, its labels were named by a user, or its files do
            not agree.
    """
    run = read_folder(folder)
    if run.damaged:
        raise InputError(f"{folder}: {next(iter(run.damaged.values()))}; {_CONTINUE}")
    n_clips = len(run.clips)
    if run.about is None:
        raise InputError(f"{folder}: not finished, {n_clips} clips are done and there is no {RUN_FILE}; {_CONTINUE}")
    if run.failed:
        failed = f"{len(run.failed)} of {n_clips + len(run.failed)} clips failed"
        raise InputError(f"{folder}: {failed} ({official.some_of([one.name for one in run.failed])}); {_CONTINUE}")
    if run.about.n_done != n_clips:
        told = f"{RUN_FILE} tells of {run.about.n_done} clips, but {n_clips} are there"
        raise InputError(f"{folder}: {told}; separate all of them in one call")
    if run.about.labels:
        raise InputError(f"{folder}: its labels were named with --labels, not found by the system; run it without")
    for clip in run.clips.values():
        for stem in clip.stems:
            if not (folder / stem.file).is_file():
                raise InputError(f"{folder / stem.file}: missing, but {clip.name}.json tells of it; {_CONTINUE}")
    return FinishedRun(folder, run.about, tuple(run.clips.values()))


def check_submittable(run: FinishedRun) -> None:
    """Stems of a submission are 16-bit, mono, 32 kHz.

    Raises:
        InputError: some are not, and how to make them so.
    """
    for clip in run.clips:
        for stem in clip.stems:
            found = _format(run.folder / stem.file)
            if found != SUBMITTED:
                raise InputError(
                    f"{run.folder / stem.file}: {found[0]}, {found[1]}, {found[2]} channels, {found[3]} Hz; a"
                    f" submission takes WAV, PCM_16, 1 channel, {RATE_HZ} Hz; separate again with --format wav"
                    f" --subtype {SUBMITTED[1]}"
                )


def _format(path: Path) -> tuple[str, str, int, int]:
    try:
        info = soundfile.info(path)
    except soundfile.LibsndfileError as error:
        raise InputError(f"{path}: not audio, or damaged ({error.error_string.rstrip('.')}); {_CONTINUE}") from error
    return info.format, info.subtype, info.channels, info.samplerate


def check_alike(run: FinishedRun, dev_run: FinishedRun) -> None:
    """Scores on the development set speak for the run only if the same system made both.

    Raises:
        InputError: they were made by different systems, weights, knobs, options or windows.
    """
    differing = [name for name in _IDENTITY if getattr(run.about, name) != getattr(dev_run.about, name)]
    if differing:
        raise InputError(
            f"{dev_run.folder} (system {dev_run.about.system!r}) differs from {run.folder} (system"
            f" {run.about.system!r}) in {', '.join(differing)}; give a development run of the same system"
        )


# --- result files -----------------------------------------------------------------------------------------------------


def eval_results(run: FinishedRun) -> EvalResults:
    """`eval_results.json`: every clip, every stem with its confidence."""
    clips = tuple(
        EvalClip(clip.name, tuple(EvalStem(stem.file, stem.label, stem.confidence) for stem in clip.stems))
        for clip in run.clips
    )
    return EvalResults(run.about.nparams, clips, run.config)


def dev_results(run: FinishedRun, reference: Path | None = None, progress: Progress = iter) -> DevResults:
    """`dev_set_test_results.json`: the stems of a development run scored against the references.

    The official program scores estimates before they are rounded to 16 bit, which moves a score by less than 1e-4 dB.

    Args:
        run: of exactly the clips of the development set.
        reference: a data set, or its folder of references; by default the one beside the mixtures of the run.
        progress: see `s5cli.score.evaluate.Progress`.

    Raises:
        InputError: a run of other clips than the references', or no references to be found.
    """
    found = official_results(evaluate(run.folder, reference or reference_of(run), progress=progress))
    clips = {clip.name: clip for clip in run.clips}
    _check_same_clips(run, [clip.soundscape for clip in found.clips])
    told = tuple(replace(clip, probabilities=probabilities(clips[clip.soundscape])) for clip in found.clips)
    return replace(found, clips=told, nparams=run.about.nparams, config=run.config)


def reference_of(run: FinishedRun) -> Path:
    """The data set that the mixtures of a run lie in.

    Raises:
        InputError: the run does not say where they were, or there are no references beside them.
    """
    folders = {Path(clip.file).parent for clip in run.clips if clip.file}
    for folder in sorted(folders):
        root = folder.parent if folder.name == SOUNDSCAPE else folder
        if (root / ORACLE_TARGET).is_dir():
            return root
    where = f"no {ORACLE_TARGET}/ beside its mixtures" if folders else "it does not say where its mixtures are"
    raise InputError(f"{run.folder}: {where}; name the references with --dev-reference")


def _check_same_clips(run: FinishedRun, wanted: list[str]) -> None:
    done = {clip.name for clip in run.clips}
    lacking, surplus = sorted(set(wanted) - done), sorted(done - set(wanted))
    if lacking or surplus:
        raise InputError(
            f"{run.folder}: lacks {len(lacking)} of {len(wanted)} development clips and has {len(surplus)} others"
            f" ({', '.join([*lacking, *surplus][:3])}, …); separate exactly the development set"
        )


def probabilities(clip: ClipReport) -> tuple[float, ...]:
    """That of each stem in slot order, then that of silence in each empty slot: what the system says of slots that it
    did not ask for, else what its surest query that was not reported leaves; 1 where there is none.
    """
    stems = [stem.confidence for stem in sorted(clip.stems, key=lambda stem: stem.file)]
    n_empty = len(official.padded(stems, 0.0)) - len(stems)
    told = clip.trace.silence[:n_empty]
    left = 1.0 - max((query.confidence for query in clip.trace.dropped), default=0.0)
    return (*stems, *[left] * (n_empty - len(told)), *told)
