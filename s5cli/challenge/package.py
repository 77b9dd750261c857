"""Two finished runs become a submission: a folder and a zip of stems, and the package with the meta file.

    out/<label>/eval_out/*.wav, eval_results.json, dev_set_test_results.json
    out/<label>_out.zip                                                        the same, to be uploaded somewhere
    out/task4/<label>/<label>.meta.yaml, and the two JSON files
    out/task4/<team>.audio_url.txt, <team>.technical_report.pdf
    out/task4.zip                                                              the same, to be submitted

More systems of a team go into the same `out` and the same `task4.zip`. Source: the official baseline's output; the
layout of the package is inferred from its description.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s5cli import official
from s5cli.audio import write_file
from s5cli.challenge import meta
from s5cli.challenge.files import write_zip
from s5cli.challenge.label import TASK, Label, ZipName
from s5cli.challenge.macs import Macs, count
from s5cli.challenge.runs import FinishedRun, check_alike, check_submittable, dev_results, eval_results, read_run
from s5cli.dataset import EVAL_OUT
from s5cli.errors import InputError, UsageError, WeightsError
from s5cli.official import DevResults, EvalResults
from s5cli.run.faults import writing
from s5cli.run.staging import staging
from s5cli.score.evaluate import Progress

PACKAGE_ZIP = f"{TASK}.zip"
URL_TODO = f"{meta.TODO} (address of the uploaded zip of stems)\n"


@dataclass(frozen=True)
class Order:
    """What is to be packaged, where to, and what a person says of it."""

    run: Path  # of the evaluation set
    dev_run: Path
    label: Label
    out_dir: Path
    dev_reference: Path | None = None  # by default beside the mixtures of the run
    audio_url: str | None = None
    report_pdf: Path | None = None
    answers: Path | None = None  # a meta file to take a person's answers from, instead of the one that is there
    zip_name: ZipName = "readme"
    overwrite: bool = False

    @property
    def folder(self) -> Path:
        return self.out_dir / str(self.label)

    @property
    def wav_zip(self) -> Path:
        return self.out_dir / self.label.wav_zip(self.zip_name)

    @property
    def other_wav_zip(self) -> Path:
        """The same under the other name; an earlier order may have asked for it."""
        return self.out_dir / self.label.wav_zip("script" if self.zip_name == "readme" else "readme")

    @property
    def package_folder(self) -> Path:
        return self.out_dir / TASK

    @property
    def system_folder(self) -> Path:
        """Of this system in the package."""
        return self.package_folder / str(self.label)

    @property
    def package_zip(self) -> Path:
        return self.out_dir / PACKAGE_ZIP

    @property
    def meta_file(self) -> Path:
        return self.system_folder / self.label.meta_file


@dataclass(frozen=True)
class Packaged:
    """What was written, and what a person still has to fill in."""

    folder: Path
    wav_zip: Path
    meta_file: Path
    package_zip: Path
    n_clips: int
    n_stems: int
    macs: Macs | None
    todo: tuple[str, ...]
    warnings: tuple[str, ...]


def package(order: Order, progress: Progress = iter) -> Packaged:
    """Writes a submission. Every folder and zip appears whole or not at all; the package's zip comes last.

    Answers in a meta file that is there already stay, and so do the audio URL and the report; what the program knows is
    written anew.

    Raises:
        UsageError: results that are there already (unless `order.overwrite`), or an option that cannot be.
        InputError: a run that cannot be submitted, and why.
        OutputError: the place cannot be written to or is full.
    """
    answers = _checked(order)
    run, dev_run = read_run(order.run), read_run(order.dev_run)
    check_alike(run, dev_run)
    check_submittable(run)
    evaluated, scored = eval_results(run), dev_results(dev_run, order.dev_reference, progress)
    macs, warnings = _macs(run.about.system)
    content = meta.composed(_facts(order.label, scored, macs), answers)
    with staging(order.out_dir) as stage, writing(order.out_dir):
        _write_folder(stage, run, evaluated, scored)
        _write_system(stage, order, meta.dumps(content, [macs.note] if macs else []))
        _publish(stage, order)
        _write_team_files(order)
        write_zip(stage / PACKAGE_ZIP, {TASK: order.package_folder})
        (stage / PACKAGE_ZIP).replace(order.package_zip)
    return Packaged(
        folder=order.folder,
        wav_zip=order.wav_zip,
        meta_file=order.meta_file,
        package_zip=order.package_zip,
        n_clips=len(run.clips),
        n_stems=sum(len(clip.stems) for clip in run.clips),
        macs=macs,
        todo=(*(problem.path for problem in meta.problems(content) if problem.fatal), *_team_todo(order)),
        warnings=warnings,
    )


# --- before -----------------------------------------------------------------------------------------------------------


def _checked(order: Order) -> Any:
    """Every mistake that needs no run to be seen; the answers of the meta file that is there."""
    for folder in (order.run, order.dev_run):
        if order.folder.resolve() in (folder.resolve(), *folder.resolve().parents):
            raise UsageError(f"{folder} is where the submission goes; give another folder for the output")
    places = [order.folder, order.wav_zip, order.other_wav_zip, order.system_folder]
    if not order.package_folder.exists():  # or it is that of the team's other systems
        places.append(order.package_zip)
    taken = [path for path in places if path.exists()]
    if taken and not order.overwrite:
        raise UsageError(f"{taken[0]} is there already; --overwrite replaces it and keeps the answers in its meta file")
    if order.audio_url is not None and not meta.is_url(order.audio_url):
        raise UsageError(f"audio URL {order.audio_url!r}; give {meta.URL_FORM}")
    if order.report_pdf is not None and not _content(order.report_pdf).startswith(b"%PDF-"):
        raise UsageError(f"{order.report_pdf}: not a PDF file; give the technical report as PDF")
    for path in order.package_folder.iterdir() if order.package_folder.is_dir() else ():
        if path.is_dir() and not path.name.startswith(f"{order.label.team}_"):
            raise UsageError(f"{path} is of another team; give another folder for the output")
    return _answers(order)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror or error}); check the path") from error


def _answers(order: Order) -> Any:
    path = order.answers or order.meta_file
    if order.answers is None and not path.exists():
        return meta.MISSING
    try:
        return meta.loads(_content(path))
    except InputError as error:
        raise InputError(f"{path}: {error}; repair it, so that its answers are not lost") from error


def _macs(system: str) -> tuple[Macs | None, tuple[str, ...]]:
    """None where networks cannot be built any more; a person can still write the figure."""
    try:
        return count(system), ()
    except (UsageError, WeightsError) as error:
        return None, (f"multiply-adds were not counted: {error}",)


def _facts(label: Label, scored: DevResults, macs: Macs | None) -> meta.Facts:
    return meta.Facts(
        label=str(label),
        author=label.author,
        affiliation=label.affiliation,
        nparams=scored.nparams or 0,
        macs=macs.total if macs else None,
        capi_sdri_db=scored.capi_sdri_db,
        accuracy_mixture_percent=scored.accuracy_mixture_percent,
        accuracy_source_percent=scored.accuracy_source_percent,
    )


# --- write ------------------------------------------------------------------------------------------------------------


def _write_folder(stage: Path, run: FinishedRun, evaluated: EvalResults, scored: DevResults) -> None:
    """`<stage>/output`: copies of the stems, and the two result files."""
    eval_out = stage / "output" / EVAL_OUT
    eval_out.mkdir(parents=True)
    for clip in run.clips:
        for stem in clip.stems:
            shutil.copyfile(run.folder / stem.file, eval_out / stem.file)
    write_file(stage / "output" / official.EVAL_RESULTS, official.dumps(evaluated).encode())
    write_file(stage / "output" / official.DEV_RESULTS, official.dumps(scored).encode())


def _write_system(stage: Path, order: Order, meta_text: str) -> None:
    """`<stage>/system`: what the package holds of this system; and the zip of stems."""
    system = stage / "system"
    system.mkdir()
    for name in (official.EVAL_RESULTS, official.DEV_RESULTS):
        shutil.copyfile(stage / "output" / name, system / name)
    write_file(system / order.label.meta_file, meta_text.encode())
    write_zip(stage / order.wav_zip.name, {str(order.label): stage / "output"})


def _publish(stage: Path, order: Order) -> None:
    """What is finished takes the place of what is there."""
    order.package_folder.mkdir(exist_ok=True)
    for made, place in ((stage / "output", order.folder), (stage / "system", order.system_folder)):
        if place.exists():
            place.rename(stage / f"old-{made.name}")  # goes with the stage
        made.rename(place)
    (stage / order.wav_zip.name).replace(order.wav_zip)
    order.other_wav_zip.unlink(missing_ok=True)


def _write_team_files(order: Order) -> None:
    url_file = order.package_folder / order.label.audio_url_file
    if order.audio_url is not None:
        write_file(url_file, f"{order.audio_url}\n".encode())
    elif not url_file.exists():
        write_file(url_file, URL_TODO.encode())
    if order.report_pdf is not None:
        write_file(order.package_folder / order.label.report_file, order.report_pdf.read_bytes())


def _team_todo(order: Order) -> Iterator[str]:
    url_file = order.package_folder / order.label.audio_url_file
    if meta.is_todo(url_file.read_text(encoding="utf-8", errors="replace")):
        yield url_file.name
    if not (order.package_folder / order.label.report_file).exists():
        yield order.label.report_file
