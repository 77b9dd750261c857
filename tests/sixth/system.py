"""A sixth system, which lives in the tests only: separate first, name afterwards, separate again by enrolment.

It is unlike the systems of `s5cli.systems` wherever the contract leaves room: three stages whose number is an option,
a separator that needs no classes, one that takes clues, frame-level tags of stems, thresholds on raw logits that differ
by stage, rules of its own for dropping, rows of its own for an ablation, and a form that takes blocks.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from s5cli.adapters.tracks import softmax
from s5cli.knobs import AblationRow, Knob, Option, Setting, per_stage
from s5cli.labels import CLASSES, N_CLASSES, N_SLOTS
from s5cli.rules.pick import compact_order
from s5cli.scene import EMPTY, Bools, Floats, Ints, Queries, Scene, Stems, Tags, Waveforms, places
from s5cli.steps.step import asked, stacked, waveforms
from s5cli.trace import ClipTrace, Drop, QueryTrace, Stage

# --- adapters ---------------------------------------------------------------------------------------------------------


class Adapter:
    def __init__(self, network: nn.Module, device: str | torch.device = "cpu") -> None:
        self.network, self.device, self.nparams = network.eval(), torch.device(device), network.nparams


class FindTones(Adapter):
    """Scenes to three waveforms each, of nothing in particular."""

    def __call__(self, scenes: Sequence[Scene]) -> list[Tensor]:
        with torch.inference_mode():
            return [self.network(scene.audio[None])[0] for scene in scenes]

    def exercise(self, scene: Scene) -> None:
        self([scene])


class TagFrames(Adapter):
    """Single-channel stems to clip-level and frame-level tags."""

    def __call__(self, scenes: Sequence[Scene]) -> Tags:
        with torch.inference_mode():
            heard = [self.network(scene.audio[None, :1]) for scene in scenes]
        n_frames = max((frames.shape[1] for _, frames in heard), default=0)
        logits = np.zeros((len(scenes), 1, N_CLASSES + 1))
        frames = np.zeros((len(scenes), n_frames, N_CLASSES))
        for row, (of_clip, of_frames) in enumerate(heard):
            logits[row], frames[row, : of_frames.shape[1]] = of_clip[0].numpy(), torch.sigmoid(of_frames[0]).numpy()
        return Tags(softmax(logits), frames)

    def exercise(self, scene: Scene) -> None:
        self([scene])


@dataclass(frozen=True)
class Clues:
    enrolments: Waveforms  # [b, s], a waveform [t] of the sound that is meant
    activity: Floats  # [b, n, k], probability that a class sounds in a frame


class ExtractTones(Adapter):
    """Scenes, classes and clues to waveforms."""

    def __call__(self, scenes: Sequence[Scene], queries: Queries, clues: Clues) -> list[Tensor]:
        with torch.inference_mode():
            together = zip(scenes, queries.classes, clues.enrolments, clues.activity, strict=True)
            return [self._one(*found) for found in together]

    def _one(self, scene: Scene, classes: Ints, enrolments: Waveforms, activity: Floats) -> Tensor:
        active = torch.from_numpy(activity[:, np.maximum(classes, 0)].T > 0.5)[None]  # [1, s, n]
        used = torch.from_numpy(classes != EMPTY)[:, None]
        answer = self.network(scene.audio[None], torch.from_numpy(classes)[None], stacked(enrolments)[None], active)
        return answer[0] * used

    def exercise(self, scene: Scene) -> None:
        enrolments = waveforms([scene.audio[:N_SLOTS]], N_SLOTS)
        self([scene], asked(np.arange(N_SLOTS)[None]), Clues(enrolments, np.ones((1, 1, N_CLASSES))))


# --- steps ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Found:
    waveforms: Waveforms  # [b, s]


@dataclass(frozen=True)
class Heard:
    """What is said of each stem of a batch."""

    logits: Floats  # [b, s, k], raw, over silence
    activity: Floats  # [b, n, k], where any stem of the clip is heard


@dataclass(frozen=True)
class Find:
    gives: ClassVar[type] = Found
    finder: FindTones

    def __call__(self, scenes: Sequence[Scene]) -> Found:
        return Found(waveforms(self.finder(scenes), N_SLOTS))


@dataclass(frozen=True)
class Hear:
    """A step whose input are waveforms."""

    gives: ClassVar[type] = Heard
    tagger: TagFrames

    def __call__(self, scenes: Sequence[Scene], stems: Waveforms) -> Heard:
        named = zip(scenes, stems, strict=True)
        tags = self.tagger([Scene(f"{scene.name}:{i}", one[None]) for scene, row in named for i, one in enumerate(row)])
        b, s = stems.shape
        p = tags.probabilities[:, 0].reshape(b, s, N_CLASSES + 1)
        logits = np.log(p[..., :N_CLASSES] + 1e-30) - np.log(p[..., N_CLASSES:] + 1e-30)
        return Heard(logits, tags.frames.reshape(b, s, -1, N_CLASSES).max(axis=1))


@dataclass(frozen=True)
class Extract:
    """A step with an option; its inputs are a class list, waveforms and frame-level activity."""

    gives: ClassVar[type] = Found
    extractor: ExtractTones
    activity: bool  # whether what sounds when is a clue

    def __call__(self, scenes: Sequence[Scene], classes: Ints, enrolments: Waveforms, activity: Floats) -> Found:
        clues = Clues(enrolments, activity if self.activity else np.ones_like(activity))
        return Found(waveforms(self.extractor(scenes, asked(classes), clues), classes.shape[1]))


# --- rules ------------------------------------------------------------------------------------------------------------


def chosen(logits: Floats, wanted: Queries | None) -> tuple[Ints, Ints]:
    """Class of each slot, and which of the found stems it takes, [b, s] each: the audible ones, or those named."""
    if wanted is not None:
        named = np.maximum(wanted.classes, 0)[:, None, :]
        return wanted.classes, np.take_along_axis(logits, named, axis=2).argmax(axis=1)
    audible = logits.max(axis=2) > -8
    order = compact_order(audible)
    classes = np.take_along_axis(logits.argmax(axis=2), np.maximum(order, 0), axis=1)
    return np.where(order == EMPTY, EMPTY, classes), np.maximum(order, 0)


def own(logits: Floats, classes: Ints) -> Floats:
    """The logit of each slot's class, [b, s, k] and [b, s] to [b, s]."""
    return np.take_along_axis(logits, np.maximum(classes, 0)[..., None], axis=2)[..., 0]


