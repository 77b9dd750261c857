"""The model card of a finished run: what it is, what it heard, whom to credit, which classes nobody can judge."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from s5cli import __version__
from s5cli.labels import CLASSES
from s5cli.synth.attribution import NOT_STATED, credit
from s5cli.synth.library import Library
from s5cli.train.recipe import Recipe

FEWEST_TO_LEARN, FEWEST_TO_JUDGE = 3, 2
"""Sources below which a class is one recording learned by heart, or a score of one recording."""


def card(
    recipe: Recipe,
    config: Mapping[str, Any],
    steps: int,
    library: Library,
    held_out: Library | None,
    began_as: Sequence[str],
) -> str:
    """Markdown, complete but for the scores; `began_as` is what the network has been, the latest first."""
    schedule = recipe.schedule
    echoed = f", each rendered scene in {schedule.echo} of them on average" if schedule.echo > 1 else ""
    fixed = f" out of {recipe.examples.scenes}" if recipe.examples.scenes else ""
    return "\n".join(
        [
            f"# {recipe.name}",
            "",
            f"Network `{recipe.network}`, configuration `{dict(config)}`, task `{recipe.task}`,",
            f"trained by s5cli {__version__} (`s5 train {recipe.name}`):",
            f"{steps} steps of {schedule.batch_size} scenes of {recipe.scenes.duration_s:g} s{fixed}{echoed}.",
            *(f"Before that it was {name}." for name in began_as),
            "",
            "Its scores are its own. They say nothing of the published systems whose flow it serves in.",
            "",
            "## What it learned from",
            "",
            f"A class is judged only with {FEWEST_TO_LEARN} sources to learn from and {FEWEST_TO_JUDGE} held out.",
            "",
            "| class | sources | recordings | held-out sources | can be judged |",
            "|---|---|---|---|---|",
            *(_class_row(label, library, held_out) for label in CLASSES),
            "",
            "## Attribution",
            "",
            "| recordings | licence | attribution |",
            "|---|---|---|",
            *_credits(library),
            "",
        ]
    )


def _class_row(label: str, library: Library, held_out: Library | None) -> str:
    n_learned = _n_sources(label, library)
    n_held = _n_sources(label, held_out) if held_out else 0
    judged = "yes" if n_learned >= FEWEST_TO_LEARN and n_held >= FEWEST_TO_JUDGE else "no"
    return f"| {label} | {n_learned} | {len(library.events.get(label, ()))} | {n_held} | {judged} |"


def _n_sources(label: str, library: Library) -> int:
    return len({recording.source for recording in library.events.get(label, ())})


def _credits(library: Library) -> list[str]:
    """A row for every licence and attribution, the most used first."""
    rows = (credit(file) for file in _files(library))
    found = Counter((row["licence"], row["attribution"]) if row else (NOT_STATED, "") for row in rows)
    return [f"| {n} | {licence} | {text.replace('|', '/')} |" for (licence, text), n in found.most_common()]


def _files(library: Library) -> Iterator[Path]:
    for group in (*library.events.values(), *library.interference.values(), library.noise):
        yield from (recording.path for recording in group)
    yield from {position.file for room in library.rooms for position in room.positions if position.file}
