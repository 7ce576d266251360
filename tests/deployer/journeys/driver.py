"""Two deployers, people and events that drive models at random, seeded, over a real database.

Packaging and staging are played by `FakeStaging`, which knows the true loss of every version; the
steps, use cases and handlers are the deployer's.
"""

import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, cast

from loopwright_common import clock
from loopwright_common.cloudevents import codec
from loopwright_common.cloudevents.codec import Record
from loopwright_common.database.database import Database
from loopwright_common.database.unit_of_work import Cause, UnitOfWork
from loopwright_common.delivery import inbox
from loopwright_common.delivery.handlers import bind
from loopwright_common.deploy_policy import DAYS
from loopwright_common.errors import ConflictError, NotFoundError
from loopwright_common.events import (
    AliasChanged,
    Check,
    EventData,
    ModelRegistered,
    PromotionRequested,
)
from loopwright_common.sandbox import Level
from loopwright_deployer.deployments import service
from loopwright_deployer.deployments.domain import Deployment, ServedPackage
from loopwright_deployer.deployments.offers import offers
from loopwright_deployer.deployments.repository import DeploymentRecord, Deployments
from loopwright_deployer.handlers import LIFECYCLE_HANDLERS, DeployerContext
from loopwright_deployer.operator_actions.actions import ACTIONS
from loopwright_deployer.operator_actions.gates import Skip, skip
from loopwright_deployer.operator_actions.request import OperatorRequest
from loopwright_deployer.operator_actions.traffic import undo
from loopwright_deployer.routing import transitions, withdrawals
from loopwright_deployer.routing.canary_observer import CanaryObserver
from loopwright_deployer.staging.packager import PackagedVersion
from loopwright_deployer.staging.runner import StagingResult, StagingRunner
from loopwright_deployer.steps import DeploymentSteps
from tests.deployer.builders import event_of, registered
from tests.deployer.journeys.observed import (
    ENDS,
    ENVIRONMENT,
    Act,
    Emitted,
    S,
    emitted_after,
    look,
)
from tests.deployer.journeys.oracle import MARGIN, Oracle
from tests.deployer.lifecycle import judged

REQUEST = OperatorRequest("ada", "why not")
VERSIONS = 12
"""More than that a model's journey has not."""
STEPS = 300
"""So long is the journey of a model, until another one begins."""
PASSED = "0.0001s"
"""A time limit that is over when the next step comes."""
_EVENT: Mapping[type, str] = {
    ModelRegistered: "register",
    PromotionRequested: "alias",
    AliasChanged: "name",
}
_KIND = {
    S.RECEIVED: "start",
    S.PACKAGING: "package",
    S.STAGING: "stage",
    S.VALIDATED: "enter",
    S.APPROVAL: "timer",
    S.CANARY: "canary",
    S.PAUSED: "guard",
    S.PROMOTING: "acknowledge",
}
_DUE = {S.VALIDATED: 4, S.APPROVAL: 0.7, S.CANARY: 1.5, S.PAUSED: 0.3, S.PROMOTING: 4}
"""How much more often than others these are worked on; those with traffic times a model's pace."""
_FITTING = {
    S.VALIDATED: ["pause", *["skip-canary", "skip-approval", "skip-window"] * 2],
    S.APPROVAL: [
        "approve",
        "approve",
        "approve",
        "reject",
        "skip-approval",
        "skip-canary",
        "pause",
    ],
    S.CANARY: ["skip-canary", *["skip-step"] * 4, "pause", "abort"],
    S.PAUSED: ["resume", "resume", "promote", "skip-canary", "abort", "reject"],
    S.PROMOTING: ["abort"],
    S.ROLLED_BACK: ["retry", "promote"],
    S.SUPERSEDED: ["retry", "promote"],
    S.ABORTED: ["retry"],
    S.REJECTED: ["retry"],
}
VERBS = [*sorted(ACTIONS), "skip-approval", "skip-step", "skip-canary", "skip-window"]


_FAULTS = ("failed", "harmful")
"""The verdicts that move a paused canary too."""


