"""A system in Python: `s5cli.load()` gives a callable for files, arrays and tensors."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, overload

import numpy as np

from s5cli.audio import ChannelOrder, Samples, as_scene, cut_to_first_order, read_scene
from s5cli.errors import InputError, UsageError
from s5cli.labels import N_SLOTS, index_of
from s5cli.scene import EMPTY, N_CHANNELS, Queries, Scene, Stem
from s5cli.system import Decision, Staged, Streaming, System
from s5cli.trace import ClipTrace
from s5cli.weights.places import read_toml

if TYPE_CHECKING:
    from torch import Tensor

    from s5cli.weights.build import Provenance

DEFAULT_SYSTEM = "baseline-compact"  # the best of the embedded ones on held-out recordings (docs/compact.md)

Mixture: TypeAlias = "str | Path | Samples | Tensor"
Mixtures: TypeAlias = "list[Any] | tuple[Any, ...]"


@dataclass(frozen=True)
class LoadedSystem:
    """A system and how it takes recordings; call it with a mixture, or with a list of mixtures."""

    name: str
    system: System
    device: str
    channel_order: ChannelOrder = "acn"
    resample: bool = False
    weights: Sequence[Provenance] = ()
    first_order: bool = False
    precision: str = "fp32"
    engine: str = "torch"
    compiled: bool = False

    @overload
    def __call__(self, mixture: Mixture, labels: Sequence[str] = ...) -> list[Stem]: ...
    @overload
    def __call__(self, mixture: Mixtures, labels: Sequence[str] = ...) -> list[list[Stem]]: ...
    def __call__(self, mixture: Mixture | Mixtures, labels: Sequence[str] = ()) -> list[Stem] | list[list[Stem]]:
        """The stems of a mixture in slot order, before they are rounded for a file.

        Args:
            mixture: a path, or samples [4, t] at 32 kHz (array or tensor); those of a list go through together.
            labels: up to three classes to separate instead of what the taggers propose.

        Raises:
            InputError: a mixture that cannot be used, or that the system answers with NaN or infinity.
            UsageError: an unknown class, or more than three.
        """
        if isinstance(mixture, list | tuple):
            return self._stems(mixture, labels) if mixture else []
        return self._stems([mixture], labels)[0]

    def decide(self, mixtures: Mixtures, labels: Sequence[str] = ()) -> Decision:
        """Everything that the system found of some mixtures on its way, in the record of its own file.

        Raises as a call does, except that numbers are not checked.
        """
        return self.asked(labels, len(mixtures))(self._scenes(mixtures))

    def asked(self, labels: Sequence[str], n_clips: int) -> System:
        """The system, or where classes are named the one that separates these in each of so many clips.

        Raises:
            UsageError: an unknown class, or more than three.
        """
        if isinstance(labels, str):
            raise UsageError(f"labels are a list, such as [{labels!r}], not one string")
        queries = queries_of(labels, n_clips)
        return self.system if queries is None else self.system.with_queries(queries)

    def stream(self, blocks: Iterable[Samples | Tensor]) -> Iterator[list[Stem]]:
        """Consecutive blocks [4, t] at 32 kHz of one recording to the stems that are ready after each.

        Stems of one slot, one after the other, are one source; see `s5cli.scene.Streaming`.

        Raises:
            UsageError: the system does not stream.
            InputError: the system answers with NaN or infinity.
        """
        if not isinstance(self.system, Streaming):
            raise UsageError(f"system {self.name!r} takes whole recordings and does not stream; call it instead")
        for stems in self.system.stream(self._scene(block, "block").audio for block in blocks):
            [found] = stems.clips()
            check_stems(found, "stream")
            yield found

    def _stems(self, mixtures: Mixtures, labels: Sequence[str]) -> list[list[Stem]]:
        scenes = self._scenes(mixtures)
        answers = answered(self, scenes, labels)
        for scene, (stems, trace, _) in zip(scenes, answers, strict=True):
            check_answer(stems, trace, scene.name)
        return [stems for stems, *_ in answers]

    def _scenes(self, mixtures: Mixtures) -> list[Scene]:
        many = len(mixtures) > 1
        return [self._scene(one, f"mixture {index}" if many else "mixture") for index, one in enumerate(mixtures)]

    def _scene(self, mixture: Any, name: str) -> Scene:
        if isinstance(mixture, str | Path):
            return read_scene(mixture, self.channel_order, self.resample, first_order=self.first_order)
        samples = _samples(mixture, name)
        samples = cut_to_first_order(samples) if self.first_order else samples
        return as_scene(samples, name, self.channel_order, source=name)


def _samples(mixture: Any, name: str) -> Samples:
    """An array or a tensor as float32, after what may be meant otherwise is refused."""
    if hasattr(mixture, "detach"):
        tensor = mixture.detach().cpu()
        mixture = (tensor.float() if tensor.is_floating_point() else tensor).numpy()  # NumPy knows no bfloat16
    if not isinstance(mixture, np.ndarray):
        kind = type(mixture).__name__
        raise InputError(f"{name}: {kind}, not a path, array or tensor; a list gives several mixtures")
    if mixture.dtype.kind != "f":
        raise InputError(f"{name}: samples of type {mixture.dtype}; give floating-point ones, full scale ±1")
    if mixture.ndim == 2 and mixture.shape[1] == N_CHANNELS != mixture.shape[0]:
        shape = list(mixture.shape)
        raise InputError(f"{name}: samples {shape}, as soundfile reads them; give audio.T, which is [4, t]")
    return mixture.astype(np.float32)


def answered(
    loaded: LoadedSystem, scenes: Sequence[Scene], labels: Sequence[str]
) -> list[tuple[list[Stem], ClipTrace, dict[str, list[Stem]]]]:
    """The stems of each scene, what became of its queries, and the stems of each stage by its name.

    Of stages only where the system gives them and was asked for them.
    """
    decision = loaded.asked(labels, len(scenes))(scenes)
    staged = decision.staged() if isinstance(decision, Staged) else {}
    by_stage = {name: stems.clips() for name, stems in staged.items()}
    answers = zip(decision.stems().clips(), decision.trace(), strict=True)
    return [(*answer, {name: clips[row] for name, clips in by_stage.items()}) for row, answer in enumerate(answers)]


def check_answer(stems: Sequence[Stem], trace: ClipTrace, where: str) -> None:
    """Raises InputError if what a system said of the mixture `where` has NaN or infinity, as sound or number."""
    check_stems(stems, where)
    if not trace.is_finite:
        raise InputError(f"{where}: the system gave NaN or infinity as a number; give another system or device")


def check_stems(stems: Sequence[Stem], where: str) -> None:
    """Raises InputError if a stem that a system made of the mixture `where` has NaN or infinity, as sound or number."""
    for stem in stems:
        numbers = (stem.confidence, *stem.numbers.values())
        if not (all(map(math.isfinite, numbers)) and stem.audio.isfinite().all()):
            raise InputError(f"{where}: the system gave NaN or infinity as {stem.label}; give another system or device")


def load(
    name: str = DEFAULT_SYSTEM,
    device: str = "auto",
    thresholds: str | Path | None = None,
    *,
    channel_order: ChannelOrder = "acn",
    resample: bool = False,
    first_order: bool = False,
    offline: bool = False,
    accept_licence: bool = False,
    force_thresholds: bool = False,
    options: Mapping[str, Any] | None = None,
    precision: str = "fp32",
    engine: str = "torch",
    compile: bool = False,  # noqa: A002  # as PyTorch calls it
) -> LoadedSystem:
    """Builds a system; weights that are not on this machine yet are downloaded.

    Args:
        name: one of `s5 systems`.
        device: "auto" (CUDA or Apple's MPS where there is one), "cpu", "cuda", "cuda:1" or "mps".
        thresholds: a TOML file with a table [knobs], and perhaps one [options].
        channel_order: of the mixtures to come, see `s5cli.audio.read_scene`.
        resample: take files of other rates than 32 kHz too.
        first_order: of higher-order ambisonics take the first four channels.
        offline: download nothing.
        accept_licence: accept the licences of the weights instead of being asked.
        force_thresholds: take thresholds that were made for another system or with other weights.
        options: the system's options by name, see `s5 systems NAME`; they go before those of the file.
        precision: in which the networks' arithmetic is done: "fp32", "bf16", "fp16", on CUDA "tf32" too.
        engine: that does it: "torch" or "onnx", see `s5cli.weights.engine`.
        compile: have PyTorch compile the networks, which takes minutes and pays in long runs.

    Raises:
        UsageError: an unknown system, device or option, or thresholds that do not fit.
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
            " (force_thresholds=True in Python)"
        )
    knobs = given.knobs if given else None
    chosen = {**(given.options if given else {}), **(options or {})}
    try:
        system = build(
            name, device=place, thresholds=knobs, options=chosen, offline=offline, accept_licence=accept_licence,
            registry=known, precision=precision, engine=engine, compiled=compile,
        )  # fmt: skip
    except UsageError as error:  # name and device are settled, so it is about a knob or an option
        raise UsageError(f"{given.path}: {error}" if given and not options else str(error)) from error
    weights = provenance(entry.name, known)
    if given is not None and not force_thresholds:
        check_weights(given, weights)
    how = precision, engine, compile
    return LoadedSystem(entry.name, system, place, channel_order, resample, weights, first_order, *how)


