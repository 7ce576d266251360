"""Labels of a canary's calls, counted as they come after its promotion, and told to the deployer.

The calls of the canary are compared and no later ones: while both versions had their share, chance
decided which one answered.
"""

import asyncio
from collections.abc import Sequence

from loopwright_common import clock
from loopwright_common.database import Cause, Database, UnitOfWork
from loopwright_common.events import (
    CanaryLabelled,
    DeploymentPromoted,
    DeploymentRolledBack,
    Event,
    LabelledStep,
)
from loopwright_monitor.captures.canary_calls import count_step, usual_error
from loopwright_monitor.captures.canary_repository import (
    PromotedCanaries,
    PromotedCanary,
    marked_by,
)
from loopwright_monitor.captures.label_repository import PredictionRecord

MOST_ROWS = 50_000
"""The first rows of a step, of both versions together, that are counted."""
_MOST_ERRORS = 10_000


async def begin_counting(uow: UnitOfWork, event: Event[DeploymentPromoted]) -> None:
    """Wait for labels of the canary that led to a promotion, where its policy says so.

    The caller has locked `capturing`, so that no labels come between unseen.
    """
    data = event.data
    if data.labels_until is None or data.previous is None or not data.canary:
        return
    canary = PromotedCanary(
        deployment_id=data.deployment_id,
        environment=data.environment,
        model_id=data.model_id,
        model=data.model,
        version=data.version,
        previous=data.previous,
        periods=tuple(data.canary),
        until=data.labels_until,
        cause=Cause.of(event),
    )
    await PromotedCanaries(uow.connection).add(canary)


async def end_counting(uow: UnitOfWork, event: Event[DeploymentRolledBack]) -> None:
    """A promotion that was undone is not judged any more."""
    await PromotedCanaries(uow.connection).remove(event.data.deployment_id)


async def mark_labelled(uow: UnitOfWork, model_id: str, rows: Sequence[PredictionRecord]) -> None:
    """Rows of a model were labelled; the caller has locked `capturing`."""
    canaries = PromotedCanaries(uow.connection)
    await canaries.mark(marked_by(await canaries.of_model(model_id), rows))


async def count_labelled(database: Database) -> None:
    """Count what new labels have come for, and tell it; what nobody labelled costs one query."""
    async with database.read() as connection:
        canaries = await PromotedCanaries(connection).to_count(clock.now())
    for canary in canaries:
        await _count(database, canary)


async def _count(database: Database, canary: PromotedCanary) -> None:
    """Marks are read before the rows: what is labelled meanwhile is counted once more."""
    async with database.read() as connection:
        rows = PromotedCanaries(connection)
        in_steps = [await rows.rows_in(canary, each, MOST_ROWS) for each in canary.periods]
        regresses = any(row.task == "regression" for step in in_steps for row in step)
        looks_back = regresses and canary.wrong_above is None
        before = await rows.rows_before(canary, _MOST_ERRORS) if looks_back else []
    wrong_above, steps = await asyncio.to_thread(_counted, canary, before, in_steps)
    async with database.unit_of_work() as uow:
        if not await PromotedCanaries(uow.connection).set_counted(canary, wrong_above):
            return
        if any(arm.calls for step in steps for arm in (step.canary, step.champion)):
            await _tell(uow, canary, steps, wrong_above)


def _counted(
    canary: PromotedCanary,
    before: Sequence[PredictionRecord],
    in_steps: Sequence[Sequence[PredictionRecord]],
) -> tuple[float | None, list[LabelledStep]]:
    wrong_above = canary.wrong_above
    if wrong_above is None:
        wrong_above = usual_error(before)
    return wrong_above, [count_step(rows, canary.version, wrong_above) for rows in in_steps]


async def _tell(
    uow: UnitOfWork,
    canary: PromotedCanary,
    steps: list[LabelledStep],
    wrong_above: float | None,
) -> None:
    uow.follow(canary.cause, "monitor.canary-labels")
    data = CanaryLabelled(
        deployment_id=canary.deployment_id,
        environment=canary.environment,
        model_id=canary.model_id,
        model=canary.model,
        version=canary.version,
        previous=canary.previous,
        steps=steps,
        wrong_above=wrong_above,
    )
    await uow.emit(
        data,
        key=f"{canary.environment}/{canary.model_id}",
        subject=f"models/{canary.model}/versions/{canary.version}",
        identity=f"canary-labels/{canary.deployment_id}/{canary.marks}",
    )
