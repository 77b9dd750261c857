"""A set of scenes in the official folder layout: soundscape/, oracle_target/, metadata/ and ATTRIBUTION.csv.

16-bit WAV files hold floor(x · 32768), as the official data and code have it (soundfile rounds floats down).

As long as a set is not finished, a hidden file says of which scenes and material it is made, so that the same call goes
on where another was stopped.
"""

import hashlib
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import soundfile

from s5cli.audio import LOCK_NAME, claimed, unwritable, write_file
from s5cli.errors import InputError, OutputError, UsageError
from s5cli.official import parse_stem_file_name, stem_file_name
from s5cli.scene import RATE_HZ
from s5cli.synth.attribution import attribution_csv
from s5cli.synth.foa import Floats32
from s5cli.synth.library import Library
from s5cli.synth.recipe import SceneRecipe, draw
from s5cli.synth.render import render
from s5cli.synth.settings import SceneSettings
from s5cli.workers import leave_to_parent

SOUNDSCAPE, ORACLE_TARGET, METADATA, ATTRIBUTION = "soundscape", "oracle_target", "metadata", "ATTRIBUTION.csv"
UNFINISHED = ".s5-synth"


@dataclass(frozen=True)
class NamedRecipe:
    """A scene and the name of its soundscape."""

    name: str
    recipe: SceneRecipe


@dataclass(frozen=True)
class Written:
    """What became of one scene."""

    name: str
    n_targets: int
    level_db: float | None  # below 0: turned down to keep it within full scale; None: an earlier call has done it


def drawn(settings: SceneSettings, library: Library, count: int, seed: int, prefix: str) -> list[NamedRecipe]:
    """Scenes 0 to `count` - 1 of a seed, named `<prefix>_0000` and so on.

    Raises:
        UsageError: no scene is wanted, or the prefix is no file name.
    """
    if count < 1:
        raise UsageError(f"{count} scenes: nothing to write; give --count 1 or more")
    if not prefix or Path(prefix).name != prefix or prefix.startswith("."):
        raise UsageError(f"{prefix!r} cannot begin a file name; give a --name-prefix like 'clip'")
    digits = max(4, len(str(count - 1)))
    return [NamedRecipe(f"{prefix}_{index:0{digits}}", draw(settings, library, seed, index)) for index in range(count)]


def read_recipes(folder: Path) -> list[NamedRecipe]:
    """The recipes of a metadata folder that `write_set` made, in name order.

    Raises:
        UsageError: no such folder, or no JSON file in it.
        InputError: a file that is not a recipe.
    """
    files = sorted(folder.glob("*.json"))
    if not files:
        raise UsageError(f"{folder}: no scene metadata (*.json) there; name the metadata/ folder of a set")
    return [NamedRecipe(file.stem, _recipe(file)) for file in files]


