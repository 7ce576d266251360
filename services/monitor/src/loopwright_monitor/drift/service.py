"""Watch the stream: learn each batch, and open an episode where a detector raises an alarm."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy.ext.asyncio import AsyncConnection

from loopwright_common.errors import NotFoundError
from loopwright_common.events import DriftDetected, DriftingFeature, Since
from loopwright_common.ids import derived_id
from loopwright_common.inference import INPUT, SCORE, InferenceLogged
from loopwright_common.unit_of_work import Cause, UnitOfWork
from loopwright_monitor.clocks import moment_of
from loopwright_monitor.drift.detector import Alarm, Bets, Detector, Evidence, lay_bets
from loopwright_monitor.drift.profile import Profile, Strictness
from loopwright_monitor.drift.reference import build_reference
from loopwright_monitor.drift.repository import (
    Detectors,
    FirstRows,
    Model,
    Models,
    Profiles,
    Version,
    Versions,
)
from loopwright_monitor.retraining.domain import Kind
from loopwright_monitor.retraining.repository import Episode, Episodes

FIRST_ROWS = 2048
"""Live rows that make a reference where no dataset does."""


@dataclass(frozen=True, slots=True)
class Stream:
    """A watched stream: the champion's `inputs`, or the `score` of one version."""

    model: Model
    version: Version
    name: str
    kinds: tuple[Kind | None, Kind | None]
    """What an alarm of the data and of the quality group is called; None: not watched."""


async def watch(uow: UnitOfWork, batch: InferenceLogged) -> bool:
    """Learn a batch's live rows; returns whether an episode was opened."""
    rows = live_rows(batch.table)
    if rows.num_rows == 0:
        return False
    models = Models(uow.connection)
    model = await models.ensure(batch.model_id, batch.model)
    numbers = set(pc.unique(rows["version"]).to_pylist())
    champion = set() if model.champion is None else {model.champion}
    known = {number: await _version(uow, model, number) for number in sorted(numbers | champion)}
    opened = 0
    if model.champion is not None:
        stream = Stream(model, known[model.champion], "inputs", ("data", "quality"))
        opened += await _learn(uow, stream, _inputs(rows))
    if SCORE in rows.column_names:
        for number in sorted(numbers):
            stream = Stream(model, known[number], "score", ("prediction", None))
            opened += await _learn(uow, stream, _scores(rows, number))
    await models.count(model.model_id, rows=rows.num_rows)
    return opened > 0


def live_rows(table: pa.Table) -> pa.Table:
    """Rows that a live arm answered; each request once, shadows and failures left out."""
    return table.filter(pc.and_(pc.equal(table["arm"], "live"), pc.is_null(table["error"])))


def strictness(version: Version) -> Strictness:
    policy = version.policy
    return Strictness(policy.smallest_change, policy.false_alarm_every.rows, policy.block_rows)


def _scores(rows: pa.Table, version: int) -> pa.Table:
    mine = rows.filter(pc.equal(rows["version"], version))
    return pa.table({"time": mine["time"], "score": mine[SCORE]})


async def _version(uow: UnitOfWork, model: Model, number: int) -> Version:
    """The version, known or not: rows may come before its registration is heard of."""
    found = await Versions(uow.connection).get(model.model_id, number)
    return found or Version(model_id=model.model_id, model=model.model, version=number)


async def _learn(uow: UnitOfWork, stream: Stream, rows: pa.Table) -> int:
    """Update the stream's detector, or collect its reference; returns alarms told."""
    version = stream.version
    detectors = Detectors(uow.connection)
    place = (version.model_id, version.version, stream.name)
    stored = await detectors.load(*place)
    if stored is not None:
        detector = Detector.from_bytes(await _bets(uow.connection, stored[0]), stored[1])
        bets = detector.bets
    else:
        found = await _reference(uow, stream, rows)
        if found is None:
            return 0
        bets = await _bets(uow.connection, found[0])
        used, rows = rows.num_rows - found[1].num_rows, found[1]
        detector = Detector(bets, origin=stream.model.rows + used)
    times = rows["time"].cast(pa.int64()).to_numpy()
    alarms = detector.update(rows, times)
    for alarm in alarms:
        await _tell(uow, stream, detector, alarm)
    await detectors.save(*place, (bets.digest, detector.to_bytes()))
    return len(alarms)


_laid: OrderedDict[str, Bets] = OrderedDict()
_MOST_LAID = 64


