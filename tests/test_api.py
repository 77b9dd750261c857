"""`s5cli.load`: the same results for paths, arrays and tensors as from the command line, and errors that advise."""

import numpy as np
import pytest
import soundfile
import torch

import s5cli
from s5cli.api import DEFAULT_SYSTEM, LoadedSystem, Thresholds, check_weights
from s5cli.errors import InputError, S5Error, UsageError
from s5cli.run.pipeline import separate_all
from s5cli.run.plan import Options, plan
from tests.toy import SECTION, tones, write_tones

LOW_HZ, HIGH_HZ = 500, 5000


@pytest.fixture(autouse=True)
def registered(tmp_path, monkeypatch):
    """The toy in a user's own registry, as `s5 weights add` would put it."""
    for name in ("CONFIG", "CACHE", "DATA"):
        monkeypatch.setenv(f"S5_{name}_DIR", str(tmp_path / name))
    (tmp_path / "CONFIG").mkdir()
    (tmp_path / "CONFIG" / "weights.toml").write_text(SECTION)


@pytest.fixture
def clip(tmp_path):
    return write_tones(tmp_path / "a.wav", LOW_HZ, HIGH_HZ)


def same(ours: list[s5cli.Stem], theirs: list[s5cli.Stem]) -> bool:
    return len(ours) == len(theirs) and all(
        (a.label, a.slot, a.confidence) == (b.label, b.slot, b.confidence) and torch.equal(a.audio, b.audio)
        for a, b in zip(ours, theirs, strict=True)
    )


def test_path_array_and_tensor_give_the_same_stems(clip):
    separator = s5cli.load("toy", device="cpu")
    audio = np.ascontiguousarray(soundfile.read(clip, dtype="float32")[0].T)
    stems = separator(clip)
    assert [stem.label for stem in stems] == ["Speech", "Dishes"]
    for mixture in (str(clip), audio, audio.astype(np.float64), torch.from_numpy(audio)):
        assert same(separator(mixture), stems)


def test_a_list_gives_a_list(clip):
    separator = s5cli.load("toy", device="cpu")
    several = separator([clip, tones(HIGH_HZ), tones()])
    assert [[stem.label for stem in stems] for stems in several] == [["Speech", "Dishes"], ["Dishes"], []]
    assert same(several[0], separator(clip))
    assert separator([]) == []


def test_the_same_as_on_disk(clip, tmp_path):
    separator = s5cli.load("toy", device="cpu")
    separate_all(plan([clip], tmp_path / "float", Options(subtype="FLOAT")), separator)
    separate_all(plan([clip], tmp_path / "int", Options()), separator)
    for number, stem in enumerate(separator(clip)):
        name = f"a_{number}_{stem.label}.wav"
        np.testing.assert_array_equal(soundfile.read(tmp_path / "float" / name, dtype="float32")[0], stem.audio)
        rounded = np.floor(stem.audio.double().numpy() * 32768)
        written = soundfile.read(tmp_path / "int" / name, dtype="int16")[0]
        np.testing.assert_allclose(written, rounded, atol=1)  # libsndfile rounds to 2⁻³¹ before it rounds down
        assert np.mean(written == rounded) > 0.99


def test_named_labels(clip):
    stems = s5cli.load("toy", device="cpu")(clip, labels=["Pour", "Speech"])
    assert [(stem.label, stem.slot) for stem in stems] == [("Pour", 0), ("Speech", 1)]
    with pytest.raises(UsageError, match="did you mean 'Speech'"):
        s5cli.load("toy", device="cpu")(clip, labels=["Speach"])


def test_all_that_a_system_decided(clip):
    separator = s5cli.load("toy", device="cpu")
    decision = separator.decide([clip, tones(HIGH_HZ)])
    assert [[query.label for query in trace.queries] for trace in decision.trace()] == [
        ["Speech", "Dishes"],
        ["Dishes"],
    ]
    assert same(decision.stems().clips()[0], separator(clip))


def test_channel_order_and_resampling(tmp_path):
    path = write_tones(tmp_path / "b.wav", LOW_HZ, n_samples=4800, rate_hz=24_000)
    stems = s5cli.load("toy", device="cpu", channel_order="fuma", resample=True)(path)
    omni = np.sqrt(2) * 0.3 * np.sin(2 * np.pi * (LOW_HZ * 24 / 32) * np.arange(6400) / 32_000)
    np.testing.assert_allclose(stems[0].audio[1000:-1000], omni[1000:-1000], atol=0.01)