@dataclass(frozen=True)
class Thresholds:
    """What a thresholds file says; all but the knobs may be missing."""

    path: Path
    knobs: Mapping[str, Any]
    system: str | None  # that it was made for
    weights: Mapping[str, str]  # sha256 by part, with which it was made
    options: Mapping[str, Any]


def check_weights(given: Thresholds, weights: Sequence[Provenance]) -> None:
    """Raises UsageError if thresholds name other weights than those that the system runs with."""
    for part in weights:
        made_with = given.weights.get(part["part"], part["sha256"])
        if made_with != part["sha256"]:
            raise UsageError(
                f"{given.path}: made with other weights for {part['part']} (sha256 {made_with[:12]}…, here"
                f" {part['sha256'][:12]}…); tune again, or --force-thresholds takes it anyway"
                " (force_thresholds=True in Python)"
            )


def read_thresholds(path: Path) -> Thresholds:
    """A TOML file with a table [knobs], and what it says of the system and weights that it was made with.

    Raises:
        UsageError: not readable, not TOML, or without such a table.
    """
    try:
        content = read_toml(path)
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
    options = content.get("options", {})
    if not isinstance(options, dict):
        raise UsageError(f"{path}: [options] should be a table of options and their values")
    return Thresholds(path, knobs, made_for, weights, options)


def queries_of(labels: Sequence[str], n_clips: int) -> Queries | None:
    """The same named classes asked of every clip, each with confidence 1; None where nothing is named.

    Raises:
        UsageError: an unknown class, or more than three.

    >>> queries_of(["Speech", "Speech"], 1)
    Queries(classes=array([[15, 15, -1]]), confidence=array([[1., 1., 0.]]))
    """
    if not labels:
        return None
    if len(labels) > N_SLOTS:
        raise UsageError(f"{len(labels)} labels named; a system separates at most {N_SLOTS} at once, so name fewer")
    classes = np.full((n_clips, N_SLOTS), EMPTY, dtype=np.int64)
    classes[:, : len(labels)] = [index_of(label) for label in labels]
    return Queries(classes, np.where(classes == EMPTY, 0.0, 1.0))
