"""The list of detectors: what is entered there is fed, stored and reported like the others."""

import pytest

from loopwright_monitor.detectors.base import Alarm, Batch, Detector, Update
from loopwright_monitor.detectors.betting import GUARANTEED_KINDS
from loopwright_monitor.detectors.e_detector import EDetector
from loopwright_monitor.detectors.evidence import FeatureEvidence
from loopwright_monitor.detectors.registry import DETECTORS
from loopwright_monitor.store.tables import detectors
from tests.monitor.harness import MonitorHarness


class RowCountDetector(Detector):
    """Raises an alarm at the hundredth row, whatever the rows say."""

    stream = "inputs"

    def update(self, state: bytes | None, batch: Batch) -> Update:
        before = int(state or b"0")
        rows = before + batch.rows.num_rows
        if not before < 100 <= rows:
            return Update(str(rows).encode())
        evidence = FeatureEvidence("age", 5.0, 0.0, 1.0, "age is old", 100, None)
        return Update(str(rows).encode(), (Alarm("data", (evidence,), rows, "100", "none"),))


async def test_a_detector_that_is_entered_opens_episodes_and_keeps_its_state(
    harness: MonitorHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(DETECTORS, "row-count", RowCountDetector())
    await harness.register(None)
    await harness.promote()
    await harness.consume("lifecycle")
    for _ in range(3):
        await harness.score({"age": [40.0] * 60})
        await harness.settle()

    [event] = await harness.told("drift-detected")
    [episode] = (await harness.get("/v1/episodes"))["items"]
    assert (event.data.kind, event.data.features[0].sentence) == ("data", "age is old")
    assert (episode["id"], episode["since_row"]) == (event.data.episode, 100)
    assert await harness.state_of("row-count") == b"180"


async def test_another_champion_begins_anew(
    harness: MonitorHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(DETECTORS, "row-count", RowCountDetector())
    await harness.promote()
    await harness.consume("lifecycle")
    await harness.score({"age": [40.0] * 60})
    await harness.consume("detect")
    await harness.promote(2, second=10)
    await harness.consume("lifecycle")

    assert await harness.state_of("row-count") == b""


def test_the_names_of_detectors_fit_their_column() -> None:
    assert max(map(len, DETECTORS)) <= detectors.c.stream.type.length  # type: ignore[attr-defined]


def test_kinds_with_a_guarantee_share_its_budget() -> None:
    kinds = [
        kind for each in DETECTORS.values() if isinstance(each, EDetector) for kind in each.kinds
    ]
    assert len(kinds) == GUARANTEED_KINDS