@pytest.mark.parametrize("shape", [(6400,), (6400, 4), (3, 6400), (1, 4, 6400), (4, 3199)])
def test_wrong_arrays(shape):
    with pytest.raises(InputError):
        s5cli.load("toy", device="cpu")(np.zeros(shape, np.float32))


def test_what_soundfile_reads_is_told_from_what_is_meant(clip):
    separator = s5cli.load("toy", device="cpu")
    audio = soundfile.read(clip)[0]
    with pytest.raises(InputError, match=r"^mixture: samples .*as soundfile reads them; give audio\.T"):
        separator(audio)
    assert same(separator(audio.T), separator(clip))
    with pytest.raises(InputError, match="int16; give floating-point ones"):
        separator(soundfile.read(clip, dtype="int16")[0].T)


@pytest.mark.parametrize("mixture", [tones().tolist(), [[tones()], [tones()]], [3], [None], 3, None, b"a.wav", {}])
def test_what_is_no_mixture_is_said_in_one_line(mixture):
    with pytest.raises(InputError, match=r"^mixture.*: \w+, not a path, array or tensor") as caught:
        s5cli.load("toy", device="cpu")(mixture)
    assert "\n" not in str(caught.value)


def test_a_tensor_of_half_precision_is_taken():
    audio = torch.from_numpy(tones(LOW_HZ))
    stems = s5cli.load("toy", device="cpu")([audio.half(), audio.bfloat16()])
    assert [[stem.label for stem in found] for found in stems] == [["Speech"], ["Speech"]]


def test_labels_are_a_list(clip):
    with pytest.raises(UsageError, match=r"\['Speech'\]"):
        s5cli.load("toy", device="cpu")(clip, labels="Speech")


def test_what_is_public_is_listed():
    assert {"load", "Scene", "Stem"} <= set(dir(s5cli))


def test_messages_name_python_where_they_name_an_option(tmp_path):
    path = write_tones(tmp_path / "b.wav", LOW_HZ, n_samples=4800, rate_hz=24_000)
    knobs = tmp_path / "knobs.toml"
    knobs.write_text('system = "baseline-1ch"\n[knobs]\n')
    calls = {
        "resample=True": lambda: s5cli.load("toy", device="cpu")(path),
        "force_thresholds=True": lambda: s5cli.load("toy", device="cpu", thresholds=knobs),
        "accept_licence=True": lambda: s5cli.load("baseline-1ch", device="cpu"),
        "other_weights": lambda: check_weights(
            Thresholds(knobs, {}, None, {"tagger": "a" * 64}, {}),
            [{"part": "tagger", "file": "t", "sha256": "b" * 64, "licence": "own"}],
        ),
    }
    for words, call in calls.items():
        with pytest.raises(S5Error) as caught:
            call()
        assert words.replace("other_weights", "force_thresholds=True") in str(caught.value)
        assert "--" in str(caught.value)


def test_nan_in_a_tensor():
    with pytest.raises(InputError, match="mixture 1: has samples that are NaN"):
        s5cli.load("toy", device="cpu")([tones(), torch.full((4, 6400), torch.nan)])


def test_an_answer_that_is_no_sound(clip, monkeypatch):
    separator = s5cli.load("toy", device="cpu")
    monkeypatch.setattr("tests.toy.band", lambda scene, label: scene.audio[0] / scene.audio[0].abs().max())
    with pytest.raises(InputError, match=r"^mixture 1: the system gave NaN or infinity as Pour; give another system"):
        separator([clip, np.zeros((4, 6400))], labels=["Pour"])
    with pytest.raises(InputError, match=r"^mixture: the system gave NaN"):
        separator(np.zeros((4, 6400)), labels=["Pour"])


def test_unknown_system_and_device():
    with pytest.raises(UsageError, match="did you mean 'tagging-driven"):
        s5cli.load("taging-driven")
    with pytest.raises(UsageError, match="unknown device 'gpu'"):
        s5cli.load("toy", device="gpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens where there is no CUDA")
def test_cuda_is_never_replaced_by_the_cpu():
    with pytest.raises(UsageError, match="'cuda'"):
        s5cli.load("toy", device="cuda")
    assert s5cli.load("toy", device="auto").device == "cpu"


