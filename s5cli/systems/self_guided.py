"""The self-guided systems: separate first, name afterwards, separate again by what was named (KAIST).

Stage 1 separates whatever there is and names each stem; stages 2 and 3 extract the named stems again, with the stems of
the stage before as enrolments, and name them anew. In 2025 a classifier hears the stems and an energy tells those of no
class; in 2026 the separator's own dual-path classifier does both, and frame features of the stems are a further clue.

Source: "Self-Guided Target Sound Extraction and Classification Through Universal Sound Separation Model and Multiple
Clues" (arXiv:2509.13741); "A Multi-Stage Separation-and-Classification Framework Guided by Complementary
Acoustic-to-Semantic Clues" (arXiv:2606.24512).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from s5cli.knobs import AblationRow, Knob, Option, Setting, per_stage
from s5cli.labels import CLASSES
from s5cli.rules.pick import pick
from s5cli.rules.silence import assigned, doubled, energy, of_class, softmax
from s5cli.scene import EMPTY, Bools, Floats, Ints, Part, Queries, Scene, Stems, Waveforms, places
from s5cli.steps.objects import ExtractObjects, HearStems, Objects, SeparateObjects
from s5cli.trace import ClipTrace, Drop, QueryTrace, Stage

N_STAGES = 3
SILENCE = Knob(0.0, -math.inf, math.inf, "logit", per_class=True, span=(-10, 10))
ENERGY = Knob(-3.5, -math.inf, math.inf, "logit", per_class=True, span=(-32, 0))

OPTIONS: Mapping[str, Option] = {
    "stages": Option("3", "how often it is separated; all: 3, all stages' stems written", ("1", "2", "3", "all")),
    "thresholds": Option(True, "whether thresholds count, or their defaults stand for all classes"),
    "class_clue": Option(True, "whether the classes of the stage before are a clue"),
    "enrolments": Option(True, "whether the stems of the stage before are a clue"),
    "revive": Option(True, "whether a slot that was silent may be heard in a later stage"),
}

# --- what was decided -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Said:
    """What is said of every stem of a stage, in the order of the slots."""

    waveforms: Waveforms  # [b, s]
    classes: Ints  # [b, s], EMPTY only where a user named fewer classes than there are slots
    confidence: Floats  # [b, s]
    silence: Floats  # [b, s], what is compared with a threshold
    silent: Bools  # [b, s]
    numbers: Mapping[str, Floats]  # [b, s] each


@dataclass(frozen=True)
class Pass:
    """One stage."""

    said: Said
    silent: Bools  # [b, s], by the stage's threshold, or silent before and not to be revived
    doubled: Bools  # [b, s], of a class that another slot has

    @property
    def stems(self) -> Stems:
        """What would be reported, were this the last stage."""
        said = self.said
        stems = Stems(said.classes, said.confidence, places(said.classes), said.waveforms, said.numbers)
        return stems.only(self.active)

    @property
    def active(self) -> Bools:
        return np.asarray((self.said.classes != EMPTY) & ~self.silent & ~self.doubled)


@dataclass(frozen=True)
class Decision:
    """The stages of a batch, and in which words a threshold is told of."""

    setting: Setting
    passes: tuple[Pass, ...]
    knob: str  # its name without the stage
    told: str  # what is compared with it, for people
    is_named: bool

    def stems(self) -> Stems:
        """Those of the last stage."""
        return self.passes[-1].stems

    def staged(self) -> Mapping[str, Stems]:
        """The stems of every stage by its name, where they are asked for."""
        if self.setting.options["stages"] != "all":
            return {}
        return {f"stage-{number}": one.stems for number, one in enumerate(self.passes, start=1)}

    def trace(self) -> list[ClipTrace]:
        """Every slot is a query: what each stage called it, and whether the last one kept it."""
        return [self._clip(row) for row in range(len(self.passes[0].silent))]

    def _clip(self, row: int) -> ClipTrace:
        slots = np.flatnonzero(self.passes[-1].said.classes[row] != EMPTY).tolist()
        reported = np.cumsum(self.passes[-1].active[row]) - 1
        return ClipTrace(tuple(self._query(row, slot, int(reported[slot])) for slot in slots))

    def _query(self, row: int, slot: int, number: int) -> QueryTrace:
        last = self.passes[-1]
        named = [Stage("named")] if self.is_named else []
        stages = [self._stage(f"stage {number}", one, row, slot) for number, one in enumerate(self.passes, start=1)]
        query = QueryTrace(
            CLASSES[last.said.classes[row, slot]], float(last.said.confidence[row, slot]), slot, (*named, *stages)
        )
        if last.silent[row, slot]:
            return replace(query, dropped_by="silent", reason=self._too_silent(row, slot))
        if last.doubled[row, slot]:
            return replace(query, dropped_by="double", reason="another slot of its class has a lower logit energy")
        return replace(query, reported=number)

    def _stage(self, name: str, one: Pass, row: int, slot: int) -> Stage:
        numbers = {key: float(values[row, slot]) for key, values in one.said.numbers.items()}
        label = CLASSES[one.said.classes[row, slot]]
        return Stage(name, numbers, label + ", silent" * bool(one.silent[row, slot]))

    def _too_silent(self, row: int, slot: int) -> str:
        said, knob = self.passes[-1].said, f"{self.knob}_{len(self.passes)}"
        if not said.silent[row, slot]:
            return "it was silent in an earlier stage"
        limit = self.setting.of(knob, said.classes[row, [slot]])[0]
        value = said.silence[row, slot]
        side, told = "above" if value > limit else "below", self.told.replace("_", " ")
        return f"its {told} {value:.2f} is {side} {knob} {limit:g}"


# --- the flow ---------------------------------------------------------------------------------------------------------


class SelfGuided:
    """What both systems have in common."""

    knobs: ClassVar[Mapping[str, Knob]]
    options: ClassVar[Mapping[str, Option]]
    knob: ClassVar[str]
    told: ClassVar[str]
    drops: ClassVar[Mapping[str, Drop]] = {"silent": Drop("silent", flagged=False)}
    window_s: ClassVar[float | None] = 10.0  # what the networks are trained on

    separate: SeparateObjects
    extract: ExtractObjects

    def __init__(self, setting: Setting, **parts: Part | None) -> None:
        given = setting.options["thresholds"]
        self.setting = setting if given else setting.moved({name: knob.default for name, knob in self.knobs.items()})
        self.nparams = sum(part.nparams for part in dict.fromkeys(parts.values()) if part is not None)
        vars(self).update(parts)  # by role: a cache tells a step's own parts from others
        self.wanted: Queries | None = None

    def __call__(self, scenes: Sequence[Scene]) -> Decision:
        passes = [self.first(scenes)]
        for number in range(2, self.n_stages + 1):
            passes.append(self.again(scenes, passes[-1], number))
        return Decision(self.setting, tuple(passes), self.knob, self.told, self.wanted is not None)

    def with_queries(self, queries: Queries) -> Self:
        """The same for classes that a user named: each is the clue of the stem that is likest to it; none is silent."""
        twin = copy.copy(self)
        twin.wanted = queries
        return twin

    @property
    def n_stages(self) -> int:
        chosen = self.setting.options["stages"]
        return N_STAGES if chosen == "all" else int(chosen)

    def first(self, scenes: Sequence[Scene]) -> Pass:
        """Everything there is, and what each stem is."""
        said = self.named(scenes, self.separate(scenes), 1)
        nothing = np.zeros(said.silent.shape, dtype=np.bool_)
        return self.judged(said, nothing)

    def again(self, scenes: Sequence[Scene], before: Pass, number: int) -> Pass:
        """The stems of the stage before, extracted by themselves and by what they were called."""
        clues = np.where(before.silent, EMPTY, before.said.classes)
        said = self.named(scenes, self.extract(scenes, clues, before.said.waveforms), number)
        return self.judged(said, before.silent & (not self.setting.options["revive"]))

    def judged(self, said: Said, silenced: Bools) -> Pass:
        """Which of the stems count."""
        silent = said.silent | silenced
        return Pass(said, silent, np.zeros(silent.shape, dtype=np.bool_))

    def named(self, scenes: Sequence[Scene], found: Objects, number: int) -> Said:
        """What is said of the stems of a stage."""
        raise NotImplementedError

    def ordered(self, logits: Floats, number: int) -> tuple[Ints, Ints]:
        """Which stem each slot takes, and its class, [b, s] each: all and the likeliest, or what a user named."""
        as_they_are = np.broadcast_to(np.arange(logits.shape[1]), logits.shape[:2])
        if self.wanted is None:
            return as_they_are, logits.argmax(axis=2)
        classes = self.wanted.classes
        return assigned(logits, classes) if number == 1 else as_they_are, classes

    def said(self, found: Objects, logits: Floats, silence: Floats, number: int) -> Said:
        """Of each slot its stem, class and silence value; confidence and silence are still to be decided."""
        order, classes = self.ordered(logits, number)
        waveforms, silence = pick(order, found.waveforms, silence)
        logits = np.take_along_axis(logits, order[..., None], axis=1)
        numbers = {self.told: silence, "class_logit": of_class(logits, classes)}
        likelihood = of_class(softmax(logits), classes)
        return Said(waveforms, classes, likelihood, silence, np.zeros(classes.shape, dtype=np.bool_), numbers)

    def with_silence(self, said: Said, silent: Bools, confidence: Floats) -> Said:
        """With what is silent; what a user named never is."""
        if self.wanted is not None:
            return replace(said, confidence=self.wanted.confidence)
        return replace(said, silent=silent, confidence=confidence)


def sigmoid(x: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -500, 500))))


class SelfGuided2025(SelfGuided):
    """USS, stem classifier, then twice TSE and stem classifier; silent is what has too high an energy."""

    calls: ClassVar[Mapping[str, int]] = {"separator": 1, "extractor": 2, "namer": 9, "listener": 9}
    knob, told = "energy", "logit_energy"
    knobs: ClassVar[Mapping[str, Knob]] = per_stage("energy", ENERGY, N_STAGES)
    options: ClassVar[Mapping[str, Option]] = {
        **OPTIONS,
        "named_by": Option("stems", "names stage 1: the stem classifier, or the separator", ("stems", "objects")),
    }
    drops: ClassVar[Mapping[str, Drop]] = {**SelfGuided.drops, "double": Drop("class found twice")}
    ablation: ClassVar[Sequence[AblationRow]] = (
        AblationRow("{name}, stage 1, named by {separator}", options={"stages": "1", "named_by": "objects"}),
        AblationRow("{name}, stage 1", options={"stages": "1"}, tunable=True),
        AblationRow("{name}, stage 2", options={"stages": "2"}, tunable=True),
        AblationRow("{name}", tunable=True),
        AblationRow("{name}, default thresholds", knobs={name: knob.default for name, knob in knobs.items()}),
        AblationRow("{name}, no class clue", options={"class_clue": False}),
        AblationRow("{name}, no enrolments", options={"enrolments": False}),
        AblationRow("true labels", true_labels=True),
    )

    def __init__(
        self, *, separator: Part, extractor: Part, namer: Part, listener: Part | None = None, setting: Setting
    ) -> None:
        super().__init__(setting, separator=separator, extractor=extractor, namer=namer, listener=listener)
        of_objects = setting.options["named_by"] == "objects"
        self.separate = SeparateObjects(separator, listener if of_objects else None)
        self.extract = ExtractObjects(
            extractor,
            temporal_film=False,
            class_clue=bool(setting.options["class_clue"]),
            enrolments=bool(setting.options["enrolments"]),
        )
        self.hear = HearStems(namer, listener)

    def named(self, scenes: Sequence[Scene], found: Objects, number: int) -> Said:
        """By the stem classifier; in stage 1, where that is chosen, by the separator's own."""
        if number == 1 and self.setting.options["named_by"] == "objects":
            said = self.said(found, found.logits, -found.active, number)
            return self.with_silence(said, said.silence > 0, said.confidence)
        logits = self.hear(scenes, found.waveforms).logits
        said = self.said(found, logits, energy(logits), number)
        limits = self.setting.of(f"energy_{number}", said.classes)
        return self.with_silence(said, said.silence > limits, said.confidence)

    def judged(self, said: Said, silenced: Bools) -> Pass:
        """A class is there once in a mixture of 2025, so the stem of lowest energy has it."""
        one = super().judged(said, silenced)
        if self.wanted is not None:
            return one
        return replace(one, doubled=doubled(said.classes, said.silence, ~one.silent))


