"""Leads deployments through their states by the real use cases, without packages and processes."""

from dataclasses import replace

from loopwright_common.database.database import Database
from loopwright_common.database.unit_of_work import Cause, UnitOfWork
from loopwright_common.events import Check
from loopwright_common.sandbox import Level
from loopwright_deployer.deployments import service
from loopwright_deployer.deployments.domain import DeploymentState, ServedPackage
from loopwright_deployer.deployments.repository import DeploymentRecord, Deployments
from loopwright_deployer.routing import transitions, withdrawals
from loopwright_deployer.routing.routes import RouteRevisions
from tests.deployer.builders import MODEL_ID, registered

CAUSE = Cause("chain", ("event",), "")


async def advance_once(uow: UnitOfWork, record: DeploymentRecord, verdict: str) -> None:
    """What the worker would do next with the deployment."""
    state = record.deployment.state
    if state is DeploymentState.RECEIVED:
        await service.advance(uow, record, DeploymentState.PACKAGING, "go")
    elif state is DeploymentState.PACKAGING:
        served = ServedPackage(record.deployment.version, "sha256:" + "1" * 64, "onnx")
        await service.finish_packaging(uow, record, served, "packaged", Level.NAMESPACE)
    elif state is DeploymentState.STAGING:
        check = Check.model_validate({"name": "c", "verdict": verdict, "sentence": "s"})
        deployment = record.deployment
        champion = await Deployments(uow.connection).champion(
            deployment.environment, deployment.model_id
        )
        against = champion.deployment.version if champion else None
        await service.finish_staging(uow, record, (check,), "report", Level.NAMESPACE, against)
    elif state is DeploymentState.VALIDATED:
        await transitions.enter_next_gate(uow, record)
    elif state is DeploymentState.PROMOTING and verdict == "passed":
        await transitions.complete_promotion(uow, record)
    elif state in (DeploymentState.CANARY, DeploymentState.PROMOTING):
        await (judged if state is DeploymentState.CANARY else withdrawals.roll_back)(
            uow, record, verdict
        )


async def judged(uow: UnitOfWork, record: DeploymentRecord, verdict: str) -> None:
    """What the canary's figures lead to; `harmful` is what a replica says."""
    if verdict == "failed" and record.policy.canary.worse == "freeze":
        failed = Check(name="canary-errors", verdict="failed", sentence="errors")
        await withdrawals.freeze(uow, replace(record, checks=(*record.checks, failed)), "errors")
    elif verdict in ("failed", "harmful"):
        await withdrawals.roll_back(uow, record, "errors")
    elif verdict == "inconclusive":
        await withdrawals.pause_inconclusive(uow, record, "no traffic")
    elif record.deployment.step + 1 < len(record.policy.canary.steps):
        await transitions.advance_canary(uow, record, "enough")
    else:
        await transitions.pass_canary(uow, record, "enough")


async def latest(database: Database, version: int) -> DeploymentRecord:
    async with database.read() as connection:
        records = await Deployments(connection).of_model("production", MODEL_ID)
    return next(r for r in records if r.deployment.version == version)


async def lead_to(
    database: Database, version: int, to: DeploymentState, **changes: object
) -> DeploymentRecord:
    """Register a version and do the worker's part until it is in the state."""
    async with database.unit_of_work() as uow:
        await service.start_deployment(uow, registered(version, **changes), "production", CAUSE)
    for _ in range(20):
        record = await latest(database, version)
        if record.deployment.state is to:
            return record
        async with database.unit_of_work() as uow:
            await advance_once(uow, record, "passed")
    raise AssertionError(f"version {version} never became {to}")


async def check_invariants(database: Database, model_id: str) -> None:
    """One champion at most, one version on its way with traffic at most, weights add up to 1."""
    async with database.read() as connection:
        records = await Deployments(connection).of_model("production", model_id)
        row = await RouteRevisions(connection).get("production", model_id)
    champions = [r.deployment.version for r in records if r.deployment.champion]
    under_way = [r.deployment.version for r in records if r.deployment.carries_traffic]
    assert len(champions) <= 1
    assert len(under_way) <= 1
    arms = row.route.arms if row else ()
    if champions or under_way:
        assert abs(sum(arm.weight for arm in arms) - 1) < 1e-9
    assert {arm.version for arm in arms} <= {*champions, *under_way}
    if row:
        assert not {a.version for a in row.route.kept} & {a.version for a in arms}
