"""Live input: the same stems however it comes, what a recording as a whole gives, and `s5 stream` as a user runs it."""

import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile
import torch

from s5cli.nn.blocks import Window
from s5cli.nn.label_frames import held
from s5cli.rules.bridge import Bridged
from s5cli.scene import EMPTY, RATE_HZ, Queries
from s5cli.steps import live
from s5cli.weights.build import build
from tests import forked
from tests.label_queried.conftest import write
from tests.systems.tones import Tone

LONG = 6 * RATE_HZ


def recording(n_samples=LONG):
    torch.manual_seed(0)
    return 0.1 * torch.randn(4, n_samples)


def asking(classes, reported=(True, True, False)):
    """A bridge that always says the same."""

    def bridged(tracks):
        queries = Queries(np.array([classes]), np.array([[0.9, 0.8, 0.7]]) * (np.array([classes]) != EMPTY))
        n_frames = tracks.activity.shape[2]
        return Bridged(queries, np.ones((1, 3, n_frames)), np.ones((1, 3)), np.array([reported]), np.zeros((1, 3)))

    return bridged


def joined(found):
    """Whole stems by slot, silent before their first portion."""
    stems = {}
    for portion in found:
        for stem in portion.clips()[0]:
            first = round(stem.numbers["begin_s"] * RATE_HZ)
            before = stems.setdefault(stem.slot, torch.zeros(first))
            assert len(before) == first, "no gap"
            stems[stem.slot] = torch.cat([before, stem.audio])
    return stems


@pytest.fixture
def parts(lq):
    system = build("tiny")
    return system.tagger, system.separator


