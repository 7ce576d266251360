"""While its policy's windows are closed a version gets no more traffic; what does harm goes."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from loopwright_common import clock
from loopwright_common.bus.interface import EventBus
from loopwright_common.database.database import Database
from loopwright_common.deploy_policy import DAYS
from loopwright_common.errors import ConflictError
from loopwright_common.observability.metrics import Metrics
from loopwright_common.web.app import add_routes, create_app
from loopwright_deployer.api import create_router
from loopwright_deployer.deployments.domain import DeploymentState
from loopwright_deployer.deployments.gates import SKIPPABLE
from loopwright_deployer.deployments.repository import DeploymentRecord, Deployments
from loopwright_deployer.operator_actions.actions import ACTIONS
from loopwright_deployer.operator_actions.gates import Skip, skip
from loopwright_deployer.operator_actions.request import OperatorRequest
from loopwright_deployer.operator_actions.traffic import undo
from loopwright_deployer.routing.routes import RouteRevisions
from tests.common import bus_harness
from tests.deployer.builders import MODEL, MODEL_ID
from tests.deployer.controllers import until, working
from tests.deployer.lifecycle import advance_once, latest, lead_to
from tests.deployer.replicas import count, serve

ADA = OperatorRequest("ada", "it cannot wait")
HOUR = timedelta(hours=1)


def closed(before: timedelta = HOUR, after: timedelta = HOUR) -> dict[str, Any]:
    """A policy whose window has been closed for a while, and is so for another."""
    begin, end = clock.now() - before, clock.now() + after
    window = {"days": list(DAYS), "begin": f"{begin:%H:%M}", "end": f"{end:%H:%M}"}
    return {"windows": {"zone": "UTC", "closed": [window]}}


async def close(database: Database, version: int) -> None:
    """From now on the version's windows are closed."""
    record = await latest(database, version)
    deploy = {**(record.registered.deploy or {}), **closed()}
    registered = record.registered.model_copy(update={"deploy": deploy})
    async with database.unit_of_work() as uow:
        changed = replace(record, registered=registered)
        await Deployments(uow.connection).update(changed, record.deployment)


async def work(database: Database, version: int, verdict: str = "passed") -> DeploymentRecord:
    record = await latest(database, version)
    async with database.unit_of_work() as uow:
        await advance_once(uow, record, verdict)
    return await latest(database, version)


async def skip_gate(database: Database, version: int, gate: Skip) -> DeploymentRecord:
    record = await latest(database, version)
    async with database.unit_of_work() as uow:
        await skip(uow, record, ADA, gate)
    return await latest(database, version)


async def promote(database: Database, version: int) -> None:
    record = await latest(database, version)
    async with database.unit_of_work() as uow:
        await ACTIONS["promote"](uow, record, ADA)


async def shares(database: Database) -> Mapping[int, float]:
    async with database.read() as connection:
        row = await RouteRevisions(connection).get("production", MODEL_ID)
    return {arm.version: round(arm.weight, 3) for arm in row.route.arms} if row else {}


