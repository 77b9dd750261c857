"""Rules for windows over a long recording: where they lie, how they fade into one another, which stems belong together.

Free of torch and of files. Letters in shape comments: t samples of a window, o of an overlap, f of a fade,
m microphones, p tracks, q stems.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from s5cli.errors import UsageError
from s5cli.scene import N_CHANNELS, RATE_HZ, Bools, Floats, Ints

Samples = npt.NDArray[np.float32]

OVERLAPS_PER_WINDOW = 5
"""Neighbouring windows share a fifth: 2 s of 10 s. Enough for several syllables or beats to correlate, and for networks
to be warm where one window takes over; each second is computed 1.25 times."""
SHORTEST_WINDOW_S = 1.0
LIKE = 0.5
"""Least |correlation| in the overlap of stems that are one source."""
CLOSE = float(np.cos(np.deg2rad(25)))
"""Least cosine of the angle between the directions of stems that are one source. Of random pairs 1 in 20 passes it, or
1 in 7 where all sources lie in one plane."""
CLEAR = 0.3
"""Least length of a direction vector that is believed: 1 for a plane wave, 0 for what comes from everywhere."""
NEW = -1
"""The track of a stem that begins one."""


# --- where ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Windows:
    """Windows of one length, evenly spread from the first sample of a recording to the last; all in samples."""

    n_samples: int  # of the recording
    length: int
    fade: int
    starts: tuple[int, ...]

    def seam(self, index: int) -> int:
        """Where the fade from a window to the next begins: in the middle of what the two share."""
        shared = self.starts[index] + self.length - self.starts[index + 1]
        return self.starts[index + 1] + (shared - self.fade) // 2

    def begin(self, index: int) -> int:
        """The first sample that a window has a say in."""
        return self.seam(index - 1) if index else 0

    def end(self, index: int) -> int:
        """Where the next window begins to have a say; the end of the recording for the last one."""
        return self.seam(index) if index + 1 < len(self.starts) else self.n_samples

    def say(self, index: int, audio: Samples) -> Samples:
        """The part of a window's samples [t] in which it has the first say; those of all windows make the recording."""
        return self._part(index, audio, self.begin(index), self.end(index))

    def stitched(self, index: int, before: Samples | None, now: Samples | None) -> Samples:
        """A source in the part in which a window has the first say, from its stems [t] there and in the window before.

        None where a window is without it: there it fades in or out.
        """
        begin = self.begin(index)
        faded = begin + self.fade if index else begin
        fade = crossfade(self._part(index - 1, before, begin, faded), self._part(index, now, begin, faded))
        return np.concatenate([fade, self._part(index, now, faded, self.end(index))])

    def _part(self, index: int, audio: Samples | None, begin: int, end: int) -> Samples:
        first = self.starts[index]
        return np.zeros(end - begin, np.float32) if audio is None else audio[begin - first : end - first]


def window_samples(window_s: float) -> int:
    """The length of a window in samples.

    Raises:
        UsageError: below a second, or no finite number.
    """
    if not SHORTEST_WINDOW_S <= window_s < np.inf:
        raise UsageError(f"windows of {window_s:g} s; give {SHORTEST_WINDOW_S:g} s or more")
    return round(window_s * RATE_HZ)


def longest_whole(window_s: float) -> int:
    """Samples up to which a recording is taken whole: a window and an overlap, 12 s for windows of 10 s.

    >>> longest_whole(10) / RATE_HZ
    12.0
    """
    length = window_samples(window_s)
    return length + length // OVERLAPS_PER_WINDOW


