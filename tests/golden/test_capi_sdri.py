"""All golden cases of CAPI-SDRi and of the label counts, and their aggregate."""

from typing import Any

import numpy as np
import pytest

from s5cli.score.metric import ClipScore
from tests.golden.golden import filled, golden_file, load_json, recipe
from tests.score.whole import capi_sdri, dataset_score


def score(case: dict[str, Any]) -> ClipScore:
    n = case["n_samples"]
    waves = [np.array([recipe.mix_terms(s["terms"], n) for s in case[key]]).reshape(-1, n) for key in ("est", "ref")]
    labels = [[source["label"] for source in case[key]] for key in ("est", "ref")]
    return capi_sdri(labels[0], waves[0], labels[1], waves[1], recipe.mix_terms(case["mixture"], n))


def test_every_case_and_the_aggregate() -> None:
    path = golden_file("capi_sdri.golden.json")
    golden = load_json(path)
    cases = filled(golden, "cases", path)
    scores = [score(case) for case in cases]
    for number, (case, found) in enumerate(zip(cases, scores, strict=True)):
        expected = case["expected"]
        where = f"case {case.get('id', number)} ({case.get('kind')})"
        assert {"acc": found.exact, "tp": found.tp, "fp": found.fp, "fn": found.fn} == expected["label"], where
        assert found.capi_sdri_db == pytest.approx(expected["capi_sdri"], abs=1e-3), where
    total, aggregate = dataset_score(scores), golden["aggregate"]
    assert total.capi_sdri_db == pytest.approx(aggregate["CAPI-SDRi"]["mean"], abs=1e-3)
    assert total.accuracy_mixture_percent == pytest.approx(aggregate["label_metrics"]["accuracy_mix"], abs=1e-9)
    assert total.accuracy_source_percent == pytest.approx(aggregate["label_metrics"]["accuracy_src"], abs=1e-9)
