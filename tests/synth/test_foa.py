import numpy as np
import pytest

from s5cli.synth.foa import angle_deg, encoding, rotated, sphere


@pytest.mark.parametrize(("azimuth_deg", "elevation_deg"), [(0, 0), (90, 0), (-120, 30), (45, -60), (10, 90)])
def test_a_plane_wave_is_encoded_by_its_direction_cosines(azimuth_deg: float, elevation_deg: float) -> None:
    azimuth, elevation = np.deg2rad(azimuth_deg), np.deg2rad(elevation_deg)
    w, y, z, x = encoding(azimuth_deg, elevation_deg)
    assert w == 1
    assert y == pytest.approx(np.sin(azimuth) * np.cos(elevation), abs=1e-12)
    assert z == pytest.approx(np.sin(elevation), abs=1e-12)
    assert x == pytest.approx(np.cos(azimuth) * np.cos(elevation), abs=1e-12)


@pytest.mark.parametrize("yaw_deg", [0.0, 30.0, -77.7, 180.0])
def test_rotation_moves_every_direction_by_the_yaw(yaw_deg: float) -> None:
    azimuths_deg, elevations_deg = np.meshgrid(np.arange(-180, 180, 25.0), np.arange(-80, 81, 20.0))
    field = encoding(azimuths_deg.ravel(), elevations_deg.ravel()).T.astype(np.float32)
    turned = encoding(azimuths_deg.ravel() + yaw_deg, elevations_deg.ravel()).T
    assert np.abs(rotated(field, yaw_deg) - turned).max() < 1e-6


def test_rotating_back_gives_the_field_again_and_w_and_z_never_change() -> None:
    field = np.random.default_rng(0).standard_normal((4, 1000)).astype(np.float32)
    there = rotated(field, 50.0)
    assert np.array_equal(there[[0, 2]], field[[0, 2]])
    assert np.abs(rotated(there, -50.0) - field).max() < 1e-6


def test_angles_are_great_circle_angles() -> None:
    assert angle_deg(0, 0, 60, 0) == pytest.approx(60)
    assert angle_deg(0, 90, 123, 90) == pytest.approx(0, abs=1e-5)
    assert angle_deg(30, 45, -150, 45) == pytest.approx(90)


def test_waves_from_the_sphere_carry_a_third_of_the_power_on_each_axis() -> None:
    power = np.square(sphere(16)).mean(axis=0)
    assert power == pytest.approx([1, 1 / 3, 1 / 3, 1 / 3], abs=0.02)
