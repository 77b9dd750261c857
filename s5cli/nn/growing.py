"""Centred short-time Fourier transforms of a recording that has not ended, forwards and back."""

import torch
import torch.nn.functional as F
from torch import Tensor

from s5cli.nn.transform import Transform


class GrowingSpectrum:
    """Samples [m, t] in, frames [m, n, f] out as soon as they are whole; what is no longer needed can be let go.

    With all samples in and the end told, the frames are those of the whole recording.
    """

    def __init__(self, transform: Transform) -> None:
        self.transform = transform
        self.half = transform.n_fft // 2
        self.n_samples = 0  # that came
        self.first = 0  # number of the first frame that is held
        self.frames: Tensor | None = None  # [m, n, f]
        self._begun: list[Tensor] = []  # before there is enough to reflect at the beginning
        self._recent: Tensor | None = None  # the last that came, for the reflection at the end
        self._waiting: Tensor | None = None  # samples from the next frame on, reflected ones before the beginning

    @property
    def last(self) -> int:
        """How many frames are whole."""
        return self.first + (0 if self.frames is None else self.frames.shape[1])

    def add(self, samples: Tensor) -> None:
        """The next samples [m, t]."""
        self.n_samples += samples.shape[1]
        before = samples[:, :0] if self._recent is None else self._recent
        self._recent = torch.cat([before, samples], dim=1)[:, -self.half - 1 :]
        if self._waiting is not None:
            self._waiting = torch.cat([self._waiting, samples], dim=1)
        else:
            self._begun.append(samples)
            if self.n_samples > self.half:
                all_samples = torch.cat(self._begun, dim=1)
                self._waiting, self._begun = F.pad(all_samples, (self.half, 0), mode="reflect"), []
        self._take()

    def end(self) -> None:
        """No sample follows. A recording of half a window or less has no frames."""
        if self._waiting is not None and self._recent is not None:
            mirrored = F.pad(self._recent, (0, self.half), mode="reflect")[:, -self.half :]
            self._waiting = torch.cat([self._waiting, mirrored], dim=1)
            self._take()

    def let_go(self, first: int) -> None:
        """Frames before that number are not asked for again."""
        if self.frames is not None and first > self.first:
            self.frames, self.first = self.frames[:, first - self.first :].clone(), first

    def _take(self) -> None:
        """Frames that are whole now; from the next frame's beginning on samples go on waiting."""
        if self._waiting is None or self._waiting.shape[1] < self.transform.n_fft:
            return
        hop = self.transform.hop_samples
        found = self.transform.of_frames(self._waiting.unfold(1, self.transform.n_fft, hop))
        self.frames = found if self.frames is None else torch.cat([self.frames, found], dim=1)
        self._waiting = self._waiting[:, found.shape[1] * hop :].clone()


class Overlapped:
    """Frames to the samples that no later frame adds to: overlap-add of one row."""

    def __init__(self, transform: Transform) -> None:
        self.transform = transform
        self.tail = torch.zeros(transform.n_fft - transform.hop_samples)

    def add(self, frames: Tensor) -> Tensor:
        """Windowed frames [n, n_fft] to n hops of samples."""
        n_fft, hop = self.transform.n_fft, self.transform.hop_samples
        length = (len(frames) - 1) * hop + n_fft
        added = F.fold(frames.T[None], (1, length), (1, n_fft), stride=(1, hop))[0, 0, 0]
        added[: len(self.tail)] += self.tail.to(added)
        self.tail = added[len(frames) * hop :].clone()
        return added[: len(frames) * hop]

    def sounded(self, spectrum: Tensor) -> Tensor:
        """Frames of a spectrum [n, f]."""
        return self.add(torch.fft.irfft(spectrum, self.transform.n_fft) * self.transform.window)
