"""`s5 synth`: mixtures with references, made from recordings."""

import sys
from functools import partial
from pathlib import Path
from typing import Annotated

from typer import Argument, Option


def synth(
    out: Annotated[Path, Argument(help="Folder that receives soundscape/, oracle_target/ and metadata/.")],
    sources: Annotated[Path, Option("--sources", help="DIR/SPLIT/CLASS/… or DIR/sound_event/SPLIT/CLASS/….")],
    split: Annotated[str, Option("--split", help="Which part of the material.")] = "train",
    fold: Annotated[str | None, Option("--fold", help="K/N: only this part of the split's sources.")] = None,
    count: Annotated[int, Option("--count", help="How many mixtures.")] = 10,
    seed: Annotated[int, Option("--seed", min=0, help="Mixture i depends on this and on i only.")] = 0,
    duration_s: Annotated[float, Option("--duration-s", help="Length of a mixture.")] = 10.0,
    n_foreground: Annotated[str, Option("--n-foreground", help="Fewest,most targets of a mixture.")] = "0,3",
    zero_target_share: Annotated[
        float | None, Option("--zero-target-share", help="Share of mixtures without any target.")
    ] = None,
    rooms: Annotated[
        Path | None, Option("--rooms", help="SOFA files or tables of responses (room_ir/ beside the sources).")
    ] = None,
    noise: Annotated[Path | None, Option("--noise", help="Backgrounds (noise/ beside the sources).")] = None,
    interference: Annotated[
        Path | None, Option("--interference", help="Non-target sounds (interference/ beside the sources).")
    ] = None,
    simulated_rooms: Annotated[
        float, Option("--simulated-rooms", help="Share of mixtures in simulated rooms; 1 where there are no others.")
    ] = 0.0,
    workers: Annotated[int, Option("--workers", help="Processes; the files do not depend on it.")] = 1,
    name_prefix: Annotated[str, Option("--name-prefix", help="Names are PREFIX_0000 and so on.")] = "clip",
    from_metadata: Annotated[
        Path | None, Option("--from-metadata", help="Rebuild the mixtures of this metadata/ folder instead.")
    ] = None,
    overwrite: Annotated[bool, Option("--overwrite", help="Replace the mixtures made in OUT before.")] = False,
) -> None:
    """Make 4-channel mixtures with labelled references from recordings, in the official folder layout.

    Scenes follow the DCASE 2026 Task 4 data: up to three targets and two interfering sounds in one room over a diffuse
    background, references being the direct sound at channel 0. 32 kHz, 16-bit WAV. The same call again goes on where
    an earlier one was stopped.
    """
    from tqdm import tqdm

    from s5cli.errors import UsageError
    from s5cli.synth.library import Fold, Library
    from s5cli.synth.settings import SceneSettings, whole_range
    from s5cli.synth.write import METADATA, drawn, read_recipes, write_set

    settings = SceneSettings(
        duration_s=duration_s,
        n_foreground=whole_range(n_foreground),
        zero_target_share=zero_target_share,
        simulated_room_share=simulated_rooms,
    )
    if from_metadata and from_metadata.resolve() == (out / METADATA).resolve():
        raise UsageError(
            f"{from_metadata}: would be replaced while it is read; copy it, or give another folder for OUT"
        )
    library = Library.scan(sources, split, interference=interference, noise=noise, rooms=rooms)
    library = library.only(Fold.parse(fold)) if fold else library
    scenes = read_recipes(from_metadata) if from_metadata else drawn(settings, library, count, seed, name_prefix)
    progress = partial(tqdm, total=len(scenes), unit="clip", disable=None)
    written = write_set(scenes, library, out, workers=workers, overwrite=overwrite, progress=progress)
    turned_down = sum(scene.level_db is not None and scene.level_db < 0 for scene in written)
    if there := sum(scene.level_db is None for scene in written):
        print(f"note: {there} of {len(written)} mixtures are done already", file=sys.stderr)
    print(f"{len(written)} mixtures with {sum(scene.n_targets for scene in written)} targets in {out}")
    if turned_down:
        print(f"{turned_down} of them turned down to stay within full scale", file=sys.stderr)
