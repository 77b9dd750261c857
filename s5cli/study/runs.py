"""Systems run over a data set and scored in memory, as `s5 evaluate` scores what `s5 separate` writes.

Stems are scored as float32, before a file rounds them. Clips of one length go through the networks together.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from s5cli.api import check_stems
from s5cli.errors import InputError, S5Error, WeightsError
from s5cli.labels import CLASSES, N_SLOTS
from s5cli.rules.bridge import STRETCH_SAMPLES, sounding
from s5cli.scene import EMPTY, Ints, Queries, Stem
from s5cli.score.clip import ClipResult, score_clip
from s5cli.score.evaluate import Evaluation, evaluation
from s5cli.study.kept import Kept
from s5cli.study.rows import Variant
from s5cli.system import System
from s5cli.tune.clips import Clip, DevSet, HeldClip, batches, held
from s5cli.tune.trials import Progress
from s5cli.tune.tuner import Options
from s5cli.weights.build import build
from s5cli.weights.device import resolve_device


def run_all(
    variants: Sequence[Variant], data: DevSet, options: Options, progress: Progress, kept: Kept, note: Progress
) -> tuple[dict[str, Evaluation], dict[str, S5Error]]:
    """All variants' runs by title, and the errors of those that failed; what gives the same stems is run once.

    Raises:
        InputError: a clip that cannot be read, or every variant failed, the first one so.
        WeightsError: every variant failed, the first one so.
        OutputError: a result cannot be kept.
    """
    rows = {one.content: one for one in variants}
    there = [kept.row(one).results(data.clips).keys() for one in rows.values()]
    if n_there := sum(map(len, there)):
        note(f"{n_there} of {len(rows) * len(data.clips)} results ({len(rows)} rows) are done already")
    for clip in data.clips:  # what no row can do without is found out now
        if not all(clip.key in keys for keys in there):
            held(clip)
    found: dict[object, Evaluation] = {}
    failed: dict[object, S5Error] = {}
    for one in variants:
        if one.content not in found and one.content not in failed:
            try:
                found[one.content] = run(one, data, options, progress, kept)
            except (InputError, WeightsError) as error:
                failed[one.content] = error
    if not found:
        raise next(iter(failed.values()))
    runs = {one.title: found[one.content] for one in variants if one.content in found}
    return runs, {one.title: failed[one.content] for one in variants if one.content in failed}


def run(variant: Variant, data: DevSet, options: Options, progress: Progress, kept: Kept) -> Evaluation:
    """A variant's system over all clips, with the thresholds of its entry; what is kept is not computed again.

    Raises:
        InputError: a clip that cannot be used, has more targets than can be asked for, or is answered with NaN.
        UsageError: an unknown knob or option.
        WeightsError: weights that are missing, damaged or not licensed yet.
        OutputError: a result cannot be kept.
    """
    row = kept.row(variant)
    found = row.results(data.clips)
    if missing := [clip for clip in data.clips if clip.key not in found]:
        place = str(resolve_device(options.device))
        system = build(variant.entry, device=place, offline=options.offline, accept_licence=options.accept_licence)
        named = variant.classes if variant.true_labels else None
        for clip, result in zip(missing, results(system, missing, options.batch_size, named), strict=True):
            row.add(clip, result)
            found[clip.key] = result
            progress(f"{variant.title}: {len(found)} of {len(data.clips)} clips")
    return evaluation([replace(found[clip.key], soundscape=clip.name) for clip in data.clips])


def results(
    system: System, clips: Sequence[Clip], batch_size: int, named: Sequence[str] | None = None
) -> Iterator[ClipResult]:
    """Every clip's stems, scored. With `named` the references of these classes are named to the system."""
    for rows in batches(clips, batch_size):
        batch = [held(clip) for clip in rows]
        asked = system if named is None else system.with_queries(true_queries(rows, named, batch))
        for clip, scene, stems in zip(rows, batch, asked(batch).stems().clips(), strict=True):
            check_stems(stems, str(clip.mixture))
            yield scored(clip, scene, stems)


def true_queries(clips: Sequence[Clip], named: Sequence[str], scenes: Sequence[HeldClip]) -> Queries:
    """The references' classes, [b, 3], as a user would name them, and when they sound; those that are not in `named`
    are left out.

    Raises:
        InputError: a clip has more targets than a system can be asked for.
    """
    n_frames = max(-(-scene.audio.shape[1] // STRETCH_SAMPLES) for scene in scenes)
    classes: Ints = np.full((len(clips), N_SLOTS), EMPTY, dtype=np.int64)
    sounds = np.zeros((len(clips), N_SLOTS, n_frames))
    for row, (clip, scene) in enumerate(zip(clips, scenes, strict=True)):
        if len(clip.classes) > N_SLOTS:
            raise InputError(f"{clip.mixture}: has {len(clip.classes)} references; a system separates {N_SLOTS}")
        known = [place for place, index in enumerate(clip.classes) if CLASSES[index] in named]
        classes[row, : len(known)] = [clip.classes[place] for place in known]
        when = sounding(scene.references[known])
        sounds[row, : len(known), : when.shape[1]] = when
    return Queries(classes, np.where(classes == EMPTY, 0.0, 1.0), sounding=sounds)


def scored(clip: Clip, scene: HeldClip, stems: Sequence[Stem]) -> ClipResult:
    """One clip's stems against its references."""
    audio = [stem.audio.numpy() for stem in stems]
    est = np.stack(audio) if audio else np.zeros((0, scene.audio.shape[1]), np.float32)
    labels = [CLASSES[index] for index in clip.classes]
    mixture = scene.audio[0].numpy()
    return score_clip(clip.name, [stem.label for stem in stems], est, labels, scene.references, mixture)
