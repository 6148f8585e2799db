"""An HTTP server that misbehaves as it is told, on this machine."""

from __future__ import annotations

import hashlib
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Page:
    """A file of the server.

    Attributes:
        drop: after how many bytes the connection breaks, one for each request until there are no more.
        status: to answer with instead of the content, one for each request until there are no more.
        tag, ranges: whether it has an ETag, and honours Range.
        to: an address to redirect to.
    """

    content: bytes = b""
    drop: list[int] = field(default_factory=list)
    status: list[int] = field(default_factory=list)
    retry_after: str | None = None
    tag: bool = True
    ranges: bool = True
    kind: str = "image/jpeg"
    to: str | None = None


@dataclass
class Server:
    """Where it listens, and the requests it got: (path, Range) in their order, and when."""

    url: str
    pages: dict[str, Page]
    asked: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))


class _Quiet(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up, as ours does after a refusal, is no reason for a traceback."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def serving(pages: dict[str, Page]) -> Iterator[Server]:
    """A running server; ``pages`` may be changed while it runs."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            page = pages.get(self.path)
            wanted = self.headers.get("Range", "")
            server.asked[self.path].append(wanted)
            if page is None:
                return self.answer(404, b"nothing here")
            if page.to is not None:
                self.send_response(302)
                self.send_header("Location", page.to)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return None
            if page.status:
                status = page.status.pop(0)
                return self.answer(
                    status, b"no", {"Retry-After": page.retry_after} if page.retry_after else {}
                )
            tag = f'"{hashlib.md5(page.content).hexdigest()}"'
            headers = {"Content-Type": page.kind, **({"ETag": tag} if page.tag else {})}
            start = 0
            if wanted and page.ranges and self.headers.get("If-Range", tag) == tag:
                start = int(wanted.removeprefix("bytes=").rstrip("-"))
                if start >= len(page.content):
                    return self.answer(416, b"")
                span = f"bytes {start}-{len(page.content) - 1}/{len(page.content)}"
                headers["Content-Range"] = span
            return self.answer(206 if start else 200, page.content[start:], headers, page.drop)

        def answer(
            self,
            status: int,
            body: bytes,
            headers: dict[str, str] | None = None,
            drop: list[int] | None = None,
        ) -> None:
            self.send_response(status)
            for key, value in (headers or {}).items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if drop:
                self.wfile.write(body[: drop.pop(0)])
                self.wfile.flush()
                self.close_connection = True
            else:
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    http = _Quiet(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    server = Server(f"http://127.0.0.1:{http.server_port}", pages)
    thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
