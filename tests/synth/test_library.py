import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from s5cli.errors import InputError, UsageError
from s5cli.scene import RATE_HZ
from s5cli.synth.library import Fold, Library, active_s, excerpt, mono, multichannel
from tests.synth.material import INTERFERENCE, SOURCES, burst, write_classes, write_rooms


def test_split_first_layout(library: Library) -> None:
    assert {label: len(files) for label, files in library.events.items()} == {
        label: sum(map(len, sources.values())) for label, sources in SOURCES.items()
    }
    assert {file.source for file in library.events["Speech"]} == {"Speech/ann", "Speech/bob", "Speech/cleo"}
    assert set(library.interference) == set(INTERFERENCE)
    assert [file.key for file in library.noise] == ["ambience/wind__0.flac"]
    assert [room.name for room in library.rooms] == ["measured:dry", "measured:wet", "openair:Hall"]
    assert all(len(room.positions) == 12 for room in library.rooms[:2]), "the position without an angle is left out"


def test_official_layout_gives_the_same_library(material: Path, library: Library, tmp_path: Path) -> None:
    shutil.copytree(material / "train", tmp_path / "sound_event" / "test")
    shutil.copytree(material / "interference" / "train", tmp_path / "interference" / "test")
    shutil.copytree(material / "noise" / "train", tmp_path / "noise" / "test")
    official = Library.scan(tmp_path, "test")
    assert [f.key for files in official.events.values() for f in files] == [
        f.key for files in library.events.values() for f in files
    ]
    assert set(official.interference) == set(library.interference)
    assert [file.key for file in official.noise] == [file.key for file in library.noise]
    assert official.rooms == ()


