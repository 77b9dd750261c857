from collections import Counter
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from s5cli.errors import InputError, UsageError
from s5cli.scene import RATE_HZ
from s5cli.synth.foa import angle_deg
from s5cli.synth.library import Library
from s5cli.synth.recipe import SceneRecipe, draw
from s5cli.synth.settings import SceneSettings

SHORT = SceneSettings(duration_s=4.0, n_foreground=(0, 3))
N = 1500


@pytest.fixture(scope="module")
def recipes(library: Library) -> list[SceneRecipe]:
    return [draw(SHORT, library, 7, index) for index in range(N)]


def share(flags: list[bool]) -> float:
    return sum(flags) / len(flags)


def test_the_number_of_events_is_uniform(recipes: list[SceneRecipe]) -> None:
    counts = Counter(len(recipe.foreground) for recipe in recipes)
    assert sorted(counts) == [0, 1, 2, 3]
    assert all(abs(n / N - 0.25) < 0.05 for n in counts.values())
    interference = Counter(len(recipe.interference) for recipe in recipes)
    assert sorted(interference) == [0, 1, 2]
    assert all(abs(n / N - 1 / 3) < 0.05 for n in interference.values())


def test_half_of_the_scenes_with_two_or_more_targets_repeat_a_class(library: Library) -> None:
    events = {label: files for label, files in library.events.items() if label != "Blender"}  # it has one source
    recipes = [draw(SHORT, replace(library, events=events), 7, index) for index in range(N)]
    labels = [[event.label for event in recipe.foreground] for recipe in recipes]
    repeats = [len(names) - len(set(names)) for names in labels if len(names) >= 2]
    assert share([n > 0 for n in repeats]) == pytest.approx(0.5, abs=0.06)
    of_three = [len(names) - len(set(names)) for names in labels if len(names) == 3]
    # half of them have one repeat and half two, but one class in four, Speech, has the three sources that two need
    assert share([n == 2 for n in of_three]) == pytest.approx(0.5 * 0.5 * 0.25, abs=0.04)


def test_every_class_is_as_likely_as_any_other(library: Library) -> None:
    settings = replace(SHORT, n_foreground=(1, 1))
    counts = Counter(draw(settings, library, 1, index).foreground[0].label for index in range(1000))
    assert set(counts) == set(library.events)
    assert all(abs(n / 1000 - 0.2) < 0.05 for n in counts.values())


def test_sources_of_one_class_are_different_and_at_least_60_degrees_apart(
    recipes: list[SceneRecipe], library: Library
) -> None:
    pairs = 0
    for recipe in recipes:
        for a, b in combinations(recipe.foreground, 2):
            if a.label == b.label:
                pairs += 1
                assert angle_deg(a.azimuth_deg, a.elevation_deg, b.azimuth_deg, b.elevation_deg) >= 59.999
                assert (
                    library.recording("foreground", a.takes[0].file).source
                    != library.recording("foreground", b.takes[0].file).source
                )
    assert pairs > 100
    assert not any([e.label for e in recipe.foreground].count("Blender") > 1 for recipe in recipes), "it has one source"


def test_no_source_is_twice_in_a_scene(recipes: list[SceneRecipe], library: Library) -> None:
    for recipe in recipes:
        sources = [library.recording("foreground", event.takes[0].file).source for event in recipe.foreground]
        sources += [library.recording("interference", event.takes[0].file).source for event in recipe.interference]
        assert len(set(sources)) == len(sources)


def test_events_lie_inside_the_scene_and_at_most_three_sound_at_once(library: Library) -> None:
    settings = replace(SHORT, duration_s=1.0, n_foreground=(3, 3), n_interference=(2, 2))
    crowded = 0
    for index in range(200):
        recipe = draw(settings, library, 3, index)
        active = np.zeros(recipe.n_samples, int)
        for event in recipe.events:
            assert event.start >= 0
            assert event.start + event.n_samples <= recipe.n_samples
            active[event.start : event.start + event.n_samples] += 1
        assert active.max() <= 3
        assert len(recipe.foreground) == 3
        crowded += active.max() == 3
    assert crowded > 20


