"""Concept drift: the champion's losses are learnt as labels come, and told when they have risen."""

from collections.abc import Sequence

from loopwright_common.database.unit_of_work import Cause, UnitOfWork
from loopwright_common.events import DriftDetected, DriftingFeature, Since
from loopwright_common.ids import derived_id
from loopwright_monitor.detectors.adwin_losses import BLOCK, REFERENCE, LossHistory, LossRise
from loopwright_monitor.episodes.repository import Episode, Episodes
from loopwright_monitor.references.state_repository import LossStates
from loopwright_monitor.watched.repository import WatchedModels, WatchedVersion, WatchedVersions

GUARANTEE = (
    f"river's ADWIN on losses of {BLOCK} rows each, beside those of the first {REFERENCE:,} "
    "labelled rows, in the order in which labels came: tried on shuffled rows, not guaranteed"
)


async def learn_losses(
    uow: UnitOfWork, model_id: str, number: int, name: str, losses: Sequence[float]
) -> None:
    """Learn the losses `name` of a version's newly labelled rows, if it is the champion."""
    model = await WatchedModels(uow.connection).get(model_id)
    version = await WatchedVersions(uow.connection).get(model_id, number)
    if model is None or version is None or model.champion != number or not losses:
        return
    if version.policy.concept == "none":
        return
    states = LossStates(uow.connection)
    stored = await states.load(model_id, number)
    state = LossHistory.from_json(stored) if stored else LossHistory()
    risen = state.learn(losses)
    await states.save(model_id, number, state.to_json())
    if risen is not None:
        await _report(uow, version, name, risen)


async def _report(uow: UnitOfWork, version: WatchedVersion, name: str, risen: LossRise) -> None:
    identity = f"{version.model_id}/{version.version}/concept/{risen.rows}"
    episodes = Episodes(uow.connection)
    if await episodes.is_known(episode := derived_id("episode", identity)):
        return
    every = version.policy.false_alarm_every.rows
    data = DriftDetected(
        model_id=version.model_id,
        model=version.model,
        version=version.version,
        episode=episode,
        kind="concept",
        features=[_feature(name, risen)],
        since=Since(row=risen.since_row),
        rows_seen=risen.rows,
        false_alarm_every_rows=every,
        guarantee=GUARANTEE,
    )
    subject = f"models/{version.model}/versions/{version.version}"
    event = await uow.emit(data, key=version.model_id, subject=subject)
    await episodes.open(Episode.told(data, Cause.of(event), event.time))


def _feature(name: str, risen: LossRise) -> DriftingFeature:
    return DriftingFeature(
        name=name,
        evidence=0.0,
        change=round(risen.after - risen.before, 6),
        before=round(risen.before, 6),
        after=round(risen.after, 6),
        sentence=(
            f"{name} {risen.before:.3g} -> {risen.after:.3g} since labelled row {risen.since_row:,}"
        ),
    )
