"""Kafka's jars: fetched once by whoever comes first, and never taken for complete before."""

import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Generator
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

import pytest

from loopwright.doctor import engines as doctor
from loopwright.engines import jars
from loopwright.engines.jars import Jar, fetch_jars, jars_are_here, jars_directory
from loopwright_common.errors import UnavailableError

CONTENT = {f"part-{n}-1.0.jar": bytes([n + 1]) * 100_000 for n in range(4)}
JARS = [
    Jar("org.example", f"part-{n}", "1.0", hashlib.sha256(data).hexdigest(), len(data))
    for n, data in enumerate(CONTENT.values())
]
FETCH = """
import json, sys
from loopwright.engines.jars import Jar, fetch_jars
fetch_jars([Jar(**jar) for jar in json.loads(sys.argv[1])])
"""
PATIENCE = 240.0


class Repository:
    """A Maven repository on this machine that cuts, damages or holds back what it gives."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.cut = 0
        self.damaged = 0
        self.was_asked_for_held = Event()
        self.held: str | None = None
        self.release = Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/maven2"

    def close(self) -> None:
        self.release.set()
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path: str) -> tuple[bytes, int]:
        """What is sent and the length that is announced."""
        name = path.rpartition("/")[2]
        self.asked[name] += 1
        if name == self.held:
            self.was_asked_for_held.set()
            self.release.wait(PATIENCE)
        data = CONTENT[name]
        if self.cut:
            self.cut -= 1
            return data[: len(data) // 2], len(data)
        if self.damaged:
            self.damaged -= 1
            return bytes(len(data)), len(data)
        return data, len(data)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        repository = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                data, length = repository.answer(self.path)
                self.send_response(200)
                self.send_header("Content-Length", str(length))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        return Handler


@pytest.fixture
def repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Generator[Repository, None, None]:
    """The only one that this process and its children know, beside an empty cache."""
    serving = Repository()
    monkeypatch.setenv("LOOPWRIGHT_MAVEN_URL", serving.url)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(jars, "_FIRST_PAUSE_SECONDS", 0.0)
    yield serving
    serving.close()


def start_fetch() -> subprocess.Popen[str]:
    """In a process of its own, as a second test worker or a second `loopwright up` would."""
    given = json.dumps([asdict(jar) for jar in JARS])
    return subprocess.Popen(
        [sys.executable, "-c", FETCH, given], stderr=subprocess.PIPE, text=True, env=os.environ
    )


def test_two_processes_at_once_fetch_each_jar_once_and_the_second_says_that_it_waits(
    repository: Repository,
) -> None:
    repository.held = JARS[1].name
    first = start_fetch()
    assert repository.was_asked_for_held.wait(PATIENCE)
    second = start_fetch()
    assert second.stderr is not None
    assert "another process is fetching Kafka's jars" in second.stderr.readline()
    assert not jars_are_here(JARS)

    repository.release.set()
    said = first.communicate(timeout=PATIENCE)[1]
    second.communicate(timeout=PATIENCE)
    assert (first.returncode, second.returncode) == (0, 0)
    assert "4 of 4, 0.4 of 0.4 MB" in said
    assert repository.asked == dict.fromkeys(CONTENT, 1)
    assert {file.name: file.read_bytes() for file in jars_directory().iterdir()} == CONTENT


def test_a_fetch_that_is_killed_leaves_nothing_complete_and_is_gone_on_with(
    repository: Repository,
) -> None:
    repository.held = JARS[2].name
    fetching = start_fetch()
    assert repository.was_asked_for_held.wait(PATIENCE)
    fetching.kill()
    fetching.communicate(timeout=PATIENCE)
    assert not jars_directory().exists()
    assert not jars_are_here(JARS)

    repository.release.set()
    assert fetch_jars(JARS) == jars_directory()
    assert jars_are_here(JARS)
    assert repository.asked[JARS[0].name] == 1


@pytest.mark.parametrize("fault", ["cut", "damaged"])
def test_what_comes_cut_or_damaged_is_fetched_again(repository: Repository, fault: str) -> None:
    setattr(repository, fault, 2)
    fetch_jars(JARS)
    assert all(jar.is_whole(jars_directory() / jar.name) for jar in JARS)
    assert repository.asked[JARS[0].name] == 3


def test_what_stays_damaged_is_never_put_in_place(repository: Repository) -> None:
    repository.damaged = 1_000
    with pytest.raises(UnavailableError, match="its checksum is not the expected one"):
        fetch_jars(JARS)
    assert not jars_directory().exists()


def test_a_jar_that_was_taken_away_is_missed_and_fetched_alone(repository: Repository) -> None:
    fetch_jars(JARS)
    (jars_directory() / JARS[3].name).unlink()
    assert not jars_are_here(JARS)
    fetch_jars(JARS)
    assert jars_are_here(JARS)
    assert repository.asked == {**dict.fromkeys(CONTENT, 1), JARS[3].name: 2}


def test_without_a_network_jars_that_are_here_are_enough(repository: Repository) -> None:
    fetch_jars(JARS)
    repository.close()
    asked = sum(repository.asked.values())
    assert fetch_jars(JARS) == jars_directory()
    assert sum(repository.asked.values()) == asked


def test_without_jars_and_network_a_sentence_says_what_to_fetch_and_where_to_put_it(
    repository: Repository,
) -> None:
    repository.close()
    with pytest.raises(UnavailableError) as told:
        fetch_jars(JARS)
    sentence = str(told.value)
    assert f"{repository.url}/org/example/part-0/1.0/part-0-1.0.jar was not fetched" in sentence
    assert "`python -m loopwright.engines`" in sentence
    assert f"copy that folder to {jars_directory()}" in sentence


def test_the_doctor_misses_jars_as_a_start_does(repository: Repository, tmp_path: Path) -> None:
    jars_directory().mkdir(parents=True)
    whole = jars.required_jars()[0]
    (jars_directory() / whole.name).write_bytes(bytes(whole.size))
    (finding,) = doctor.examine(tmp_path)
    assert "its jars, 45 MB, come with the first start" in finding.detail
    assert not repository.asked


def test_the_list_names_each_jar_once_and_the_broker_among_them() -> None:
    names = [jar.name for jar in jars.required_jars()]
    assert len(names) == len(set(names))
    assert f"kafka_2.13-{jars.VERSION}.jar" in names
    assert 44 < sum(jar.size for jar in jars.required_jars()) / 1_000_000 < 45
