"""How scenes are drawn: the official numbers of the DCASE 2026 Task 4 data (arXiv:2604.00776) as defaults."""

import re
from dataclasses import dataclass
from typing import Literal

from s5cli.errors import UsageError
from s5cli.scene import RATE_HZ

Range = tuple[float, float]


@dataclass(frozen=True)
class SceneSettings:
    """How scenes are drawn; the defaults are the official ones, augmentation of the sources is off.

    `zero_target_share` is the share of scenes without foreground; None leaves it to `n_foreground`. Rooms are simulated
    in `simulated_room_share` of the scenes (always, where the library has none), single-position measurements (openair)
    make up `openair_room_share` of the others; every split has `n_simulated_rooms` of its own. Pairs are (lowest,
    highest), both included.
    """

    duration_s: float = 10.0
    n_foreground: tuple[int, int] = (1, 3)
    zero_target_share: float | None = None
    same_class_probability: float = 0.5
    min_same_class_angle_deg: float = 60.0
    foreground_snr_db: Range = (5.0, 20.0)
    interference_snr_db: Range = (0.0, 15.0)
    n_interference: tuple[int, int] = (0, 2)
    background_db: float = -55.0
    max_overlap: int = 3
    direct_before_ms: float = 6.0
    direct_after_ms: float = 50.0
    simulated_room_share: float = 0.0
    n_simulated_rooms: int = 128
    openair_room_share: float = 0.1
    balance: Literal["file", "source"] = "file"
    speed_range: Range = (1.0, 1.0)
    eq_db: float = 0.0
    rotate: bool = False
    duration_augmentation_share: float = 0.0
    duration_augmentation_classes: tuple[str, ...] = ("Percussion", "Dishes", "CupboardOpenClose")

    def __post_init__(self) -> None:
        problems = {
            "duration_s must be between 0.1 and 3600": not 0.1 <= self.duration_s <= 3600,
            "n_foreground must be two whole numbers from 0, lowest first": not _ordered(self.n_foreground, 0),
            "n_interference must be two whole numbers from 0, lowest first": not _ordered(self.n_interference, 0),
            "max_overlap must be at least the highest n_foreground": self.max_overlap < self.n_foreground[1],
            "foreground_snr_db must be lowest first": not _ordered(self.foreground_snr_db),
            "interference_snr_db must be lowest first": not _ordered(self.interference_snr_db),
            "speed_range must lie between 0.25 and 4, lowest first": not _ordered(self.speed_range, 0.25, 4),
            "eq_db must be between 0 and 24": not 0 <= self.eq_db <= 24,
            "n_simulated_rooms must be at least 1": self.n_simulated_rooms < 1,
            "balance must be 'file' or 'source'": self.balance not in ("file", "source"),
        } | {
            f"{name} must be between 0 and 1": not 0 <= (getattr(self, name) or 0) <= 1
            for name in (
                "zero_target_share",
                "same_class_probability",
                "simulated_room_share",
                "openair_room_share",
                "duration_augmentation_share",
            )
        }
        for problem, found in problems.items():
            if found:
                raise UsageError(f"scene settings: {problem}")

    @property
    def n_samples(self) -> int:
        return round(self.duration_s * RATE_HZ)


def _ordered(pair: tuple[float, float], low: float = float("-inf"), high: float = float("inf")) -> bool:
    return low <= pair[0] <= pair[1] <= high


def whole_range(text: str) -> tuple[int, int]:
    """`lowest,highest` or one number, as the command line has it.

    Raises:
        UsageError: something else.

    >>> whole_range("0,3"), whole_range("2")
    ((0, 3), (2, 2))
    """
    numbers = text.split(",")
    if len(numbers) > 2 or not all(re.fullmatch("[0-9]{1,9}", number.strip()) for number in numbers):
        raise UsageError(f"{text!r} is not a range of whole numbers; give lowest,highest like 0,3")
    return int(numbers[0]), int(numbers[-1])