class KilledError(Exception):
    """The process died before its transaction committed."""


class MortalDatabase(Database):
    """While `dies`, a transaction ends before it commits."""

    dies = False

    @asynccontextmanager
    async def unit_of_work(self, cause: Cause | None = None) -> AsyncGenerator[UnitOfWork, None]:
        async with super().unit_of_work(cause) as uow:
            yield uow
            if self.dies:
                raise KilledError


class FakeStaging:
    """Judges by true losses; `meanwhile` is what others do during it."""

    level = Level.NAMESPACE
    outage_limit = timedelta(hours=1)

    def __init__(self, draw: random.Random, meanwhile: Callable[[], Awaitable[None]]) -> None:
        self.losses: dict[int, float] = {}
        self.verdict = "passed"
        self.against: int | None = None
        self._draw = draw
        self._meanwhile = meanwhile

    async def expect_staging(self, **_wanted: int) -> None:
        return

    async def package(self, record: DeploymentRecord) -> PackagedVersion:
        served = ServedPackage(record.deployment.version, "sha256:" + "1" * 64, "onnx")
        return PackagedVersion(served, "packaged")

    async def stage(
        self, record: DeploymentRecord, champion: DeploymentRecord | None
    ) -> StagingResult:
        against = champion.deployment.version if champion else None
        verdict = self._judge(record.deployment.version, against)
        if self._draw.random() < 0.3:
            await self._meanwhile()
        self.verdict, self.against = verdict, against
        check = {"name": "holdout", "verdict": verdict, "sentence": "s"}
        return StagingResult((Check.model_validate(check),), {})

    async def report(self, _record: DeploymentRecord, _result: StagingResult) -> str:
        return "report"

    def _judge(self, version: int, against: int | None) -> str:
        if self._draw.random() < 0.2:
            return "inconclusive"
        if against is None:
            return "passed"
        worse = self.losses[version] - self.losses[against]
        return "failed" if worse > MARGIN else "passed"


@dataclass(slots=True)
class Model:
    """One model's truth, what each of two deployers saw of it, and what is on its way to them."""

    name: str
    oracle: Oracle
    losses: dict[int, float]
    policies: dict[int, dict[str, Any]]
    staging: FakeStaging
    seen: tuple[dict[str, DeploymentRecord], dict[str, DeploymentRecord]] = field(
        default_factory=lambda: ({}, {})
    )
    sent: list[Record] = field(default_factory=list)
    pace: float = 1.0
    steps: int = 0


