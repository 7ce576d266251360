"""Labels that come after a promotion: they may take it back, for a time that the policy names.

What is decided holds of this promotion alone: no other version's is taken back by it, and no
person's decision.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from itertools import pairwise

import structlog

from loopwright_common.database import Cause, UnitOfWork
from loopwright_common.errors import UnavailableError
from loopwright_common.events import CanaryLabelled, CanaryPeriod, Check, Event
from loopwright_deployer.canary.label_verdict import judge_labels
from loopwright_deployer.deployments import service
from loopwright_deployer.deployments.domain import Deployment, DeploymentState
from loopwright_deployer.deployments.emitted_events import emit_finished
from loopwright_deployer.deployments.repository import DeploymentRecord, Deployments
from loopwright_deployer.routing import withdrawals

log = structlog.get_logger()


async def canary_periods(uow: UnitOfWork, deployment: Deployment) -> list[CanaryPeriod]:
    """When the steps of the canary that let the deployment on began and ended.

    None where it had no canary, or a person had it skipped: labels are not to undo that. What came
    before a freeze is of a canary that began anew, at `validated`.
    """
    history = await Deployments(uow.connection).history(deployment.id)
    periods: list[CanaryPeriod] = []
    for entry, following in pairwise(history):
        skipped = following.state is DeploymentState.PROMOTING and following.by is not None
        if skipped or entry.state is DeploymentState.VALIDATED:
            periods.clear()
        elif entry.state is DeploymentState.CANARY and entry.at < following.at:
            periods.append(CanaryPeriod(begin=entry.at, end=following.at))
    return periods


async def judge(uow: UnitOfWork, event: Event[CanaryLabelled]) -> None:
    """Judge a promotion by the labels of its canary's calls, and take it back where they say so.

    Nothing where the version is no longer champion by that promotion, or its time for labels is
    over. UnavailableError while another version is promoting, whose end decides.
    """
    data, deployments = event.data, Deployments(uow.connection)
    await service.lock_model(uow, data.environment, data.model_id)
    record = (await deployments.with_ids([data.deployment_id])).get(data.deployment_id)
    if record is None or record.policy.labels is None or not _is_judged(record, event.time):
        return
    check = judge_labels(data.steps, record.policy.labels.margin, data.wrong_above)
    if check.verdict == "failed":
        former = await _former_champion(deployments, record.deployment, data.previous)
        if former is not None:
            cause = Cause.of(event)
            following = replace(former, cause=cause)
            await _take_back(uow, _with(record, check, cause), following, check)
            return
        log.warning("deployer.labels-too-late", version=record.deployment.subject)
        gone = f"{check.sentence}; version {data.previous} is no former champion to go back to"
        check = check.model_copy(update={"sentence": gone})
    await deployments.note_looks([_with(record, check, record.cause)])


def _is_judged(record: DeploymentRecord, at: datetime) -> bool:
    """Whether it is champion by its own promotion, by nobody's undo, and labels still count."""
    deployment, labels = record.deployment, record.policy.labels
    if not deployment.champion or deployment.promoted_at is None or labels is None:
        return False
    restored = deployment.state_since != deployment.promoted_at
    return not restored and at < deployment.promoted_at + labels.window


async def _former_champion(
    deployments: Deployments, deployment: Deployment, version: int
) -> DeploymentRecord | None:
    """The version that was champion until this promotion."""
    champions = await deployments.champions(*deployment.model_key)
    return next(
        (
            record
            for record in champions
            if record.deployment.version == version
            and record.deployment.state is DeploymentState.SUPERSEDED
        ),
        None,
    )


async def _take_back(
    uow: UnitOfWork, champion: DeploymentRecord, former: DeploymentRecord, check: Check
) -> None:
    """What has a canary's share beside the champion ends with it: it was judged by that."""
    version = champion.deployment.version
    others = await Deployments(uow.connection).of_model(*champion.deployment.model_key)
    carrying = [other for other in others if other.deployment.carries_traffic]
    _require_none_promoting(carrying)
    for other in carrying:
        why = (
            f"labels took back version {version}, which it was compared with; "
            f"retry compares it with version {former.deployment.version}"
        )
        aborted = await service.advance(uow, other, DeploymentState.ABORTED, why)
        await emit_finished(uow, aborted, "aborted")
    why = f"labels that came after the promotion: {check.sentence}"
    await withdrawals.restore_champion(uow, champion, former, why, checks=[check])


def _require_none_promoting(carrying: Sequence[DeploymentRecord]) -> None:
    for record in carrying:
        if record.deployment.state is DeploymentState.PROMOTING:
            raise UnavailableError(
                f"version {record.deployment.version} is promoting; its end decides whether there "
                "is anything left to take back"
            )


def _with(record: DeploymentRecord, check: Check, cause: Cause) -> DeploymentRecord:
    others = tuple(each for each in record.checks if each.name != check.name)
    return replace(record, checks=(*others, check), cause=cause)
