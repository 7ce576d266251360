"""The verbs of the API that take a deployment and who asks."""

from collections.abc import Awaitable, Callable, Mapping

from loopwright_common.database import UnitOfWork
from loopwright_deployer.deployments.domain import IN_FLIGHT, DeploymentState
from loopwright_deployer.deployments.repository import DeploymentRecord
from loopwright_deployer.operator_actions.attempts import retry, void_requests
from loopwright_deployer.operator_actions.gates import approve, reject
from loopwright_deployer.operator_actions.request import OperatorRequest
from loopwright_deployer.operator_actions.traffic import abort, pause, resume

Action = Callable[[UnitOfWork, DeploymentRecord, OperatorRequest], Awaitable[object]]


async def promote(uow: UnitOfWork, record: DeploymentRecord, request: OperatorRequest) -> None:
    """On with the version through all its gates: a paused one is resumed, an ended one retried.

    What was asked for before of the model ends. So one that is on its way, or champion, is only
    refused where nothing else was asked for.
    """
    deployment = record.deployment
    paused = deployment.state is DeploymentState.PAUSED
    if paused:
        await resume(uow, record, request)
    holds_already = deployment.champion or deployment.state in IN_FLIGHT
    voided = holds_already and await void_requests(uow, deployment, f"wanted by {request}")
    if not (paused or voided):
        await retry(uow, record, request)


ACTIONS: Mapping[str, Action] = {
    "approve": approve,
    "reject": reject,
    "pause": pause,
    "resume": resume,
    "promote": promote,
    "retry": retry,
    "abort": abort,
}
