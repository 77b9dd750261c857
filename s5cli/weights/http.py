"""A download over http(s) that goes on where it was cut off, and of which nothing stays that was refused."""

import re
import shutil
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.parse import urlsplit

from s5cli.errors import DownloadError, OutputError, WeightsError
from s5cli.weights import places

TIMEOUT_S = 30.0
BLOCK_BYTES = 1 << 18
FRUITLESS_ATTEMPTS = 3  # in a row, none of which brought more of the file than was there before
PAUSES_S = (1.0, 1.0, 5.0)  # before another attempt, by how many were fruitless
LONGEST_PAUSE_S = 60.0  # that a server may ask for
RETRIED = (429, 500, 502, 503, 504)
MOST_UNANNOUNCED_BYTES = 8 << 30  # from a server that does not say how long the file is


def is_safe(url: str) -> bool:
    """Whether nobody on the way can change what is fetched: encrypted, or from this machine.

    >>> is_safe("https://example.org/a"), is_safe("http://[::1]:80/a"), is_safe("http://example.org/a")
    (True, True, False)
    """
    parts = urlsplit(url)
    return parts.scheme == "https" or parts.hostname in ("localhost", "127.0.0.1", "::1")


@contextmanager
def downloaded(url: str, target: Path, size_bytes: int | None = None) -> Iterator[Path]:
    """The content of `url` in a file beside `target`, for the block to verify and to move.

    Size and progress are shown on standard error. What was got before is not fetched again; what the block refuses
    with a WeightsError goes.

    Raises:
        DownloadError: the server refuses, the connection fails for good, or it is not a file of `size_bytes`.
        OutputError: the folder cannot be written to, or the disk is too small.
    """
    places.make_folder(target.parent)
    part = Partial(target.with_name(f"{target.name}.part"))
    try:
        part.complete(url, size_bytes)
        try:
            yield part.path
        except WeightsError:
            part.forget()
            raise
        part.forget()
    except OSError as error:
        raise places.unwritable(target, error) from error


def show_size(what: str, size_bytes: int | None, folder: Path) -> None:
    """Says on standard error what will be fetched; OutputError if it does not fit."""
    free = shutil.disk_usage(folder).free
    size = "an unknown number of bytes" if size_bytes is None else places.amount(size_bytes)
    if size_bytes is not None and size_bytes > free:
        raise OutputError(f"{what} has {size}, but only {places.amount(free)} are free in {folder}; make room")
    print(f"fetching {what}: {size} ({places.amount(free)} free)", file=sys.stderr)


