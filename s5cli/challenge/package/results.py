"""The two result files of a submission, out of runs: stems of the evaluation set, and development scores."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from s5cli import official
from s5cli.challenge.package.run import FinishedRun, RunClip
from s5cli.errors import InputError
from s5cli.official import DevClip, DevResults, EvalClip, EvalResults
from s5cli.score.evaluate import Progress, evaluate, official_results

ORACLE_TARGET, SOUNDSCAPE = "oracle_target", "soundscape"


def eval_results(run: FinishedRun) -> EvalResults:
    """`eval_results.json`: every clip, every stem with its confidence."""
    clips = tuple(EvalClip(clip.name, clip.stems) for clip in run.clips)
    return EvalResults(run.nparams, clips, run.config)


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
    told = tuple(_with_probabilities(clip, clips[clip.soundscape]) for clip in found.clips)
    return replace(found, clips=told, nparams=run.nparams, config=run.config)


def reference_of(run: FinishedRun) -> Path:
    """The data set that the mixtures of a run lie in.

    Raises:
        InputError: the run does not say where they were, or there are no references beside them.
    """
    folders = {clip.mixture.parent for clip in run.clips if clip.mixture is not None}
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


def _with_probabilities(scored: DevClip, clip: RunClip) -> DevClip:
    """Confidences in slot order, which is the plain order of the file names; an empty slot has that of silence."""
    stems = sorted(clip.stems, key=lambda stem: stem.filename)
    probabilities = official.padded([stem.probability for stem in stems], clip.silence)
    return replace(scored, probabilities=probabilities)
