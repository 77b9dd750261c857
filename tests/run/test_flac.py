"""`--format flac`: the same samples as in WAV, bit by bit, and whatever reads a run's folder copes or says why."""

import json
import resource
import signal
from pathlib import Path

import numpy as np
import pytest
import soundfile

from s5cli.api import LoadedSystem
from s5cli.audio import write_stem
from s5cli.errors import OutputError, UsageError
from s5cli.run.pipeline import separate_all
from s5cli.run.plan import Options, plan
from s5cli.run.record import RunResult, read_folder
from s5cli.run.spans import StemFile
from s5cli.scene import RATE_HZ
from s5cli.score.evaluate import evaluate
from tests.toy import Toy, toy, write_tones

FLAC = Options(file_format="flac", window=1)


@pytest.fixture
def clips(tmp_path) -> Path:
    """A short one and a long one, louder than full scale once separated."""
    folder = tmp_path / "set" / "soundscape"
    folder.mkdir(parents=True)
    write_tones(folder / "a.wav", 500, 5000)
    write_tones(folder / "long.wav", 500, n_samples=3 * RATE_HZ)
    return folder


def separate(clips: Path, out: Path, options: Options, system: Toy | None = None) -> RunResult:
    return separate_all(plan([clips], out, options), LoadedSystem("toy", system or toy(gain=5), "cpu"))


@pytest.mark.parametrize(("subtype", "dtype"), [("PCM_16", "int16"), ("PCM_24", "int32")])
def test_samples_are_those_of_wav(clips, tmp_path, subtype, dtype):
    for file_format in ("wav", "flac"):
        options = Options(file_format=file_format, subtype=subtype, window=1, residual=True)
        result = separate(clips, tmp_path / file_format, options)
        assert sum(clip.clipped_samples for clip in result.done) > 0
    names = {form: sorted(path.stem for path in (tmp_path / form).glob(f"*.{form}")) for form in ("wav", "flac")}
    assert names["wav"] == names["flac"]
    assert {"a_0_Speech", "long_0_Speech", "long_residual"} <= set(names["wav"])
    assert list((tmp_path / "flac").glob("*.wav")) == []
    for name in names["wav"]:
        wav, flac = (soundfile.read(tmp_path / form / f"{name}.{form}", dtype=dtype)[0] for form in ("wav", "flac"))
        assert np.array_equal(wav, flac)
        info = soundfile.info(tmp_path / "flac" / f"{name}.flac")
        assert (info.format, info.subtype, info.samplerate, info.channels) == ("FLAC", subtype, RATE_HZ, 1)


def test_a_run_goes_on_and_is_read_again(clips, tmp_path):
    out = tmp_path / "out"
    first = separate(clips, out, FLAC)
    assert [stem.file for clip in first.done for stem in clip.stems] == [
        "a_0_Speech.flac",
        "a_1_Dishes.flac",
        "long_0_Speech.flac",
    ]
    system = toy(gain=5)
    assert separate(clips, out, FLAC, system) == first
    assert system.batches == []
    assert read_folder(out).clips["long"] == first.done[1]
    (out / "a_0_Speech.flac").write_bytes(b"")
    assert separate(clips, out, FLAC) == first
    with pytest.raises(UsageError, match="file_format 'flac', not None; --restart"):
        separate(clips, out, Options(window=1))
    separate(clips, out, Options(window=1, restart=True))
    assert list(out.glob("*.flac")) == [], "results of the other format go"
    separate(clips, out, Options(window=1, restart=True, file_format="flac"))
    assert list(out.glob("*.wav")) == []


def test_evaluate_takes_them(clips, tmp_path):
    (clips.parent / "oracle_target").mkdir()
    sheets = []
    for file_format in ("wav", "flac"):
        out = tmp_path / file_format
        separate(clips, out, Options(file_format=file_format, window=1), toy())
        if file_format == "wav":
            for path in out.glob("*.wav"):
                path.rename(clips.parent / "oracle_target" / path.name)
            separate(clips, out, Options(window=1), toy())
        sheets.append(evaluate(out, clips.parent).to_json())
    assert sheets[0] == sheets[1]


def test_flac_of_floats_is_refused_before_anything_is_read(clips, tmp_path):
    with pytest.raises(UsageError, match="FLAC holds samples of 16 or 24 bits, not FLOAT"):
        plan([clips], tmp_path / "out", Options(file_format="flac", subtype="FLOAT"))
    with pytest.raises(UsageError, match="not FLOAT"):
        write_stem(tmp_path / "a.flac", np.zeros(4, np.float32), "FLOAT")
    assert not (tmp_path / "a.flac").exists()


@pytest.mark.filterwarnings("error")
def test_a_disk_that_runs_full_while_flac_is_made(tmp_path, capfd):
    """libsndfile itself would take no notice."""
    wav = StemFile.create(tmp_path / "a.wav", 4 * RATE_HZ)
    wav.write(0, np.random.default_rng(0).normal(0, 0.1, 4 * RATE_HZ).astype(np.float32))
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(OutputError, match=r"a\.flac: cannot be written"):
            wav.as_flac()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert wav.path.exists()
    assert capfd.readouterr() == ("", "")


def test_the_command(clips, tmp_path, monkeypatch):
    from s5cli.cli import exit_code
    from tests.toy import SECTION

    monkeypatch.setenv("S5_CONFIG_DIR", str(tmp_path))
    (tmp_path / "weights.toml").write_text(SECTION)
    out = tmp_path / "out"
    assert exit_code(["separate", str(clips), "-o", str(out), "--system", "toy", "--format", "flac", "--quiet"]) == 0
    assert json.loads((out / "a.json").read_bytes())["stems"][0]["file"] == "a_0_Speech.flac"
    assert soundfile.info(out / "a_0_Speech.flac").subtype == "PCM_16"
