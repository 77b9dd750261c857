"""Checkpoints on this machine: found where they lie, or brought here first."""

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import Literal
from urllib.parse import urlsplit

from filelock import FileLock

from s5cli.errors import DownloadError, WeightsError
from s5cli.weights import archive, hashes, http, hub, licence, places
from s5cli.weights.registry import FileEntry, Registry, SystemEntry, needs_training

Status = Literal["present", "embedded", "missing", "needs training"]
SUFFIXES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")


@dataclass(frozen=True)
class Access:
    """What may be done to get a file."""

    offline: bool = False
    accept_licence: bool = False
    ask: licence.Ask | None = None

    @property
    def is_offline(self) -> bool:
        """Forbidden here, by `S5_OFFLINE` or by `HF_HUB_OFFLINE`."""
        said = (os.environ.get(name, "").lower() for name in ("S5_OFFLINE", "HF_HUB_OFFLINE"))
        return self.offline or any(text in ("1", "on", "yes", "true") for text in said)


@dataclass(frozen=True)
class Download:
    """One thing to fetch, and the checkpoints that come out of it."""

    url: str
    files: tuple[str, ...]
    size_bytes: int | None  # of the checkpoints together; None where one is not known
    licence: str


# --- finding ---------------------------------------------------------------------------------------------------------


def locate(file: FileEntry) -> Path | None:
    """Where the checkpoint lies on this machine, if it does. Nothing is fetched."""
    path = _place(file)
    try:
        return path if path is not None and path.is_file() else None
    except OSError:  # a name that is too long, a folder that may not be entered
        return None


def present(file: FileEntry, system: str) -> Path:
    """Where the checkpoint of a system's part lies. Raises WeightsError if it does not lie on this machine."""
    path = locate(file)
    if path is None:
        raise WeightsError(f"file {file.name!r} is not on this machine; run `s5 download {system}`")
    return path


def status(file: FileEntry) -> Status:
    """How far the checkpoint is from being usable."""
    if locate(file):
        return "embedded" if file.package and not file.path else "present"
    return "needs training" if file.trained_by and not file.path else "missing"


def system_status(entry: SystemEntry) -> Status:
    """How far a system is from being usable: as far as its farthest file; a system without files is ready."""
    found = {status(file) for file in entry.files}
    order: tuple[Status, ...] = ("needs training", "missing", "present", "embedded")
    return next((each for each in order if each in found), "embedded")


def trained_path(file: FileEntry) -> Path:
    """Where the recipe of a `trained-by:` file puts it."""
    return places.data_dir() / "trained" / f"{file.name}.safetensors"


def stored_path(file: FileEntry) -> Path:
    """Where a download of the file is put."""
    name = PurePosixPath(file.member or urlsplit(file.url or "").path).name
    suffix = PurePosixPath(name).suffix.lower()
    return places.cache_dir() / "weights" / f"{file.name}{suffix if suffix in SUFFIXES else '.ckpt'}"


def _place(file: FileEntry) -> Path | None:
    if file.path:
        return file.path
    if file.package:
        return Path(str(resources.files("s5cli") / "compact" / f"{file.package}.safetensors"))
    if file.trained_by:
        return trained_path(file)
    return hub.cached(file.url) if file.url and _on_hub(file) and not file.member else stored_path(file)


def _on_hub(file: FileEntry) -> bool:
    return bool(file.url and file.url.startswith("hf://"))


# --- bringing --------------------------------------------------------------------------------------------------------


def fetch_all(what: str, files: Iterable[FileEntry], registry: Registry, access: Access) -> list[Path]:
    """The files on this machine, in their order, after whatever it takes. `what` is what messages say needs them.

    Raises:
        NeedsTrainingError: some of them nobody publishes; nothing was fetched.
        WeightsError: see `fetch`.
    """
    files = list(files)
    untrained = [file for file in files if status(file) == "needs training"]
    if untrained:
        raise needs_training(what, in_order(untrained, registry))
    return [fetch(file, registry, access) for file in files]


def in_order(files: Iterable[FileEntry], registry: Registry) -> list[FileEntry]:
    """Files that need training, each after those that its own training needs and that need training too."""
    found: dict[str, FileEntry] = {}
    for file in files:
        first = [registry.files[name] for name in file.after if name not in found]
        for one in [*in_order([one for one in first if status(one) == "needs training"], registry), file]:
            found.setdefault(one.name, one)
    return list(found.values())


def fetch_published(files: Iterable[FileEntry], registry: Registry, access: Access) -> list[FileEntry]:
    """Fetches what somebody publishes; returns the files that still need training.

    Raises:
        WeightsError: see `fetch`.
    """
    files = list(files)
    untrained = [file for file in files if status(file) == "needs training"]
    for file in files:
        if file not in untrained:
            fetch(file, registry, access)
    return untrained


def fetch(file: FileEntry, registry: Registry, access: Access) -> Path:
    """The file on this machine, verified; downloaded first where it must and may be.

    Raises:
        NeedsTrainingError: nobody publishes it and it was not trained here yet.
        WeightsError: it is missing and may not be fetched, its licence was not accepted, or it has changed.
        DownloadError: fetching it failed.
    """
    if status(file) == "needs training":
        raise needs_training(f"file {file.name!r}", in_order([file], registry))
    found = locate(file)
    if found is None:
        _refuse_local(file)
        if access.is_offline:
            raise WeightsError(
                f"file {file.name!r} is not on this machine and this run is offline; run `s5 download SYSTEM` with a"
                f" connection, or give the file that you have with `s5 weights add {file.name} PATH`"
            )
        licence.require(file.licence, access.accept_licence, access.ask)
        return _download(file, registry)
    verify(file, found)
    return found


