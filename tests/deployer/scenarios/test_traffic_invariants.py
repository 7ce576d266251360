"""Whatever people, replicas and newer versions do: one champion, and weights add up to 1."""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from loopwright_common.database.database import Database
from loopwright_common.database.unit_of_work import UnitOfWork
from loopwright_common.errors import ConflictError, NotFoundError
from loopwright_common.events import PromotionRequested
from loopwright_deployer.deployments import service
from loopwright_deployer.deployments.repository import DeploymentRecord, Deployments
from loopwright_deployer.main import MIGRATIONS
from loopwright_deployer.operator_actions.actions import ACTIONS
from loopwright_deployer.operator_actions.attempts import request_champion
from loopwright_deployer.operator_actions.request import OperatorRequest
from loopwright_deployer.operator_actions.traffic import undo
from tests.deployer.builders import MODEL, MODEL_ID, registered
from tests.deployer.lifecycle import CAUSE, advance_once, check_invariants

ENVIRONMENT = "production"
PLACE = (ENVIRONMENT, MODEL_ID)
REQUEST = OperatorRequest("ada", "why not")
Work = Callable[[UnitOfWork], Awaitable[object]]


class Traffic(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.runner = asyncio.Runner()
        url = f"sqlite:///{Path(self.directory.name)}"
        self.database = self.runner.run(Database.open(url, "deployer", MIGRATIONS))
        self.versions = 0

    def teardown(self) -> None:
        self.runner.run(self.database.close())
        self.runner.close()
        self.directory.cleanup()

    @rule()
    def a_version_is_registered(self) -> None:
        self.versions += 1
        version = registered(self.versions)
        self._do(lambda uow: service.start_deployment(uow, version, ENVIRONMENT, CAUSE))

    @rule(
        version=st.integers(1, 4),
        verdict=st.sampled_from(["passed", "passed", "failed", "inconclusive"]),
        steps=st.integers(1, 6),
    )
    def the_worker_works(self, version: int, verdict: str, steps: int) -> None:
        for _ in range(steps):
            self._on(version, lambda uow, record: advance_once(uow, record, verdict))

    @rule(version=st.integers(1, 4), action=st.sampled_from(sorted(ACTIONS)))
    def somebody_decides(self, version: int, action: str) -> None:
        self._on(version, lambda uow, record: ACTIONS[action](uow, record, REQUEST))

    @rule()
    def somebody_undoes(self) -> None:
        self._do(lambda uow: undo(uow, ENVIRONMENT, MODEL, REQUEST))

    @rule(version=st.integers(1, 4))
    def somebody_sets_the_alias(self, version: int) -> None:
        names = {"model_id": MODEL_ID, "model": MODEL}
        requested = PromotionRequested(**names, version=version, by="ada")
        self._do(lambda uow: request_champion(uow, ENVIRONMENT, requested))

    @invariant()
    def one_champion_and_whole_weights(self) -> None:
        self.runner.run(check_invariants(self.database, MODEL_ID))

    def _on(
        self, version: int, work: Callable[[UnitOfWork, DeploymentRecord], Awaitable[Any]]
    ) -> None:
        async def latest(uow: UnitOfWork) -> None:
            records = await Deployments(uow.connection).of_model(*PLACE)
            for record in [r for r in records if r.deployment.version == version][:1]:
                await work(uow, record)

        self._do(latest)

    def _do(self, work: Work) -> None:
        async def transaction() -> None:
            async with self.database.unit_of_work() as uow:
                await work(uow)

        with suppress(ConflictError, NotFoundError):
            self.runner.run(transaction())


TestTraffic = Traffic.TestCase
TestTraffic.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
