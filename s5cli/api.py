"""A system in Python: `s5cli.load("tagging-driven-compact")` gives a callable for files, arrays and tensors."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast, overload

import numpy as np

from s5cli.audio import ChannelOrder, Samples, as_scene, read_scene
from s5cli.errors import InputError, UsageError
from s5cli.knobs import Setting
from s5cli.labels import N_SLOTS, index_of
from s5cli.scene import EMPTY, Queries, Scene, Stem, System, Tap, quiet

if TYPE_CHECKING:
    from torch import Tensor

    from s5cli.weights.build import Provenance

DEFAULT_SYSTEM = "tagging-driven-compact"

Mixture: TypeAlias = "str | Path | Samples | Tensor"
Mixtures: TypeAlias = "list[Any] | tuple[Any, ...]"


class TunedSystem(System, Protocol):
    """A system as `s5cli.weights.build` makes it: with a value for each of its knobs."""

    setting: Setting


@dataclass(frozen=True)
class LoadedSystem:
    """A system and how it takes recordings; call it with a mixture, or with a list of mixtures."""

    name: str
    system: TunedSystem
    device: str
    channel_order: ChannelOrder = "acn"
    resample: bool = False
    weights: Sequence[Provenance] = ()

    @overload
    def __call__(self, mixture: Mixture, labels: Sequence[str] = ..., tap: Tap = ...) -> list[Stem]: ...
    @overload
    def __call__(self, mixture: Mixtures, labels: Sequence[str] = ..., tap: Tap = ...) -> list[list[Stem]]: ...
    def __call__(
        self, mixture: Mixture | Mixtures, labels: Sequence[str] = (), tap: Tap = quiet
    ) -> list[Stem] | list[list[Stem]]:
        """The stems of a mixture in slot order, before they are rounded for a file.

        Args:
            mixture: a path, or samples [4, t] at 32 kHz (array or tensor); those of a list go through together.
            labels: up to three classes to separate instead of what the taggers propose.
            tap: looks at every step, see `s5cli.scene.Tap`.

        Raises:
            InputError: a mixture that cannot be used, or that the system answers with NaN or infinity.
            UsageError: an unknown class, or more than three.
        """
        if isinstance(mixture, list | tuple):
            scenes = [self._scene(one, f"mixture {index}") for index, one in enumerate(mixture)]
            return self._answers(scenes, labels, tap) if scenes else []
        return self._answers([self._scene(mixture, "mixture")], labels, tap)[0]

    def _answers(self, scenes: Sequence[Scene], labels: Sequence[str], tap: Tap) -> list[list[Stem]]:
        answers = self.system(scenes, tap, named_queries(labels, len(scenes)))
        for scene, stems in zip(scenes, answers, strict=True):
            check_stems(stems, scene.name)
        return answers

    def _scene(self, mixture: Any, name: str) -> Scene:
        if isinstance(mixture, str | Path):
            return read_scene(mixture, self.channel_order, self.resample)
        audio = mixture if isinstance(mixture, np.ndarray) else mixture.detach().cpu().numpy()
        return as_scene(audio.astype(np.float32), name, self.channel_order, source=name)


def check_stems(stems: Sequence[Stem], where: str) -> None:
    """Raises InputError if one of the stems that a system made of the mixture `where` has NaN or infinity."""
    for stem in stems:
        if not stem.audio.isfinite().all():
            raise InputError(f"{where}: the system gave NaN or infinity as {stem.label}; give another system or device")


def load(
    name: str = DEFAULT_SYSTEM,
    device: str = "auto",
    thresholds: str | Path | None = None,
    *,
    channel_order: ChannelOrder = "acn",
    resample: bool = False,
    offline: bool = False,
    accept_licence: bool = False,
    force_thresholds: bool = False,
) -> LoadedSystem:
    """Builds a system; weights that are not on this machine yet are downloaded.

    Args:
        name: one of `s5 systems`.
        device: "auto" (CUDA where there is one), "cpu", "cuda" or "cuda:1".
        thresholds: a TOML file with a table [knobs].
        channel_order: of the mixtures to come, see `s5cli.audio.read_scene`.
        resample: take files of other rates than 32 kHz too.
        offline: download nothing.
        accept_licence: accept the licences of the weights instead of being asked.
        force_thresholds: take thresholds that were made for another system or with other weights.

    Raises:
        UsageError: an unknown system or device, or thresholds that do not fit.
        WeightsError: weights that are missing, damaged or not licensed yet.
    """
    from s5cli.weights.build import build, provenance
    from s5cli.weights.device import resolve_device
    from s5cli.weights.registry import registry

    known = registry()
    entry = known.system(name)
    place = str(resolve_device(device))
    given = None if thresholds is None else read_thresholds(Path(thresholds))
    made_for = entry.name if given is None or given.system is None else known.aliases.get(given.system, given.system)
    if given is not None and not force_thresholds and made_for != entry.name:
        raise UsageError(
            f"{given.path}: made for system {given.system!r}, not {name!r}; --force-thresholds takes it anyway"
        )
    knobs = None if given is None else given.knobs
    try:
        built = build(name, device=place, thresholds=knobs, offline=offline, accept_licence=accept_licence)
    except UsageError as error:  # name and device are settled, so it is about a knob
        raise UsageError(f"{thresholds}: {error}") from error
    weights = provenance(entry.name)
    if given is not None and not force_thresholds:
        check_weights(given, weights)
    return LoadedSystem(entry.name, cast(TunedSystem, built), place, channel_order, resample, weights)


@dataclass(frozen=True)
class Thresholds:
    """What a thresholds file says; the last two may be missing."""

    path: Path
    knobs: Mapping[str, Any]
    system: str | None  # that it was made for
    weights: Mapping[str, str]  # sha256 by part, with which it was made


def check_weights(given: Thresholds, weights: Sequence[Provenance]) -> None:
    """Raises UsageError if thresholds name other weights than those that the system runs with."""
    for part in weights:
        made_with = given.weights.get(part["part"], part["sha256"])
        if made_with != part["sha256"]:
            raise UsageError(
                f"{given.path}: made with other weights for {part['part']} (sha256 {made_with[:12]}…, here"
                f" {part['sha256'][:12]}…); tune again, or --force-thresholds takes it anyway"
            )


def read_thresholds(path: Path) -> Thresholds:
    """A TOML file with a table [knobs], and what it says of the system and weights that it was made with.

    Raises:
        UsageError: not readable, not TOML, or without such a table.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: no thresholds can be read from it ({error})") from error
    knobs, made_for = content.get("knobs"), content.get("system")
    if not isinstance(knobs, dict):
        raise UsageError(f"{path}: has no table [knobs]; write each threshold under it, such as `verify = 0.1`")
    if not isinstance(made_for, str | None):
        raise UsageError(f"{path}: system = {made_for!r} should be the name of a system")
    weights = content.get("weights", {})
    if not isinstance(weights, dict) or not all(isinstance(sha256, str) for sha256 in weights.values()):
        raise UsageError(f"{path}: [weights] should hold the sha256 of each part")
    return Thresholds(path, knobs, made_for, weights)


def named_queries(labels: Sequence[str], n_clips: int) -> Queries | None:
    """The same named classes asked of every clip, each with confidence 1; None where nothing is named.

    Raises:
        UsageError: an unknown class, or more than three.

    >>> named_queries(["Speech", "Speech"], 1)
    Queries(classes=array([[15, 15, -1]]), confidence=array([[1., 1., 0.]]))
    """
    if not labels:
        return None
    if len(labels) > N_SLOTS:
        raise UsageError(f"{len(labels)} labels named; a system separates at most {N_SLOTS} at once, so name fewer")
    classes = np.full((n_clips, N_SLOTS), EMPTY, dtype=np.int64)
    classes[:, : len(labels)] = [index_of(label) for label in labels]
    return Queries(classes, np.where(classes == EMPTY, 0.0, 1.0))
