"""The generic record: in words, in JSON and back, and what is refused."""

import json
import subprocess
import sys

import pytest

from s5cli.trace import ClipTrace, QueryTrace, Stage, read_trace, worded

QUERY = QueryTrace(
    "Pour", 0.25, 1, (Stage("heard", {"p": 0.5, "onset_s": 1.25}, "twice"), Stage("asked")), "gate", "too quiet"
)
KEPT = QueryTrace("Speech", 0.9, 0, (), reported=0)


def test_a_line_for_people():
    assert str(QUERY) == "Pour: confidence 0.25 · heard: p 0.5, onset 1.25 s, twice · asked · dropped: too quiet"
    assert str(KEPT) == "Speech: confidence 0.9 · reported as stem 0"


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("energy_db", -0.04, "energy 0.0 dB"), ("share_percent", 12.345, "share 12.3 %"), ("logit", -1.5, "logit -1.5"),
        ("delay_ms", 3, "delay 3.00 ms"), ("db", 2.0, "db 2"), ("azimuth_deg", 90.0, "azimuth 90.0 °"),
    ],
)  # fmt: skip
def test_units_stand_behind_numbers(name, value, text):
    assert worded(name, value) == text


def test_json_and_back():
    clip = ClipTrace((KEPT, QUERY))
    assert read_trace(json.loads(json.dumps(clip.to_json(), allow_nan=False))) == clip
    assert (clip.reported, clip.dropped) == ((KEPT,), (QUERY,))


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_json_does_not_know_are_found(number):
    assert ClipTrace((KEPT,)).is_finite
    assert not ClipTrace((KEPT, QueryTrace("Pour", 0.1, 0, (Stage("heard", {"p": number}),)))).is_finite
    assert not ClipTrace((QueryTrace("Pour", number, 0),)).is_finite


@pytest.mark.parametrize(
    "changes",
    [
        {"label": 3}, {"confidence": "high"}, {"confidence": float("nan")}, {"confidence": True}, {"slot": 1.5},
        {"stages": {}}, {"stages": [3]}, {"stages": [{"stage": "x", "numbers": [1]}]},
        {"stages": [{"stage": "x", "numbers": {"p": None}}]}, {"dropped_by": []}, {"reason": 7}, {"reported": "0"},
    ],
)  # fmt: skip
def test_what_another_program_wrote_is_refused(changes):
    [content] = ClipTrace((QUERY,)).to_json()
    with pytest.raises((TypeError, LookupError, AttributeError)):
        read_trace([content | changes])


def test_importing_it_does_not_import_torch():
    code = "import sys, s5cli.trace; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
