from pathlib import Path

import h5py
import numpy as np
import pytest
import soundfile

from s5cli.errors import InputError
from s5cli.scene import RATE_HZ
from s5cli.synth import simulate
from s5cli.synth.foa import angle_deg, encoding
from s5cli.synth.library import Library
from s5cli.synth.room import find_rooms, simulated_room
from tests.synth.material import foa_response, write_table


def direction_deg(response: np.ndarray, around: int = 8) -> tuple[float, float]:
    """Where the largest pulse comes from, by the active intensity around it."""
    peak = int(np.abs(response[0]).argmax())
    w, y, z, x = response[:, max(0, peak - around) : peak + around]
    intensity = np.array([(w * x).sum(), (w * y).sum(), (w * z).sum()])
    return float(np.rad2deg(np.arctan2(intensity[1], intensity[0]))), float(
        np.rad2deg(np.arctan2(intensity[2], np.hypot(*intensity[:2])))
    )


def test_responses_have_unit_mean_energy(library: Library) -> None:
    for room in (*library.rooms, simulated_room(3)):
        energy = np.square(room.response(0), dtype=np.float64).sum(axis=1).mean()
        assert energy == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("number", range(4))
def test_the_direct_sound_of_a_simulated_room_comes_from_its_source(number: int) -> None:
    room, box = simulated_room(number), simulate.shoebox(number)
    for position in (0, 5, 11):
        place, response = room.positions[position], room.response(position)
        assert angle_deg(*direction_deg(response), place.azimuth_deg, place.elevation_deg) < 3
        distance_m = np.linalg.norm(box.sources_m[position] - box.listener_m)
        arrival = distance_m / simulate.SPEED_OF_SOUND_M_S * RATE_HZ
        assert abs(int(np.abs(response[0]).argmax()) - arrival) < 1.5


def test_first_reflections_arrive_where_the_walls_mirror_the_source() -> None:
    box = simulate.shoebox(1)
    images_m, orders = simulate.image_sources_m(box, 2)
    source, size = box.sources_m[2], box.size_m
    mirrored = [source + np.eye(3)[axis] * 2 * (wall - source[axis]) for axis in range(3) for wall in (0, size[axis])]
    wanted = np.array(mirrored) - box.listener_m
    found = images_m[orders == 1]
    assert found.shape == (6, 3)
    assert np.sort(found.round(6), axis=0) == pytest.approx(np.sort(wanted.round(6), axis=0), abs=2e-5)
    assert images_m[0] == pytest.approx(source - box.listener_m, abs=2e-6)
    assert orders[0] == 0


@pytest.mark.parametrize("number", range(4))
def test_a_simulated_room_decays_with_its_reverberation_time(number: int) -> None:
    response = simulated_room(number).response(4)[0].astype(np.float64)
    decay_db = 10 * np.log10(np.cumsum(np.square(response)[::-1])[::-1] / np.square(response).sum())
    begin, end = (int(np.argmax(decay_db < level)) for level in (-5, -25))
    t60_s = simulate.shoebox(number).t60_s  # of three bands
    assert 0.8 * t60_s.min() < (end - begin) * 3 / RATE_HZ < 1.2 * t60_s.max()