# --- the system -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pass:
    """One stage: its stems with what was heard in each, what sounds when, and which are silent."""

    stems: Stems
    activity: Floats  # [b, n, k]
    silent: Bools  # [b, s]


@dataclass(frozen=True)
class Decision:
    setting: Setting
    passes: tuple[Pass, ...]
    is_named: bool

    def stems(self) -> Stems:
        return self.passes[-1].stems.only(~self.passes[-1].silent)

    def trace(self) -> list[ClipTrace]:
        return [self._clip(row) for row in range(len(self.passes[0].stems.classes))]

    def _clip(self, row: int) -> ClipTrace:
        queries = [self._query(row, slot) for slot in np.flatnonzero(self.passes[0].stems.active[row]).tolist()]
        number = iter(range(N_SLOTS))
        return ClipTrace(tuple(q if q.dropped_by else replace(q, reported=next(number)) for q in queries))

    def _query(self, row: int, slot: int) -> QueryTrace:
        stages = [Stage("named")] if self.is_named else []
        first = self.passes[0].stems
        query = QueryTrace(CLASSES[first.classes[row, slot]], float(first.confidence[row, slot]), slot)
        for number, one in enumerate(self.passes, start=1):
            logit = float(one.stems.numbers["logit"][row, slot])
            stages.append(Stage(f"stage {number}", {"logit": logit}))
            if one.silent[row, slot]:
                limit = self.setting.of(f"silence_{number}", one.stems.classes[row, [slot]])[0]
                reason = f"its logit {logit:.2f} is below silence_{number} {limit:g}"
                return replace(query, stages=tuple(stages), dropped_by=f"silent_{number}", reason=reason)
        return replace(query, stages=tuple(stages))


