"""One member at a time out of a zip, to a place that the zip has no say in."""

import re
import shutil
import stat
import zipfile
import zlib
from pathlib import Path

from s5cli.errors import DownloadError
from s5cli.weights.registry import is_inside

COPY_BYTES = 1 << 20
MOST_TIMES = 20  # how much larger than in the archive a member may become: weights are hardly compressible
ALWAYS_BYTES = 1 << 20


def extract(archive: Path, member: str, target: Path, size_bytes: int | None = None) -> None:
    """Writes `member`, named by its path or its last step if that is unique, to `target`.

    Raises:
        DownloadError: not a zip, damaged, no such member, several, one whose path leads out of the archive, or one of
            another size than `size_bytes`, of a size that no weights have, or larger than the free disk.
    """
    try:
        with (
            zipfile.ZipFile(archive) as zipped,
            zipped.open(_of_size(_find(zipped, member, archive), size_bytes, target, archive)) as source,
            target.open("wb") as file,
        ):
            shutil.copyfileobj(source, file, COPY_BYTES)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError) as error:
        raise DownloadError(f"{archive} is damaged ({error}); get it again") from error


def _of_size(info: zipfile.ZipInfo, size_bytes: int | None, target: Path, archive: Path) -> zipfile.ZipInfo:
    size, free = info.file_size, shutil.disk_usage(target.parent).free
    problem = ""
    if size > max(ALWAYS_BYTES, MOST_TIMES * info.compress_size):
        problem = f"would grow from {info.compress_size} to {size} bytes, as no weights do; do not trust it"
    elif size_bytes not in (None, size):
        problem = f"has {size} bytes, not the {size_bytes} that weights.toml says; it is another file"
    elif size > free:
        problem = f"has {size} bytes, but only {free} are free in {target.parent}; make room"
    if problem:
        raise DownloadError(f"{archive}: refusing {info.filename!r}, which {problem}")
    return info


def _find(zipped: zipfile.ZipFile, member: str, archive: Path) -> zipfile.ZipInfo:
    exact = [info for info in zipped.infolist() if info.filename == member]
    found = exact or [info for info in zipped.infolist() if re.split(r"[/\\]", info.filename)[-1] == member]
    if len(found) != 1:
        how = "holds no" if not found else f"holds {len(found)} files named"
        raise DownloadError(f"{archive} {how} {member!r}; it is not the archive that weights.toml means")
    info = found[0]
    if stat.S_ISLNK(info.external_attr >> 16) or not is_inside(info.filename):
        what = f"{info.filename!r}, which leads out of the archive"
        raise DownloadError(f"{archive}: refusing {what}; do not trust it")
    return info
