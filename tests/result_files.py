"""The challenge's result files read strictly, and what is wrong with them: a second opinion beside `s5 validate`."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from s5cli.errors import InputError
from s5cli.official import DEV_RESULTS, EVAL_RESULTS, DevResults, EvalResults, name_problem

T = TypeVar("T")


def read_eval_results(path: Path) -> EvalResults:
    """Read `eval_results.json`.

    Raises:
        InputError: the file is missing, not JSON, or its fields are not the official ones.
    """
    return _read(path, EvalResults.from_json, EVAL_RESULTS)


def read_dev_results(path: Path) -> DevResults:
    """Read `dev_set_test_results.json`, or the same for stored waveforms, whatever its name.

    Raises:
        InputError: the file is missing, not JSON, or its fields are not the official ones.
    """
    return _read(path, DevResults.from_json, DEV_RESULTS)


def _read(path: Path, parse: Callable[[Any], T], kind: str) -> T:
    try:
        return parse(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path} cannot be read as {kind}: {type(error).__name__}: {error}") from error


def eval_problems(results: EvalResults, wavs: Iterable[str], names: Sequence[str]) -> list[str]:
    """What is wrong with an evaluation output, one line each: nothing if it can be submitted.

    `wavs` are the file names in `eval_out`, `names` the evaluation soundscapes.
    """
    wavs, distinct = sorted(wavs), frozenset(names)
    listed = [stem.filename for clip in results.clips for stem in clip.stems]
    problems = [f"soundscape {name} occurs {n} times" for name, n in Counter(names).items() if n > 1]
    problems += [problem for wav in wavs if (problem := name_problem(wav, distinct)) is not None]
    problems += [f"{wav} is listed {n} times in {EVAL_RESULTS}" for wav, n in Counter(listed).items() if n > 1]
    problems += [f"{wav} is in eval_out but not in {EVAL_RESULTS}" for wav in sorted(set(wavs) - set(listed))]
    problems += [f"{wav} is in {EVAL_RESULTS} but not in eval_out" for wav in sorted(set(listed) - set(wavs))]
    return problems


def dev_problems(results: DevResults, names: Iterable[str]) -> list[str]:
    """What is wrong with development results against the names of the development soundscapes, one line each."""
    listed, wanted = [clip.soundscape for clip in results.clips], set(names)
    problems = [f"{name} is listed {n} times in {DEV_RESULTS}" for name, n in Counter(listed).items() if n > 1]
    problems += [f"soundscape {name} is not in {DEV_RESULTS}" for name in sorted(wanted - set(listed))]
    problems += [f"{name} in {DEV_RESULTS} is no development soundscape" for name in sorted(set(listed) - wanted)]
    return problems