def test_the_first_folder_under_a_class_is_a_source(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("p225/take1.wav", "p225/deep/take2.wav", "p226/take1.wav", "loose__0.wav", "loose__1.wav"):
        (tmp_path / "Speech" / name).parent.mkdir(parents=True, exist_ok=True)
        burst(tmp_path / "Speech" / name, 0.1, rng)
    files = Library.scan(tmp_path, "any").events["Speech"]
    assert [file.source for file in files] == ["Speech/loose"] * 2 + ["Speech/p225"] * 2 + ["Speech/p226"]


def test_every_kind_of_material_may_come_from_a_folder_of_its_own(material: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    write_classes(tmp_path / "others", {"Cat": {"tom": (0.1,)}}, rng)  # without a split folder
    (tmp_path / "hum" / "train").mkdir(parents=True)
    burst(tmp_path / "hum" / "train" / "hum.wav", 0.2, rng)
    write_rooms(tmp_path / "rooms", "train", rng)
    library = Library.scan(
        material / "train",
        "train",
        interference=tmp_path / "others",
        noise=tmp_path / "hum",
        rooms=tmp_path / "rooms",
    )
    assert set(library.events) == set(SOURCES)
    assert (set(library.interference), library.noise[0].key) == ({"Cat"}, "hum.wav")
    assert all(place.file and tmp_path in place.file.parents for room in library.rooms for place in room.positions)


def test_nothing_but_sources_is_needed(material: Path) -> None:
    library = Library.scan(material / "train", "train")
    assert (library.interference, library.noise, library.rooms) == ({}, (), ())


def test_sixteen_bit_files_are_kept_exactly_and_others_as_floats(tmp_path: Path) -> None:
    audio = np.random.default_rng(0).uniform(-1, 1, (1000, 2))
    soundfile.write(tmp_path / "a.wav", audio, RATE_HZ, subtype="PCM_16")
    soundfile.write(tmp_path / "b.wav", audio, RATE_HZ, subtype="FLOAT")
    assert mono(tmp_path / "a.wav").dtype == np.int16
    assert np.array_equal(excerpt(tmp_path / "a.wav", 5, 900), soundfile.read(tmp_path / "a.wav")[0][5:905, 0])
    assert np.array_equal(excerpt(tmp_path / "b.wav", 0, 1000), audio[:, 0].astype(np.float32))


def test_other_rates_are_resampled(tmp_path: Path) -> None:
    time_s = np.arange(48_000) / 48_000
    soundfile.write(tmp_path / "Speech__0.wav", 0.5 * np.sin(2 * np.pi * 1000 * time_s), 48_000)
    heard = excerpt(tmp_path / "Speech__0.wav", 0, 99_999)
    assert len(heard) == RATE_HZ
    wanted = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(RATE_HZ) / RATE_HZ)
    assert np.abs(heard - wanted)[500:-500].max() < 1e-3
    four = np.stack([time_s] * 4, axis=1)
    soundfile.write(tmp_path / "four.wav", four, 48_000)
    assert multichannel(tmp_path / "four.wav", 100, 200).shape == (4, 200)


def test_active_time_leaves_out_silence(tmp_path: Path) -> None:
    audio = np.zeros(3 * RATE_HZ)
    audio[RATE_HZ : RATE_HZ + RATE_HZ // 2] = np.random.default_rng(0).uniform(-1, 1, RATE_HZ // 2)
    soundfile.write(tmp_path / "a.flac", audio, RATE_HZ)
    assert active_s(tmp_path / "a.flac") == pytest.approx(0.5, abs=0.021)


def empty_class(root: Path) -> None:
    (root / "train" / "Typing").mkdir()


def unknown_class(root: Path) -> None:
    (root / "train" / "Speach").mkdir()
    burst(root / "train" / "Speach" / "x.wav", 0.1, np.random.default_rng(0))


def target_as_interference(root: Path) -> None:
    (root / "interference" / "train" / "Cough").mkdir()
    burst(root / "interference" / "train" / "Cough" / "x.wav", 0.1, np.random.default_rng(0))


def not_audio(root: Path) -> None:
    (root / "train" / "Speech" / "x.wav").write_text("not audio")


def no_samples(root: Path) -> None:
    soundfile.write(root / "train" / "Speech" / "x.wav", np.zeros(0), RATE_HZ)


def lost_response(root: Path) -> None:
    (root / "room_ir" / "train" / "dry_0.flac").unlink()


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (empty_class, UsageError, "Typing.*no .flac"),
        (unknown_class, UsageError, "'Speach' is none of the 18 classes.*'Speech'"),
        (target_as_interference, UsageError, "Cough is a target class"),
        (not_audio, InputError, "x.wav: not a readable audio file"),
        (no_samples, InputError, "x.wav: the file holds no samples"),
        (lost_response, InputError, "dry_0.flac: named in the table"),
    ],
)
def test_bad_material_is_named(material: Path, tmp_path: Path, spoil, error, message) -> None:
    shutil.copytree(material, tmp_path / "m")
    spoil(tmp_path / "m")
    with pytest.raises(error, match=message) as caught:
        Library.scan(tmp_path / "m", "train")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({"root": "nowhere"}, "no sound events of split 'train'"),
        ({"root": "empty"}, "no sound events of split 'train'"),
        ({"noise": "nowhere"}, "nowhere: no such folder"),
        ({"noise": "empty"}, "empty: no .flac"),
        ({"interference": "empty"}, "empty: holds no class folders"),
        ({"rooms": "empty"}, "no rooms of split 'train'"),
    ],
)
def test_missing_folders_are_named(material: Path, tmp_path: Path, where: dict[str, str], message: str) -> None:
    (tmp_path / "empty").mkdir()
    folders = {name: tmp_path / folder for name, folder in where.items()}
    with pytest.raises(UsageError, match=message):
        Library.scan(folders.pop("root", material), "train", **folders)


def test_a_recipe_of_other_material_is_refused(library: Library) -> None:
    with pytest.raises(UsageError, match=r"sound event 'Speech/x\.wav'"):
        library.recording("foreground", "Speech/x.wav")
    with pytest.raises(UsageError, match="room 'sofa:x'"):
        library.room("sofa:x")


def test_folds_share_out_every_source_that_is_not_alone(material: Path) -> None:
    library = Library.scan(material, "train")
    folds = [Fold(number, 3) for number in (1, 2, 3)]
    for label, files in library.events.items():
        sources = {file.source for file in files}
        held = [{file.source for file in library.only(fold).events.get(label, ())} for fold in folds]
        left = [{file.source for file in library.without(fold).events[label]} for fold in folds]
        assert sum(map(len, held)) == (len(sources) if len(sources) > 1 else 0)
        assert all(h | rest == sources and not h & rest for h, rest in zip(held, left, strict=True))


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "1/1", "a/b", "-1/3", ""])
def test_a_fold_is_one_of_several(text: str) -> None:
    with pytest.raises(UsageError, match="give which of how many"):
        Fold.parse(text)


def test_more_folds_than_sources_are_refused(material: Path) -> None:
    with pytest.raises(UsageError, match="give fewer folds"):
        Library.scan(material, "train").only(Fold(99, 99))
