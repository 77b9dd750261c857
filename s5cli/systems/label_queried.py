"""Label-queried target sound extraction (Ku, Jeong & Park, DCASE 2026).

A tagger says which classes are there and when, a separator is asked for each with both; queries are made more easily
than reports.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from s5cli.adapters.queried import QueriedSeparator, WhenTagger
from s5cli.knobs import AblationRow, Knob, Option, Setting
from s5cli.labels import CLASSES
from s5cli.rules.bridge import Bridged, bridge, named
from s5cli.scene import RATE_HZ, Queries, Scene, Stems, Tracks, places
from s5cli.steps.live import Live
from s5cli.steps.queried import HearWhen, SeparateWhen
from s5cli.trace import ClipTrace, Drop, QueryTrace, Stage

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Decision:
    """What was found of a batch, in the paper's order."""

    setting: Setting
    found: Bridged
    separated: Stems
    is_named: bool

    def stems(self) -> Stems:
        """Those that are reported."""
        return self.separated.only(self.found.reported)

    def trace(self) -> list[ClipTrace]:
        """Every query, reported or not; of tracks that ask for nothing how sure the tagger is of silence."""
        return [self._clip(row) for row in range(len(self.found.reported))]

    def _clip(self, row: int) -> ClipTrace:
        active = self.found.queries.active[row]
        queries = tuple(self._query(row, slot) for slot in np.flatnonzero(active).tolist())
        return ClipTrace(queries, silence=tuple(self.found.silence[row, ~active].tolist()))

    def _query(self, row: int, slot: int) -> QueryTrace:
        found = self.found
        confidence, surest = float(found.queries.confidence[row, slot]), float(found.surest[row, slot])
        said = Stage("named") if self.is_named else Stage("tagger", {"p": confidence, "surest_frame": surest})
        asked = Stage("asked", {"sounding": float(found.activity[row, slot].mean())})
        query = QueryTrace(CLASSES[found.queries.classes[row, slot]], confidence, slot, (said, asked))
        if found.reported[row, slot]:
            return replace(query, reported=int(found.reported[row, :slot].sum()))
        return replace(query, dropped_by="report", reason=self._unsure(row, slot, confidence, surest))

    def _unsure(self, row: int, slot: int, confidence: float, surest: float) -> str:
        """Below which thresholds of a report it stays."""
        told = []
        for value, what, knob in ((confidence, "p", "report_weak"), (surest, "its surest frame", "report_frame")):
            limit = self.setting.of(knob, self.found.queries.classes[row, [slot]])[0]
            if value < limit:
                told.append(f"{what} {value:.3g} is below {knob} {limit:g}")
        return " and ".join(told)


class LabelQueried:
    """Tag with frames, ask for classes where they sound, report what is surer."""

    knobs: ClassVar[Mapping[str, Knob]] = {
        "query_weak": Knob(0.30, 0, 1, stage="queries"),
        "query_frame": Knob(0.30, 0, 1, stage="queries"),
        "report_weak": Knob(0.50, 0, 1, per_class=True, stage="reports"),
        "report_frame": Knob(0.50, 0, 1, per_class=True, stage="reports"),
    }
    options: ClassVar[Mapping[str, Option]] = {
        "stream": Option(
            "full", "what a block along time hears; live input takes low_latency for full",
            choices=("full", "long", "matched", "low_latency"),
        ),
        "blocks": Option("kv", "whether past keys and values are kept, or the past is heard again (not in live input)",
                         choices=("kv", "recompute")),
        "activity": Option("predicted", "what sounds when: 0 or 1, as probable as it is (soft), always (none), or as"
                           " the references have it (true, in a study)", choices=("predicted", "soft", "none", "true")),
    }  # fmt: skip
    drops: ClassVar[Mapping[str, Drop]] = {"report": Drop("asked for, not reported")}
    ablation: ClassVar[Sequence[AblationRow]] = (
        AblationRow("{name}", tunable=True),
        AblationRow("{name}, activity as probable as it is", options={"activity": "soft"}),
        AblationRow("{name}, no activity", options={"activity": "none"}),
        AblationRow("{name}, whole clips", options={"stream": "full"}),
        AblationRow("{name}, blocks: 4 s past, 2 s, 4 s ahead", options={"stream": "long"}),
        AblationRow("{name}, blocks: 1.5 s past, 1 s, 1.5 s ahead", options={"stream": "matched"}),
        AblationRow("{name}, blocks: 1 s past, 0.25 s, 0.1 s ahead", options={"stream": "low_latency"}),
        AblationRow("true labels and activity", options={"activity": "true"}, true_labels=True),
        AblationRow("true labels, predicted activity", true_labels=True),
        AblationRow("true labels, no activity", options={"activity": "none"}, true_labels=True),
    )
    window_s: ClassVar[float | None] = 10.0  # what the taggers are trained on

    def __init__(self, *, tagger: WhenTagger, separator: QueriedSeparator, setting: Setting) -> None:
        self.tagger, self.separator, self.setting = tagger, separator, setting
        self.nparams = tagger.nparams + separator.nparams
        self.frame_s = tagger.frame_samples / RATE_HZ
        self.hear = HearWhen(tagger)
        preset, remembers = str(setting.options["stream"]), setting.options["blocks"] == "kv"
        self.separate = SeparateWhen(separator, tagger.frame_samples, preset, remembers)
        self.wanted: Queries | None = None

    def __call__(self, scenes: Sequence[Scene]) -> Decision:
        tracks = self.hear(scenes)
        found = self.bridged(tracks)
        separated = self.separate(scenes, found.queries.classes, found.activity)
        queries, numbers = found.queries, {"surest_frame": found.surest}
        stems = Stems(queries.classes, queries.confidence, places(queries.classes), separated.waveforms, numbers)
        return Decision(self.setting, found, stems, self.wanted is not None)

    def bridged(self, tracks: Tracks) -> Bridged:
        """What is asked and reported: what the tagger is sure of, or what a user named."""
        if self.wanted is None:
            return bridge(tracks, self.setting, self.frame_s)
        return named(self.wanted, tracks, self.setting, self.frame_s)

    def with_queries(self, queries: Queries) -> LabelQueried:
        """The same for classes that a user named; the tagger is only asked when they sound, and nothing is dropped."""
        twin = copy.copy(self)
        twin.wanted = queries
        return twin

    def stream(self, blocks: Iterable[Tensor]) -> Iterator[Stems]:
        """Stems as they form; labels come once a second from the last ten. See `s5cli.steps.live`."""
        preset = str(self.setting.options["stream"])
        live = Live(self.tagger, self.separator, self.bridged, "low_latency" if preset == "full" else preset)
        return live(blocks)