def test_thresholds(tmp_path, clip):
    path = tmp_path / "knobs.toml"
    path.write_text('system = "toy-alias"\n[knobs]\nshare = 0.02\ngain = { Speech = 2 }\n')
    stems = s5cli.load("toy", device="cpu", thresholds=path)(clip)
    plain = s5cli.load("toy", device="cpu")(clip)
    assert torch.equal(stems[0].audio, 2 * plain[0].audio)
    assert torch.equal(stems[1].audio, plain[1].audio)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[knobs]\nshaer = 0.5\n", "unknown knob 'shaer' (did you mean 'share'?)"),
        ("[knobs]\nshare = 1.5\n", "knob 'share' is 1.5, outside 0 to 1"),
        ("[knobs]\nshare = nan\n", "knob 'share' is nan"),
        ("[knobs]\nshare = true\n", "knob 'share' must be a number"),
        ("[knobs]\ngain = { Speach = 2 }\n", "knob 'gain' names an unknown class 'Speach'"),
        ("[knobs]\nshare = { Speech = 0.1 }\n", "knob 'share' takes one value"),
        ("share = 0.5\n", "no table [knobs]"),
        ("knobs = 3\n", "no table [knobs]"),
        ("[knobs\n", "no thresholds can be read"),
        pytest.param("[knobs]\nshare = " + "[" * 5000, "no thresholds can be read", id="deep"),
        pytest.param("[knobs]\nshare = 1" + "0" * 400, "no thresholds can be read", id="10^400"),
        pytest.param("#" * 1_000_000, "no thresholds can be read", id="huge"),
        ("system = 3\n[knobs]\n", "system = 3"),
        ('system = "baseline-1ch"\n[knobs]\n', "made for system 'baseline-1ch', not 'toy'; --force-thresholds"),
    ],
)
def test_wrong_thresholds_are_said_with_file_and_key(tmp_path, content, words):
    path = tmp_path / "knobs.toml"
    path.write_text(content)
    with pytest.raises(UsageError) as caught:
        s5cli.load("toy", device="cpu", thresholds=path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert words in message
    assert "\n" not in message


def test_thresholds_of_another_system_can_be_forced(tmp_path):
    path = tmp_path / "knobs.toml"
    path.write_text('system = "baseline-1ch"\n[knobs]\nshare = 0.5\n')
    forced = s5cli.load("toy", device="cpu", thresholds=path, force_thresholds=True)
    assert forced.system.setting.scalar("share") == 0.5


def test_missing_thresholds(tmp_path):
    with pytest.raises(UsageError, match=r"nothing\.toml"):
        s5cli.load("toy", device="cpu", thresholds=tmp_path / "nothing.toml")


def test_load_is_lazy_and_public():
    assert s5cli.load.__module__ == "s5cli.api"
    assert LoadedSystem.__doc__


# --- the embedded system ---------------------------------------------------------------------------------------------


def test_the_default_system_separates_what_it_is_asked_for():
    separator = s5cli.load(device="cpu")
    assert separator.name == DEFAULT_SYSTEM
    assert {part["file"] for part in separator.weights} == {"tagger-4ch", "separator-a"}
    audio = tones(LOW_HZ, HIGH_HZ, n_samples=32_000)
    stems = separator(audio, labels=["Speech", "Speech", "Dishes"])
    assert [stem.label for stem in stems] == ["Speech", "Speech", "Dishes"]
    assert all(stem.audio.shape == (32_000,) and stem.audio.isfinite().all() for stem in stems)
    assert [stem.confidence for stem in stems] == [1, 1, 1]


@pytest.mark.parametrize("n_samples", [3200, 3201, 16_000])
def test_the_default_system_takes_short_clips(n_samples):
    stems = s5cli.load(device="cpu")(tones(LOW_HZ, n_samples=n_samples), labels=["Speech"])
    assert stems[0].audio.shape == (n_samples,)
    assert stems[0].audio.isfinite().all()


def test_digital_silence_has_no_targets():
    assert s5cli.load(device="cpu")(np.zeros((4, 32_000), np.float32)) == []


def test_the_default_system_does_not_depend_on_company():
    separator = s5cli.load(device="cpu")
    quick, slow = tones(LOW_HZ, n_samples=32_000), tones(HIGH_HZ, n_samples=32_000)
    together = separator([quick, slow], labels=["Speech"])
    for stems, mixture in zip(together, (quick, slow), strict=True):
        alone = separator(mixture, labels=["Speech"])
        torch.testing.assert_close(stems[0].audio, alone[0].audio, atol=1e-5, rtol=1e-4)