def test_starts_are_uniform(library: Library) -> None:
    settings = replace(SHORT, n_foreground=(1, 1), n_interference=(0, 0))
    events = [draw(settings, library, 5, index).events[0] for index in range(1000)]
    where = [event.start / (4 * RATE_HZ - event.n_samples) for event in events if event.n_samples < 4 * RATE_HZ]
    assert np.quantile(where, [0.1, 0.5, 0.9]) == pytest.approx([0.1, 0.5, 0.9], abs=0.06)


def test_long_recordings_are_cut_from_a_random_offset(library: Library) -> None:
    events = [event for i in range(300) for event in draw(SHORT, library, 2, i).foreground]
    cut = [event.takes[0] for event in events if event.takes[0].file == "Percussion/drum__0.flac"]
    assert len(cut) > 20
    assert {take.length for take in cut} == {4 * RATE_HZ}
    offsets = [take.offset / RATE_HZ for take in cut]  # of a recording that is 1 s longer than the scene
    assert 0 <= min(offsets) < 0.15
    assert 0.85 < max(offsets) <= 1


def test_signal_to_noise_ratios_fill_their_ranges(recipes: list[SceneRecipe]) -> None:
    for role, low, high in (("foreground", 5, 20), ("interference", 0, 15)):
        snr_db = [event.snr_db for recipe in recipes for event in recipe.events if event.role == role]
        assert low <= min(snr_db) < low + 0.5
        assert high - 0.5 < max(snr_db) <= high
        assert np.median(snr_db) == pytest.approx((low + high) / 2, abs=0.6)


@pytest.mark.parametrize("wanted", [0.0, 0.4, 1.0])
def test_zero_target_share(library: Library, wanted: float) -> None:
    settings = replace(SHORT, n_foreground=(0, 3), zero_target_share=wanted)
    silent = [not draw(settings, library, 11, index).foreground for index in range(800)]
    assert share(silent) == pytest.approx(wanted, abs=0.06 if 0 < wanted < 1 else 0)


def test_files_or_sources_are_balanced(library: Library) -> None:
    for balance, expected in (("file", 0.75), ("source", 0.5)):  # Dishes: three files of plates, one of cups
        settings = replace(SHORT, n_foreground=(1, 1), balance=balance)
        events = [draw(settings, library, 4, index).foreground[0] for index in range(2500)]
        plates = ["plates" in event.takes[0].file for event in events if event.label == "Dishes"]
        assert share(plates) == pytest.approx(expected, abs=0.07)


def test_rooms_are_shared_out_as_set(library: Library) -> None:
    settings = replace(SHORT, simulated_room_share=0.5, openair_room_share=0.2, n_simulated_rooms=5)
    rooms = Counter(draw(settings, library, 0, index).room for index in range(1500))
    kinds = Counter(room.split(":")[0] for room in rooms.elements())
    assert kinds["simulated"] / 1500 == pytest.approx(0.5, abs=0.05)
    assert kinds["openair"] / 1500 == pytest.approx(0.1, abs=0.03)
    assert {room for room in rooms if room.startswith("simulated")} == {f"simulated:{n}" for n in range(5)}
    assert {room for room in rooms if room.startswith("measured")} == {"measured:dry", "measured:wet"}


def test_splits_share_no_simulated_room(library: Library) -> None:
    rooms = [
        {draw(SHORT, replace(library, rooms=(), split=split), 0, index).room for index in range(100)}
        for split in ("train", "valid", "test")
    ]
    assert len(set.union(*rooms)) == sum(map(len, rooms))


def test_without_measured_rooms_all_are_simulated(library: Library) -> None:
    bare = replace(library, rooms=())
    assert all(draw(SHORT, bare, 0, index).room.startswith("simulated:") for index in range(20))