async def _bets(connection: AsyncConnection, digest: str) -> Bets:
    """The bets of a stored profile; a digest always means the same, so they are kept at hand."""
    if digest not in _laid:
        body = await Profiles(connection).get(digest)
        if body is None:
            raise NotFoundError(f"no profile {digest}")
        _laid[digest] = lay_bets(Profile.from_json(body))
        while len(_laid) > _MOST_LAID:
            _laid.popitem(last=False)
    return _laid[digest]


@dataclass(frozen=True, slots=True)
class Watched:
    """What the inputs of a version are compared with, and where the comparison stands."""

    profile: Profile
    detector: Detector | None


async def watched(connection: AsyncConnection, version: Version) -> Watched | None:
    """None while the version has no profile."""
    body = await Profiles(connection).get(version.profile) if version.profile else None
    if version.profile is None or body is None:
        return None
    stored = await Detectors(connection).load(version.model_id, version.version, "inputs")
    if stored is None:
        return Watched(Profile.from_json(body), None)
    detector = Detector.from_bytes(await _bets(connection, version.profile), stored[1])
    return Watched(Profile.from_json(body), detector)


# ---- references made of production rows --------------------------------------------------------


async def _reference(
    uow: UnitOfWork, stream: Stream, rows: pa.Table
) -> tuple[str, pa.Table] | None:
    """Digest of the profile to start with, and the rows still to be learnt; None without one."""
    version = stream.version
    if stream.name == "inputs" and version.profile_state != "collecting":
        return (version.profile, rows) if version.profile else None
    first = FirstRows(uow.connection, version.model_id, version.version, stream.name)
    if await first.add(rows.num_rows, _to_ipc(rows)) < FIRST_ROWS:
        return None
    collected = pa.concat_tables(
        [_from_ipc(body) for body in await first.take()], promote_options="permissive"
    )
    profile = _profile_of_first_rows(stream, collected.slice(0, FIRST_ROWS))
    await Profiles(uow.connection).add(profile.digest, profile.to_json())
    if stream.name == "inputs":
        why = why_ready(version, profile)
        await Versions(uow.connection).set_profile(version, "ready", why, profile.digest)
    return profile.digest, collected.slice(FIRST_ROWS)


def why_ready(version: Version, profile: Profile) -> str:
    """What the version is compared with, after anything that went wrong before."""
    said = f"reference: {profile.source}"
    return f"{version.profile_why}; {said}" if version.profile_why else said


def _profile_of_first_rows(stream: Stream, rows: pa.Table) -> Profile:
    names = [name for name in rows.column_names if name != "time"]
    source = f"the first {rows.num_rows:,} live rows of version {stream.version.version}"
    return build_reference(rows, names, strictness(stream.version), source)


def _inputs(rows: pa.Table) -> pa.Table:
    columns = {"time": rows["time"]}
    for name in rows.column_names:
        if name.startswith(INPUT):
            columns[name.removeprefix(INPUT)] = rows[name]
    return pa.table(columns)


def _to_ipc(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def _from_ipc(body: bytes) -> pa.Table:
    with pa.ipc.open_stream(body) as reader:
        return reader.read_all()


# ---- telling -----------------------------------------------------------------------------------


async def _tell(uow: UnitOfWork, stream: Stream, detector: Detector, alarm: Alarm) -> None:
    """Open an episode and say `drift-detected`; its id follows from the profile and the block."""
    kind = stream.kinds[0 if alarm.group == "data" else 1]
    if kind is None:
        return
    model, version = stream.model, stream.version
    identity = (
        f"{detector.bets.digest}/{model.model_id}/{stream.name}/{kind}"
        f"/{detector.origin}/{alarm.block}"
    )
    data = DriftDetected(
        model_id=model.model_id,
        model=model.model,
        version=version.version,
        episode=derived_id("episode", identity),
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
    await Episodes(uow.connection).open(Episode.told(data, Cause.of(event), event.time))


def guarantee(bets: Bets, rows: int) -> str:
    """The promise in one sentence, with what it rests on."""
    said = (
        f"While every share stays within its tolerance, an alarm comes after {rows:,} rows "
        "on average or later, however often one looks"
    )
    most = max((watch.dispersion for watch in bets.watches), default=1.0)
    if most <= 1:
        return said
    return f"{said}; evidence is tempered by the reference's over-dispersion (up to {most:.0f})"


def _told(evidence: Evidence) -> DriftingFeature:
    return DriftingFeature(
        name=evidence.name,
        evidence=round(evidence.evidence, 4),
        change=round(evidence.change, 6),
        before=round(evidence.before, 6),
        after=round(evidence.after, 6),
        sentence=evidence.sentence,
    )


def _since(features: Sequence[Evidence]) -> Since:
    first = features[0]
    return Since(row=first.since_row, time=moment_of(np.int64(first.since_time).item()))
