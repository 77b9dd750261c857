"""Rules for the two result files: their fields, the soundscapes, the stems, and scores that follow from the details."""

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from s5cli import official
from s5cli.challenge.files import Files
from s5cli.challenge.validate.finding import Findings, Rule
from s5cli.challenge.validate.stems import Mixture, check_names
from s5cli.errors import InputError
from s5cli.labels import CLASSES, N_SLOTS, SILENCE
from s5cli.official import DevClip, DevResults, EvalClip
from s5cli.score import metric

MOST_JSON_BYTES = 64 << 20  # 2,567 clips take two
TOLERANCE = 1e-4  # dB or percent, of a score that was computed in another order

T = TypeVar("T")

# --- fields: one that is wrong does not hide the next -----------------------------------------------------------------


def _read_object(files: Files, name: str, found: Findings) -> Mapping[str, Any] | None:
    """The object in a JSON file; None, and a finding, where there is none."""
    if name not in files.sizes_bytes:
        found.error("layout", "missing")
        return None
    constants: Counter[str] = Counter()

    def constant(text: str) -> float:
        constants[text] += 1
        return float(text)

    try:
        content = json.loads(files.read(name, MOST_JSON_BYTES), parse_constant=constant)
    except (InputError, ValueError, RecursionError) as error:
        found.error("json", f"cannot be read ({error})")
        return None
    for text, n in constants.items():
        found.error("finite", f"holds {text} in {n} places, which is no JSON")
    if not isinstance(content, dict):
        found.error("json", "is not an object")
        return None
    return content


def _read_nparams(content: Mapping[str, Any], found: Findings) -> int | None:
    """The number of parameters, if it is one."""
    nparams = content.get("nparams")
    if not isinstance(nparams, int) or isinstance(nparams, bool) or nparams < 1:
        found.error("nparams", f"nparams is {nparams!r}, which should be the number of all parameters")
        return None
    return nparams


def _read_entries(content: Mapping[str, Any], field: str, parse: Callable[[Any], T], found: Findings) -> Iterator[T]:
    """The entries of a list that have the official fields."""
    entries = content.get(field)
    if not isinstance(entries, list):
        found.error("json", f"{field} is not a list")
        return
    for number, entry in enumerate(entries):
        try:
            yield parse(entry)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            called = entry.get("soundscape") if isinstance(entry, dict) else None
            what = f"{field}[{number}]" + (f" ({called})" if called else "")
            found.error("json", f"{what} does not have the official fields ({type(error).__name__}: {error})")


def _eval_clip(entry: Any) -> EvalClip:
    clip = official.EvalResults.from_json({"nparams": 0, "probabilities": [entry], "config": {}}).clips[0]
    _check_type(clip.soundscape, str)
    for stem in clip.stems:
        _check_type(stem.filename, str)
        _check_type(stem.label, str)
        _check_type(stem.probability, int, float)
    return clip


def _dev_clip(entry: Any) -> DevClip:
    clip = DevClip.from_json(entry)
    _check_type(clip.soundscape, str)
    for label in (*clip.ref_labels, *clip.est_labels):
        if label not in (*CLASSES, SILENCE):
            raise ValueError(f"label {label!r}")
    for probability in clip.probabilities:
        _check_type(probability, int, float)
    for count in (clip.tp, clip.fp, clip.fn):
        _check_type(count, int)
    _check_type(clip.capi_sdri_db, int, float, type(None))
    if clip.to_json()["metrics"] != entry["metrics"]:
        raise ValueError("metrics are not the two official ones in their order")
    return clip


def _check_type(value: object, *kinds: type) -> None:
    if type(value) not in kinds:
        raise TypeError(f"{value!r} is of type {type(value).__name__}")


# --- eval_results.json ------------------------------------------------------------------------------------------------


def check_eval(
    files: Files, mixtures: Mapping[str, Mixture], wavs: Collection[str] | None, found: Findings
) -> int | None:
    """`eval_results.json`; None for `wavs` where there are no stems to compare it with. Gives its `nparams`."""
    content = _read_object(files, official.EVAL_RESULTS, found)
    if content is None:
        return None
    clips = list(_read_entries(content, "probabilities", _eval_clip, found))
    listed = [stem.filename for clip in clips for stem in clip.stems]
    wanted = wavs if wavs is not None else set(listed)
    _check_one_to_one("listed", "", listed, wanted, "in eval_out, but not listed", "not in eval_out", found)
    if wavs is None:
        check_names(set(listed), mixtures, found)
    _check_covered([clip.soundscape for clip in clips], mixtures, found)
    for clip in clips:
        _check_stems(clip, found)
    _check_config(content, found)
    return _read_nparams(content, found)


def _check_one_to_one(
    rule: Rule, kind: str, listed: Sequence[str], wanted: Iterable[str], lacking: str, surplus: str, found: Findings
) -> None:
    """Every wanted name is listed once, and no other."""
    names = set(wanted)
    for name, n in Counter(listed).items():
        if n > 1:
            found.error(rule, f"{kind}{name} is listed {n} times")
    for name in sorted(names - set(listed)):
        found.error(rule, f"{kind}{name} is {lacking}")
    for name in sorted(set(listed) - names):
        found.error(rule, f"{name} is listed, but {surplus}")


def _check_covered(listed: Sequence[str], wanted: Iterable[str], found: Findings) -> None:
    """Every soundscape once, and in order."""
    lacking, surplus = "not listed; clips without detection are listed too", "there is no such soundscape"
    _check_one_to_one("covered", "soundscape ", listed, wanted, lacking, surplus, found)
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


# --- dev_set_test_results.json ----------------------------------------------------------------------------------------


def check_dev(files: Files, names: Collection[str] | None, found: Findings) -> DevResults | None:
    """`dev_set_test_results.json`; None for `names` where the development set is not known. Gives what it says."""
    content = _read_object(files, official.DEV_RESULTS, found)
    if content is None:
        return None
    clips = list(_read_entries(content, "details", _dev_clip, found))
    listed = [clip.soundscape for clip in clips]
    _check_covered(listed, listed if names is None else names, found)
    for clip in clips:
        _check_dev_clip(clip, found)
    _check_config(content, found)
    nparams = _read_nparams(content, found)
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
