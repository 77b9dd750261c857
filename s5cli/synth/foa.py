"""First-order ambisonics: channels W, Y, Z, X (ACN), SN3D; azimuth counter-clockwise from the front, elevation up."""

import numpy as np
import numpy.typing as npt

Floats32 = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]


def encoding(azimuth_deg: npt.ArrayLike, elevation_deg: npt.ArrayLike) -> Floats:
    """Gains of a plane wave from each direction, [..., 4]: 1, sin az cos el, sin el, cos az cos el.

    >>> encoding(90.0, 0.0).round(3) + 0.0
    array([1., 1., 0., 0.])
    """
    azimuth, elevation = np.deg2rad(azimuth_deg), np.deg2rad(elevation_deg)
    level = np.cos(elevation)
    w, z = np.ones_like(azimuth * level), np.sin(elevation) + 0 * azimuth
    return np.stack((w, np.sin(azimuth) * level, z, np.cos(azimuth) * level), axis=-1)


def rotated(audio: Floats32, yaw_deg: float) -> Floats32:
    """The sound field [4, t] turned counter-clockwise about the vertical axis; W and Z do not change.

    >>> wave = encoding(20.0, 10.0)[:, None].astype(np.float32)
    >>> bool(np.allclose(rotated(wave, 30.0)[:, 0], encoding(50.0, 10.0), atol=1e-6))
    True
    """
    if yaw_deg == 0:
        return audio
    cos, sin = np.float32(np.cos(np.deg2rad(yaw_deg))), np.float32(np.sin(np.deg2rad(yaw_deg)))
    w, y, z, x = audio
    return np.stack((w, sin * x + cos * y, z, cos * x - sin * y))


def angle_deg(azimuth_a_deg: float, elevation_a_deg: float, azimuth_b_deg: float, elevation_b_deg: float) -> float:
    """Angle between two directions, 0 to 180.

    >>> round(angle_deg(-170.0, 0.0, 170.0, 0.0), 6)
    20.0
    """
    a, b = encoding(azimuth_a_deg, elevation_a_deg)[1:], encoding(azimuth_b_deg, elevation_b_deg)[1:]
    return float(np.rad2deg(np.arccos(np.clip(a @ b, -1, 1))))


def sphere(n: int) -> Floats:
    """`n` directions spread evenly over the sphere (Fibonacci spiral) as plane-wave gains [n, 4].

    >>> bool(np.abs(sphere(16)[:, 1:].mean(axis=0)).max() < 0.05)
    True
    """
    k = np.arange(n)
    elevation_deg = np.rad2deg(np.arcsin(1 - (2 * k + 1) / n))
    golden_angle_deg = 180 * (3 - np.sqrt(5))
    return encoding(k * golden_angle_deg, elevation_deg)
