"""A report as one folder that can be moved: a list, a folder for each clip, style and scripts. Whole or not at all."""

import hashlib
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib import resources
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from s5cli import __version__
from s5cli.audio import writable
from s5cli.errors import InputError, OutputError, UsageError
from s5cli.report.collect import Clip, Run
from s5cli.report.flags import LOW_CONFIDENCE, flags_of
from s5cli.report.listing import Outcome, listing_html
from s5cli.report.page import Page, Place, page_html
from s5cli.report.sounds import Missing, read_sounds, score, write_tracks
from s5cli.run.record import About
from s5cli.score.evaluate import Summary, summary
from s5cli.workers import leave_to_parent

RECORD, KIND = "report.json", "s5 report"
CLIPS = "clips"
ASSETS = ("report.css", "report.js", "list.js", "clip.js")
LONGEST_KEY = 80


@dataclass(frozen=True)
class Options:
    """How a report is made."""

    link: bool = False  # leave stems and references where they are; the report can then not be moved alone
    workers: int = 1  # processes
    overwrite: bool = False
    low_confidence: float = LOW_CONFIDENCE  # below it a reported stem is flagged


Progress = Callable[[Iterable[Outcome]], Iterable[Outcome]]
"""Passes outcomes through, one by one as they come; a progress bar for instance."""


@dataclass(frozen=True)
class Report:
    """A report that was written."""

    folder: Path
    run: Run
    outcomes: tuple[Outcome, ...]  # of the run's clips, in their order
    scores: Summary | None

    @property
    def troubles(self) -> tuple[str, ...]:
        return tuple(trouble for outcome in self.outcomes for trouble in outcome.troubles)

    @property
    def n_without_mixture(self) -> int:
        return sum(clip.mixture is None for clip in self.run.clips)

    @property
    def flag_counts(self) -> dict[str, int]:
        """How many clips have each flag that occurs."""
        return dict(Counter(flag.name for outcome in self.outcomes for flag in outcome.flags))

    def to_json(self) -> dict[str, Any]:
        """What `report.json` holds."""
        return {
            "kind": KIND,
            "s5cli": __version__,
            "run": str(self.run.folder.resolve()),
            "finished": self.run.about is not None,
            "flags": self.flag_counts,
            "capi_sdri_db": self.scores and self.scores.capi_sdri_db,
            "clips": [_clip_json(outcome) for outcome in self.outcomes],
        }


def _clip_json(outcome: Outcome) -> dict[str, Any]:
    clip = outcome.clip
    return {
        "name": clip.name,
        "page": f"{CLIPS}/{outcome.key}/index.html",
        "labels": [stem.label for stem in clip.stems],
        "ref_labels": None if clip.references is None else [reference.label for reference in clip.references],
        "capi_sdri_db": outcome.result and outcome.result.score.capi_sdri_db,
        "flags": [flag.name for flag in outcome.flags],
        "troubles": list(outcome.troubles),
    }


def write_report(run: Run, out: Path, options: Options = Options(), progress: Progress = iter) -> Report:
    """Writes the report of a run as the folder `out`.

    Raises:
        UsageError: `out` is there and no report, or one and `options.overwrite` is not set; fewer than one worker.
        OutputError: the place cannot be written to or is full, or a worker was killed. Nothing is left then.
    """
    if options.workers < 1:
        raise UsageError(f"{options.workers} workers: give --workers 1 or more")
    out = out.resolve()
    _check(out, options.overwrite)
    try:
        with writable(out), _staged(out) as stage:
            with closing(_outcomes(_jobs(run, stage, options), options.workers)) as made:  # ends workers first
                outcomes = tuple(progress(made))
            results = [outcome.result for outcome in outcomes if outcome.result is not None]
            report = Report(out, run, outcomes, summary(results) if results else None)
            write_list(report, stage)
    except BrokenProcessPool as error:
        raise OutputError(f"{out}: a worker was killed, perhaps for want of memory; give fewer --workers") from error
    return report


def write_list(report: Report, folder: Path) -> None:
    """What needs all clips, and what needs none: the list, `report.json`, style and scripts."""
    (folder / "index.html").write_bytes(listing_html(report.run, report.outcomes, report.scores, CLIPS))
    for name in ASSETS:
        (folder / name).write_bytes(resources.files("s5cli.report").joinpath("assets", name).read_bytes())
    (folder / RECORD).write_text(json.dumps(report.to_json(), indent=1), encoding="utf-8")