def test_each_event_in_a_single_position_room_has_its_own_yaw(library: Library) -> None:
    settings = replace(SHORT, n_foreground=(3, 3), openair_room_share=1.0)
    recipe = draw(settings, library, 0, 0)
    assert recipe.room == "openair:Hall"
    assert len({event.yaw_deg for event in recipe.events}) == len(recipe.events)
    for event in recipe.events:
        assert (event.azimuth_deg - event.yaw_deg - 10) % 360 == pytest.approx(0, abs=1e-9) or (
            event.azimuth_deg - event.yaw_deg - 10
        ) % 360 == pytest.approx(360, abs=1e-9)


def test_a_scene_depends_on_seed_and_index_only(library: Library) -> None:
    assert draw(SHORT, library, 7, 3) == draw(SHORT, library, 7, 3)
    others = [draw(SHORT, library, 7, 4), draw(SHORT, library, 8, 3), draw(SHORT, library, 3, 7)]
    assert all(replace(other, seed=7, index=3) != draw(SHORT, library, 7, 3) for other in others)


def test_json_gives_the_recipe_back(library: Library) -> None:
    settings = replace(
        SHORT,
        speed_range=(0.85, 1.18),
        eq_db=6.0,
        rotate=True,
        duration_augmentation_share=1.0,
        simulated_room_share=0.3,
    )
    for index in range(50):
        recipe = draw(settings, library, 1, index)
        assert SceneRecipe.from_json(recipe.to_json()) == recipe


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"version": 1}', '{"version": 99}', '{"version": 1, "background": 3}']
)
def test_other_json_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="recipe"):
        SceneRecipe.from_json(text)


def test_a_broken_event_is_refused(library: Library) -> None:
    text = next(r for r in (draw(SHORT, library, 0, i) for i in range(9)) if r.events).to_json()
    with pytest.raises(InputError, match="not a scene recipe"):
        SceneRecipe.from_json(text.replace('"snr_db"', '"loudness"'))


def test_speed_changes_length_and_stays_in_the_scene(library: Library) -> None:
    settings = replace(SHORT, n_foreground=(1, 1), speed_range=(0.5, 2.0), eq_db=3.0)
    takes = [draw(settings, library, 9, index).foreground[0].takes[0] for index in range(500)]
    assert min(take.speed for take in takes) < 0.55
    assert max(take.speed for take in takes) > 1.9
    assert all(take.n_samples == round(take.length / take.speed) <= 4 * RATE_HZ for take in takes)
    assert all(abs(db) <= 3 for take in takes for db in (take.low_db, take.high_db))


def test_duration_augmentation_adds_a_short_source_inside_a_long_one(library: Library) -> None:
    settings = replace(SHORT, n_foreground=(1, 1), duration_augmentation_share=1.0)
    events = [draw(settings, library, 0, index).foreground[0] for index in range(300)]
    pairs = [event for event in events if event.label == "Percussion"]
    assert len(pairs) > 30
    for event in pairs:
        long, short = event.takes
        assert (long.file, short.file) == ("Percussion/drum__0.flac", "Percussion/bell__0.flac")
        assert 0 <= short.at <= short.at + short.n_samples <= long.n_samples
        assert abs(short.level_db or 0) <= 6
    assert all(len(event.takes) == 1 for event in events if event.label != "Percussion")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"duration_s": 0.0}, "duration_s"),
        ({"n_foreground": (3, 1)}, "n_foreground"),
        ({"n_foreground": (-1, 1)}, "n_foreground"),
        ({"n_foreground": (0, 4)}, "max_overlap"),
        ({"zero_target_share": 1.5}, "zero_target_share"),
        ({"simulated_room_share": -0.1}, "simulated_room_share"),
        ({"speed_range": (0.0, 1.0)}, "speed_range"),
        ({"balance": "class"}, "balance"),
    ],
)
def test_impossible_settings_are_named(change: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        replace(SHORT, **change)
