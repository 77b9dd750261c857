"""A real HTTP server on 127.0.0.1 that can serve ranges, ignore them, cut connections, and stand in for the hub."""

import hashlib
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self


@dataclass
class Page:
    """What one path answers with."""

    content: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    etag: str | None = None  # None: made of the content; "": none is sent
    ranges: bool = True
    cut_after: list[int] = field(default_factory=list)  # bytes sent by the first answers before the connection is cut
    status: int = 200
    refusals: list[int] = field(default_factory=list)  # statuses of the first answers
    says_length: bool = True
    lies_about_start: bool = False

    @property
    def tag(self) -> str:
        return f'"{hashlib.sha256(self.content).hexdigest()[:16]}"' if self.etag is None else self.etag


@dataclass(frozen=True)
class Asked:
    """One request that was made."""

    method: str
    path: str
    range: str | None


class Server:
    """Serves `pages` while it is entered, and remembers what it was asked."""

    def __init__(self) -> None:
        self.pages: dict[str, Page] = {}
        self.asked: list[Asked] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.answer(self)

            def do_HEAD(self) -> None:
                outer.answer(self)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_port}"

    def put(self, path: str, content: bytes, **keys: object) -> str:
        """Serves `content` at `path`; returns its url."""
        self.pages[path] = Page(content, **keys)  # type: ignore[arg-type]
        return self.url + path

    @property
    def gets(self) -> list[Asked]:
        return [asked for asked in self.asked if asked.method == "GET"]

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.asked.append(Asked(request.command, request.path, request.headers.get("Range")))
        page = self.pages.get(request.path)
        status = 404 if page is None else page.refusals.pop(0) if page.refusals else page.status
        if page is None or status != 200:
            request.send_response(status)
            for name, value in page.headers.items() if page else ():
                request.send_header(name, value)
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        self._send(request, page, self._start(request, page))

    def _start(self, request: BaseHTTPRequestHandler, page: Page) -> int:
        found = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))
        same = request.headers.get("If-Range") in (None, page.tag)
        return int(found[1]) if found and page.ranges and same else 0

    def _send(self, request: BaseHTTPRequestHandler, page: Page, start: int) -> None:
        total = len(page.content)
        if start >= total > 0:
            request.send_response(416)
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        request.send_response(206 if start else 200)
        if start:
            said = start + 1 if page.lies_about_start else start
            request.send_header("Content-Range", f"bytes {said}-{total - 1}/{total}")
        if page.tag:
            request.send_header("ETag", page.tag)
        for name, value in page.headers.items():
            request.send_header(name, value)
        if page.says_length:
            request.send_header("Content-Length", str(total - start))
        else:
            request.send_header("Connection", "close")
        request.end_headers()
        if request.command == "GET":
            self._body(request, page, start)

    def _body(self, request: BaseHTTPRequestHandler, page: Page, start: int) -> None:
        if page.cut_after:
            request.wfile.write(page.content[start : start + page.cut_after.pop(0)])
            request.wfile.flush()
            request.close_connection = True
            return
        request.wfile.write(page.content[start:])
