"""Files on the Hugging Face Hub, named `hf://OWNER/REPO/FILE@REVISION`."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from s5cli.errors import DownloadError, OutputError, WeightsError
from s5cli.weights import places
from s5cli.weights.http import show_size


@dataclass(frozen=True)
class HubFile:
    """One file of one revision of one repository."""

    repo: str
    name: str
    revision: str


def parse(url: str) -> HubFile:
    """Splits the url.

    Raises:
        WeightsError: a part is missing.

    >>> parse("hf://lab/taggers/small/model.safetensors@v1.0")
    HubFile(repo='lab/taggers', name='small/model.safetensors', revision='v1.0')
    """
    found = re.fullmatch(r"hf://([^/@]+/[^/@]+)/([^@]+)@([^@]+)", url)
    if not found or ".." in url:
        raise WeightsError(f"{url!r} is not of the form hf://OWNER/REPO/FILE@REVISION")
    return HubFile(*found.groups())


def cached(url: str) -> Path | None:
    """The file where it was downloaded before; asks nobody."""
    from huggingface_hub import try_to_load_from_cache

    file = parse(url)
    try:
        found = try_to_load_from_cache(file.repo, file.name, cache_dir=_folder(), revision=file.revision)
    except ValueError:  # no name that the hub has
        return None
    return Path(found) if isinstance(found, str) else None


def download(url: str) -> Path:
    """Fetches the file, resuming and showing progress as the hub's own client does. `HF_ENDPOINT` names another hub.

    Raises:
        DownloadError: the hub refuses or cannot be reached.
        OutputError: the disk is too small.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

    file = parse(url)
    endpoint, folder = os.environ.get("HF_ENDPOINT") or None, places.make_folder(_folder())
    try:
        address = hf_hub_url(file.repo, file.name, revision=file.revision, endpoint=endpoint)
        show_size(url, get_hf_file_metadata(address, endpoint=endpoint).size, folder)
        found = hf_hub_download(file.repo, file.name, revision=file.revision, cache_dir=folder, endpoint=endpoint)
    except OutputError:
        raise
    except Exception as error:  # the client lets its http library's own errors through
        raise DownloadError(f"{url}: {' '.join(str(error).split())[:200]}") from error
    return Path(found)


def forget(path: Path) -> None:
    """Removes a cached file, and the content that the cache links to."""
    path.resolve().unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def _folder() -> Path:
    return places.cache_dir() / "hub"
