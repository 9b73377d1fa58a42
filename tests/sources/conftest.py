import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from recloop.sources import SourceContext


@dataclass
class Web:
    """A web server on this machine.

    Attributes:
        files: what it serves, by path.
        cuts: after how many bytes each of the next answers breaks off.
        busy: how many of the next requests get status 503.
        ranges: whether it honours requests for a part.
        asked: path and `Range` of every request.
    """

    address: str
    files: dict[str, bytes] = field(default_factory=dict)
    cuts: list[int] = field(default_factory=list)
    busy: int = 0
    ranges: bool = True
    asked: list[tuple[str, str | None]] = field(default_factory=list)


@pytest.fixture
def web() -> Iterator[Web]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            shown.asked.append((self.path, wanted))
            if shown.busy:
                shown.busy -= 1
                self.send_error(503)
                return
            if self.path not in shown.files:
                self.send_error(404)
                return
            body, first = shown.files[self.path], 0
            if wanted and shown.ranges:
                first = int(wanted.removeprefix("bytes=").removesuffix("-"))
                if first >= len(body):
                    self.send_error(416)
                    return
            self.send_response(206 if first else 200)
            self.send_header("Content-Length", str(len(body) - first))
            self.end_headers()
            self.wfile.write(body[first:][: shown.cuts.pop(0) if shown.cuts else None])

        def log_message(self, *words: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    shown = Web(address=f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield shown
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def context(tmp_path: Path) -> SourceContext:
    root = tmp_path / "project"
    root.mkdir()
    return SourceContext(root=root, data=root / "data", cache=tmp_path / "cache")
