"""Several replicas: what they share, what each has for itself, and what is away."""

from pathlib import Path
from typing import Any

import pytest

from loopwright_common.errors import ConflictError, InvalidError, UnavailableError
from loopwright_common.events import GroundTruthLogged
from loopwright_common.storage.artifact_store import ArtifactStore
from loopwright_scorer.main import build
from tests.scorer.harness import MODEL, ROW, Replica, ScorerHarness, eventually

KEY = "5a" * 32


async def predicted(harness: ScorerHarness, replica: Replica) -> str:
    await harness.route(1, await harness.arm(1, "low"))
    await replica.serves(1)
    return str((await replica.infer(ROW)).headers["loopwright-prediction-id"])


async def label(replica: Replica, prediction_id: str) -> dict[str, Any]:
    body = {"model": MODEL, "ids": [prediction_id], "labels": ["yes"]}
    answer: dict[str, Any] = (await replica.http.post("/v1/feedback", json=body)).json()
    return answer


async def test_replicas_with_one_key_take_each_others_labels(
    harness: ScorerHarness, tmp_path: Path
) -> None:
    other = {"replica": "r-2", "cache_dir": tmp_path / "other", "prediction_key": KEY}
    async with harness.replica(prediction_key=KEY) as one, harness.replica(**other) as two:
        known = await predicted(harness, one)
        await two.serves(1)
        answer = await label(two, known)

    [truth] = await harness.events("ground-truth-logged")
    assert isinstance(truth, GroundTruthLogged)
    assert truth.ids == [f"{known}.0"]
    assert answer == {"accepted": 1, "unknown": [], "why": None}


async def test_a_label_for_a_replica_with_another_key_is_told_the_likely_cause(
    harness: ScorerHarness, tmp_path: Path
) -> None:
    other = {"replica": "r-2", "cache_dir": tmp_path / "other"}
    async with harness.replica() as one, harness.replica(**other) as two:
        known = await predicted(harness, one)
        await two.serves(1)
        answer = await label(two, known)

    assert (answer["accepted"], answer["unknown"]) == (0, [known])
    assert "give all replicas the same LOOPWRIGHT_SCORER_PREDICTION_KEY" in answer["why"]


@pytest.mark.parametrize("key", ["", "secret", "5a" * 31, "5a" * 33, "zz" * 32])
async def test_a_key_of_another_form_is_refused(harness: ScorerHarness, key: str) -> None:
    with pytest.raises(InvalidError, match=r"LOOPWRIGHT_SCORER_PREDICTION_KEY: .* 64 hex digits"):
        async with harness.replica(prediction_key=key):
            pass


async def test_two_replicas_do_not_share_a_cache(harness: ScorerHarness) -> None:
    async with harness.replica():
        with pytest.raises(ConflictError, match="set LOOPWRIGHT_SCORER_CACHE_DIR"):
            async with harness.replica(replica="r-2"):
                pass
    async with harness.replica(replica="r-2"):
        pass


async def test_a_cache_that_cannot_be_made_names_its_setting(
    harness: ScorerHarness, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UnavailableError, match="set LOOPWRIGHT_SCORER_CACHE_DIR"):
        async with harness.replica(cache_dir=tmp_path / "file" / "cache"):
            pass


async def test_while_the_store_is_away_the_old_route_is_served_and_the_new_one_waits(
    harness: ScorerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Away(harness.store)
    monkeypatch.setattr(f"{build.__module__}.open_store", lambda _url: store)
    async with harness.replica() as replica:
        await predicted(harness, replica)
        store.away = True
        await harness.route(2, await harness.arm(2, "high"))

        async def waiting() -> dict[str, Any]:
            items = (await replica.http.get("/v1/models")).json()["items"]
            return items[0] if items[0]["waiting"] else {}

        route = await eventually(waiting)
        assert route["waiting"] == {"2": "the store is away"}
        assert route["problems"] == {}, "it is no fault of the version"
        assert (await replica.infer(ROW)).json()["model_version"] == "1"
        assert (await replica.http.get("/readyz")).status_code == 200
        store.away = False
        await replica.serves(2)


class Away:
    """A store that can be away."""

    def __init__(self, store: ArtifactStore) -> None:
        self.away = False
        self._store = store

    def __getattr__(self, name: str) -> Any:
        if self.away:
            raise UnavailableError("the store is away")
        return getattr(self._store, name)
