"""Reporting drift: an episode is opened and `drift-detected` leaves with it."""

from loopwright_common.database import Cause, UnitOfWork
from loopwright_common.events import DriftDetected, DriftingFeature, Since
from loopwright_common.ids import derived_id
from loopwright_monitor.arrow_time import datetime_of
from loopwright_monitor.detectors.base import Alarm
from loopwright_monitor.detectors.evidence import FeatureEvidence
from loopwright_monitor.episodes.repository import Episode, Episodes
from loopwright_monitor.watched.streams import WatchedStream


async def report_drift(uow: UnitOfWork, stream: WatchedStream, detector: str, alarm: Alarm) -> None:
    """Open an episode and emit `drift-detected`, once: both ids follow from the identity."""
    model, version = stream.model, stream.version
    identity = f"{model.model_id}/{version.version}/{detector}/{alarm.kind}/{alarm.identity}"
    episodes = Episodes(uow.connection)
    if await episodes.is_known(episode := derived_id("episode", identity)):
        return
    data = DriftDetected(
        model_id=model.model_id,
        model=model.model,
        version=version.version,
        episode=episode,
        kind=alarm.kind,
        features=[_reported(evidence) for evidence in alarm.features],
        since=_since(alarm.features[0]),
        rows_seen=alarm.rows,
        false_alarm_every_rows=version.policy.false_alarm_every.rows,
        guarantee=alarm.guarantee,
    )
    subject = f"models/{model.model}/versions/{version.version}"
    event = await uow.emit(data, key=model.model_id, subject=subject, identity=identity)
    await episodes.open(Episode.from_event(data, Cause.of(event), event.time))


def _reported(evidence: FeatureEvidence) -> DriftingFeature:
    return DriftingFeature(
        name=evidence.name,
        evidence=round(evidence.evidence, 4),
        change=round(evidence.change, 6),
        before=round(evidence.before, 6),
        after=round(evidence.after, 6),
        sentence=evidence.sentence,
    )


def _since(first: FeatureEvidence) -> Since:
    time = None if first.since_time is None else datetime_of(first.since_time)
    return Since(row=first.since_row, time=time)
