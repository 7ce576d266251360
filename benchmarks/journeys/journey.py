"""One repository's way: first commit, champion, an edit, the next champion under a trickle."""

import asyncio
import itertools
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

from benchmarks.journeys.repositories import Repository

_WITHIN = 600.0
_ENDED = frozenset(
    {"promoted", "paused", "rejected", "rolled-back", "superseded", "aborted", "approval"}
)


class StoppedError(AssertionError):
    """A version that did not become champion by itself; says where it stopped, and why."""


@dataclass(frozen=True, slots=True)
class Promotion:
    """Seconds from a commit to its version as champion, and what they were spent on.

    `evidence` is the time in which the calls came by which the canary was decided; what is neither
    that nor the run of the stages is overhead. `states` are the seconds in each state.
    """

    run: float
    deploying: float
    evidence: float
    states: Mapping[str, float]

    @property
    def overhead(self) -> float:
        return self.deploying - self.evidence

    @property
    def seconds(self) -> float:
        return self.run + self.deploying


@dataclass
class Callers:
    """Calls about one row each, at `rate` a second; `answered` is when each version answered."""

    http: httpx.AsyncClient
    url: str
    model: str
    rows: Sequence[Mapping[str, str]]
    rate: float
    answered: dict[str, list[float]] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)

    async def call(self) -> None:
        """Until cancelled; a call that is late puts none off that comes after it."""
        metadata = (await self.http.get(f"{self.url}/v2/models/{self.model}")).json()
        pending: set[asyncio.Task[None]] = set()
        begun = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number, row in enumerate(itertools.cycle(self.rows)):
                task = group.create_task(self._call_once(metadata["inputs"], row))
                pending.add(task)
                task.add_done_callback(pending.discard)
                await asyncio.sleep(begun + (number + 1) / self.rate - time.monotonic())

    async def _call_once(self, inputs: Sequence[Mapping[str, Any]], row: Mapping[str, str]) -> None:
        body = {"inputs": [_tensor(given["name"], given["datatype"], row) for given in inputs]}
        answer = await self.http.post(f"{self.url}/v2/models/{self.model}/infer", json=body)
        if answer.is_success:
            version = answer.json()["model_version"]
            self.answered.setdefault(version, []).append(time.time())
        else:
            self.failed.append(answer.text)


def _tensor(name: str, datatype: str, row: Mapping[str, str]) -> dict[str, object]:
    text = row[name]
    value: object = text
    if datatype.startswith("FP"):
        value = float(text)
    elif datatype != "BYTES":
        value = int(float(text))
    return {"name": name, "datatype": datatype, "shape": [1], "data": [value]}


@dataclass
class Journey:
    """A repository in a running system whose services are at `urls`."""

    http: httpx.AsyncClient
    urls: Mapping[str, str]
    repository: Repository
    directory: Path

    async def first(self) -> Promotion:
        """Write the repository, and wait until its first version is champion."""
        await asyncio.to_thread(self.repository.write, self.directory)
        new = {"name": self.repository.name, "url": str(self.directory)}
        committed = time.time()
        added = await self.http.post(f"{self.urls['trainer']}/v1/repositories", json=new)
        added.raise_for_status()
        return await self._promoted(1, committed, None)

    async def later(self, version: int, callers: Callers | None) -> Promotion:
        """Edit the parameter, commit, and wait until that version is champion."""
        await asyncio.to_thread(self.repository.change, self.directory)
        return await self._promoted(version, time.time(), callers)

    @asynccontextmanager
    async def called(self, rate: float) -> AsyncGenerator[Callers]:
        """While it lasts, `rate` calls a second ask the model."""
        rows = await asyncio.to_thread(self.repository.rows)
        url = self.urls["scorer"]
        callers = Callers(self.http, url, self.repository.name, rows, rate)
        task = asyncio.create_task(callers.call())
        try:
            yield callers
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def ended(self, version: int) -> Mapping[str, Any]:
        """The version's deployment, once it is champion, has ended or waits for a person."""
        async with asyncio.timeout(_WITHIN):
            while True:
                if found := await self._deployment(version):
                    if found["state"] in _ENDED:
                        return found
                else:
                    await self._check_runs()
                await asyncio.sleep(0.05)

    async def _promoted(self, version: int, committed: float, callers: Callers | None) -> Promotion:
        deployment = await self.ended(version)
        if deployment["state"] not in ("promoted", "superseded"):
            raise StoppedError(
                f"{self.repository.name} version {version} is {deployment['state']}: "
                f"{deployment['why']}"
            )
        registered = _seconds(deployment["created_at"])
        promoted = _seconds(deployment["promoted_at"])
        evidence = await self._evidence(deployment["id"], version, callers) if callers else 0.0
        states = _seconds_in_states(deployment["steps"])
        return Promotion(registered - committed, promoted - registered, evidence, states)

    async def _deployment(self, version: int) -> Mapping[str, Any] | None:
        path = f"{self.urls['deployer']}/v1/deployments"
        listed = (await self.http.get(path, params={"model": self.repository.name})).json()
        ids = (d["id"] for d in listed["items"] if d["version"] == version)
        if newest := next(ids, None):
            found: Mapping[str, Any] = (await self.http.get(f"{path}/{newest}")).json()
            return found
        return None

    async def _check_runs(self) -> None:
        """StoppedError where a run of the repository failed, or registered nothing."""
        runs = (await self.http.get(f"{self.urls['trainer']}/v1/runs")).json()["items"]
        newest = next((r for r in runs if r["repository"] == self.repository.name), None)
        if newest and newest["finished_at"] and newest["version"] is None:
            raise StoppedError(f"{self.repository.name}: {newest['status']}: {newest['why']}")

    async def _evidence(self, deployment: str, version: int, callers: Callers) -> float:
        """Seconds from each step's begin to the call that ended it, as the callers saw it."""
        path = f"{self.urls['deployer']}/v1/deployments/{deployment}"
        steps = (await self.http.get(path)).json()["steps"]
        begun = next(_seconds(s["at"]) for s in steps if s["state"] == "canary")
        looks = (await self.http.get(f"{path}/evidence", params={"limit": 100})).json()["items"]
        seconds = 0.0
        answered = callers.answered.get(str(version), [])
        for look in (each for each in looks if each["action"] in ("advance", "promote")):
            decided = _seconds(look["at"])
            counter = look["evidence"]["steps"][-1]["canary"]
            wanted = counter["calls"] + counter["refused"]
            within = [at for at in answered if begun <= at <= decided]
            seconds += (within[wanted - 1] if wanted <= len(within) else decided) - begun
            begun = decided
        return seconds


def _seconds_in_states(steps: Sequence[Mapping[str, Any]]) -> Mapping[str, float]:
    seconds: dict[str, float] = {}
    for step, following in itertools.pairwise(steps):
        passed = _seconds(following["at"]) - _seconds(step["at"])
        seconds[step["state"]] = seconds.get(step["state"], 0.0) + passed
    return seconds


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
