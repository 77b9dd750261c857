"""`s5 compare`: two runs on the same clips."""

import json
from functools import partial
from pathlib import Path
from typing import Annotated

from typer import Argument, Option


def compare(
    run_a: Annotated[Path, Argument(metavar="RUN_A", help="Folder of stems, as for `s5 evaluate`.")],
    run_b: Annotated[Path, Argument(metavar="RUN_B", help="Another, of the same clips.")],
    reference: Annotated[
        Path, Option("--reference", help="Folder of reference sources, or a data set with oracle_target/.")
    ],
    soundscapes: Annotated[
        Path | None, Option("--soundscapes", help="Folder of the mixtures (soundscape/ beside the references).")
    ] = None,
    common: Annotated[
        bool, Option("--common", help="Compare the clips that both runs cover, where these differ.")
    ] = False,
    top: Annotated[int, Option(metavar="N", min=0, help="Clips to list that moved most.")] = 10,
    resamples: Annotated[int, Option(metavar="N", min=0, help="Resamples for the intervals; 0 draws none.")] = 2000,
    seed: Annotated[int, Option(metavar="N", min=0, help="Seed of the resamples.")] = 0,
    as_json: Annotated[bool, Option("--json", help="Print everything as JSON, every clip included.")] = False,
) -> None:
    """Compare two runs clip by clip: RUN_B minus RUN_A.

    Brackets are 95 % confidence intervals of the difference (BCa bootstrap, the same clips drawn for both runs): where
    one does not hold 0, the runs differ by more than chance in the choice of clips. Clips are equal within 0.01 dB.
    """
    from tqdm import tqdm

    from s5cli.score.bootstrap import Bootstrap
    from s5cli.score.compare import compare as compared

    progress = partial(tqdm, unit="clip", disable=None)
    found = compared(run_a, run_b, reference, soundscapes, common, progress, Bootstrap(resamples, seed))
    if as_json:
        print(json.dumps(found.to_json(top), indent=2))
        return
    from s5cli.cli.tables import print_comparison

    print_comparison(found, top)
