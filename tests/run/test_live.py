"""Live input where something is in the way: what was heard is kept."""

import io
import resource
import signal

import numpy as np
import pytest
import soundfile

from s5cli.api import LoadedSystem
from s5cli.errors import InputError, OutputError, UsageError
from s5cli.run import live
from s5cli.scene import RATE_HZ, Stems, places


class Two:
    """Channel 0 as two stems, as it comes."""

    def stream(self, blocks):
        classes = np.array([[15, 5, -1]])
        for block in blocks:
            waveforms = np.empty((1, 3), dtype=object)
            waveforms[0, :] = [block[0]] * 3
            yield Stems(classes, np.ones((1, 3)), places(classes), waveforms)


def record(folder, portions, name="live", tell=lambda line: None):
    loaded = LoadedSystem("two", Two(), "cpu")
    return live.record(loaded, (), live.Incoming(portions), folder, name, "PCM_16", tell)


def second():
    return np.full((4, RATE_HZ), 0.1, np.float32)


@pytest.mark.parametrize("head", live.HEADERS)
def test_a_sound_file_in_a_pipe_is_told_from_samples(head):
    """Its header would shift the channels."""
    with pytest.raises(InputError, match="a sound file, not raw samples"):
        next(live.of_pipe(io.BytesIO(head + bytes(100_000)), "s16le", "acn"))


@pytest.mark.parametrize("n_more", [1, 3, 7])
def test_of_a_frame_that_is_cut_off_nothing_is_taken(n_more):
    [portion] = live.of_pipe(io.BytesIO(bytes(8 * 100 + n_more)), "s16le", "acn")
    assert portion.shape == (4, 100)


def test_a_name_is_taken_as_it_is(tmp_path):
    record(tmp_path, iter([second()]), "a[1]*")
    with pytest.raises(UsageError, match="is there already"):
        record(tmp_path, iter([second()]), "a[1]*")


def test_two_at_once_do_not_write_into_the_same_file(tmp_path):
    def begun(line):
        with pytest.raises(OSError, match="exists"):
            live.Growing.begin(tmp_path / "live_0_Speech.wav", "Speech", "PCM_16")

    record(tmp_path, iter([second(), second()]), tell=begun)
    assert soundfile.info(tmp_path / "live_0_Speech.wav").frames == 2 * RATE_HZ


def test_where_one_file_cannot_be_finished_the_others_are(tmp_path):
    def begun(line):
        (tmp_path / "live_0_Speech.wav").mkdir(exist_ok=True)  # in its place

    with pytest.raises(OutputError, match=r"live_0_Speech\.wav: cannot be finished .*live_0_Speech\.part\.wav"):
        record(tmp_path, iter([second(), second()]), tell=begun)
    assert soundfile.info(tmp_path / "live_1_Cough.wav").frames == 2 * RATE_HZ
    assert soundfile.info(tmp_path / "live_0_Speech.part.wav").frames == 2 * RATE_HZ


@pytest.mark.parametrize("room_bytes", [0, 30, 60_000])
def test_a_full_disk_says_so_and_what_was_heard_is_kept(tmp_path, room_bytes):
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    was = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room_bytes, hard))
    try:
        with pytest.raises(OutputError, match=r": cannot be written \(File too large\)$"):
            record(tmp_path, iter([second()] * 3))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        signal.signal(signal.SIGXFSZ, was)
    found = {path.name: soundfile.read(path)[0] for path in tmp_path.iterdir()}
    assert found.keys() == ({"live_0_Speech.wav"} if room_bytes > 44 else set())
    for heard in found.values():
        assert len(heard) == (room_bytes - 44) // 2
        np.testing.assert_allclose(heard, 0.1, atol=1e-4)