@pytest.mark.parametrize("version", [1, 2])
async def test_a_version_that_is_ready_waits_until_its_windows_open(
    database: Database, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    if version == 2:
        await lead_to(database, 1, DeploymentState.PROMOTED)
    served = await shares(database)
    await lead_to(database, version, DeploymentState.VALIDATED, deploy=closed())

    held = (await work(database, version)).deployment

    assert held.state is DeploymentState.VALIDATED
    assert await shares(database) == served
    assert held.retry_at is not None
    opens = held.retry_at
    assert held.waits == (f"waits until {opens:%a %H:%M} UTC: closed by `windows` of its policy")
    with pytest.raises(ConflictError, match=f"on its way already: validated, .*; {held.waits}"):
        await promote(database, version)
    assert (held.has_work(opens - HOUR / 60), held.has_work(opens)) == (False, True)
    monkeypatch.setattr(clock, "now", lambda: opens)
    expected = DeploymentState.CANARY if version == 2 else DeploymentState.PROMOTING
    assert (await work(database, version)).deployment.state is expected


@pytest.mark.parametrize("gate", ["canary", "step"])
async def test_no_skip_but_that_of_the_window_gives_more_traffic(
    database: Database, gate: Skip
) -> None:
    await lead_to(database, 1, DeploymentState.PROMOTED)
    await lead_to(database, 2, DeploymentState.CANARY)
    await close(database, 2)

    with pytest.raises(ConflictError, match=r"waits until .* UTC: .*; skip the gate `window`"):
        await skip_gate(database, 2, gate)
    with pytest.raises(ConflictError, match="waits until"):
        await work(database, 2)
    assert await shares(database) == {1: 0.9, 2: 0.1}

    skipped = (await skip_gate(database, 2, "window")).deployment
    assert skipped.state is DeploymentState.CANARY
    assert skipped.gates == {"window": "window skipped by ada: it cannot wait"}
    await work(database, 2)
    assert await shares(database) == {1: 0.5, 2: 0.5}


async def test_a_version_whose_canary_was_skipped_still_waits_for_its_windows(
    database: Database,
) -> None:
    await lead_to(database, 1, DeploymentState.PROMOTED)
    await lead_to(database, 2, DeploymentState.VALIDATED, deploy=closed())
    await skip_gate(database, 2, "canary")

    held = (await work(database, 2)).deployment
    assert (held.state, held.retry_at is None) == (DeploymentState.VALIDATED, False)
    await skip_gate(database, 2, "window")

    assert (await work(database, 2)).deployment.state is DeploymentState.PROMOTING


async def test_nothing_is_skipped_where_no_window_holds(database: Database) -> None:
    await lead_to(database, 1, DeploymentState.PROMOTED)
    await lead_to(database, 2, DeploymentState.CANARY, deploy=closed(-HOUR, 2 * HOUR))

    with pytest.raises(ConflictError, match="no window holds bank's versions now"):
        await skip_gate(database, 2, "window")


async def test_a_later_decision_takes_back_that_a_window_was_skipped(database: Database) -> None:
    for version in (1, 2):
        await lead_to(database, version, DeploymentState.PROMOTED)
    await lead_to(database, 3, DeploymentState.VALIDATED, deploy=closed())
    await skip_gate(database, 3, "window")

    record = await latest(database, 1)
    async with database.unit_of_work() as uow:
        await ACTIONS["retry"](uow, record, ADA)

    waiting = (await latest(database, 3)).deployment
    assert waiting.gates == {}
    assert waiting.why.startswith("its window is no longer skipped, since a later decision is for")


async def test_harm_an_abort_and_an_undo_wait_for_no_window(database: Database) -> None:
    for version in (1, 2):
        await lead_to(database, version, DeploymentState.PROMOTED)
    await lead_to(database, 3, DeploymentState.CANARY)
    await close(database, 3)
    rolled_back = await work(database, 3, "failed")
    assert rolled_back.deployment.state is DeploymentState.ROLLED_BACK
    await lead_to(database, 4, DeploymentState.CANARY)
    await close(database, 4)
    canary = await latest(database, 4)
    async with database.unit_of_work() as uow:
        await ACTIONS["abort"](uow, canary, ADA)
    await close(database, 2)
    await close(database, 1)

    async with database.unit_of_work() as uow:
        await undo(uow, "production", MODEL, ADA)

    assert await shares(database) == {1: 1.0}


async def test_a_canary_keeps_its_share_and_its_time_while_it_is_held(
    database: Database, bus: EventBus, tmp_path: Path
) -> None:
    await lead_to(database, 1, DeploymentState.PROMOTED)
    await count(database, 1, calls=500, errors=0)
    deploy = {"canary": {"max_time": "1s"}}
    record = await lead_to(database, 2, DeploymentState.CANARY, deploy=deploy)
    await close(database, 2)
    await count(database, 1, calls=9000, errors=0)
    await count(database, 2, calls=1000, errors=0)
    began = record.deployment.deadline
    assert began is not None

    async def is_held_beyond_its_time() -> bool:
        held = (await latest(database, 2)).deployment
        return clock.now() > began and "closed by `windows`" in (held.waits or "")

    async with working(database, bus, tmp_path):
        await serve(database, bus)
        await bus_harness.until(is_held_beyond_its_time)
        assert (await latest(database, 2)).deployment.state is DeploymentState.CANARY
        assert await shares(database) == {1: 0.9, 2: 0.1}
        skipped = (await skip_gate(database, 2, "window")).deployment
        assert skipped.deadline is not None
        assert skipped.deadline > began
        await until(database, 2, DeploymentState.PAUSED, DeploymentState.PROMOTED)

    async with database.read() as connection:
        history = await Deployments(connection).history(record.deployment.id)
    assert "now 50%" in " ".join(entry.why for entry in history)


async def test_a_step_after_a_closed_window_has_its_whole_time(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lead_to(database, 1, DeploymentState.PROMOTED)
    record = await lead_to(database, 2, DeploymentState.CANARY)
    waits = "waits until Mon 08:00 UTC: closed by `windows` of its policy"
    async with database.unit_of_work() as uow:
        await Deployments(uow.connection).set_waiting_reason(record.deployment, waits)
    later: datetime = clock.now() + 60 * HOUR
    monkeypatch.setattr(clock, "now", lambda: later)

    advanced = (await work(database, 2)).deployment

    assert (advanced.step, advanced.deadline) == (1, later + timedelta(minutes=10))


@pytest.mark.parametrize("permitted", [True, False])
async def test_the_api_offers_to_skip_a_window_where_the_platform_permits_it(
    database: Database, permitted: bool
) -> None:
    record = await lead_to(database, 1, DeploymentState.VALIDATED, deploy=closed())
    await work(database, 1)
    app = create_app("deployer", Metrics(), {})
    skippable = SKIPPABLE if permitted else ()
    add_routes(app, create_router(database, "production", lambda _model: None, skippable=skippable))
    transport, path = httpx.ASGITransport(app=app), f"/v1/deployments/{record.deployment.id}"

    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as api:
        shown = (await api.get(path)).json()
        body = {"by": "ada", "reason": "urgent", "gate": "window"}
        answer = await api.post(f"{path}/skip", json=body)

    assert [(each["verb"], each["gate"]) for each in shown["may"]] == [
        ("skip", "window")
    ] * permitted
    assert "; waits until " in shown["why"]
    assert answer.status_code == (200 if permitted else 403)