def _recipe(file: Path) -> SceneRecipe:
    try:
        return SceneRecipe.from_json(file.read_text(encoding="utf-8"))
    except (InputError, OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: {error}") from error


def write_set(
    scenes: Sequence[NamedRecipe],
    library: Library,
    out: Path,
    *,
    workers: int = 1,
    overwrite: bool = False,
    progress: Callable[[Iterable[Written]], Iterable[Written]] = iter,
) -> list[Written]:
    """Renders and writes all scenes; the files are the same on any number of workers.

    A scene's soundscape appears after its targets and metadata, so one that is there is complete, and a call with the
    same scenes and material leaves it as it is where an earlier one was stopped. `overwrite` first removes the scenes
    that the metadata in `out` name, and nothing else.

    Raises:
        OutputError: `out` holds other files and `overwrite` is not set, cannot be written to, or is no folder; or
            another process is writing there.
        UsageError: a recipe names a recording or room that the library does not have.
        InputError: a recording or response that cannot be read.
    """
    if workers < 1:
        raise UsageError(f"{workers} workers: give --workers 1 or more")
    with ExitStack() as stack:
        stack.enter_context(claimed(out, OutputError))
        stack.enter_context(_going_on_told())
        done = _prepare(out, overwrite, _digest(scenes, library))
        left = [scene for scene in scenes if scene.name not in done]
        jobs = _jobs(left, library, out, min(workers, len(left)), stack)
        there = [Written(scene.name, len(scene.recipe.foreground), None) for scene in scenes if scene.name in done]
        written = {scene.name: scene for scene in progress(chain(there, jobs))}
        credits_ = attribution_csv((scene.recipe for scene in scenes), library)
        if credits_:
            write_file(out / ATTRIBUTION, credits_.encode())
        (out / UNFINISHED).unlink()
    return [written[scene.name] for scene in scenes]


@contextmanager
def _going_on_told() -> Iterator[None]:
    try:
        yield
    except SystemExit as stopped:  # a signal
        stopped.add_note("the same command goes on")
        raise


def _prepare(out: Path, overwrite: bool, digest: str) -> set[str]:
    """Makes the folder ready for a set; the scenes of it that are there already."""
    try:
        if (out / UNFINISHED).is_file() and (out / UNFINISHED).read_text(errors="replace") == digest:
            for part in out.glob("*/.s5-*.part"):  # of a process that was killed
                part.unlink()
        elif any(path.name != LOCK_NAME for path in out.iterdir()):
            if not overwrite:
                other = " and of another call that was stopped" if (out / UNFINISHED).exists() else ""
                raise OutputError(f"{out}: not empty{other}; choose another folder or give --overwrite")
            _remove_set(out)
        write_file(out / UNFINISHED, digest.encode())
        for name in (SOUNDSCAPE, ORACLE_TARGET, METADATA):
            (out / name).mkdir(parents=True, exist_ok=True)
        return {path.stem for path in (out / SOUNDSCAPE).glob("*.wav")}
    except OSError as error:
        raise OutputError(unwritable(out, error)) from error


def _digest(scenes: Sequence[NamedRecipe], library: Library) -> str:
    """Of the scenes and of the recordings that they may take, by name, size and time of change."""
    digest = hashlib.sha256()
    for scene in scenes:
        digest.update(f"{scene.name} {scene.recipe.to_json()}".encode(errors="surrogateescape"))
    groups = (*library.events.values(), *library.interference.values(), library.noise)
    files = {file.path for group in groups for file in group}
    files |= {place.file for room in library.rooms for place in room.positions if place.file is not None}
    for path in sorted(files):
        about = path.stat()
        digest.update(f"{path.name} {about.st_size} {about.st_mtime_ns}".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _remove_set(out: Path) -> None:
    """Removes soundscape, targets and metadata of every scene whose metadata lie in `out`, if all of them are ours."""
    recipes = sorted((out / METADATA).glob("*.json"))
    for recipe in recipes:
        try:
            _recipe(recipe)
        except InputError as error:
            raise OutputError(f"{error}; not a set of `s5 synth`, so choose another folder") from error
    for recipe in recipes:
        for target in (out / ORACLE_TARGET).glob("*.wav"):
            if parse_stem_file_name(target.name, recipe.stem):
                target.unlink()
        (out / SOUNDSCAPE / f"{recipe.stem}.wav").unlink(missing_ok=True)
        recipe.unlink()


def _jobs(
    scenes: Sequence[NamedRecipe], library: Library, out: Path, workers: int, stack: ExitStack
) -> Iterator[Written]:
    """Results in the order of `scenes`, from this process or from a pool that `stack` ends."""
    if workers <= 1:
        return (_write_scene(scene, library, out) for scene in scenes)
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _start_worker, (library, out))
    stack.callback(pool.shutdown, cancel_futures=True)
    return pool.map(_write_in_worker, scenes, chunksize=4)


_worker: tuple[Library, Path]


def _start_worker(library: Library, out: Path) -> None:
    """Keeps the library for all scenes of this process."""
    global _worker
    leave_to_parent()
    _worker = (library, out)


def _write_in_worker(scene: NamedRecipe) -> Written:
    return _write_scene(scene, *_worker)


def _write_scene(scene: NamedRecipe, library: Library, out: Path) -> Written:
    rendered = render(scene.recipe, library)
    for number, (label, target) in enumerate(zip(rendered.labels, rendered.targets, strict=True)):
        write_file(out / ORACLE_TARGET / stem_file_name(scene.name, number, label), _wav(scene.name, target))
    write_file(out / METADATA / f"{scene.name}.json", scene.recipe.to_json().encode())
    write_file(out / SOUNDSCAPE / f"{scene.name}.wav", _wav(scene.name, rendered.mixture.T))
    return Written(scene.name, len(rendered.labels), rendered.level_db)


def _wav(name: str, audio: Floats32) -> bytes:
    """[t] or [t, m] as a 16-bit WAV file."""
    clipped = int(np.count_nonzero((audio >= 1) | (audio < -1)))
    if clipped:
        raise OutputError(f"{name}: {clipped} samples exceed full scale and would be clipped; lower the levels")
    buffer = io.BytesIO()
    soundfile.write(buffer, audio, RATE_HZ, subtype="PCM_16", format="WAV")
    return buffer.getvalue()
