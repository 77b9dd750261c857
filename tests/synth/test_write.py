import csv
import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from s5cli.errors import InputError, OutputError, UsageError
from s5cli.official import read_sources, soundscapes
from s5cli.scene import RATE_HZ
from s5cli.synth.library import Library
from s5cli.synth.recipe import SceneRecipe
from s5cli.synth.render import render
from s5cli.synth.settings import SceneSettings
from s5cli.synth.write import NamedRecipe, drawn, read_recipes, write_set

SHORT = SceneSettings(duration_s=1.5, n_foreground=(0, 3), simulated_room_share=0.2, n_simulated_rooms=2)


def hashes(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def scenes(library: Library) -> list[NamedRecipe]:
    return drawn(SHORT, library, 10, seed=3, prefix="clip")


@pytest.fixture(scope="module")
def out(scenes: list[NamedRecipe], library: Library, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sets") / "deep" / "set"
    write_set(scenes, library, folder)
    return folder


def test_the_layout_is_the_official_one(out: Path, scenes: list[NamedRecipe]) -> None:
    names = [f"clip_{index:04d}" for index in range(10)]
    assert list(soundscapes(out / "soundscape")) == names
    sources = read_sources(out / "oracle_target", names)
    for scene in scenes:
        assert [source.label for source in sources[scene.name]] == [event.label for event in scene.recipe.foreground]
    for path in (out / "soundscape").iterdir():
        info = soundfile.info(path)
        assert (info.samplerate, info.channels, info.frames, info.subtype) == (RATE_HZ, 4, 48_000, "PCM_16")
    for path in (out / "oracle_target").iterdir():
        assert (soundfile.info(path).channels, soundfile.info(path).frames) == (1, 48_000)
    assert not list(out.rglob("*.part"))


def rounded_down(audio: np.ndarray) -> np.ndarray:
    """What libsndfile does: to the nearest of 32 bits, of which the upper 16 are kept."""
    return np.floor(np.rint(audio * 2.0**31) / 2**16)


def test_files_hold_what_render_gives_rounded_down_to_16_bit(out: Path, scenes, library: Library) -> None:
    for scene in scenes[:4]:
        rendered = render(scene.recipe, library)
        mixture = soundfile.read(out / "soundscape" / f"{scene.name}.wav", dtype="int16")[0].T
        assert np.array_equal(mixture, rounded_down(rendered.mixture))
        for number, label in enumerate(rendered.labels):
            target = soundfile.read(out / "oracle_target" / f"{scene.name}_{number}_{label}.wav", dtype="int16")[0]
            assert np.array_equal(target, rounded_down(rendered.targets[number]))


def test_metadata_are_the_recipes(out: Path, scenes: list[NamedRecipe]) -> None:
    assert read_recipes(out / "metadata") == scenes


def test_files_are_the_same_on_any_number_of_workers_and_from_metadata(out: Path, library: Library, tmp_path) -> None:
    write_set(read_recipes(out / "metadata"), library, tmp_path / "two", workers=2)
    assert hashes(tmp_path / "two") == hashes(out)


def test_a_mixture_does_not_depend_on_how_many_there_are(scenes, library: Library) -> None:
    assert drawn(SHORT, library, 4, 3, "clip") == scenes[:4]


def test_attributions_are_those_of_the_files_used(out: Path, scenes, library: Library) -> None:
    with (out / "ATTRIBUTION.csv").open(newline="") as stream:
        rows = {row["file"]: (row["licence"], row["attribution"]) for row in csv.DictReader(stream)}
    for scene in scenes:
        for event in scene.recipe.foreground:
            assert rows[f"train/{event.takes[0].file}"] == ("CC0-1.0", f"by {Path(event.takes[0].file).stem}")
        for event in scene.recipe.interference:
            assert rows[Path(event.takes[0].file).name] == ("not stated", ""), "no table names the interference"
        room = library.room(scene.recipe.room)
        if room.kind == "measured":
            for event in scene.recipe.events:
                file = room.positions[event.position].file
                assert rows[f"room_ir/train/{file.name}"] == ("CC-BY-4.0", "Room Measurers")
    assert rows["noise/train/ambience/wind__0.flac"] == ("CC0-1.0", "by wind__0")
    used = {Path(take.file).name for s in scenes for event in s.recipe.events for take in event.takes}
    assert {Path(file).name for file in rows if file.startswith("train/")} <= used


def test_without_tables_there_is_no_attribution_file(material: Path, tmp_path: Path) -> None:
    shutil.copytree(material / "train", tmp_path / "bare")
    library = Library.scan(tmp_path / "bare", "train")
    write_set(drawn(replace(SHORT, duration_s=0.5), library, 1, 0, "x"), library, tmp_path / "out")
    assert not (tmp_path / "out" / "ATTRIBUTION.csv").exists()


def test_a_folder_with_files_is_not_touched_without_overwrite(scenes, library: Library, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"not empty.*--overwrite"):
        write_set(scenes, library, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_overwrite_replaces_the_old_set_and_nothing_else(out, scenes, library: Library, tmp_path: Path) -> None:
    shutil.copytree(out, tmp_path / "set")
    for kept in ("oracle_target/other_0_Speech.wav", "soundscape/other.wav", "notes.txt"):
        (tmp_path / "set" / kept).write_text("mine")
    write_set(drawn(SHORT, library, 2, seed=99, prefix="clip"), library, tmp_path / "set", overwrite=True)
    write_set(drawn(SHORT, library, 2, seed=99, prefix="clip"), library, tmp_path / "fresh")
    mine = {"oracle_target/other_0_Speech.wav", "soundscape/other.wav", "notes.txt"}
    left = hashes(tmp_path / "set")
    assert {name: left[name] for name in left if name not in mine} == hashes(tmp_path / "fresh")
    assert mine <= set(left)


def test_places_that_cannot_be_written_are_named(scenes, library: Library, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OutputError, match="cannot be written") as caught:
            write_set(scenes, library, place)
        assert "\n" not in str(caught.value)


def test_a_bad_response_is_named_from_a_worker_too(material: Path, tmp_path: Path) -> None:
    shutil.copytree(material, tmp_path / "m")
    for path in (tmp_path / "m" / "room_ir" / "train").glob("*.flac"):
        soundfile.write(path, np.zeros((100, 4)), RATE_HZ)
    library = Library.scan(tmp_path / "m", "train")
    bad = drawn(replace(SHORT, n_foreground=(1, 1), simulated_room_share=0, openair_room_share=0), library, 3, 0, "x")
    with pytest.raises(InputError, match="silent"):
        write_set(bad, library, tmp_path / "out", workers=2)


@pytest.mark.parametrize(("count", "prefix", "message"), [(0, "clip", "--count"), (1, "a/b", "a/b"), (1, "", "prefix")])
def test_impossible_sets_are_refused(library: Library, count: int, prefix: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        drawn(SHORT, library, count, 0, prefix)


def test_bad_metadata_are_named(tmp_path: Path, scenes: list[NamedRecipe]) -> None:
    with pytest.raises(UsageError, match="no scene metadata"):
        read_recipes(tmp_path)
    (tmp_path / "a.json").write_text(json.dumps({"version": 1}))
    with pytest.raises(InputError, match=r"a\.json: not a scene recipe"):
        read_recipes(tmp_path)


def test_metadata_of_other_material_are_refused(scenes, library: Library, tmp_path: Path) -> None:
    recipe = next(scene.recipe for scene in scenes if scene.recipe.foreground)
    stranger = SceneRecipe.from_json(recipe.to_json().replace(recipe.foreground[0].takes[0].file, "Speech/gone.flac"))
    with pytest.raises(UsageError, match=r"Speech/gone\.flac"):
        write_set([NamedRecipe("x", stranger)], library, tmp_path / "out")


# --- a call that was stopped ------------------------------------------------------------------------------------------


class StopError(Exception):
    """Somebody ends the call."""


def stopped(scenes, library: Library, out: Path, after: int) -> None:
    def some(done):
        for number, scene in enumerate(done):
            if number == after:
                raise StopError
            yield scene

    with pytest.raises(StopError):
        write_set(scenes, library, out, progress=some)


def test_the_same_call_goes_on_and_leaves_the_same_bytes(out, scenes, library: Library, tmp_path: Path) -> None:
    stopped(scenes, library, tmp_path / "set", 4)
    (tmp_path / "set" / "soundscape" / ".s5-1-2.part").write_text("half")
    first = tmp_path / "set" / "soundscape" / "clip_0000.wav"
    made_ns = first.stat().st_mtime_ns
    stopped(scenes, library, tmp_path / "set", 7)
    written = write_set(scenes, library, tmp_path / "set", overwrite=True)
    assert [scene.name for scene in written] == [scene.name for scene in scenes]
    assert [scene.n_targets for scene in written] == [len(scene.recipe.foreground) for scene in scenes]
    assert [scene.level_db is None for scene in written] == [True] * 8 + [
        False
    ] * 2  # one is made before it is asked for
    assert first.stat().st_mtime_ns == made_ns
    assert hashes(tmp_path / "set") == hashes(out)
    with pytest.raises(OutputError, match=r"not empty; .*--overwrite"):
        write_set(scenes, library, tmp_path / "set")


def test_another_call_does_not_go_on_with_it(scenes, library: Library, material: Path, tmp_path: Path) -> None:
    """Of other scenes, or of recordings that have changed since."""
    shutil.copytree(material, tmp_path / "material")
    mine = Library.scan(tmp_path / "material", "train")
    stopped(scenes, mine, tmp_path / "set", 2)
    before = hashes(tmp_path / "set")
    others = drawn(SHORT, library, 3, seed=4, prefix="clip")
    with pytest.raises(OutputError, match="of another call that was stopped; choose another folder or give --over"):
        write_set(others, mine, tmp_path / "set")
    changed = next(iter(mine.events.values()))[0].path
    changed.write_bytes(changed.read_bytes() + b"\0")
    with pytest.raises(OutputError, match="of another call that was stopped"):
        write_set(scenes, mine, tmp_path / "set")
    assert hashes(tmp_path / "set") == before
    write_set(others, library, tmp_path / "set", overwrite=True)
    write_set(others, library, tmp_path / "fresh")
    assert hashes(tmp_path / "set") == hashes(tmp_path / "fresh")


def test_one_process_at_a_time(scenes, library: Library, tmp_path: Path) -> None:
    def meanwhile(done):
        with pytest.raises(OutputError, match="another process is writing there"):
            write_set(scenes, library, tmp_path / "set", overwrite=True)
        return done

    assert len(write_set(scenes[:2], library, tmp_path / "set", progress=meanwhile)) == 2
