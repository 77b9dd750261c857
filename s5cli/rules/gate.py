"""Step 7 of the tagging-driven system: stems too quiet or too unsure become silence (Jeong & Kim 2026, "Gate")."""

from dataclasses import dataclass

import numpy as np

from s5cli.knobs import Setting
from s5cli.scene import Bools, Floats, Queries

POWER_FLOOR = 1e-20
"""Full scale squared; far below one 16-bit step in a minute of zeros. Keeps the level of an all-zero stem a number."""


@dataclass(frozen=True)
class Gates:
    """Which stems are reported, and what stopped the others; a stem may fail at several gates."""

    keep: Bools  # [b, s]
    quiet: Bools  # [b, s], power below energy_db
    unsure: Bools  # [b, s], fused confidence below the threshold
    silent: Bools  # [b, s], the mixture is digital silence


def energy_db(stem_power: Floats, mixture_power: Floats) -> Floats:
    """Power of stems relative to their mixture's channel 0, 10·log10(stem / mixture), both floored at POWER_FLOOR.

    Shapes: stems [b, s] and mixtures [b], mean squares, to [b, s] in dB.

    >>> energy_db(np.array([[0.1, 0.001]]), np.array([0.1]))
    array([[  0., -20.]])
    """
    mixture = np.maximum(mixture_power, POWER_FLOOR)[:, None]
    return np.asarray(10 * np.log10(np.maximum(stem_power, POWER_FLOOR) / mixture))


def gate(queries: Queries, energy_db: Floats, silent: Bools, setting: Setting) -> Gates:
    """Stems below energy_db or with a fused confidence below `confidence` become silence; so does a silent mixture.

    Shapes: queries and energy_db [b, s]; silent [b], True where every sample of a mixture is zero.

    >>> queries = Queries(np.array([[15, 7, -1]]), np.array([[0.9, 0.8, 0.0]]))
    >>> knobs = Setting({"energy_db": -30.0, "confidence": 0.3})
    >>> gate(queries, np.array([[-6.0, -41.0, 0.0]]), np.array([False]), knobs).keep
    array([[ True, False, False]])
    """
    active = queries.active
    quiet = active & (energy_db < setting.scalar("energy_db"))
    unsure = active & (queries.confidence < setting.of("confidence", queries.classes))
    mute = active & silent[:, None]
    return Gates(active & ~(quiet | unsure | mute), quiet, unsure, mute)