class SelfGuided2026(SelfGuided):
    """USS, then twice TSE, each with a dual-path classifier; silent is what has too low a logit."""

    calls: ClassVar[Mapping[str, int]] = {"separator": 1, "extractor": 2, "semantic": 9, "frames": 6}
    knob, told = "silence", "logit"
    knobs: ClassVar[Mapping[str, Knob]] = per_stage("silence", SILENCE, N_STAGES)
    options: ClassVar[Mapping[str, Option]] = {
        **OPTIONS,
        "af_whisper": Option(True, "whether frame features of the stage before are a clue; off: it hears nothing"),
        "temporal_film": Option(True, "whether the layers are there that take these features"),
        "dpc_paths": Option("both", "which paths of the dual-path classifier count", ("both", "object", "semantic")),
    }
    ablation: ClassVar[Sequence[AblationRow]] = (
        AblationRow("{name}, stage 1", options={"stages": "1"}, tunable=True),
        AblationRow("{name}, stage 2", options={"stages": "2"}, tunable=True),
        AblationRow("{name}, stage 2, no temporal FiLM", options={"stages": "2", "temporal_film": False}),
        AblationRow("{name}", tunable=True),
        AblationRow("{name}, no temporal FiLM", options={"temporal_film": False}),
        AblationRow("{name}, default thresholds", knobs={name: knob.default for name, knob in knobs.items()}),
        AblationRow("{name}, object path only", options={"dpc_paths": "object"}),
        AblationRow("{name}, semantic path only", options={"dpc_paths": "semantic"}),
        AblationRow("{name}, no class clue", options={"class_clue": False}),
        AblationRow("{name}, no enrolments", options={"enrolments": False}),
        AblationRow("true labels", true_labels=True),
    )

    def __init__(
        self, *, separator: Part, extractor: Part, semantic: Part, frames: Part | None = None, setting: Setting
    ) -> None:
        super().__init__(setting, separator=separator, extractor=extractor, semantic=semantic, frames=frames)
        chosen, paths = setting.options, str(setting.options["dpc_paths"])
        self.separate = SeparateObjects(separator, semantic, paths)
        self.extract = ExtractObjects(
            extractor,
            semantic,
            frames if chosen["af_whisper"] else None,
            paths,
            temporal_film=bool(chosen["temporal_film"]) and frames is not None,
            class_clue=bool(chosen["class_clue"]),
            enrolments=bool(chosen["enrolments"]),
        )

    def named(self, scenes: Sequence[Scene], found: Objects, number: int) -> Said:
        """By the network that made the stems."""
        said = self.said(found, found.logits, found.active, number)
        limits = self.setting.of(f"silence_{number}", said.classes)
        return self.with_silence(said, said.silence < limits, sigmoid(said.silence))
