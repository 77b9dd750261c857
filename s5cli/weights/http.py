"""A download over http(s) that goes on where it was cut off, is verified, and appears whole or not at all.

pooch verifies and puts the file in place; it does not resume, so its downloader is replaced by the one here.
"""

import re
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any

from s5cli.errors import DownloadError
from s5cli.weights import places

TIMEOUT_S = 30.0
BLOCK_BYTES = 1 << 18
FRUITLESS_ATTEMPTS = 3  # in a row, each without a single new byte


def download(url: str, target: Path, sha256: str | None = None) -> None:
    """Fetches `url` to `target`, showing progress on standard error. What was got of it before is not fetched again.

    Raises:
        DownloadError: the server refuses, the connection fails for good, or the hash is not the expected one.
        OutputError: the folder cannot be written to, or the disk is full.
    """
    import pooch

    places.make_folder(target.parent)
    pooch.get_logger().setLevel("WARNING")
    known = f"sha256:{sha256}" if sha256 else None
    part = Partial(target.with_name(f"{target.name}.part"))
    try:
        pooch.retrieve(url, known, fname=target.name, path=target.parent, downloader=part.download)
    except ValueError as error:
        raise DownloadError(
            f"{url}: what arrived does not have the expected sha256 {sha256}; try again, and if it persists the file"
            " has changed or something between here and the server alters it"
        ) from error
    except OSError as error:
        raise places.unwritable(target, error) from error


class _CutError(Exception):
    """The connection ended before the file did."""


@dataclass(frozen=True)
class _Reply:
    """What a server's answer means for the partial file."""

    start: int  # first byte of the file that it brings
    total: int | None  # bytes of the whole file, where it says so
    validator: str | None  # identifies this version of the file


@dataclass(frozen=True)
class Partial:
    """A `.part` file, and beside it the validator of the version that it is the beginning of."""

    path: Path

    @property
    def validator_path(self) -> Path:
        return self.path.with_name(f"{self.path.name}.version")

    def download(self, url: str, output_file: Any, _: Any) -> None:
        """Called by pooch: brings the whole of `url` to `output_file`, over as many connections as it takes."""
        fruitless = 0
        while True:
            before = self.size
            try:
                self._receive(url)
                break
            except _CutError as error:
                fruitless = 0 if self.size > before else fruitless + 1
                if fruitless == FRUITLESS_ATTEMPTS:
                    kept = f"; {self.size} bytes are kept, run the same command again to go on" if self.size else ""
                    raise DownloadError(f"{url}: {error}{kept}") from error
        self.path.replace(output_file)
        self.validator_path.unlink(missing_ok=True)

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.is_file() else 0

    def _receive(self, url: str) -> None:
        """One connection: from where the partial file ends to the end of the file."""
        with _open(url, self._range()) as response:
            reply = _reply(response)
            if reply.start and (reply.start != self.size or reply.validator != self.validator):
                self.path.unlink()
                raise _CutError("the server sent another part or version of the file than was asked for")
            self._remember(reply.validator)
            with self.path.open("r+b" if reply.start else "wb") as file:
                file.seek(reply.start)
                for block in _with_progress(response, self.path.stem, reply):
                    file.write(block)
        if reply.total is not None and self.size < reply.total:
            raise _CutError(f"the connection was cut after {self.size} of {reply.total} bytes")

    def _range(self) -> dict[str, str]:
        """Headers that ask for the rest, provided that the file is still the same version."""
        validator = self.validator
        return {"Range": f"bytes={self.size}-", "If-Range": validator} if self.size and validator else {}

    @property
    def validator(self) -> str | None:
        return self.validator_path.read_text(encoding="ascii") if self.validator_path.is_file() else None

    def _remember(self, validator: str | None) -> None:
        if validator:
            self.validator_path.write_text(validator, encoding="ascii")
        else:
            self.validator_path.unlink(missing_ok=True)


def _open(url: str, headers: dict[str, str]) -> HTTPResponse:
    from s5cli import __version__

    headers = {"User-Agent": f"s5cli/{__version__}", "Accept-Encoding": "identity", **headers}
    try:
        response: HTTPResponse = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing after what we have: only possible if we have more than there is
            return _open(url, {key: value for key, value in headers.items() if key not in ("Range", "If-Range")})
        raise DownloadError(f"{url}: the server answered {error.code} {error.reason}") from error
    except (OSError, HTTPException, ValueError) as error:
        raise _CutError(f"no connection ({getattr(error, 'reason', None) or error})") from error
    if url.startswith("https:") and not response.geturl().startswith("https:"):
        raise DownloadError(f"{url}: refusing to be sent on to {response.geturl()}, which is not encrypted")
    return response


def _reply(response: HTTPResponse) -> _Reply:
    tag, length = response.headers.get("ETag", ""), response.headers.get("Content-Length")
    strong = tag if tag and not tag.startswith("W/") else None
    validator = strong or response.headers.get("Last-Modified")
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    if response.status == 206:
        if not found:
            raise DownloadError(f"{response.geturl()}: the server does not say which part of the file it sends")
        return _Reply(int(found[1]), None if found[2] == "*" else int(found[2]), validator)
    return _Reply(0, int(length) if length else None, validator)


def _with_progress(response: HTTPResponse, name: str, reply: _Reply) -> Iterator[bytes]:
    from tqdm import tqdm

    with tqdm(
        total=reply.total, initial=reply.start, desc=name, unit="B", unit_scale=True, unit_divisor=1024, file=sys.stderr
    ) as bar:
        for block in _blocks(response):
            yield block
            bar.update(len(block))


def _blocks(response: HTTPResponse) -> Iterator[bytes]:
    while True:
        try:
            block = response.read(BLOCK_BYTES)
        except (OSError, HTTPException) as error:
            raise _CutError(f"the connection was cut ({error})") from error
        if not block:
            return
        yield block