def test_the_late_field_of_a_simulated_room_is_diffuse() -> None:
    response = simulated_room(3).response(1)
    late = np.square(response[:, response.shape[1] // 2 :], dtype=np.float64).sum(axis=1)
    assert late[1:] / late[0] == pytest.approx([1 / 3] * 3, abs=0.12)


def test_positions_of_a_simulated_room_surround_the_listener_inside_the_walls() -> None:
    for number in range(50):
        box = simulate.shoebox(number)
        assert ((box.sources_m > 0.2) & (box.sources_m < box.size_m - 0.2)).all()
        azimuths_deg = np.sort(box.directions_deg[:, 0] % 360)
        assert np.diff(azimuths_deg, append=azimuths_deg[0] + 360).max() < 60


def test_a_simulated_room_is_its_number() -> None:
    first = simulate.simulated_response(9, 1)
    simulate.simulated_response.cache_clear()
    assert np.array_equal(first, simulate.simulated_response(9, 1))
    assert not np.array_equal(first[:, :3000], simulate.simulated_response(9, 2)[:, :3000])
    assert not np.array_equal(first[:, :3000], simulate.simulated_response(10, 1)[:, :3000])


def test_measured_positions_carry_their_nominal_angle(library: Library) -> None:
    room = library.room("measured:wet")
    for number, place in enumerate(room.positions):
        azimuth_deg, _ = direction_deg(room.response(number))
        assert angle_deg(azimuth_deg, 0, place.azimuth_deg, 0) < 5


def test_responses_at_other_rates_are_resampled(tmp_path: Path) -> None:
    pulse = foa_response(40, np.random.default_rng(0), 4_800)
    (tmp_path / "train").mkdir()
    soundfile.write(tmp_path / "train" / "a.wav", pulse.T, 48_000, subtype="FLOAT")
    columns = ["file", "split", "absorption_config", "nominal_azimuth_deg_ccw"]
    write_table(tmp_path / "room_ir.csv", columns, [["train/a.wav", "train", "x", 40]])
    response = find_rooms(tmp_path, "train")[0].response(0)
    assert response.shape == (4, 3_200)
    assert int(np.abs(response[0]).argmax()) == 200  # sample 300 at 48 kHz


def write_sofa(path: Path, responses: np.ndarray, positions: np.ndarray, kind: str, rate_hz: float = RATE_HZ) -> None:
    """What an AES69 file with measurements at several source positions holds."""
    with h5py.File(path, "w") as sofa:
        sofa.attrs.update({"Conventions": "SOFA", "SOFAConventions": "SingleRoomSRIR"})
        sofa["Data.IR"] = responses
        sofa["Data.SamplingRate"] = np.array([rate_hz])
        sofa["ListenerPosition"] = np.array([[1.0, 2.0, 1.5]])
        sofa["SourcePosition"] = positions
        sofa["SourcePosition"].attrs["Type"] = np.bytes_(kind) if kind == "spherical" else kind


DIRECTIONS_DEG = np.array([[0.0, 0.0], [90.0, 30.0], [-120.0, -45.0]])


@pytest.mark.parametrize("kind", ["spherical", "cartesian"])
@pytest.mark.parametrize("folder", ["train", "."])
def test_sofa_rooms(tmp_path: Path, kind: str, folder: str) -> None:
    rng = np.random.default_rng(0)
    responses = np.stack([foa_response(az, rng, elevation_deg=el) for az, el in DIRECTIONS_DEG])
    ahead = encoding(*DIRECTIONS_DEG.T)[:, [3, 1, 2]]
    positions = np.column_stack((DIRECTIONS_DEG, [2.0] * 3)) if kind == "spherical" else [1, 2, 1.5] + 2 * ahead
    (tmp_path / folder).mkdir(exist_ok=True)
    write_sofa(tmp_path / folder / "kitchen.sofa", responses, positions, kind)
    (room,) = find_rooms(tmp_path, "train")
    assert (room.name, room.kind) == ("sofa:kitchen", "measured")
    for number, (azimuth_deg, elevation_deg) in enumerate(DIRECTIONS_DEG):
        place, response = room.positions[number], room.response(number)
        assert angle_deg(place.azimuth_deg, place.elevation_deg, azimuth_deg, elevation_deg) < 1e-3
        assert angle_deg(*direction_deg(response), azimuth_deg, elevation_deg) < 5
        scaled = responses[number] / np.sqrt(np.square(responses[number]).sum(axis=1).mean())
        assert response == pytest.approx(scaled, abs=1e-6)


def test_a_sofa_file_of_two_receivers_is_refused(tmp_path: Path) -> None:
    write_sofa(tmp_path / "ears.sofa", np.ones((1, 2, 50)), np.array([[0.0, 0, 1]]), "spherical")
    with pytest.raises(InputError, match=r"ears.sofa: 2 receivers; 4-channel"):
        find_rooms(tmp_path, "train")[0].response(0)


def test_a_silent_response_is_refused(tmp_path: Path) -> None:
    write_sofa(tmp_path / "dead.sofa", np.zeros((1, 4, 50)), np.array([[0.0, 0, 1]]), "spherical")
    with pytest.raises(InputError, match="silent"):
        find_rooms(tmp_path, "train")[0].response(0)


def test_files_that_are_no_sofa_rooms_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.sofa").write_text("nothing")
    with pytest.raises(InputError, match=r"x.sofa: not a SOFA file"):
        find_rooms(tmp_path, "train")
    with h5py.File(tmp_path / "x.sofa", "w") as sofa:
        sofa["Data.IR"] = np.zeros((1, 4, 9))
    with pytest.raises(InputError, match=r"without Data\.SamplingRate, SourcePosition"):
        find_rooms(tmp_path, "train")