# --- the folder -------------------------------------------------------------------------------------------------------


def _check(out: Path, overwrite: bool) -> None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not _is_report(out):
        raise UsageError(f"{out}: is there and no report; give another folder with -o")
    if not overwrite:
        raise UsageError(f"{out}: there is a report already; --overwrite replaces it, or give another folder with -o")


def _is_report(folder: Path) -> bool:
    try:
        content = json.loads((folder / RECORD).read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("kind") == KIND


@contextmanager
def _staged(out: Path) -> Iterator[Path]:
    """A folder beside `out` that takes its place at the end; nothing remains of it otherwise."""
    out.parent.mkdir(parents=True, exist_ok=True)
    stage, old = (out.with_name(f".{out.name}-{os.getpid()}.{end}") for end in ("part", "old"))
    shutil.rmtree(stage, ignore_errors=True)  # of a process that was killed and had this number
    try:
        stage.mkdir()
        yield stage
        if out.exists():
            out.rename(old)
        stage.rename(out)
    finally:
        if old.exists() and not out.exists():
            old.rename(out)
        for folder in (stage, old):
            shutil.rmtree(folder, ignore_errors=True)


def page_keys(names: Sequence[str]) -> list[str]:
    """A folder name for each clip, safe in every file system and address; the clip's own name wherever that is one.

    >>> page_keys(["eval_0001", "Ä/b", "ä b"])
    ['eval_0001', '_b-c9bb07d684fc', '_b-83ec61e937eb']
    """
    slugs = [re.sub(r"[^A-Za-z0-9._-]+", "_", name).lstrip(".")[:LONGEST_KEY] for name in names]
    counts = Counter(slug.lower() for slug in slugs)
    digests = [hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:12] for name in names]
    return [
        slug if slug == name and counts[slug.lower()] == 1 else f"{slug}-{digest}"
        for slug, name, digest in zip(slugs, names, digests, strict=True)
    ]


# --- the pages --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Job:
    run: Path
    about: About | None
    clip: Clip
    place: Place
    folder: Path
    options: Options


def _jobs(run: Run, stage: Path, options: Options) -> list[_Job]:
    keys = page_keys([clip.name for clip in run.clips])
    around = [None, *keys, None]
    jobs = []
    for number, (clip, key) in enumerate(zip(run.clips, keys, strict=True), 1):
        place = Place(key, number, len(keys), around[number - 1], around[number + 1])
        jobs.append(_Job(run.folder, run.about, clip, place, stage / CLIPS / key, options))
    return jobs


def _outcomes(jobs: Sequence[_Job], workers: int) -> Generator[Outcome, None, None]:
    """In the order of the jobs, from this process or from a pool."""
    workers = min(workers, len(jobs))
    if workers == 1:
        yield from map(_make, jobs)
        return
    pool = ProcessPoolExecutor(workers, get_context("spawn"), leave_to_parent)
    try:
        yield from pool.map(_make, jobs, chunksize=4)
    finally:
        pool.shutdown(cancel_futures=True)


def _make(job: _Job) -> Outcome:
    """Everything of one clip: sounds read once, scored, drawn, and shown on its page."""
    clip, about = job.clip, job.about
    job.folder.mkdir(parents=True)
    sounds = read_sounds(clip, job.run, about.channel_order if about else None)
    missing = [sound for sound in sounds if isinstance(sound, Missing) and _is_expected(sound, clip)]
    unscored: tuple[str, ...] = ()
    result = None
    try:
        result = score(clip, sounds)
    except InputError as error:
        unscored = (str(error),)
    tracks = write_tracks(sounds, job.folder, job.options.link)
    troubles = (*(sound.trouble for sound in missing), *unscored)
    flags = flags_of(clip, result, about.drops if about else {}, bool(troubles), job.options.low_confidence)
    (job.folder / "index.html").write_bytes(page_html(Page(clip, job.place, tracks, result, flags, unscored)))
    return Outcome(job.place.key, clip, flags, result, troubles)


def _is_expected(sound: Missing, clip: Clip) -> bool:
    """Nobody said where the mixture is, or the run could not read it either: no surprise."""
    return sound.source.path is not None and not (sound.source.role == "mixture" and clip.report is None)
