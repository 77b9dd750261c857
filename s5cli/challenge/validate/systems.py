"""Rules for one system (its folder of stems, its folder in the package), and for the package of a team."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from s5cli import official
from s5cli.challenge import meta
from s5cli.challenge.files import Files
from s5cli.challenge.label import MOST_SYSTEMS, TASK, Label
from s5cli.challenge.validate.finding import Findings
from s5cli.challenge.validate.results import check_dev, check_eval, same_score
from s5cli.challenge.validate.stems import Mixture, check_audio, check_names
from s5cli.dataset import EVAL_OUT
from s5cli.errors import InputError, UsageError
from s5cli.official import DevResults
from s5cli.score.evaluate import Progress

RESULT_FILES = (official.EVAL_RESULTS, official.DEV_RESULTS)
MOST_URL_BYTES = 1 << 16
MOST_REPORT_BYTES = 1 << 30
PDF = b"%PDF-"


@dataclass(frozen=True)
class Answered:
    """What a submission answers; the development set may be unknown."""

    mixtures: Mapping[str, Mixture]
    dev_names: Collection[str] | None


def read_label(text: str, found: Findings) -> Label | None:
    """The label of a system; None, and a finding, where it is none."""
    try:
        return Label.parse(text)
    except UsageError as error:
        found.error("label", str(error))
        return None


def check_output(files: Files, answered: Answered, found: Findings, progress: Progress = iter) -> None:
    """A folder of stems with its result files."""
    read_label(files.name, found)
    check_top(files, (*RESULT_FILES, EVAL_OUT), found)
    wavs = _wavs(files, found)
    stems, names = files.within(EVAL_OUT), found.within(EVAL_OUT)
    check_names(wavs, answered.mixtures, names)
    for name in progress(wavs):
        check_audio(stems, name, answered.mixtures, names.within(name))
    _check_results(files, answered, wavs, found)


def check_top(files: Files, expected: Iterable[str], found: Findings) -> None:
    """What lies beside the things that belong there is submitted too. Links are followed by some and not by others."""
    for name in [*files.top_files, *files.top_folders]:
        if name not in expected:
            found.within(name).warning("layout", "does not belong here, and would be submitted too")
    for name in files.links:
        found.within(name).error("layout", "is a link; put the file itself there")


def _wavs(files: Files, found: Findings) -> list[str]:
    if EVAL_OUT not in files.folders:
        found.within(EVAL_OUT).error("layout", "missing")
    stems = files.within(EVAL_OUT)
    wavs = [name for name in stems.top_files if name.endswith(".wav")]
    check_top(stems, wavs, found.within(EVAL_OUT))
    return wavs


def _check_results(
    files: Files, answered: Answered, wavs: Collection[str] | None, found: Findings
) -> DevResults | None:
    """Both result files, and that they are of one system."""
    nparams = check_eval(files, answered.mixtures, wavs, found.within(official.EVAL_RESULTS))
    dev = check_dev(files, answered.dev_names, found.within(official.DEV_RESULTS))
    if dev is not None and None not in (nparams, dev.nparams) and nparams != dev.nparams:
        in_eval, in_dev = f"{nparams} in {official.EVAL_RESULTS}", f"{dev.nparams} in {official.DEV_RESULTS}"
        found.error("agree", f"nparams is {in_eval}, {in_dev}")
    return dev


# --- in the package ---------------------------------------------------------------------------------------------------


def check_system(files: Files, answered: Answered, found: Findings) -> Label | None:
    """The folder of a system in the package: meta file and result files. Gives its label."""
    label = read_label(files.name, found)
    check_top(files, (*RESULT_FILES, label.meta_file if label else ""), found)
    dev = _check_results(files, answered, None, found)
    if label is not None:
        _check_meta(files, label, dev, found.within(label.meta_file))
    return label


def _check_meta(files: Files, label: Label, dev: DevResults | None, found: Findings) -> None:
    if label.meta_file not in files.sizes_bytes:
        found.error("layout", "missing")
        return
    try:
        content = meta.loads(files.read(label.meta_file, meta.MOST_BYTES))
    except InputError as error:
        found.error("meta", str(error))
        return
    for problem in meta.problems(content):
        (found.error if problem.fatal else found.warning)("meta", f"{problem.path} {problem.what}".strip())
    _check_stated(content, label, dev, found)


def _check_stated(content: object, label: Label, dev: DevResults | None, found: Findings) -> None:
    """The meta file says what folder and result files say."""
    for stated in meta.stated(content, "label"):
        if stated != str(label):
            found.error("agree", f"label is {stated!r}, but the folder is {label}")
    if dev is None:
        return
    for stated in meta.stated(content, "nparams"):
        if stated != dev.nparams:
            found.error("agree", f"total parameters are {stated}, but {official.DEV_RESULTS} says {dev.nparams}")
    for score in ("capi_sdri_db", "accuracy_mixture_percent", "accuracy_source_percent"):
        for stated in meta.stated(content, score):
            if not same_score(stated, getattr(dev, score)):
                found.error("agree", f"{score} is {stated}, but {official.DEV_RESULTS} says {getattr(dev, score)}")


# --- the package ------------------------------------------------------------------------------------------------------


def check_package(files: Files, answered: Answered, found: Findings) -> None:
    """A folder `task4/` with a folder for every system."""
    if files.name != TASK:
        found.error("label", f"the package is called {files.name}, not {TASK}")
    systems = files.top_folders
    labels = [check_system(files.within(name), answered, found.within(name)) for name in systems]
    known = [label for label in labels if label is not None]
    if not 1 <= len(systems) <= MOST_SYSTEMS:
        found.error("layout", f"{len(systems)} systems; a team submits 1 to {MOST_SYSTEMS}")
    teams = sorted({label.team for label in known})
    if len(teams) > 1:
        found.error("label", f"systems of several teams: {', '.join(teams)}")
    team_files = [name for label in known for name in (label.audio_url_file, label.report_file)]
    check_top(files, [*systems, *team_files], found)
    if known:
        _check_audio_url(files, known[0], found.within(known[0].audio_url_file))
        _check_report(files, known[0], found.within(known[0].report_file))


def _check_audio_url(files: Files, label: Label, found: Findings) -> None:
    if label.audio_url_file not in files.sizes_bytes:
        found.error("url", "missing; it holds the address of the zip of stems")
        return
    try:
        content = files.read(label.audio_url_file, MOST_URL_BYTES).decode()
    except (InputError, UnicodeDecodeError) as error:
        found.error("url", f"cannot be read ({error})")
        return
    lines = [line.strip() for line in content.split("\n") if line.strip()]
    if not lines:
        found.error("url", "is empty; it holds the address of the zip of stems")
    for line in lines:
        if meta.is_todo(line):
            found.error("url", f"left to fill in: {line}")
        elif not meta.is_url(line):
            found.error("url", f"holds {line[:100]!r}, which should be {meta.URL_FORM}")


def _check_report(files: Files, label: Label, found: Findings) -> None:
    if label.report_file not in files.sizes_bytes:
        found.error("report", f"left to fill in: {meta.TODO} (the technical report as PDF)")
        return
    try:
        content = files.read(label.report_file, MOST_REPORT_BYTES)
    except InputError as error:
        found.error("report", str(error))
        return
    if not content.startswith(PDF):
        found.error("report", "is not a PDF file")