class _CutError(Exception):
    """The connection ended before the file did, or the server wants to be asked again after a pause."""

    def __init__(self, message: str, pause_s: float = 0.0) -> None:
        super().__init__(message)
        self.pause_s = pause_s


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

    def complete(self, url: str, size_bytes: int | None = None) -> None:
        """Brings the whole of `url`, over as many connections as it takes."""
        fruitless, most, shown = 0, self.size, False
        while True:
            try:
                self._receive(url, size_bytes, shown)
                return
            except _CutError as error:
                fruitless, shown = (0 if self.size > most else fruitless + 1), True
                most = max(most, self.size)
                if fruitless == FRUITLESS_ATTEMPTS:
                    kept = f"; {self.size} bytes are kept, run the same command again to go on" if self.size else ""
                    raise DownloadError(f"{url}: {error}{kept}") from error
                time.sleep(max(PAUSES_S[fruitless], error.pause_s))

    def forget(self) -> None:
        self.path.unlink(missing_ok=True)
        self.validator_path.unlink(missing_ok=True)

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.is_file() else 0

    def _receive(self, url: str, size_bytes: int | None, shown: bool) -> None:
        """One connection: from where the partial file ends to the end of the file."""
        known = self.validator  # the rest is asked for, provided that the file is still the same version
        rest = {"Range": f"bytes={self.size}-", "If-Range": known} if self.size and known else {}
        with _open(url, rest) as response:
            reply = _reply(response)
            if reply.start and (reply.start != self.size or reply.validator != self.validator):
                self.forget()
                raise _CutError("the server sent another part or version of the file than was asked for")
            if size_bytes and reply.total not in (None, size_bytes):
                raise DownloadError(f"{url} has {reply.total} bytes, not the {size_bytes} that weights.toml says")
            if not shown:
                show_size(url, reply.total, self.path.parent)
            self._remember(reply.validator)
            most = reply.total or size_bytes or MOST_UNANNOUNCED_BYTES
            with self.path.open("r+b" if reply.start else "wb") as file:
                file.seek(reply.start)
                for block in _with_progress(response, self.path.stem, reply):
                    if file.tell() + len(block) > most:
                        raise DownloadError(f"{url}: the server sends more than {most} bytes; this is not the file")
                    file.write(block)
        if reply.total is not None and self.size < reply.total:
            raise _CutError(f"the connection was cut after {self.size} of {reply.total} bytes")

    @property
    def validator(self) -> str | None:
        return self.validator_path.read_text(encoding="latin-1") if self.validator_path.is_file() else None

    def _remember(self, validator: str | None) -> None:
        if validator:
            self.validator_path.write_text(validator, encoding="latin-1")  # as headers are read
        else:
            self.validator_path.unlink(missing_ok=True)


def _open(url: str, headers: dict[str, str]) -> HTTPResponse:
    from s5cli import __version__

    headers = {"User-Agent": f"s5cli/{__version__}", "Accept-Encoding": "identity", **headers}
    try:
        response: HTTPResponse = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code == 416 and "Range" in headers:  # nothing after what we have: we have more than there is
            return _open(url, {key: value for key, value in headers.items() if key not in ("Range", "If-Range")})
        said = f"the server answered {error.code} {error.reason}"
        if error.code in RETRIED:
            wanted = error.headers.get("Retry-After", "")
            raise _CutError(said, min(LONGEST_PAUSE_S, float(wanted)) if wanted.isdecimal() else 0.0) from error
        raise DownloadError(f"{url}: {said}") from error
    except (OSError, HTTPException, ValueError) as error:
        raise _CutError(f"no connection ({getattr(error, 'reason', None) or error})") from error
    if is_safe(url) and not is_safe(response.geturl()):
        raise DownloadError(f"{url}: refusing to be sent on to {response.geturl()}, which is not encrypted")
    return response


_SIZE = "[0-9]{1,18}"  # of a number of bytes; a header may say anything


def _reply(response: HTTPResponse) -> _Reply:
    tag, length = response.headers.get("ETag", ""), response.headers.get("Content-Length")
    strong = tag if tag and not tag.startswith("W/") else None
    validator = strong or response.headers.get("Last-Modified")
    found = re.fullmatch(rf"bytes ({_SIZE})-\d+/({_SIZE}|\*)", response.headers.get("Content-Range", ""))
    if response.status == 206:
        if not found:
            raise DownloadError(f"{response.geturl()}: the server does not say which part of the file it sends")
        return _Reply(int(found[1]), None if found[2] == "*" else int(found[2]), validator)
    return _Reply(0, int(length) if length and re.fullmatch(_SIZE, length) else None, validator)


def _with_progress(response: HTTPResponse, name: str, reply: _Reply) -> Iterator[bytes]:
    from tqdm import tqdm

    with tqdm(
        total=reply.total, initial=reply.start, desc=name, unit="B", unit_scale=True, unit_divisor=1024, file=sys.stderr
    ) as bar:
        while block := _block(response):
            yield block
            bar.update(len(block))


def _block(response: HTTPResponse) -> bytes:
    try:
        return response.read(BLOCK_BYTES)
    except (OSError, HTTPException) as error:
        raise _CutError(f"the connection was cut ({error})") from error