def spread(n_samples: int, window_s: float) -> Windows:
    """As many windows as overlap by a fifth at least. One as long as the recording, where that is taken whole.

    >>> spread(34 * RATE_HZ, 10).starts
    (0, 256000, 512000, 768000)
    """
    length = window_samples(window_s)
    fade = length // OVERLAPS_PER_WINDOW
    if n_samples <= longest_whole(window_s):
        return Windows(n_samples, n_samples, fade, (0,))
    steps = -(-(n_samples - length) // (length - fade))
    starts = tuple(step * (n_samples - length) // steps for step in range(steps + 1))
    return Windows(n_samples, length, fade, starts)


# --- how --------------------------------------------------------------------------------------------------------------


def crossfade(before: Samples, after: Samples) -> Samples:
    """From one [f] to the other along a raised cosine. The weights sum to 1, so equal signals come out as they are.

    Equal gain, not equal power, because both are estimates of one signal.

    >>> crossfade(np.ones(3, np.float32), np.zeros(3, np.float32)).round(2)
    array([0.93, 0.5 , 0.07], dtype=float32)
    """
    position = (np.arange(len(before)) + 0.5) / len(before)
    weight = np.sin(np.pi / 2 * position).astype(np.float32) ** 2
    return np.asarray(before + weight * (after - before))


# --- which ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Evidence:
    """How much speaks for each pair of a track and a stem being one source, and how much is needed."""

    score: Floats  # [p, q]
    least: float  # above 0


def likeness(before: Samples, after: Samples) -> Floats:
    """|Normalised correlation| of every [o] of one window with every one of the next; 0 with silence.

    Shapes: [p, o] and [q, o] to [p, q].

    >>> likeness(np.array([[1, -1], [1, 1]], np.float32), np.array([[-2, 2]], np.float32)).round(2)
    array([[1.],
           [0.]])
    """
    one, other = before.astype(np.float64), after.astype(np.float64)
    norms = np.linalg.norm(one, axis=1)[:, None] * np.linalg.norm(other, axis=1)
    return np.abs(one @ other.T) / np.where(norms > 0, norms, np.inf)


def direction(stem: Samples, mixture: Samples) -> Floats:
    """Unit vector [3] in mixture order (Y, Z, X) towards a stem's source; zeros where there is no clear one.

    Projecting the mixture [m, t] onto the stem [t] leaves the source's own part of each channel. In SN3D those of Y, Z
    and X, over that of W, are the direction cosines of a plane wave.

    >>> direction(np.ones(2, np.float32), np.array([[1, 1], [0.6, 0.6], [0, 0], [0.8, 0.8]], np.float32)).round(2)
    array([0.6, 0. , 0.8])
    """
    w, *yzx = mixture.astype(np.float64) @ stem.astype(np.float64)
    length = float(np.linalg.norm(yzx))
    clear = length >= CLEAR * abs(w) > 0
    return np.array(yzx) / (np.copysign(length, w) if clear else np.inf)


def closeness(before: Sequence[Floats], after: Sequence[Floats]) -> Floats:
    """Cosine of the angle between every two of p and q directions, [p, q]; 0 with an unclear one.

    >>> closeness([np.array([0, 0, 1.0])], [np.array([0, 0.6, 0.8]), np.zeros(3)])
    array([[0.8, 0. ]])
    """
    one, other = (np.reshape(found, (len(found), N_CHANNELS - 1)) for found in (before, after))
    return np.asarray(one @ other.T)


def silence(windows: Sequence[Sequence[float]], n_empty: int) -> tuple[float, ...]:
    """Probabilities that slots are empty throughout a recording, from those of the empty slots of each window.

    A slot is empty throughout if it is so in every window. Of each window the `n_empty` surest count, the surest first,
    and of these the least sure window decides. A product would count windows that hear the same as independent.
    Nothing is said where a window says it of fewer.

    >>> silence([(0.6, 0.9), (0.7,)], 1), silence([(0.6, 0.9), ()], 1)
    ((0.7,), ())
    """
    if any(len(told) < n_empty for told in windows):
        return ()
    ranked = [sorted(told, reverse=True)[:n_empty] for told in windows]
    return tuple(min(told) for told in zip(*ranked, strict=True))


def joined(same_class: Bools, evidence: Sequence[Evidence]) -> Ints:
    """The track of each stem, [q]; NEW where it continues none.

    Each kind of evidence in turn assigns what the ones before left over, such that the scores of the pairs that reach
    its least sum to the most. No track gets two stems, no stem two tracks. `same_class` is [p, q].

    >>> joined(np.array([[True, True]]), [Evidence(np.array([[0.2, 0.9]]), 0.5)])
    array([-1,  0])
    """
    track_of = np.full(same_class.shape[1], NEW)
    from scipy.optimize import linear_sum_assignment  # only long recordings wait for it

    free = same_class.copy()
    for kind in evidence:
        usable = np.where(free & (kind.score >= kind.least), kind.score, 0.0)
        for track, stem in np.stack(linear_sum_assignment(usable, maximize=True), axis=1).tolist():
            if usable[track, stem]:
                track_of[stem] = track
                free[track] = free[:, stem] = False
    return track_of
