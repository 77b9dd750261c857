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


def extract(archive: Path, member: str, target: Path) -> None:
    """Writes `member`, named by its path or its last step if that is unique, to `target`.

    Raises:
        DownloadError: not a zip, damaged, no such member, several, or a member whose path leads out of the archive.
    """
    try:
        with (
            zipfile.ZipFile(archive) as zipped,
            zipped.open(_find(zipped, member, archive)) as source,
            target.open("wb") as file,
        ):
            shutil.copyfileobj(source, file, COPY_BYTES)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError) as error:
        raise DownloadError(f"{archive} is damaged ({error}); get it again") from error


def _find(zipped: zipfile.ZipFile, member: str, archive: Path) -> zipfile.ZipInfo:
    exact = [info for info in zipped.infolist() if info.filename == member]
    found = exact or [info for info in zipped.infolist() if re.split(r"[/\\]", info.filename)[-1] == member]
    if len(found) != 1:
        how = "holds no" if not found else f"holds {len(found)} files named"
        raise DownloadError(f"{archive} {how} {member!r}; it is not the archive that weights.toml means")
    link = stat.S_ISLNK(found[0].external_attr >> 16)
    if link or not is_inside(found[0].filename):
        raise DownloadError(
            f"{archive}: refusing {found[0].filename!r}, which leads out of the archive; do not trust it"
        )
    return found[0]
