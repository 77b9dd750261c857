"""One odd name, pipe, device or link never costs the others, and the same command gives the same result."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from s5cli.api import LoadedSystem
from s5cli.audio import read_audio
from s5cli.errors import InputError, UsageError
from s5cli.run import folder as run_folder
from s5cli.run.pipeline import separate_all
from s5cli.run.plan import Options, check_spelling, plan
from s5cli.run.record import RunResult
from tests.toy import Toy, toy, write_tones

LOW_HZ = 500
NOT_UTF_8 = os.fsdecode(b"caf\xe9.wav")


@pytest.fixture
def clips(tmp_path) -> Path:
    folder = tmp_path / "clips"
    folder.mkdir()
    for name in "az":
        write_tones(folder / f"{name}.wav", LOW_HZ)
    return folder


def separate(given: list[Path], out: Path, system: Toy | None = None, **options: object) -> RunResult:
    return separate_all(plan(given, out, Options(**options)), LoadedSystem("toy", system or toy(), "cpu"))


def moved(clips: Path, name: str) -> Path:
    """A good recording under that name."""
    return Path(write_tones(clips / "a.flac", LOW_HZ).replace(clips / name))


ODD: dict[str, tuple[Callable[[Path], object], str]] = {
    "not UTF-8": (lambda clips: moved(clips, NOT_UTF_8), "its name is not in UTF-8"),
    "long": (lambda clips: moved(clips, "n" * 245 + ".wav"), "its name is 15 bytes too long"),
    "pipe": (lambda clips: os.mkfifo(clips / "pipe.wav"), "a pipe or device, not a file"),
    "device": (lambda clips: (clips / "zero.wav").symlink_to("/dev/zero"), "a pipe or device, not a file"),
    "broken link": (lambda clips: (clips / "gone.wav").symlink_to("nowhere"), "cannot be read (No such file"),
    "link in a circle": (lambda clips: (clips / "me.wav").symlink_to("me.wav"), "cannot be read (Too many levels"),
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", ODD)
def test_what_is_odd_in_a_folder_fails_alone(clips, out, kind):
    make, words = ODD[kind]
    make(clips)
    for _ in range(2):
        result = separate([clips], out)
        assert [clip.name for clip in result.done] == ["a", "z"]
        (failure,) = result.failed
        assert words in failure.reason
        assert json.loads((out / "run.json").read_bytes())["failed"][0]["reason"] == failure.reason
    assert sorted(path.name for path in out.iterdir() if path.suffix == ".wav") == ["a_0_Speech.wav", "z_0_Speech.wav"]


def test_where_names_are_not_taken_as_utf_8_the_recording_is_not_to_blame(clips, out, monkeypatch):
    moved(clips, NOT_UTF_8)
    monkeypatch.setattr("sys.getfilesystemencoding", lambda: "ascii")  # LC_ALL=C with PYTHONUTF8=0
    assert "names are taken as ascii here; set PYTHONUTF8=1" in separate([clips], out).failed[0].reason


def test_a_hidden_recording_named_by_a_user_fails_alone(clips, out):
    """Results called .s5-… would be taken for leftovers at every call."""
    hidden = moved(clips, ".s5-x.wav")
    result = separate([clips, hidden], out)
    assert (len(result.done), [failure.name for failure in result.failed]) == (2, [".s5-x"])
    assert "hidden" in result.failed[0].reason


def test_recordings_below_a_folder_that_is_not_utf_8(tmp_path, clips, out):
    place = tmp_path / os.fsdecode(b"\xe9t\xe9")
    clips.rename(place)
    assert len(separate([place], place / "out").done) == 2
    system = toy()
    assert len(separate([place], place / "out", system).done) == 2
    assert system.batches == []
    assert json.loads((place / "out" / "a.json").read_bytes())["file"] == str(place / "a.wav")
    assert read_audio(place / "a.wav")[0].shape == (4, 6400)


def test_the_longest_name_that_is_taken(clips, out):
    moved(clips, "n" * 230 + ".wav")
    result = separate([clips], out, labels=("CupboardOpenClose",))
    assert (len(result.done), result.failed) == (3, ())


def test_names_that_a_file_system_refuses_fail_alone(clips, out, monkeypatch):
    """As FAT does with colons; the folder then has no room for the clip, in whatever way it is made."""
    make = run_folder.new_folder

    def refuse(folder: Path) -> Path:
        if folder.name == "a":
            try:
                raise OSError(22, os.strerror(22))
            except OSError as error:
                raise run_folder.OutputError(f"{folder}: cannot be written to") from error
        return make(folder)

    monkeypatch.setattr(run_folder, "new_folder", refuse)
    result = separate([clips], out)
    assert [clip.name for clip in result.done] == ["z"]
    assert result.failed[0].reason.endswith("no results can be named after it there (Invalid argument); rename it")


@pytest.mark.parametrize("again", ["a.wav", "sub/../a.wav", "sub/a.wav"])
def test_a_recording_given_twice_is_taken_once(clips, out, again):
    (clips / "sub").mkdir()
    (clips / "sub" / "a.wav").symlink_to("../a.wav")
    result = separate([clips / "a.wav", clips / again, clips], out)
    assert [clip.name for clip in result.done] == ["a", "z"]


def test_any_case_of_the_suffix(clips, out):
    (clips / "a.wav").rename(clips / "a.Wav")
    assert [clip.name for clip in separate([clips], out).done] == ["a", "z"]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("path", ["/dev/zero", "pipe"])
def test_a_pipe_or_device_is_no_recording(tmp_path, path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="a pipe or device"):
        read_audio(tmp_path / path)


# --- places ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["n" * 300, "n" * 300 + "/below"])
def test_places_that_cannot_be_reached_are_wrong_calls(clips, tmp_path, place):
    for given, out in ((clips, tmp_path / place), (tmp_path / place, tmp_path / "out")):
        with pytest.raises(UsageError, match="File name too long"):
            plan([given], out, Options())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clips"]


# --- what is done already --------------------------------------------------------------------------------------------


def zeroed(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


@pytest.mark.parametrize("name", ["a_0_Speech.wav", "a.json"])
def test_a_file_of_equal_size_and_other_content_is_made_again(clips, out, name):
    separate([clips], out)
    expected = (out / name).read_bytes()
    zeroed(out / name)
    separate([clips], out)
    assert (out / name).read_bytes() == expected


def test_verify_compares_every_byte(clips, out):
    write_tones(clips / "long.wav", LOW_HZ, n_samples=200_000)
    separate([clips], out)
    path = out / "long_0_Speech.wav"
    expected = path.read_bytes()
    path.write_bytes(expected[:100_000] + bytes(64) + expected[100_064:])
    changed = path.read_bytes()
    assert changed != expected
    separate([clips], out)
    assert path.read_bytes() == changed, "the cheap check does not see it"
    system = toy()
    separate([clips], out, system, verify=True)
    assert path.read_bytes() == expected
    assert system.batches == [1]


def test_a_call_with_nothing_to_do_leaves_the_times_of_the_run(clips, out):
    separate([clips], out)
    before = json.loads((out / "run.json").read_bytes())
    times = before | {"started": "2026-01-01T00:00:00+00:00", "finished": "2026-01-01T01:00:00+00:00"}
    (out / "run.json").write_text(json.dumps(times))
    separate([clips], out, batch_size=1)
    assert json.loads((out / "run.json").read_bytes()) == times
    write_tones(clips / "new.wav", LOW_HZ)
    separate([clips], out)
    assert json.loads((out / "run.json").read_bytes())["started"] > times["started"]


@pytest.mark.parametrize("content", [b"{}", b"[" * 100_000, b"\xff"])
def test_a_damaged_run_json_is_written_anew(clips, out, content):
    separate([clips], out)
    (out / "run.json").write_bytes(content)
    separate([clips], out)
    assert json.loads((out / "run.json").read_bytes())["clips"]["done"] == 2


def test_names_that_are_one_on_some_file_systems(tmp_path):
    """As Take and take are on those of macOS and Windows, and é in its two forms."""
    for name, other in (("Take", "take"), ("\u00e9", "e\u0301"), ("Straße", "STRASSE")):
        with pytest.raises(UsageError, match="would be written under one name there; rename one"):
            check_spelling({name: tmp_path / "a" / f"{name}.wav", other: tmp_path / "b" / f"{other}.wav"})
    check_spelling({"a": tmp_path / "a.wav", "b": tmp_path / "b.wav"})
