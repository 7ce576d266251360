"""Shadow arms that are slow, busy, failing or refusing: answers are those of the live arm."""

from pathlib import Path

import pytest

from loopwright_common.serving.spec import IsolatedSpec, ServingSpec, Tensor
from tests.scorer.harness import ROW, ScorerHarness, eventually
from tests.scorer.listening import INFER
from tests.scorer.packages import BREAKS_AT, SOURCE, write_spec

DROPPED = "loopwright_shadow_dropped_total"
SHADOWED = "loopwright_predictions_total"
CALLS = 12
PIXELS = {"name": "pixels", "datatype": "FP32", "shape": [1, 2, 2], "data": [1, 2, 3, 4]}
SLEEPY = """
import time

class Model:
    def predict(self, rows):
        time.sleep(0.1)
        return [0.0] * len(rows)
"""


def sleepy(directory: Path) -> Path:
    """A regressor of the same signature as `summing` that takes its time."""
    code = directory / "code"
    code.mkdir(parents=True)
    (code / "sleepy.py").write_text(SLEEPY)
    (directory / "model.pkl").write_bytes(b"csleepy\nModel\n(tR.")
    spec = ServingSpec(
        format="isolated",
        file="model.pkl",
        task="regressor",
        tensor=Tensor(name="pixels", dtype="float64", shape=[2, 2]),
        source_digest=SOURCE,
        isolated=IsolatedSpec(loader="pickle", code="code"),
    )
    return write_spec(directory, spec)


async def test_a_shadow_that_takes_its_time_delays_nobody_and_drops_what_it_cannot_keep_up_with(
    harness: ScorerHarness, tmp_path: Path
) -> None:
    harness.package_dirs = {**harness.package_dirs, "slow": sleepy(tmp_path / "slow")}
    async with harness.replica(shadow_buffer=1000) as replica:
        shadow = await harness.arm(2, "slow", 0.0, role="shadow")
        await harness.route(1, await harness.arm(1, "summing"), shadow)
        await replica.serves(1)
        count = replica.service.metrics.registry.get_sample_value
        answers = [await replica.http.post(INFER, json={"inputs": [PIXELS]}) for _ in range(CALLS)]
        dropped = count(DROPPED, {"model": "bank"}) or 0

        async def all_told() -> bool:
            labels = {"model": "bank", "version": "2", "slot": "shadow", "outcome": "answered"}
            return (count(SHADOWED, labels) or 0) + dropped == CALLS

        await eventually(all_told)

    assert [answer.json()["model_version"] for answer in answers] == ["1"] * CALLS
    assert 0 < dropped < CALLS


@pytest.mark.parametrize(
    ("live", "shadow", "row"),
    [
        ("trained", "low", {**ROW, "visits": [BREAKS_AT]}),
        ("low", "strict", {**ROW, "job": ["astronaut"]}),
        ("low", "summing", ROW),
    ],
    ids=["fails", "refuses", "has another signature"],
)
async def test_what_a_shadow_cannot_answer_the_live_arm_does(
    harness: ScorerHarness, live: str, shadow: str, row: dict[str, list[object]]
) -> None:
    async with harness.replica() as replica:
        arms = [await harness.arm(1, live), await harness.arm(2, shadow, 0.0, role="shadow")]
        await harness.route(1, *arms)
        await replica.serves(1)
        answers = [await replica.infer(row) for _ in range(CALLS)]

    assert [answer.json()["model_version"] for answer in answers] == ["1"] * CALLS
