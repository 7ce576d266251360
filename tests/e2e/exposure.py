"""All that a running system tells: every answer of every route, its log, and the files it keeps."""

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

_PARAMETER = re.compile(r"{(\w+)}")
_MISSING = ("nobody", "0", "%2e%2e")
"""Values of parameters that name nothing."""
_PLAIN_PAGES = ("/docs", "/openapi.json", "/metrics", "/readyz", "/livez", "/version")
_LARGEST = 1 << 20
_SECONDS = 5.0


class Exposure:
    """What was told, by who told it."""

    def __init__(self, http: httpx.Client, urls: dict[str, str]) -> None:
        self._http = http
        self._urls = urls
        self.told: dict[str, str] = {}
        self.statuses: dict[str, int] = {}
        self.last = b""
        """The body of the answer that came last."""
        self._known: dict[str, set[str]] = defaultdict(set)
        """Values by the names under which answers have them."""

    def walk(self, state: str = "") -> None:
        """Ask every route of every service, with parameters that name something and nothing."""
        for service, url in self._urls.items():
            paths = self._http.get(f"{url}/openapi.json").json()["paths"]
            for page in (*_PLAIN_PAGES, *(path for path in paths if "{" not in path)):
                self.ask(service, "GET", page, state)
            for path, methods in paths.items():
                if "{" in path:
                    for method in methods:
                        for filled in self._filled(path, existing=method == "get"):
                            self.ask(service, method.upper(), filled, state)

    def ask(self, service: str, method: str, path: str, state: str = "", **more: Any) -> int:
        """The status of an answer, which is kept; of a stream as much as comes at once."""
        more = more or ({} if method == "GET" else {"json": {}})
        head, come, status = b"", b"", 0
        try:
            with self._http.stream(
                method, self._urls[service] + path, timeout=_SECONDS, **more
            ) as answer:
                status = answer.status_code
                head = b"".join(name + value for name, value in answer.headers.raw)
                if answer.headers.get("content-type", "").startswith("text/event-stream"):
                    return status
                for part in answer.iter_bytes():
                    come += part
                    if len(come) > _LARGEST:
                        break
        except httpx.ReadTimeout:
            pass
        finally:
            asked = f"{method} {service} {path} {state}"
            self.statuses[asked] = status
            self.told[asked] = (head + come).decode(errors="replace")
        self.last = come
        self._learn(come)
        return status

    def _filled(self, path: str, *, existing: bool) -> Iterator[str]:
        for missing in _MISSING:
            yield _PARAMETER.sub(missing, path)
        if existing:
            for turn in range(2):
                values = {name: self._value(name, turn) for name in _PARAMETER.findall(path)}
                yield path.format_map(values)

    def _value(self, parameter: str, turn: int) -> str:
        names = (parameter, parameter.removesuffix("_id"), "id", "name")
        known = next((sorted(self._known[name]) for name in names if self._known[name]), ["nobody"])
        return known[turn % len(known)]

    def _learn(self, answer: bytes) -> None:
        for name, value in re.findall(rb'"(\w+)": ?"?([\w.:-]{1,80})"?[,}]', answer):
            if len(self._known[name.decode()]) < 20:
                self._known[name.decode()].add(value.decode())


def files_with(secret: str, directory: Path) -> list[str]:
    kept = [path for path in directory.rglob("*") if path.is_file() and not path.is_symlink()]
    return [str(path) for path in kept if secret.encode() in path.read_bytes()]
