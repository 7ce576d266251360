"""A situation says all that changes a decision: what is looked at only then misses nothing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loopwright_common import clock
from loopwright_common.database.database import Database
from loopwright_common.events import ReplicaReported, ServedRoute, ServingMeasured
from loopwright_common.ids import new_id
from loopwright_deployer.canary.acknowledgement import SILENT_AFTER
from loopwright_deployer.canary.counters import CanaryCounters
from loopwright_deployer.canary.decisions import CanaryEvidence, decide_canary
from loopwright_deployer.deployments import service
from loopwright_deployer.deployments.aliases import ModelAliases
from loopwright_deployer.deployments.domain import DeploymentState
from loopwright_deployer.deployments.repository import DeploymentRecord, Deployments
from loopwright_deployer.operator_actions import traffic
from loopwright_deployer.operator_actions.request import OperatorRequest
from loopwright_deployer.routing import route_revisions, transitions
from loopwright_deployer.routing.evidence import Situation, collect_evidence, situations
from loopwright_deployer.routing.routes import RouteRevisions
from tests.deployer.builders import registered
from tests.deployer.lifecycle import CAUSE, advance_once

POLICY = {"canary": {"max_time": "60s", "then": "stay"}}
REQUEST = OperatorRequest("ada", "because")


@dataclass
class World:
    """A model with a champion and a canary, replicas, and a clock that moves when it is told."""

    database: Database
    model: str
    reports: dict[str, ReplicaReported]
    late: timedelta = timedelta()

    async def start(self) -> None:
        for version in (1, 2):
            version_registered = registered(
                version, model_id=self.model, model=self.model, deploy=POLICY
            )
            async with self.database.unit_of_work() as uow:
                await service.start_deployment(uow, version_registered, "production", CAUSE)
            goal = DeploymentState.PROMOTED if version == 1 else DeploymentState.CANARY
            while (record := await self.record(version)).deployment.state is not goal:
                async with self.database.unit_of_work() as uow:
                    await advance_once(uow, record, "passed")

    async def record(self, version: int = 2) -> DeploymentRecord:
        async with self.database.read() as connection:
            records = await Deployments(connection).of_model("production", self.model)
        return next(r for r in records if r.deployment.version == version)

    async def revision(self) -> int:
        async with self.database.read() as connection:
            row = await RouteRevisions(connection).get("production", self.model)
        return row.route.revision if row else 0

    async def seen(self) -> tuple[Situation | None, object]:
        """The situation, and all that is decided by and how, but for the time."""
        record, reports = await self.record(), list(self.reports.values())
        async with self.database.read() as connection:
            flying = await Deployments(connection).in_flight([record.deployment.model_key])
            found = await situations(connection, flying, reports)
            evidence = None
            if record.deployment.in_canary:
                [evidence] = await collect_evidence(connection, [record], reports)
        situation = found.get(record.deployment.id)
        if not isinstance(evidence, CanaryEvidence):
            return situation, evidence
        decision = decide_canary(record.policy, record.deployment.step, evidence)
        by = replace(evidence, now=record.deployment.created_at)
        return situation, (record.deployment.standing, by, decision)

    # ---- what happens ----------------------------------------------------------------------

    async def counted(self, replica: str, version: int, calls: int, errors: int) -> None:
        report = ServingMeasured(
            environment="production", model_id=self.model, model=self.model, replica=replica,
            epoch="e", revision=await self.revision(), version=version, role="live", calls=calls,
            rows=calls, errors=min(errors, calls), latency_edges=[0.1], latency_counts=[calls, 0],
        )  # fmt: skip
        async with self.database.unit_of_work() as uow:
            await CanaryCounters(uow.connection).merge(report)

    async def reported(self, replica: str, behind: int, **more: Any) -> None:
        served = ServedRoute(
            model_id=self.model, revision=max(await self.revision() - behind, 0), **more
        )
        self.reports[replica] = ReplicaReported(
            replica=replica, epoch="e", environment="production", at=clock.now(), routes=[served]
        )

    async def wait(self, seconds: float) -> None:
        self.late += timedelta(seconds=seconds)

    async def named(self, version: int) -> None:
        async with self.database.unit_of_work() as uow:
            aliases = ModelAliases(uow.connection, "production", self.model)
            await aliases.set_version("newest", version)
            await route_revisions.publish_aliases(uow, "production", self.model)

    async def asked(self, action: Callable[..., Any]) -> None:
        """A person pauses or resumes, the first step ends, where that can be."""
        record = await self.record()
        if action is transitions.advance_canary:
            if record.deployment.state is DeploymentState.CANARY and record.deployment.step == 0:
                async with self.database.unit_of_work() as uow:
                    await action(uow, record, "enough")
            return
        wanted = DeploymentState.CANARY if action is traffic.pause else DeploymentState.PAUSED
        if record.deployment.state is wanted:
            async with self.database.unit_of_work() as uow:
                await action(uow, record, REQUEST)


replicas = st.sampled_from(["r1", "r2"])
happenings = st.one_of(
    st.tuples(
        st.just("counted"), replicas, st.integers(1, 2), st.sampled_from([0, 7, 90, 400]),
        st.sampled_from([0, 0, 3, 80]),
    ),
    st.tuples(st.just("reported"), replicas, st.sampled_from([0, 0, 1])),
    st.tuples(st.just("wait"), st.sampled_from([1.0, SILENT_AFTER.total_seconds(), 61.0])),
    st.tuples(st.just("named"), st.integers(1, 2)),
    st.tuples(
        st.just("asked"),
        st.sampled_from([traffic.pause, traffic.resume, transitions.advance_canary]),
    ),
)  # fmt: skip


@given(happened=st.lists(happenings, min_size=3, max_size=10))
@settings(
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
async def test_whatever_changes_what_is_decided_changes_the_situation(
    database: Database, happened: Sequence[tuple[Any, ...]]
) -> None:
    """The canary looked at only when its situation changes is decided as one looked at always."""
    world, real_now = World(database, new_id(), {}), clock.now
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clock, "now", lambda: real_now() + world.late)
        await world.start()
        looked = await world.seen()
        for name, *given_ in happened:
            await getattr(world, name)(*given_)
            now = await world.seen()
            if now[0] != looked[0]:
                looked = now
            assert looked[1] == now[1], (name, given_)


async def test_a_trip_of_a_replica_changes_the_situation(database: Database) -> None:
    world = World(database, new_id(), {})
    await world.start()
    await world.reported("r1", 0)
    before = await world.seen()
    await world.reported("r1", 0, tripped={"2": "five server errors in a row"})
    after = await world.seen()

    assert after[0] != before[0]
