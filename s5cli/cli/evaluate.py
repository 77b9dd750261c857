"""`s5 evaluate`: score stems against references."""

import json
import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from typer import Argument, Option


def evaluate(
    estimates: Annotated[
        Path, Argument(help="Folder of stems <soundscape>_<slot>_<Class>.wav, or a folder with eval_out/.")
    ],
    reference: Annotated[
        Path, Option("--reference", help="Folder of reference sources, or a data set with oracle_target/.")
    ],
    soundscapes: Annotated[
        Path | None, Option("--soundscapes", help="Folder of the mixtures (soundscape/ beside the references).")
    ] = None,
    resamples: Annotated[int, Option(metavar="N", min=0, help="Resamples for the intervals; 0 draws none.")] = 2000,
    seed: Annotated[int, Option(metavar="N", min=0, help="Seed of the resamples.")] = 0,
    plots: Annotated[
        Path | None, Option("--plots", metavar="DIR", help="Also draw classes, confusion and targets there.")
    ] = None,
    plots_as: Annotated[Literal["png", "svg", "pdf"], Option("--plots-as", help="Kind of picture.")] = "png",
    as_json: Annotated[bool, Option("--json", help="Print everything as JSON, every clip included.")] = False,
) -> None:
    """Score stems against references, beside the answers that need no separation.

    CAPI-SDRi, the ranking score, rewards a stem that is merely quieter than the mixture. It is therefore shown with
    what silence and the turned-down mixture would score, with SI-SDRi, which the level does not change, and with the
    level of the matched stems against their references. CASA-SDRi pairs stems by sound instead of label and so tells
    wrong labels from bad separation. Brackets are 95 % confidence intervals (BCa bootstrap over clips). A soundscape
    without stems counts as an empty answer.
    """
    from tqdm import tqdm

    from s5cli.score import plots as drawing
    from s5cli.score.bootstrap import Bootstrap
    from s5cli.score.evaluate import evaluate as score

    if plots:
        drawing.prepare(plots)
    progress = partial(tqdm, unit="clip", disable=None)
    result = score(estimates, reference, soundscapes, progress, Bootstrap(resamples, seed))
    _warn_of_unfinished(estimates, [clip.soundscape for clip in result.clips])
    if plots:
        for path in drawing.draw(result, plots, plots_as):
            print(f"drawn: {path}", file=sys.stderr)
    if as_json:
        print(json.dumps(result.to_json(), indent=2))
        return
    from s5cli.cli.tables import print_evaluation

    print_evaluation(result)


def _warn_of_unfinished(estimates: Path, names: list[str]) -> None:
    from s5cli.dataset import recorded

    missing = len(names) - len(recorded(estimates, names))
    if missing:
        lacking = f"no record of {missing} of {len(names)} clips; they count as empty answers"
        print(f"warning: {estimates} has {lacking}", file=sys.stderr)
