"""`s5 report`: a run as pages to look at and listen to."""

import json
import sys
from pathlib import Path
from typing import Annotated

from typer import Argument, Option


def report(
    run: Annotated[Path, Argument(metavar="RUN", help="What `s5 separate -o` was given; need not be finished.")],
    reference: Annotated[
        Path | None, Option("--reference", help="Folder of reference sources, or a data set with oracle_target/.")
    ] = None,
    out: Annotated[
        Path | None, Option("--out", "-o", metavar="DIR", help="The report's folder (RUN_report beside RUN).")
    ] = None,
    soundscapes: Annotated[
        Path | None, Option("--soundscapes", help="Folder of the mixtures, if they are not where they were.")
    ] = None,
    workers: Annotated[int, Option("--workers", metavar="N", help="Processes that draw.")] = 1,
    low_confidence: Annotated[
        float, Option("--low-confidence", metavar="P", help="Flag stems with a confidence below this.")
    ] = 0.5,
    link: Annotated[
        bool, Option("--link", help="Leave stems and references where they are; the report cannot move alone.")
    ] = False,
    overwrite: Annotated[bool, Option("--overwrite", help="Replace an earlier report.")] = False,
    as_json: Annotated[bool, Option("--json", help="Print the clips with flags and scores as JSON.")] = False,
) -> None:
    """Make a folder of pages that show and play every clip of a run. Open its index.html; no server is needed.

    The list sorts by score and filters by class and flag; each clip has spectrograms and players of mixture, stems
    and references, and the decision trace of every query.
    """
    from tqdm import tqdm

    from s5cli.errors import ClipsFailedError
    from s5cli.report.collect import read_run
    from s5cli.report.write import Options, write_report

    found = read_run(run, reference, soundscapes)
    options = Options(link=link, workers=workers, overwrite=overwrite, low_confidence=low_confidence)
    out = out or run.resolve().with_name(f"{run.resolve().name}_report")
    done = write_report(
        found, out, options, lambda pages: tqdm(pages, total=len(found.clips), unit="clip", disable=None)
    )
    if as_json:
        print(json.dumps(done.to_json(), indent=2))
    else:
        print(done.folder / "index.html")
        print(f"{len(found.clips)} clips" + "".join(f", {count} {name}" for name, count in done.flag_counts.items()))
    if done.n_without_mixture:
        lost = f"mixtures of {done.n_without_mixture} clips not found"
        print(f"{lost}; --soundscapes names their folder", file=sys.stderr)
    if done.troubles:
        shown = "\n  ".join(done.troubles[:20])
        raise ClipsFailedError(f"the report is written, but {len(done.troubles)} sounds are missing:\n  {shown}")
