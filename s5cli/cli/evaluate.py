"""`s5 evaluate`: score stems against references."""

import json
from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    estimates: Annotated[
        Path, typer.Argument(help="Folder of stems <soundscape>_<slot>_<Class>.wav, or a folder with eval_out/.")
    ],
    reference: Annotated[
        Path, typer.Option("--reference", help="Folder of reference sources, or a data set with oracle_target/.")
    ],
    soundscapes: Annotated[
        Path | None, typer.Option("--soundscapes", help="Folder of the mixtures (soundscape/ beside the references).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON, every clip included.")] = False,
) -> None:
    """Score stems against references, beside the answers that need no separation.

    CAPI-SDRi, the ranking score, rewards a stem that is merely quieter than the mixture. It is therefore shown with
    what silence and the turned-down mixture would score, with SI-SDRi, which the level does not change, and with the
    level of the matched stems against their references. A soundscape without stems counts as an empty answer.
    """
    from tqdm import tqdm

    from s5cli.evaluate import evaluate as score

    result = score(estimates, reference, soundscapes, lambda names: tqdm(names, unit="clip", disable=None))
    if as_json:
        print(json.dumps(result.to_json(), indent=2))
        return
    from s5cli.cli.tables import print_evaluation

    print_evaluation(result)
