"""From a tagger's tracks and frames to what is asked of a separator and what is reported (Ku, Jeong & Park 2026).

Thresholds of queries lie below those of reports: what may be there competes for energy, and only what is surely there
is reported. A query's threshold above that of its report counts as equal to it, so that every report was asked for.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import median_filter

from s5cli.knobs import Setting
from s5cli.labels import N_CLASSES
from s5cli.scene import EMPTY, RATE_HZ, Bools, Floats, Ints, Queries, Tracks

STRETCH_SAMPLES = 1280
MEDIAN_S = 0.28
"""Shorter changes of an activity are noise: seven frames of 40 ms."""


@dataclass(frozen=True)
class Bridged:
    """What is asked of every clip, most confident first, and which of it is reported."""

    queries: Queries  # [b, s]
    activity: Floats  # [b, s, n], 0…1, whether the class sounds; 1 throughout where no frame says so
    surest: Floats  # [b, s], the most probable frame
    reported: Bools  # [b, s]
    silence: Floats  # [b, s], probability of silence of the tracks in this order


def bridge(tracks: Tracks, setting: Setting, frame_s: float) -> Bridged:
    """The class of every track, and when it sounds, if it is sure enough; ties go to the lower class.

    `frame_s` is how long a frame of the activity is.
    """
    targets = tracks.probabilities[..., :N_CLASSES]
    classes, confidence = targets.argmax(axis=-1), targets.max(axis=-1)
    asked = confidence >= least(setting, "query_weak", "report_weak", classes)
    order = np.lexsort((classes, -confidence, ~asked), axis=1)
    classes, confidence, asked, silence = (
        np.take_along_axis(one, order, axis=1) for one in (classes, confidence, asked, tracks.probabilities[..., -1])
    )
    own = np.take_along_axis(tracks.activity, order[:, :, None, None], axis=1)
    heard = smoothed(np.take_along_axis(own, classes[:, :, None, None], axis=3)[..., 0], frame_s)
    surest = heard.max(axis=2, initial=0.0)
    reported = asked & (confidence >= setting.of("report_weak", classes))
    reported &= surest >= setting.of("report_frame", classes)
    queries = Queries(np.where(asked, classes, EMPTY), np.where(asked, confidence, 0.0))
    return Bridged(queries, queried(heard, classes, setting), surest, reported, silence)


def named(queries: Queries, tracks: Tracks, setting: Setting, frame_s: float) -> Bridged:
    """Classes that a user named: all are reported, and the tagger is asked only when they sound."""
    classes, active = np.maximum(queries.classes, 0), queries.active
    whichever = tracks.activity.max(axis=1)  # [b, n, k]
    heard = smoothed(np.take_along_axis(whichever, classes[:, None, :], axis=2).swapaxes(1, 2), frame_s)
    silence = np.where(active, 0.0, 1.0)
    if setting.options["activity"] == "true" and queries.sounding is not None:
        activity = in_frames(queries.sounding, frame_s)
    else:
        activity = queried(heard, classes, setting)
    return Bridged(queries, activity, heard.max(axis=2, initial=0.0), active, silence)


def sounding(references: npt.NDArray[np.floating[Any]]) -> Floats:
    """In which stretches of 40 ms each reference sounds, within 50 dB of its loudest one: [m, t] to [m, n], 0 or 1.

    Source: training labels of "Extending SR-CorrNet to label-queried target sound extraction" as we make them.

    >>> sounding(np.array([[1.0] * 1280 + [1e-4] * 1280 + [0.1] * 20])).tolist()
    [[1.0, 0.0, 1.0]]
    """
    n_frames = -(-references.shape[1] // STRETCH_SAMPLES)
    padded = np.pad(references, ((0, 0), (0, n_frames * STRETCH_SAMPLES - references.shape[1])))
    power = np.square(padded, dtype=np.float64).reshape(len(references), n_frames, STRETCH_SAMPLES).mean(axis=2)
    return np.asarray((power > 0) & (power >= power.max(axis=1, keepdims=True) * 1e-5), dtype=np.float64)


def in_frames(stretches: Floats, frame_s: float) -> Floats:
    """Stretches of 40 ms [..., n] in frames that are as long or longer: whether any of a frame's sounds.

    >>> in_frames(np.array([[0.0, 1, 0, 0, 0]]), 0.08).tolist()
    [[1.0, 0.0, 0.0]]
    """
    frame_samples, n = round(frame_s * RATE_HZ), stretches.shape[-1]
    begins = -(-np.arange(-(-n * STRETCH_SAMPLES // frame_samples)) * frame_samples // STRETCH_SAMPLES)
    return np.asarray(np.maximum.reduceat(stretches, begins[begins < n], axis=-1))


def least(setting: Setting, query: str, report: str, classes: Ints) -> Floats:
    """A query's threshold, which its report's bounds from above."""
    return np.minimum(setting.of(query, classes), setting.of(report, classes))


def queried(heard: Floats, classes: Ints, setting: Setting) -> Floats:
    """How activities [b, s, n] are asked: 0 or 1 by threshold, as they are, or 1 throughout, as the option says."""
    if setting.options["activity"] == "none":
        return np.ones_like(heard)
    sounds = heard >= least(setting, "query_frame", "report_frame", classes)[..., None]
    never = ~sounds.any(axis=2, keepdims=True)
    shown = heard if setting.options["activity"] == "soft" else sounds.astype(np.float64)
    return np.where(never, 1.0, shown)


def smoothed(activity: Floats, frame_s: float) -> Floats:
    """Activities [b, s, n] through a median filter of 0.28 s, of one frame where frames are as long.

    >>> smoothed(np.array([[[0.0, 1, 0, 0, 1, 1, 1, 1]]]), 0.09).tolist()
    [[[0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0]]]
    """
    n_frames = max(1, int(MEDIAN_S / frame_s + 1e-6) - 1 | 1)
    return np.asarray(median_filter(activity, size=(1, 1, n_frames), mode="nearest"))
