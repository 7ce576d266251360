"""The call centre against a scorer of a few lines: every row once, every outcome once."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx
import numpy as np
import pytest

from loopwright.demo.client.call_stream import CallStream
from loopwright.demo.client.calls import Calls, load
from loopwright.demo.client.pace import IDLE, Pace
from loopwright.demo.client.scoring_client import ScoringClient
from loopwright_common.errors import UnavailableError

ROWS = 1_503


@dataclass
class Scorer:
    """Answers 0.25 by route (as version 2) and 0.75 as version 1; remembers what it was sent."""

    knows_ids: bool = True
    ages: list[int] = field(default_factory=list)
    keys: Counter[str] = field(default_factory=Counter)
    labels: dict[str, str] = field(default_factory=dict)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        if request.url.path == "/v1/feedback":
            return self._feedback(body)
        return self._infer(request, body)

    def _feedback(self, body: dict[str, list[str]]) -> httpx.Response:
        assert not set(body["ids"]) & set(self.labels)
        self.labels |= dict(zip(body["ids"], body["labels"], strict=True))
        unknown = [] if self.knows_ids else body["ids"]
        return httpx.Response(202, json={"accepted": len(body["ids"]), "unknown": unknown})

    def _infer(
        self, request: httpx.Request, body: dict[str, list[dict[str, list[int]]]]
    ) -> httpx.Response:
        frozen = "/versions/1/" in request.url.path
        ages = next(i["data"] for i in body["inputs"] if i["name"] == "age")  # type: ignore[comparison-overlap]
        yes = 0.75 if frozen else 0.25
        if not frozen:
            self.keys[request.headers["loopwright-routing-key"]] += 1
            self.ages += ages
        data = [part for _ in ages for part in (1 - yes, yes)]
        output = {
            "name": "probabilities",
            "shape": [len(ages), 2],
            "datatype": "FP32",
            "data": data,
        }
        return httpx.Response(
            200,
            json={"model_version": "1" if frozen else "2", "outputs": [output]},
            headers={"loopwright-prediction-id": f"p{len(self.keys)}"},
        )


async def streamed(
    scorer: Scorer, calls: Calls, pace: Callable[[], Pace | None] = lambda: IDLE
) -> CallStream:
    async with httpx.AsyncClient(transport=httpx.MockTransport(scorer)) as http:
        stream = CallStream(calls, ScoringClient(http, "http://scorer", "bank-marketing"), pace)
        await stream.run()
    return stream


async def test_every_row_is_asked_once_in_order_and_labelled_once() -> None:
    scorer, calls = Scorer(), load(ROWS)
    stream = await streamed(scorer, calls)
    assert scorer.ages == list(calls.columns["age"])
    assert set(scorer.keys.values()) == {1}
    assert Counter(scorer.labels.values()) == Counter(calls.outcomes)
    assert stream.answered == ROWS


async def test_what_was_served_stands_beside_what_version_1_says() -> None:
    served = (await streamed(Scorer(), load(ROWS))).served
    assert set(served.version.tolist()) == {2}
    assert np.unique(served.probability).tolist() == [0.25]
    assert np.unique(served.frozen_probability).tolist() == [0.75]
    assert (np.diff(served.time) >= 0).all()


async def test_calls_wait_while_there_is_no_pace() -> None:
    scorer, paces = Scorer(), [IDLE, None, None, None]
    sent_while_waiting = []

    def pace() -> Pace | None:
        if not paces:
            return IDLE
        sent_while_waiting.append(len(scorer.ages))
        return paces.pop(0)

    stream = await streamed(scorer, load(100), pace)
    assert max(sent_while_waiting) == IDLE.rows
    assert stream.answered == 100


async def test_labels_that_nobody_knows_end_the_demo_with_the_reason() -> None:
    with pytest.raises(UnavailableError, match="does not know its own p"):
        await streamed(Scorer(knows_ids=False), load(100))


def test_the_calls_begin_where_the_base_file_ends() -> None:
    calls = load()
    assert len(calls) == 45_211 - 9_000
    assert {"duration", "day", "month", "y"}.isdisjoint(calls.columns)
    first = {"name": "age", "shape": [3], "datatype": "INT64", "data": calls.columns["age"][:3]}
    assert calls.request(0, 3)["inputs"][0] == first
