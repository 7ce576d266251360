"""What fails or takes long to load keeps no other waiting, and is not tried without end."""

import asyncio
from pathlib import Path

import pytest
import structlog.testing

from loopwright_common.events import RoutesChanged
from loopwright_scorer.new_event import new_event
from loopwright_scorer.routing import route_reconciler
from tests.scorer import isolated_packages
from tests.scorer.harness import MODEL_ID, ROW, Replica, ScorerHarness, eventually

SLEEPS = b"ctime\nsleep\n(I60\ntR."
"""A pickle that takes a minute to open."""


async def test_a_package_that_does_not_open_is_left_alone_and_says_why(
    harness: ScorerHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(route_reconciler, "_RETRY_SECONDS", 0.02)
    broken = isolated_packages.mischief(tmp_path / "broken")
    (broken / "model.pkl").write_bytes(b"no pickle at all")
    harness.package_dirs = {**harness.package_dirs, "broken": broken}
    with structlog.testing.capture_logs() as logs:
        async with harness.replica() as replica:
            await harness.route(1, await harness.arm(1, "broken"))
            await eventually(lambda: reported(replica, "problems"))
            await asyncio.sleep(0.5)
            assert "UnpicklingError" in (await reported(replica, "problems"))["1"]
    assert [each["event"] for each in logs].count("version.not-loaded") == 1


async def test_a_package_that_takes_long_keeps_no_other_route_waiting(
    harness: ScorerHarness, tmp_path: Path
) -> None:
    slow = isolated_packages.mischief(tmp_path / "slow")
    (slow / "model.pkl").write_bytes(SLEEPS)
    harness.package_dirs = {**harness.package_dirs, "slow": slow}
    async with harness.replica(isolated_start_timeout=2) as replica:
        await harness.route(1, await harness.arm(1, "slow"))
        await asyncio.sleep(0.3)
        other = RoutesChanged(
            environment="production",
            model_id="m-2",
            model="other",
            revision=1,
            arms=[await harness.arm(1, "low")],
        )
        await harness.bus.publish([new_event(other, key="production/m-2", subject="models/other")])

        async def answers() -> bool:
            return (await replica.infer(ROW, "/v2/models/other/infer")).status_code == 200

        await eventually(answers)
        assert not await served(replica)

        await harness.route(2, await harness.arm(2, "high"))
        await eventually(lambda: served(replica))


async def reported(replica: Replica, field: str) -> dict[str, str]:
    items = (await replica.http.get("/v1/models")).json()["items"]
    return dict(items[0][field]) if items else {}


async def served(replica: Replica) -> bool:
    items = (await replica.http.get("/v1/models")).json()["items"]
    return any(one["model_id"] == MODEL_ID and one["revision"] for one in items)
