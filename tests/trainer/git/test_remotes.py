"""What git is asked of others: public addresses, no keys of ours, and no words about ports."""

import base64
import os
import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from loopwright_common.egress.addresses import parse_allowed
from loopwright_common.errors import InvalidError
from loopwright_trainer.git.command import GitError
from loopwright_trainer.git.mirror import remote_head
from loopwright_trainer.git.remotes import GitAccess, secret_file
from tests.trainer.harness import TrainerHarness, Upstream

TOKEN = "t0ken-that-nobody-sees"


class Web(SimpleHTTPRequestHandler):
    """Serves a repository as plain files; `redirects` elsewhere, or asks for `authorization`."""

    seen: list[Any]
    redirects: str | None = None
    authorization: str | None = None

    def do_GET(self) -> None:
        self.seen.append(dict(self.headers))
        if self.redirects:
            self.send_response(302)
            self.send_header("Location", self.redirects + self.path)
            self.end_headers()
        elif self.authorization and self.headers.get("Authorization") != self.authorization:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
            self.end_headers()
        else:
            super().do_GET()

    def log_message(self, *_: object) -> None:
        """Quietly."""


@contextmanager
def serving(directory: Path, **how: str) -> Generator[tuple[int, list[Any]], None, None]:
    seen: list[Any] = []
    handler = type("Handler", (Web,), {"seen": seen, **how})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=directory))
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield server.server_address[1], seen
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def site(upstream: Upstream) -> Path:
    upstream.git("update-server-info")
    return upstream.path


def at(port: int, **more: Any) -> GitAccess:
    return GitAccess(addresses=parse_allowed(f"127.0.0.1:{port}", ""), **more)


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


URLS = [
    *("http://127.0.0.1:{}/x.git", "http://localhost:{}/x.git", "http://[::ffff:127.0.0.1]:{}/x"),
    *("http://2130706433:{}/x.git", "http://0:{}/x.git", "http://rebound.test:{}/x.git"),
    *("https://127.0.0.1:{}/x.git", "ssh://git@127.0.0.1:{}/x.git", "ssh://rebound.test:{}/x.git"),
]


@pytest.mark.parametrize("url", URLS)
def test_git_reaches_no_private_address(site: Path, url: str) -> None:
    """Not by any spelling, nor by a name that says something else when it is asked again."""
    answers = iter([["10.0.0.1"], *([["127.0.0.1"]] * 9)])

    def rebinding(host: str, port: int) -> list[str]:
        if host.endswith(".test"):
            return next(answers)
        return [str(found[4][0]) for found in socket.getaddrinfo(host, port)]

    with serving(site) as (port, seen):
        told = []
        for tried in (port, closed_port()):
            with pytest.raises(GitError) as refused:
                remote_head(GitAccess(resolver=rebinding), url.format(tried), "main")
            told.append(str(refused.value).replace(str(tried), "PORT"))
        assert seen == []
    assert told[0] == told[1]
    assert "LOOPWRIGHT_TRAINER_GIT_ADDRESSES" in told[0]


def test_an_operator_allows_an_address(site: Path, upstream: Upstream) -> None:
    with serving(site) as (port, _):
        head = remote_head(at(port), f"http://127.0.0.1:{port}/.git", "main")
    assert head == upstream.git("rev-parse", "HEAD")


def test_a_redirect_is_not_followed(site: Path) -> None:
    with (
        serving(site) as (inner, seen),
        serving(site, redirects=f"http://127.0.0.1:{inner}") as (
            outer,
            _,
        ),
    ):
        both = GitAccess(addresses=parse_allowed(f"127.0.0.1:{inner},127.0.0.1:{outer}", ""))
        with pytest.raises(GitError, match="no repository can be read"):
            remote_head(both, f"http://127.0.0.1:{outer}/.git", "main")
    assert seen == []


def test_who_git_is_follows_from_the_operators_file_for_that_repository_alone(
    site: Path, upstream: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    wanted = "Basic " + base64.b64encode(f"bot:{TOKEN}".encode()).decode()
    with serving(site, authorization=wanted) as (port, seen):
        (home / ".netrc").write_text(f"machine 127.0.0.1 login bot password {TOKEN}\n")
        with pytest.raises(GitError):
            remote_head(at(port), f"http://127.0.0.1:{port}/.git", "main")
        file = tmp_path / "credentials"
        file.write_text(f"http://bot:{TOKEN}@127.0.0.1:{port}/.git\n")
        kept = file.read_text()
        access = at(port, credentials=file)
        head = remote_head(access, f"http://127.0.0.1:{port}/.git", "main")
        assert head == upstream.git("rev-parse", "HEAD")
        seen.clear()
        with pytest.raises(GitError):
            remote_head(access, f"http://127.0.0.1:{port}/other.git", "main")
        assert all("Authorization" not in headers for headers in seen)
        file.write_text(kept.replace(TOKEN, "wrong"))
        with pytest.raises(GitError):
            remote_head(access, f"http://127.0.0.1:{port}/.git", "main")
        assert "wrong" in file.read_text()  # git itself would remove what was refused


@pytest.mark.parametrize(
    "url",
    [
        f"https://bob:{TOKEN}@git.test/x.git",
        f"https://{TOKEN}@git.test/x.git",
        f"ssh://git:{TOKEN}@git.test/x.git",
        f"https://git.test/x.git?private_token={TOKEN}",
        f"https://git.test/x.git#{TOKEN}",
        f"https://{TOKEN}\n@git.test/",
        f"ftp://bob:{TOKEN}@git.test/x.git",
        f"https://[bob:{TOKEN}@git.test/x.git",
    ],
)
async def test_a_url_with_a_secret_is_refused_and_never_repeated(
    trainer: TrainerHarness, url: str
) -> None:
    answer = await trainer.http.post("/v1/repositories", json={"name": "x", "url": url})
    assert answer.status_code == 422
    assert TOKEN not in answer.text
    assert TOKEN not in (await trainer.http.get("/v1/repositories")).text


@pytest.mark.parametrize("url", ["git://127.0.0.1/x", "ext::sh -c true", "-x", "x.git", "file:x"])
def test_other_transports_are_refused(url: str) -> None:
    with pytest.raises(InvalidError, match="https, http or ssh"):
        GitAccess().check(url)


def test_local_repositories_are_those_that_an_operator_lists(tmp_path: Path) -> None:
    listed, other = tmp_path / "listed", tmp_path / "other"
    listed.mkdir()
    other.mkdir()
    (listed / "way-out").symlink_to(other)
    access = GitAccess([listed])
    assert access.check(str(listed / "x")) == str(listed / "x")
    for path in (other, listed / ".." / "other", listed / "way-out", Path("/"), tmp_path):
        for url in (str(path), f"file://{path}"):
            with pytest.raises(InvalidError, match="LOOPWRIGHT_TRAINER_LOCAL_REPOSITORIES"):
                access.check(url)


def test_a_file_of_secrets_that_others_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "credentials"
    with pytest.raises(InvalidError, match="no file"):
        secret_file(file, "SETTING")
    file.write_text("")
    file.chmod(0o644)
    with pytest.raises(InvalidError, match="chmod 600"):
        secret_file(file, "SETTING")
    os.chmod(file, 0o600)
    assert secret_file(file, "SETTING") == file