class Journeys:
    """Drives two models side by side; a step is one thing tried and judged by the oracle."""

    def __init__(self, database: MortalDatabase, seed: int) -> None:
        self.database = database
        self.done: dict[str, int] = {}
        """How often each kind of act had an effect."""
        self._draw = random.Random(seed)  # noqa: S311  (no secret)
        self._seed = seed
        self._known: dict[str, str] = {}
        self._position = 0
        self._models: list[Model] = []
        self._named = 0
        self._nested = False
        self._story: list[str] = []
        context = DeployerContext(ENVIRONMENT, lambda _model: None, lambda _model: None)
        self._handlers = bind(LIFECYCLE_HANDLERS, context)

    async def run(self, steps: int) -> None:
        """So many steps; AssertionError with the story so far where a promise is broken."""
        try:
            while sum(model.steps for model in self._models) + self._ended() < steps:
                await self.step()
        except AssertionError as error:
            story = "\n".join(self._story[-60:])
            raise AssertionError(f"seed {self._seed}: {error}\n{story}") from error

    async def step(self) -> None:
        while len(self._models) < 2:
            self._models.append(self._new_model())
        model = self._draw.choice(self._models)
        await self._move(model)
        if model.steps >= STEPS:
            self._models.remove(model)

    def _ended(self) -> int:
        return (self._named - len(self._models)) * STEPS

    def _new_model(self) -> Model:
        self._named += 1
        name = f"model-{self._seed}-{self._named}"
        losses: dict[int, float] = {}
        policies: dict[int, dict[str, Any]] = {}

        async def meanwhile() -> None:
            if self._nested:
                return
            self._nested = True
            try:
                for _ in range(self._draw.randint(1, 4)):
                    await self._move(model)
            finally:
                self._nested = False

        staging = FakeStaging(self._draw, meanwhile)
        staging.losses = losses
        oracle = Oracle(losses, policies, self._known)
        # While one has traffic for long, others come to wait behind it, skipped or approved.
        pace = self._draw.choice([0.2, 1.0, 3.0])
        model = Model(name, oracle, losses, policies, staging, pace=pace)
        return model

    async def _move(self, model: Model) -> None:
        model.steps += 1
        kinds = {
            self._work: 70,
            self._decide: 16,
            self._undo: 8,
            self._set_alias: 2,
            self._name: 3,
            self._register: 3,
            self._repeat: 2,
            self._skip_all: 3,
        }
        kind = self._draw.choices(list(kinds), list(kinds.values()))[0]
        await kind(model)

    # What happens.

    async def _register(self, model: Model) -> None:
        number = len(model.losses) + 1
        if number > VERSIONS:
            return
        if self._draw.random() < 0.1:
            # Its event comes after that of the next version.
            await self._register_one(model, number + 1)
        await self._register_one(model, number)

    async def _register_one(self, model: Model, version: int) -> None:
        if version not in model.losses:
            model.losses[version] = 0.5 + self._draw.uniform(-0.02, 0.02)
            model.policies[version] = self._policy()
        deploy = model.policies[version]
        data = registered(version, model_id=model.name, model=model.name, deploy=deploy)
        await self._deliver(model, self._record(model, data))

    async def _set_alias(self, model: Model) -> None:
        version = self._draw.randint(1, max(len(model.losses), 1))
        data = PromotionRequested(
            model_id=model.name, model=model.name, version=version, by="client"
        )
        await self._deliver(model, self._record(model, data))

    async def _name(self, model: Model) -> None:
        """Another alias than `champion` moves, or goes."""
        data = AliasChanged(
            model_id=model.name,
            model=model.name,
            alias=self._draw.choice(["stable", "next"]),
            version=self._draw.choice([None, *model.losses]),
            by="client",
        )
        await self._deliver(model, self._record(model, data))

    async def _repeat(self, model: Model) -> None:
        """An event comes again, however old."""
        if model.sent:
            record = self._draw.choice(model.sent)
            await self._deliver(model, record, again=True)

    async def _undo(self, model: Model) -> None:
        been = [d.version for d in model.oracle.was.deployments.values() if d.promoted_at]
        version = self._draw.choice([None, self._draw.randint(1, VERSIONS), *been])

        async def work(uow: UnitOfWork) -> bool:
            await undo(uow, ENVIRONMENT, model.name, REQUEST, version)
            return True

        await self._try(model, Act("undo", version=version), self._transaction(work))

    async def _decide(self, model: Model) -> None:
        known = list(model.oracle.was.deployments.values())
        if not known:
            return
        on_the_way = [d for d in known if d.state not in ENDS]
        mine = self._draw.choice(on_the_way if on_the_way and self._draw.random() < 0.85 else known)
        fitting = _FITTING.get(mine.state, VERBS)
        verb = self._draw.choice(fitting if self._draw.random() < 0.75 else VERBS)
        await self._ask(model, mine, verb)

    async def _skip_all(self, model: Model) -> None:
        """Somebody in a hurry lets one after the other past its canary, or its present step."""
        known = list(model.oracle.was.deployments.values())
        for mine in known:
            if mine.state in {S.VALIDATED, S.CANARY}:
                steps = mine.state is S.CANARY and self._draw.random() < 0.6
                await self._ask(model, mine, "skip-step" if steps else "skip-canary")

    async def _ask(self, model: Model, mine: Deployment, verb: str) -> None:
        await self._try(model, Act(verb, mine.id, mine.version), self._decision(mine.id, verb))

    def _decision(self, deployment_id: str, verb: str) -> Callable[[], Awaitable[bool]]:
        async def work(uow: UnitOfWork) -> bool:
            current = await service.lock_deployment(uow, deployment_id)
            if verb in ACTIONS:
                await ACTIONS[verb](uow, current, REQUEST)
            else:
                await skip(uow, current, REQUEST, cast(Skip, verb.removeprefix("skip-")))
            return True

        return self._transaction(work)

    async def _check_offers(self, events: Sequence[Emitted]) -> None:
        """What a person may do is possible, and what an event says of it is that."""
        told = [event.data for event in events if event.topic == "deployment-changed"]
        last = {data["deployment_id"]: data for data in told}
        for one, data in last.items():
            async with self.database.read() as connection:
                record = await Deployments(connection).get(one)
                champion = await Deployments(connection).champion(*record.deployment.model_key)
            serving = champion.deployment.version if champion else None
            offered = offers(record.deployment, record.policy, serving, clock.now())
            asked = offered if record.deployment.state in {S.APPROVAL, S.PAUSED} else ()
            assert data["decisions"] == [offer.verb for offer in asked]
            for offer in offered:
                verb = f"{offer.verb}-{offer.gate}" if offer.gate else offer.verb
                possible = await self._is_possible(one, verb)
                assert possible, f"{verb} is offered and refused while {data['why']}"

    async def _is_possible(self, deployment_id: str, verb: str) -> bool:
        self.database.dies = True
        try:
            await self._decision(deployment_id, verb)()
        except KilledError:
            return True
        except ConflictError:
            return False
        finally:
            self.database.dies = False
        raise AssertionError("it was to die")

    async def _work(self, model: Model) -> None:
        """One of two deployers goes on with what it sees, or saw earlier."""
        seen = self._draw.choice(model.seen)
        if not seen or self._draw.random() < 0.85:
            async with self.database.read() as connection:
                records = await Deployments(connection).of_model(ENVIRONMENT, model.name)
            seen.clear()
            seen.update({record.deployment.id: record for record in records})
        waiting = [r for r in seen.values() if r.deployment.state in _KIND]
        if not waiting:
            return
        due = [_DUE.get(r.deployment.state, 2.0) * _pace(model, r.deployment) for r in waiting]
        await self._work_on(model, self._draw.choices(waiting, due)[0])

    async def _work_on(self, model: Model, record: DeploymentRecord) -> None:
        mine = record.deployment
        act = Act(_KIND[mine.state], mine.id, mine.version, seen=mine)
        overdue = mine.deadline is not None and clock.now() >= mine.deadline
        chances = [3, 2, 7] if overdue else [8, 2, 2]
        verdict = self._draw.choices(["passed", "failed", "inconclusive"], chances)[0]
        if verdict == "failed" and mine.state is not S.PROMOTING and self._draw.random() < 0.3:
            verdict = "harmful"
        steps = DeploymentSteps(
            self.database,
            cast(StagingRunner, model.staging),
            cast(CanaryObserver, None),
            None,
        )
        if mine.state in {S.CANARY, S.PAUSED, S.PROMOTING}:
            use_case = self._verdict_of(record, verdict)
            if use_case is None:
                return
            await self._try(model, replace(act, verdict=verdict), use_case)
            if mine.state is S.PROMOTING and self._draw.random() < 0.15:
                await self._undo(model)
        else:

            async def step() -> bool:
                return (await steps.by_state[mine.state](record)).moved

            await self._try(model, act, step)

    def _verdict_of(
        self, record: DeploymentRecord, verdict: str
    ) -> Callable[[], Awaitable[bool]] | None:
        """What evidence leads to; None where it does not come so."""
        mine = record.deployment
        overdue = mine.deadline is not None and clock.now() >= mine.deadline
        if mine.state is S.CANARY and verdict == "inconclusive" and not overdue:
            return None
        if mine.state is S.PAUSED and (mine.paused_from is not S.CANARY or verdict not in _FAULTS):
            return None
        if mine.state is S.PROMOTING and verdict == "inconclusive":
            return None

        async def work(uow: UnitOfWork) -> bool:
            current = await service.lock_unchanged(uow, record)
            if mine.state is not S.PROMOTING:
                await judged(uow, current, verdict)
            elif verdict == "passed":
                await transitions.complete_promotion(uow, current)
            else:
                await withdrawals.roll_back(uow, current, "a replica cannot serve it")
            return True

        return self._transaction(work)

    # How it is done and judged.

    def _record(self, model: Model, data: EventData) -> Record:
        event = event_of(data, key=model.name)
        self._known[event.id] = event.chain_id
        out = codec.encode(event)
        record = Record(out.topic, 0, 0, out.key, out.headers, out.value, clock.now())
        model.sent.append(record)
        return record

    async def _deliver(self, model: Model, record: Record, *, again: bool = False) -> None:
        """As a consumer does: in one transaction with its inbox, perhaps twice."""
        prepared = await inbox.prepare(record, self._handlers)

        async def work(uow: UnitOfWork) -> bool:
            before = uow.emitted
            await inbox.apply(uow, "deployer.lifecycle", 0, [prepared])
            return uow.emitted > before

        data = prepared.event.data
        act = Act(_EVENT[type(data)], version=data.version, again=again)
        await self._try(model, act, self._transaction(work))

    def _transaction(
        self, work: Callable[[UnitOfWork], Awaitable[bool]]
    ) -> Callable[[], Awaitable[bool]]:
        async def transaction() -> bool:
            async with self.database.unit_of_work() as uow:
                return await work(uow)

        return transaction

    async def _try(self, model: Model, act: Act, work: Callable[[], Awaitable[bool]]) -> None:
        self.database.dies = self._draw.random() < 0.05
        try:
            outcome = "done" if await work() else "nothing"
        except (ConflictError, NotFoundError) as error:
            outcome = "refused"
            self._story.append(f"    {error}")
        except KilledError:
            outcome = "killed"
        finally:
            self.database.dies = False
        if act.kind == "stage":
            act = replace(act, verdict=model.staging.verdict, against=model.staging.against)
        act = replace(act, outcome=outcome)
        self._story.append(f"{model.name}: {_told(act)}")
        if outcome == "done":
            self.done[act.kind] = self.done.get(act.kind, 0) + 1
        self._position, events = await emitted_after(self.database, self._position)
        assert all(event.key.endswith(f"/{model.name}") for event in events)
        model.oracle.observe(act, await look(self.database, model.name), events)
        await self._check_offers(events)

    def _policy(self) -> dict[str, Any]:
        draw = self._draw
        policy: dict[str, Any] = {}
        if draw.random() < 0.05:
            return {"canary": {"stepz": []}}
        if draw.random() < 0.4:
            within = draw.choice(["1d", PASSED])
            policy["approval"] = {"within": within, "then": draw.choice(["pause", "reject"])}
        if draw.random() < 0.15:
            begin, end = (clock.now() + timedelta(hours=hours) for hours in (-6, 6))
            window = {"days": list(DAYS), "begin": f"{begin:%H:%M}", "end": f"{end:%H:%M}"}
            policy["windows"] = {"zone": "UTC", "closed": [window]}
        if draw.random() < 0.7:
            weights = draw.choice([[0.5], [0.1, 0.5], [0.05, 0.3, 0.9]])
            policy["canary"] = {
                "steps": [{"weight": weight} for weight in weights],
                "max_time": draw.choice(["1d", PASSED]),
                "then": draw.choice(["stay", "withdraw"]),
                "worse": draw.choice(["roll-back", "freeze"]),
            }
        return policy


def _pace(model: Model, deployment: Deployment) -> float:
    return model.pace if deployment.state in {S.CANARY, S.PROMOTING} else 1.0


def _told(act: Act) -> str:
    about = f"version {act.version} {act.deployment[:6] if act.deployment else ''}"
    seen = f" seen {act.seen.state}" if act.seen else ""
    verdict = f" {act.verdict} (against {act.against})" if act.verdict else ""
    return f"{act.kind} {about}{seen}{verdict}: {act.outcome}"
