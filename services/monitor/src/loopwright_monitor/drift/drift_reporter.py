"""Telling drift: an episode is opened and `drift-detected` leaves with it."""

from collections.abc import Sequence

from loopwright_common.database.unit_of_work import Cause, UnitOfWork
from loopwright_common.events import DriftDetected, DriftingFeature, Since
from loopwright_common.ids import derived_id
from loopwright_monitor.arrow_time import datetime_of
from loopwright_monitor.detectors.betting import Bets
from loopwright_monitor.detectors.e_process import EvidenceProcess, ThresholdCrossing
from loopwright_monitor.detectors.evidence import FeatureEvidence
from loopwright_monitor.episodes.repository import Episode, Episodes
from loopwright_monitor.watched.streams import WatchedStream


async def report_drift(
    uow: UnitOfWork, stream: WatchedStream, detector: EvidenceProcess, alarm: ThresholdCrossing
) -> None:
    """Open an episode and say `drift-detected`, once: both ids follow from profile and block."""
    kind = stream.kinds[0 if alarm.group == "data" else 1]
    if kind is None:
        return
    model, version = stream.model, stream.version
    identity = (
        f"{detector.bets.digest}/{model.model_id}/{stream.name}/{kind}"
        f"/{detector.origin}/{alarm.block}"
    )
    episodes = Episodes(uow.connection)
    if await episodes.is_known(episode := derived_id("episode", identity)):
        return
    data = DriftDetected(
        model_id=model.model_id,
        model=model.model,
        version=version.version,
        episode=episode,
        kind=kind,
        features=[_told(evidence) for evidence in alarm.features],
        since=_since(alarm.features),
        rows_seen=detector.origin + alarm.rows,
        false_alarm_every_rows=version.policy.false_alarm_every.rows,
        guarantee=guarantee(detector.bets, version.policy.false_alarm_every.rows),
    )
    event = await uow.emit(
        data,
        key=model.model_id,
        subject=f"models/{model.model}/versions/{version.version}",
        identity=identity,
    )
    await episodes.open(Episode.told(data, Cause.of(event), event.time))


def guarantee(bets: Bets, rows: int) -> str:
    """The promise in one sentence, with what it rests on."""
    said = (
        f"While every share stays within its tolerance, an alarm comes after {rows:,} rows "
        "on average or later, however often one looks"
    )
    most = max((indicator.dispersion for indicator in bets.indicators), default=1.0)
    if most <= 1:
        return said
    return f"{said}; evidence is tempered by the reference's over-dispersion (up to {most:.0f})"


def _told(evidence: FeatureEvidence) -> DriftingFeature:
    return DriftingFeature(
        name=evidence.name,
        evidence=round(evidence.evidence, 4),
        change=round(evidence.change, 6),
        before=round(evidence.before, 6),
        after=round(evidence.after, 6),
        sentence=evidence.sentence,
    )


def _since(features: Sequence[FeatureEvidence]) -> Since:
    first = features[0]
    return Since(row=first.since_row, time=datetime_of(first.since_time))