class Sixth:
    """Three stages: find, then extract what was found by itself, twice."""

    options: ClassVar[Mapping[str, Option]] = {
        "stages": Option(3, "how often it is separated", low=1, high=3),
        "activity": Option(True, "whether what sounds when is a clue"),
    }
    knobs: ClassVar[Mapping[str, Knob]] = per_stage(
        "silence", Knob(0.0, -math.inf, math.inf, "logit", per_class=True, span=(-4, 4)), 3
    )
    drops: ClassVar[Mapping[str, Drop]] = {
        f"silent_{stage}": Drop(f"silent in stage {stage}", flagged=stage > 1) for stage in (1, 2, 3)
    }
    ablation: ClassVar[Sequence[AblationRow]] = (
        AblationRow("{name}", tunable=True),
        AblationRow("{name}, one stage", options={"stages": 1}),
        AblationRow("{name}, {extractor} without activity", options={"activity": False}),
        AblationRow("{name}, nothing silent", knobs={f"silence_{stage}": -math.inf for stage in (1, 2, 3)}),
        AblationRow("true classes", true_labels=True),
    )
    window_s: ClassVar[float | None] = 2.0

    def __init__(self, *, finder: FindTones, tagger: TagFrames, extractor: ExtractTones, setting: Setting) -> None:
        self.finder, self.tagger, self.extractor, self.setting = finder, tagger, extractor, setting
        self.nparams = finder.nparams + tagger.nparams + extractor.nparams
        self.find = Find(finder)
        self.hear = Hear(tagger)
        self.extract = Extract(extractor, bool(setting.options["activity"]))
        self.wanted: Queries | None = None

    def __call__(self, scenes: Sequence[Scene]) -> Decision:
        passes = [self.first(scenes)]
        for number in range(2, int(self.setting.options["stages"]) + 1):
            passes.append(self.again(scenes, passes[-1], number))
        return Decision(self.setting, tuple(passes), self.wanted is not None)

    def with_queries(self, queries: Queries) -> Sixth:
        twin = copy.copy(self)
        twin.wanted = queries
        twin.setting = self.setting.moved(dict.fromkeys(self.knobs, -math.inf))
        return twin

    def first(self, scenes: Sequence[Scene]) -> Pass:
        found = self.find(scenes)
        heard = self.hear(scenes, found.waveforms)
        classes, order = chosen(heard.logits, self.wanted)
        logit = own(np.take_along_axis(heard.logits, order[..., None], axis=1), classes)
        waveforms = np.take_along_axis(found.waveforms, order, axis=1)
        confidence = np.where(classes == EMPTY, 0.0, 1 / (1 + np.exp(-logit)))
        stems = Stems(classes, confidence, places(classes), waveforms, {"logit": logit})
        return self.judged(stems, heard.activity, 1)

    def again(self, scenes: Sequence[Scene], before: Pass, number: int) -> Pass:
        left = before.stems.only(~before.silent)
        found = self.extract(scenes, left.classes, left.waveforms, before.activity)
        heard = self.hear(scenes, found.waveforms)
        numbers = {"logit": own(heard.logits, left.classes)}
        return self.judged(replace(left, waveforms=found.waveforms, numbers=numbers), heard.activity, number)

    def judged(self, stems: Stems, activity: Floats, number: int) -> Pass:
        limits = self.setting.of(f"silence_{number}", stems.classes)
        return Pass(stems, activity, stems.active & (stems.numbers["logit"] < limits))

    def stream(self, blocks: Iterable[Tensor]) -> Iterator[Stems]:
        """Each block is a scene of its own; a slot is one class throughout, silent where it does not sound."""
        slots: dict[int, int] = {}
        for number, block in enumerate(blocks):
            found = self([Scene(f"block {number}", block)]).stems()
            for index in found.classes[0][found.active[0]].tolist():
                slots.setdefault(index, len(slots))
            yield in_slots(found, slots, block.shape[-1])


def in_slots(found: Stems, slots: Mapping[int, int], n_samples: int) -> Stems:
    """The stems of one scene in the slots of their classes."""
    classes, sound = np.full((1, N_SLOTS), EMPTY), np.empty((1, N_SLOTS), dtype=object)
    for index, slot in slots.items():
        classes[0, slot], sound[0, slot] = index, torch.zeros(n_samples)
    for index, waveform in zip(found.classes[0].tolist(), found.waveforms[0], strict=True):
        if index != EMPTY:
            sound[0, slots[index]] = waveform
    return Stems(classes, (classes != EMPTY) * 0.9, places(classes), sound)
