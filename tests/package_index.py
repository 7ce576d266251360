"""A package index on this machine, which uv asks over HTTP: it answers, refuses, or fails."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

CUT = 0
"""Instead of a status: end the connection without a word."""


@dataclass
class Index:
    """Of the wheels in a directory; `status` other than 200 is its answer to everything.

    `links` are where else the file of a project is said to lie, `redirects` where a project's page
    or a file is.
    """

    wheels: Path
    url: str = ""
    status: int = 200
    asked: int = 0
    links: dict[str, str] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)

    @property
    def host(self) -> str:
        """Its name and port."""
        return urlsplit(self.url).netloc


@contextmanager
def package_index(wheels: Path) -> Generator[Index, None, None]:
    """Listens until the end."""
    index = Index(wheels)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            index.asked += 1
            if index.status == CUT:
                return
            status, kind, content = _answer(index, self.path)
            self.send_response(status)
            if status == 302:
                self.send_header("Location", index.redirects[_name(self.path)])
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        do_HEAD = do_GET  # noqa: N815  (the server looks for this name)

        def log_message(self, format: str, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    index.url = f"http://127.0.0.1:{server.server_port}/simple"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield index
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _answer(index: Index, path: str) -> tuple[int, str, bytes]:
    name = _name(path)
    file = index.wheels / name
    if index.status != 200:
        return index.status, "text/plain", b""
    if name in index.redirects:
        return 302, "text/plain", b""
    if file.suffix == ".whl" and file.is_file():
        return 200, "application/zip", file.read_bytes()
    files = {one.name: f"/{one.name}" for one in index.wheels.glob(f"{name}-*.whl")}
    if name in index.links:
        files[_name(index.links[name])] = index.links[name]
    links = [f'<a href="{url}">{shown}</a>' for shown, url in files.items()]
    return 200 if links else 404, "text/html", "".join(links).encode()


def _name(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]