def test_a_recording_in_one_block_is_that_of_the_whole(parts, monkeypatch):
    """Then means up to the block's end are those of the recording."""
    monkeypatch.setitem(live.PRESETS, "long", Window(0, 10, 0))
    tagger, separator = parts
    audio = recording(50_001)
    classes = [3, 15, EMPTY]
    stems = joined(live.Live(tagger, separator, asking(classes), "long")([audio]))
    activity = torch.ones(1, 3, separator.network.n_frames(50_001))
    with torch.inference_mode():
        whole = separator.network(audio[None], torch.tensor([classes]), activity)[0]
    assert stems.keys() == {0, 1}
    for slot, stem in stems.items():
        torch.testing.assert_close(stem, whole[slot], atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("preset", ["low_latency", "matched"])
def test_how_it_comes_in_changes_nothing(parts, preset):
    tagger, separator = parts
    system = live.Live(tagger, separator, asking([3, 15, 15]), preset)
    audio = recording()
    whole = joined(system([audio]))
    for size in (1000, 1600, 40_000):
        found = joined(system(audio.split(size, dim=1)))
        assert found.keys() == whole.keys()
        assert all(torch.equal(found[slot], whole[slot]) for slot in whole)
    assert all(len(stem) == LONG for stem in whole.values())


def test_sources_come_and_go(parts):
    """A source keeps its number, is silent while it is not asked, and begins when it is first reported."""
    tagger, separator = parts
    says = iter([[3, EMPTY, EMPTY], [15, 3, EMPTY], [15, EMPTY, EMPTY], [EMPTY] * 3, [EMPTY] * 3, [3, EMPTY, EMPTY]])

    def bridged(tracks):
        return asking(next(says))(tracks)

    found = list(live.Live(tagger, separator, bridged, "low_latency")([recording()]))
    labels = {stem.slot: stem.label for portion in found for stem in portion.clips()[0]}
    assert labels == {0: "Buzzer", 1: "Speech"}
    stems = joined(found)
    begins = range(0, LONG, 4 * 16 * 512)  # samples: four blocks of 0.25 s, rounded to frames, are the first second
    heard = [[bool(stem[begin + 1024 : begin + 20_000].any()) for begin in begins] for stem in stems.values()]
    assert heard[0] == [True, True, False, False, False, True]
    assert heard[1] == [False, True, True, False, False, False]


def test_what_is_not_reported_is_separated_and_not_given(parts):
    tagger, separator = parts
    both, alone = (
        joined(live.Live(tagger, separator, asking(classes, (True, False, False)), "matched")([recording()]))
        for classes in ([3, 15, EMPTY], [3, EMPTY, EMPTY])
    )
    assert both.keys() == alone.keys() == {0}
    assert not torch.equal(both[0], alone[0]), "it competes for energy"


def test_labels_follow_the_recordings_own_time(parts):
    """Frames of a block look up what the tagger said of them, whichever ten seconds it heard."""
    tagger, separator = parts
    one = live.Recording(live.Live(tagger, separator, asking([3, EMPTY, EMPTY]), "matched"))
    one.said = live.Said(12 * RATE_HZ, ((3, 0),), np.arange(100.0)[None], (True,), (1.0,))  # of 2 s to 12 s
    block = one.window.block(9, 512)
    begin, last = block.begin * 512, block.last * 512
    expected = np.clip((np.arange(begin, last, 512) - 2 * RATE_HZ) // tagger.frame_samples, 0, 99)
    assert one.asked(block).activity[0].tolist() == expected.tolist()
    assert held(torch.arange(3), 3, 512, tagger.frame_samples).tolist() == [0, 0, 0]


# --- the command ----------------------------------------------------------------------------------------------------


TONES = [Tone("Speech", 0.4), Tone("Dishes", 0.3)]


@pytest.fixture
def clip(tmp_path):
    return write(tmp_path / "clip.wav", TONES, n_samples=3 * RATE_HZ)


@pytest.fixture
def streaming(lq):
    """`s5 stream` in a process of its own, fed through a pipe."""

    def begin(*args):
        command = ["stream", *args, "--system", "tiny", "--device", "cpu"]
        return forked.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    return begin


def pcm(path):
    return soundfile.read(path, dtype="int16")[0].astype("<i2").tobytes()


def stems_in(folder):
    return {path.name.partition("_")[2]: path.read_bytes() for path in sorted(folder.glob("*.wav"))}


def test_a_pipe_at_real_time_and_a_file_give_the_same(streaming, lq, clip, tmp_path):
    process = streaming("-o", tmp_path / "pipe")
    content, step = pcm(clip), 4 * 2 * RATE_HZ // 10
    for first in range(0, len(content), step):
        process.stdin.write(content[first : first + step])
        process.stdin.flush()
        time.sleep(0.1)
    out, err = process.communicate()
    assert process.returncode == 0, err.decode()
    told = re.fullmatch(
        r"3\.0 s in, 2 stems; latency (\S+) s on average, (\S+) s at most; real-time factor (\S+)\n", out.decode()
    )
    assert told, out
    assert 0 < float(told[1]) <= float(told[2])
    assert "Speech: " in err.decode()
    done = lq("stream", clip, "-o", tmp_path / "file", "--system", "tiny", "--device", "cpu")
    assert done.code == 0, done.err
    assert stems_in(tmp_path / "pipe") == stems_in(tmp_path / "file")
    assert set(stems_in(tmp_path / "file")) == {"0_Speech.wav", "1_Dishes.wav"}
    for path in (tmp_path / "file").glob("*.wav"):
        assert soundfile.info(path).frames == 3 * RATE_HZ


def test_ctrl_c_finishes_the_files(streaming, clip, tmp_path):
    out = tmp_path / "out"
    process = streaming("-o", out)
    process.stdin.write(pcm(clip)[: 4 * 2 * 2 * RATE_HZ])
    process.stdin.flush()
    deadline = time.monotonic() + 120
    while not list(out.glob("*_Speech.part.wav")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    process.wait(120)  # while the pipe stays open
    told, err = process.communicate()
    assert process.returncode == 0, err.decode()
    assert b"2 stems" in told
    assert [path.name for path in sorted(out.iterdir())] == ["live_0_Speech.wav", "live_1_Dishes.wav"]
    assert 0 < soundfile.info(out / "live_0_Speech.wav").frames <= 2 * RATE_HZ


def test_mistakes_are_one_line_and_leave_nothing(lq, streaming, clip, tmp_path):
    line = ("-o", tmp_path / "out", "--device", "cpu")
    assert "does not stream" in lq("stream", clip, *line, "--system", "tagging-driven-compact").error
    assert "cannot be read" in lq("stream", tmp_path / "no.wav", *line, "--system", "tiny").error
    mono = tmp_path / "mono.wav"
    soundfile.write(mono, np.zeros(RATE_HZ), RATE_HZ)
    assert "1 channels, not 4" in lq("stream", mono, *line, "--system", "tiny").error
    assert "is no name of a file" in lq("stream", clip, *line, "--system", "tiny", "--name", "../x").error
    process = streaming(*line[:2])
    _, err = process.communicate(b"\0" * 800)
    assert process.returncode == 1
    assert b"0.003 s, shorter than 0.1 s" in err
    assert not list((tmp_path / "out").glob("*"))
    assert lq("stream", clip, *line, "--system", "tiny", "--labels", "Pour").code == 0
    again = lq("stream", clip, *line, "--system", "tiny")
    assert "live_0_Pour.wav is there already" in again.error


ALSA = """
pcm.nothing { type null }
pcm.recorded { type file  slave.pcm "nothing"  file "/dev/null"  infile "FOLDER/sound.raw"  format "raw"
               hint { show on  description "a file" } }
ctl.recorded { type null }
"""


def test_a_sound_device(lq, tmp_path):
    """ALSA plays a file as a device; without sound on this machine there is at least a message."""
    sound = np.random.default_rng(0).uniform(-0.1, 0.1, (4 * 1600, 4)).astype("<f4")
    sound.tofile(tmp_path / "sound.raw")
    (tmp_path / "asoundrc").write_text(ALSA.replace("FOLDER", str(tmp_path)))
    heard = (
        "import sys, numpy; from s5cli.run.live import of_device; portions = of_device('recorded', 'acn', print);"
        "numpy.stack([next(portions).T for _ in range(4)]).tofile(sys.argv[1]); portions.close()"
    )
    environment = {**os.environ, "ALSA_CONFIG_PATH": f"/usr/share/alsa/alsa.conf:{tmp_path / 'asoundrc'}"}
    command = [sys.executable, "-c", heard, tmp_path / "heard.raw"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    if "PortAudio library not found" in done.stderr:
        assert "no sound device can be asked" in lq("stream", "--sound-device", "", "--system", "tiny").error
        pytest.skip("no PortAudio")
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(np.fromfile(tmp_path / "heard.raw", "<f4").reshape(-1, 4), sound)
    told = lq("stream", "--sound-device", "no such", "-o", tmp_path / "out", "--system", "tiny").error
    assert "sound device 'no such': " in told
    assert "`python -m sounddevice` lists" in told
    assert "not both" in lq("stream", tmp_path / "clip.wav", "--sound-device", "", "--system", "tiny").error


def test_nothing_is_dropped_where_networks_are_slower(lq, clip):
    """Portions wait; the factor says so."""
    from s5cli.run.live import Incoming, of_file

    incoming = Incoming(of_file(clip, "acn"))
    time.sleep(0.3)
    assert sum(portion.shape[1] for portion in incoming) == 3 * RATE_HZ
    assert incoming.latency_s(100) >= 0.2
    assert incoming.latency_s(3 * RATE_HZ) is not None
    assert incoming.latency_s(100) is not None
