"""Whatever two deployers and two people do side by side: one champion, and routes only grow."""

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from typing import cast

import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from loopwright_common.database.database import Database
from loopwright_common.database.delivery_tables import outbox
from loopwright_common.database.unit_of_work import UnitOfWork
from loopwright_common.errors import ConflictError, NotFoundError
from loopwright_common.events import PromotionRequested
from loopwright_deployer.deployments import service
from loopwright_deployer.deployments.repository import DeploymentRecord, Deployments
from loopwright_deployer.main import MIGRATIONS
from loopwright_deployer.operator_actions.actions import ACTIONS
from loopwright_deployer.operator_actions.attempts import request_champion
from loopwright_deployer.operator_actions.gates import Skip, skip
from loopwright_deployer.operator_actions.request import OperatorRequest
from loopwright_deployer.operator_actions.traffic import undo
from tests.deployer.builders import registered
from tests.deployer.lifecycle import CAUSE, advance_once, check_invariants

ENVIRONMENT = "production"
REQUEST = OperatorRequest("ada", "why not")
VERSIONS = st.integers(1, 3)
VERDICTS = st.sampled_from(["passed", "passed", "passed", "failed", "inconclusive"])
Move = tuple[str, int, str]
MOVES: st.SearchStrategy[list[Move]] = st.lists(
    st.one_of(
        st.tuples(st.just("work"), VERSIONS, VERDICTS),
        st.tuples(st.just("work"), VERSIONS, st.just("passed")),
        st.tuples(st.just("register"), VERSIONS, st.just("")),
        st.tuples(st.just("decide"), VERSIONS, st.sampled_from(sorted(ACTIONS))),
        st.tuples(st.just("alias"), VERSIONS, st.just("")),
        st.tuples(st.just("undo"), VERSIONS, st.just("")),
        st.tuples(st.just("skip"), VERSIONS, st.sampled_from(["approval", "step", "canary"])),
    ),
    min_size=8,
    max_size=20,
)


class Deployer:
    """One of two: it sees a deployment, and later decides in a transaction, as replicas do."""

    def __init__(self, database: Database, name: str) -> None:
        self._database = database
        self._name = name

    async def make(self, moves: Sequence[Move]) -> None:
        for kind, version, what in moves:
            with suppress(ConflictError, NotFoundError):
                seen = await self._seen(version)
                async with self._database.unit_of_work() as uow:
                    await self._move(uow, kind, version, what, seen)

    async def _seen(self, version: int) -> DeploymentRecord | None:
        async with self._database.read() as connection:
            records = await Deployments(connection).of_model(ENVIRONMENT, self._name)
        return next((r for r in records if r.deployment.version == version), None)

    async def _move(
        self, uow: UnitOfWork, kind: str, version: int, what: str, seen: DeploymentRecord | None
    ) -> None:
        names = {"model_id": self._name, "model": self._name}
        if kind == "register":
            await service.start_deployment(uow, registered(version, **names), ENVIRONMENT, CAUSE)
        elif kind == "alias":
            requested = PromotionRequested(version=version, by="ada", **names)
            await request_champion(uow, ENVIRONMENT, requested)
        elif kind == "undo":
            await undo(uow, ENVIRONMENT, self._name, REQUEST)
        elif seen and kind == "skip":
            current = await service.lock_deployment(uow, seen.deployment.id)
            await skip(uow, current, REQUEST, cast(Skip, what))
        elif seen and kind == "work":
            await advance_once(uow, await service.lock_unchanged(uow, seen), what)
        elif seen:
            current = await service.lock_deployment(uow, seen.deployment.id)
            await ACTIONS[what](uow, current, REQUEST)


def test_two_deployers_side_by_side_keep_one_champion_and_growing_routes(
    postgres_url: str,
) -> None:
    numbers = count()
    with asyncio.Runner() as runner:
        one, other = (
            runner.run(Database.open(postgres_url, "deployer", MIGRATIONS)) for _ in range(2)
        )

        @settings(max_examples=25)
        @given(first=MOVES, second=MOVES)
        def side_by_side(first: list[Move], second: list[Move]) -> None:
            name = f"model-{next(numbers)}"
            runner.run(race(Deployer(one, name), first, Deployer(other, name), second))
            runner.run(check_invariants(one, name))
            runner.run(check_events_in_order(one, name))

        side_by_side()
        for database in (one, other):
            runner.run(database.close())


async def race(
    one: Deployer, first: Sequence[Move], other: Deployer, second: Sequence[Move]
) -> None:
    await one.make([("register", 1, ""), *[("work", 1, "passed")] * 5, ("register", 2, "")])
    await asyncio.gather(one.make(first), other.make(second))


async def check_events_in_order(database: Database, name: str) -> None:
    query = sa.select(outbox).where(outbox.c.aggregateid == f"{ENVIRONMENT}/{name}")
    async with database.read() as connection:
        rows = (await connection.execute(query.order_by(outbox.c.position))).all()
    emitted = [(row.aggregatetype, json.loads(row.payload)) for row in rows]
    revisions = [data["revision"] for topic, data in emitted if topic == "routes-changed"]
    assert revisions == list(range(1, len(revisions) + 1))
    ends = Counter(d["deployment_id"] for topic, d in emitted if topic == "deployment-finished")
    assert set(ends.values()) <= {1}
