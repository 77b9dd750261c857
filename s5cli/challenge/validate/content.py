"""Reading the JSON files of a submission so that one wrong field does not hide the next."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from s5cli import official
from s5cli.challenge.files import Files
from s5cli.challenge.validate.finding import Findings
from s5cli.errors import InputError
from s5cli.labels import CLASSES, SILENCE
from s5cli.official import DevClip, EvalClip

MOST_JSON_BYTES = 64 << 20  # 2,567 clips take two

T = TypeVar("T")


def read_object(files: Files, name: str, found: Findings) -> Mapping[str, Any] | None:
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


def read_nparams(content: Mapping[str, Any], found: Findings) -> int | None:
    """The number of parameters, if it is one."""
    nparams = content.get("nparams")
    if not isinstance(nparams, int) or isinstance(nparams, bool) or nparams < 1:
        found.error("nparams", f"nparams is {nparams!r}, which should be the number of all parameters")
        return None
    return nparams


def read_eval_clips(content: Mapping[str, Any], found: Findings) -> list[EvalClip]:
    """The entries of `eval_results.json` that have the official fields."""
    return list(_read_entries(content, "probabilities", _eval_clip, found))


def read_dev_clips(content: Mapping[str, Any], found: Findings) -> list[DevClip]:
    """The entries of `dev_set_test_results.json` that have the official fields."""
    return list(_read_entries(content, "details", _dev_clip, found))


def _read_entries(content: Mapping[str, Any], field: str, parse: Callable[[Any], T], found: Findings) -> Iterator[T]:
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
