"""Memory of a long recording: what is live before each batch of windows, what is resident, and the peak so far.

    python -m benchmarks.memory [--minutes 10] [--system baseline-compact] [--batch-size 4]

The examples, one after the other. What is live must not grow; what is resident is glibc's business too, which keeps
what was freed.
"""

import argparse
import tempfile
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import soundfile

import s5cli
from benchmarks.measure import live_bytes, machine, peak_gb
from s5cli.api import DEFAULT_SYSTEM
from s5cli.run import plan, windows
from s5cli.scene import N_CHANNELS, RATE_HZ

EXAMPLES = Path(__file__).parents[1] / "examples"


def write_recording(path: Path, n_samples: int) -> None:
    clips = cycle([soundfile.read(clip, dtype="int16")[0] for clip in sorted(EXAMPLES.glob("*.flac"))])
    with soundfile.SoundFile(path, "w", RATE_HZ, N_CHANNELS, "PCM_16") as file:
        while file.tell() < n_samples:
            file.write(next(clips)[: n_samples - file.tell()])


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--system", default=DEFAULT_SYSTEM)
    parser.add_argument("--batch-size", type=int, default=4)
    given = parser.parse_args()
    loaded, answered = s5cli.load(given.system, "cpu"), windows.answered

    def told(*asked: Any) -> Sequence[Any]:
        print(f"{live_bytes() / 1e6:8.0f}{resident_bytes() / 1e6:10.0f}{1000 * peak_gb():8.0f}", flush=True)
        return answered(*asked)

    windows.answered = told
    print(f"{machine()}\nbefore each batch, MB:\n    live  resident    peak")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "long.wav")
        write_recording(path, round(60 * given.minutes * RATE_HZ))
        windows.separate_long(path, loaded, 10.0, given.batch_size, plan.Options(), Path(folder))
    print(f"at the end:{1000 * peak_gb():15.0f}")


if __name__ == "__main__":
    main()
