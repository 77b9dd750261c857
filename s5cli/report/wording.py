"""Numbers as people read them."""

from __future__ import annotations

import math

NONE = "–"


def plain(value: float | None, digits: int = 2) -> str:
    """A number with a real minus, or a dash.

    >>> plain(-1.234), plain(None)
    ('−1.23', '–')
    """
    return NONE if value is None or math.isnan(value) else f"{value:.{digits}f}".replace("-", "−")


def decibels(value: float | None) -> str:
    """One digit and the unit.

    >>> decibels(-9.32)
    '−9.3 dB'
    """
    return f"{plain(value, 1)} dB" if value is not None else NONE
