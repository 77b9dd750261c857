"""Rules for the two result files, against the soundscapes, against the stems, and against themselves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from s5cli import official
from s5cli.challenge.files import Files
from s5cli.challenge.validate.content import read_dev_clips, read_eval_clips, read_nparams, read_object
from s5cli.challenge.validate.finding import Findings
from s5cli.challenge.validate.mixtures import Mixture
from s5cli.challenge.validate.stems import check_names
from s5cli.labels import CLASSES, N_SLOTS
from s5cli.official import DevClip, DevResults, EvalClip
from s5cli.score import metric

TOLERANCE = 1e-4  # dB or percent, of a score that was computed in another order


# -------------------------------------------------------------------------------------------------- eval_results.json
def check_eval(
    files: Files, mixtures: Mapping[str, Mixture], wavs: Collection[str] | None, found: Findings
) -> int | None:
    """`eval_results.json`; None for `wavs` where there are no stems to compare it with. Gives its `nparams`."""
    content = read_object(files, official.EVAL_RESULTS, found)
    if content is None:
        return None
    clips = read_eval_clips(content, found)
    listed = [stem.filename for clip in clips for stem in clip.stems]
    _check_listed(listed, wavs if wavs is not None else set(listed), found)
    if wavs is None:
        check_names(set(listed), mixtures, found)
    _check_covered([clip.soundscape for clip in clips], mixtures, found)
    for clip in clips:
        _check_stems(clip, found)
    _check_config(content, found)
    return read_nparams(content, found)


def _check_listed(listed: Sequence[str], wavs: Collection[str], found: Findings) -> None:
    """The official check that JSON and folder are one to one."""
    for name, n in Counter(listed).items():
        if n > 1:
            found.error("listed", f"{name} is listed {n} times")
    for name in sorted(set(wavs) - set(listed)):
        found.error("listed", f"{name} is in eval_out, but not listed")
    for name in sorted(set(listed) - set(wavs)):
        found.error("listed", f"{name} is listed, but not in eval_out")


def _check_covered(listed: Sequence[str], wanted: Iterable[str], found: Findings) -> None:
    """Every soundscape once, and in order."""
    names = set(wanted)
    for name, n in Counter(listed).items():
        if n > 1:
            found.error("covered", f"soundscape {name} is listed {n} times")
    for name in sorted(names - set(listed)):
        found.error("covered", f"soundscape {name} is not listed; clips without detection are listed too")
    for name in sorted(set(listed) - names):
        found.error("covered", f"{name} is listed, but there is no such soundscape")
    if list(listed) != sorted(listed):
        found.warning("covered", "soundscapes are not in name order")


def _check_stems(clip: EvalClip, found: Findings) -> None:
    """The entries of one clip, by themselves."""
    for number, stem in enumerate(clip.stems):
        if stem.label not in CLASSES:
            found.error("name", f"{clip.soundscape}: label {stem.label!r} is not one of the 18 classes")
        parsed = official.parse_numbered_name(stem.filename)
        if parsed is None or (parsed.soundscape, parsed.label) != (clip.soundscape, stem.label):
            found.error("agree", f"{stem.filename} is listed as a {stem.label} of {clip.soundscape}")
        elif parsed.slot != number:
            found.error("slots", f"{stem.filename} is entry {number} of {clip.soundscape}; entries are in slot order")
        _check_probability(stem.probability, stem.filename, found)


def _check_probability(value: float, where: str, found: Findings) -> None:
    if not 0 <= value <= 1:  # nor is NaN
        found.error("probability", f"{where}: probability {value}, outside 0 to 1")


def _check_config(content: Mapping[str, Any], found: Findings) -> None:
    if not isinstance(content.get("config"), dict):
        found.error("json", "config is not an object")


# ------------------------------------------------------------------------------------------ dev_set_test_results.json
def check_dev(files: Files, names: Collection[str] | None, found: Findings) -> DevResults | None:
    """`dev_set_test_results.json`; None for `names` where the development set is not known. Gives what it says."""
    content = read_object(files, official.DEV_RESULTS, found)
    if content is None:
        return None
    clips = read_dev_clips(content, found)
    listed = [clip.soundscape for clip in clips]
    _check_covered(listed, listed if names is None else names, found)
    for clip in clips:
        _check_dev_clip(clip, found)
    _check_config(content, found)
    nparams = read_nparams(content, found)
    if len(clips) != len(content.get("details") or ()):
        return None  # no sum over all clips can be checked
    return _check_scores(content, clips, nparams, found)


def _check_dev_clip(clip: DevClip, found: Findings) -> None:
    n_slots = max(N_SLOTS, len(clip.est_labels))
    if len(clip.probabilities) != n_slots:
        found.error("probability", f"{clip.soundscape}: {len(clip.probabilities)} probabilities for {n_slots} slots")
    for probability in clip.probabilities:
        _check_probability(probability, clip.soundscape, found)
    tp = sum((Counter(clip.ref_labels) & Counter(clip.est_labels)).values())
    counts = (tp, len(clip.est_labels) - tp, len(clip.ref_labels) - tp)
    if (clip.tp, clip.fp, clip.fn) != counts:
        told = f"tp, fp, fn are {clip.tp}, {clip.fp}, {clip.fn}"
        found.error("score", f"{clip.soundscape}: {told}, but its labels give {', '.join(map(str, counts))}")
    nothing = not clip.ref_labels and not clip.est_labels
    if (clip.capi_sdri_db is None) != nothing:
        should = "null, as there is neither target nor stem" if nothing else "a number"
        found.error("score", f"{clip.soundscape}: CAPI-SDRi is {clip.capi_sdri_db}, which should be {should}")


def _check_scores(
    content: Mapping[str, Any], clips: Sequence[DevClip], nparams: int | None, found: Findings
) -> DevResults | None:
    """The summary is what the clips' values give."""
    try:
        told = DevResults.from_json({**content, "details": [], "config": {}})
    except (LookupError, TypeError) as error:
        found.error("json", f"CAPI-SDRi.mean and label_metrics are not there ({type(error).__name__}: {error})")
        return None
    tp, fp, fn = (sum(getattr(clip, name) for clip in clips) for name in ("tp", "fp", "fn"))
    right = sum(clip.fp + clip.fn == 0 for clip in clips)
    summary = DevResults(
        clips=tuple(clips),
        capi_sdri_db=metric.mean(clip.capi_sdri_db for clip in clips),
        accuracy_mixture_percent=metric.percent(right, len(clips)),
        accuracy_source_percent=metric.percent(tp, tp + fp + fn),
        nparams=nparams,
    )
    for name in ("capi_sdri_db", "accuracy_mixture_percent", "accuracy_source_percent"):
        if not same_score(getattr(told, name), getattr(summary, name)):
            found.error("score", f"{name} is {getattr(told, name)}, but the clips give {getattr(summary, name)}")
    return summary


def same_score(told: object, computed: float | None) -> bool:
    """Whether a score is what it should be.

    >>> same_score(8.25, 8.25000001), same_score(None, None), same_score("8.25", 8.25)
    (True, True, False)
    """
    if computed is None or told is None:
        return told is computed
    return isinstance(told, int | float) and abs(told - computed) <= TOLERANCE
