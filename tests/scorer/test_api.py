"""Labels for earlier predictions, and ids that cannot be forged."""

from typing import Any, cast

import httpx
import pytest

from loopwright_common.errors import UnavailableError
from loopwright_common.events import GroundTruthLogged
from loopwright_common.ids import new_id
from loopwright_scorer.inference.prediction_ids import PredictionIds
from tests.scorer.harness import MODEL, ROW, Replica, ScorerHarness

IDS = PredictionIds(b"k" * 32)


async def give(replica: Replica, **feedback: Any) -> httpx.Response:
    return await replica.http.post("/v1/feedback", json={"model": MODEL, **feedback})


async def predicted(harness: ScorerHarness, replica: Replica) -> str:
    await harness.route(1, await harness.arm(1, "low"))
    await replica.serves(1)
    return str((await replica.infer(ROW)).headers["loopwright-prediction-id"])


async def test_labels_are_on_the_bus_when_the_answer_comes(harness: ScorerHarness) -> None:
    async with harness.replica() as replica:
        known = await predicted(harness, replica)
        answer = await give(replica, ids=[f"{known}.0", known], labels=["yes", 1])

        truth = cast(list[GroundTruthLogged], await harness.events("ground-truth-logged"))

    assert (answer.status_code, answer.json()) == (202, {"accepted": 2, "unknown": [], "why": None})
    assert truth[0].ids == [f"{known}.0", f"{known}.0"]
    assert truth[0].labels == ["yes", 1]


async def test_forged_and_foreign_ids_are_told(harness: ScorerHarness) -> None:
    async with harness.replica() as replica:
        known = await predicted(harness, replica)
        forged = known[:-8] + "00000000"
        foreign = IDS.issue(new_id(), 1, "m-1")
        answer = await give(replica, ids=[forged, foreign, "x", known], labels=[1, 1, 1, True])

    content = answer.json()
    assert (content["accepted"], content["unknown"]) == (1, [forged, foreign, "x"])
    assert "2 look like prediction ids" in content["why"]
    assert "LOOPWRIGHT_SCORER_PREDICTION_KEY" in content["why"]


async def test_request_ids_are_the_clients_own(harness: ScorerHarness) -> None:
    async with harness.replica() as replica:
        await predicted(harness, replica)
        answer = await give(replica, ids=["order 7"], labels=[None], id_kind="request")

    assert answer.json() == {"accepted": 1, "unknown": [], "why": None}


async def test_many_labels_leave_in_several_records(harness: ScorerHarness) -> None:
    async with harness.replica() as replica:
        known = await predicted(harness, replica)
        ids = [f"{known}.{row}" for row in range(5000)]
        await give(replica, ids=ids, labels=[0.5] * 5000)

    truth = cast(list[GroundTruthLogged], await harness.events("ground-truth-logged"))
    assert [len(part.ids) for part in truth] == [2000, 2000, 1000]


@pytest.mark.parametrize(
    ("feedback", "status", "says"),
    [
        ({"ids": ["a"], "labels": [1, 2]}, 422, "2 labels for 1 ids"),
        ({"ids": [], "labels": []}, 422, "ids"),
        ({"ids": ["a"], "labels": [{}]}, 422, "labels"),
        ({"ids": ["a"], "labels": ["x" * 257]}, 422, "labels"),
        ({"ids": ["a"], "labels": [10**400]}, 422, "labels"),
        ({"model": "nobody", "ids": ["a"], "labels": [1]}, 404, "no model 'nobody'"),
    ],
)
async def test_wrong_feedback_names_the_field(
    harness: ScorerHarness, feedback: dict[str, Any], status: int, says: str
) -> None:
    async with harness.replica() as replica:
        await predicted(harness, replica)
        answer = await give(replica, **feedback)

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert says in answer.json()["detail"]


async def test_without_the_bus_feedback_is_not_acknowledged(
    harness: ScorerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with harness.replica() as replica:
        known = await predicted(harness, replica)

        async def away(_records: object) -> None:
            raise UnavailableError("event log: away")

        with monkeypatch.context() as cut:
            cut.setattr(harness.bus, "publish", away)
            answer = await give(replica, ids=[known], labels=["yes"])

    assert answer.status_code == 503