def verify(file: FileEntry, path: Path) -> str:
    """The file's sha256, after comparing it with what it must be; a download of which that is unknown is read first.

    Raises:
        WeightsError: it is another, or no checkpoint.
    """
    found, wanted = hashes.sha256_of(path), expected(file)
    if wanted and found != wanted:
        raise WeightsError(f"{path} has changed: its sha256 is {found}, not {wanted}; {_remedy(file)}")
    if not wanted and file.url and not file.path:
        _read_first(file, path)
        hashes.record(file.source, found)
    return found


def expected(file: FileEntry) -> str | None:
    """The sha256 that the file must have: from the registry, the embedded sums, or what the first download recorded."""
    if file.sha256 or file.path:
        return file.sha256
    if file.package:
        return hashes.embedded().get(f"{file.package}.safetensors")
    return hashes.recorded(file.source) if file.url else None


def _remedy(file: FileEntry) -> str:
    if file.path:
        return f"give it again with `s5 weights add {file.name} PATH` if the change is meant"
    if file.package:
        return f"install s5cli again, or in a checkout run `{hashes.RENEW}`"
    first = f"; the first download is recorded in {hashes.record_path()}, take its line out if the change is meant"
    return f"delete it and get it again{'' if file.sha256 else first}"


def _read_first(file: FileEntry, path: Path) -> None:
    """Raises DownloadError unless it is a checkpoint: a server may answer with a login page."""
    from s5cli.weights import checkpoint

    try:
        checkpoint.read(path)
    except WeightsError as error:
        head = path.open("rb").read(40)
        raise DownloadError(
            f"{file.source}: what arrived is no checkpoint, it begins with {head!r}; get it by hand and give it with"
            f" `s5 weights add {file.name} PATH`"
        ) from error


def plan(files: Iterable[FileEntry]) -> list[Download]:
    """What `fetch` would download for these files. Nothing is asked of anybody."""
    missing: dict[str, list[FileEntry]] = {}
    for file in files:
        if file.url and not file.path and locate(file) is None:
            missing.setdefault(file.url, []).append(file)
    return [_as_download(url, group) for url, group in missing.items()]


def _as_download(url: str, files: list[FileEntry]) -> Download:
    sizes = [file.size_bytes for file in files]
    total = None if None in sizes else sum(size for size in sizes if size is not None)
    return Download(url, tuple(dict.fromkeys(file.name for file in files)), total, files[0].licence.title)


def siblings(file: FileEntry, registry: Registry) -> list[FileEntry]:
    """All files that come out of the same archive, `file` itself among them."""
    return [other for other in registry.files.values() if other.url == file.url and other.member]


def unpack(path: Path, files: Iterable[FileEntry]) -> None:
    """Extracts the members of a zip that stand for `files`, each verified before it takes its place.

    Raises:
        DownloadError: a member is missing, damaged, hostile, or has another hash than it must.
        OutputError: the cache cannot be written to.
    """
    for file in files:
        with places.whole(stored_path(file)) as temporary:
            archive.extract(path, str(file.member), temporary, file.size_bytes)
            _accept(file, temporary)


def _refuse_local(file: FileEntry) -> None:
    if file.path:
        raise WeightsError(
            f"{file.path}, given for file {file.name!r}, is not there; give another with"
            f" `s5 weights add {file.name} PATH` or forget it with `s5 weights remove {file.name}`"
        )
    if file.package:
        raise WeightsError(f"the embedded file {file.package}.safetensors is missing; install s5cli again")


def _download(file: FileEntry, registry: Registry) -> Path:
    folder = places.make_folder(places.cache_dir() / "weights")
    try:
        with FileLock(folder / ".lock"):  # two runs on a fresh machine: the second waits and finds the file
            return locate(file) or _bring(file, registry)
    except OSError as error:
        raise places.unwritable(folder, error) from error


def _bring(file: FileEntry, registry: Registry) -> Path:
    url, path = str(file.url), stored_path(file)
    if file.member:
        _bring_archive(url, siblings(file, registry))
    elif _on_hub(file):
        path = hub.download(url)
        try:
            _accept(file, path)
        except DownloadError:
            hub.forget(path)
            raise
    else:
        with http.downloaded(url, path, file.size_bytes) as part:
            _accept(file, part)
            part.replace(path)
    return path


def _bring_archive(url: str, files: list[FileEntry]) -> None:
    """Fetches a zip once for all its members, and keeps the members only."""
    if url.startswith("hf:"):
        unpack(hub.download(url), files)
        return
    path = places.cache_dir() / "weights" / f"{hashlib.sha256(url.encode()).hexdigest()[:12]}.zip"
    with http.downloaded(url, path) as part:
        found, wanted = hashes.sha256_of(part), hashes.recorded(url)
        if wanted and found != wanted:
            raise _changed(url, found, wanted)
        unpack(part, files)
        hashes.record(url, found)


def _accept(file: FileEntry, path: Path) -> None:
    """Raises DownloadError if what has just arrived is not the expected file; remembers its hash if it is."""
    found, wanted = hashes.sha256_of(path), expected(file)
    if wanted and found != wanted:
        raise _changed(file.source, found, wanted)
    verify(file, path)


def _changed(source: str, found: str, wanted: str) -> DownloadError:
    return DownloadError(
        f"{source} has changed: its sha256 is {found}, not {wanted}; something on the way may have altered it, or it is"
        f" another version (first downloads are recorded in {hashes.record_path()}; take its line out if that is meant)"
    )
