"""The verbs of the API that take a deployment and who asks."""

from collections.abc import Awaitable, Callable, Mapping

from loopwright_common.database import UnitOfWork
from loopwright_deployer.deployments.domain import DeploymentState
from loopwright_deployer.deployments.repository import DeploymentRecord
from loopwright_deployer.operator_actions.attempts import retry
from loopwright_deployer.operator_actions.gates import approve, reject
from loopwright_deployer.operator_actions.request import OperatorRequest
from loopwright_deployer.operator_actions.traffic import abort, pause, resume

Action = Callable[[UnitOfWork, DeploymentRecord, OperatorRequest], Awaitable[object]]


async def promote(uow: UnitOfWork, record: DeploymentRecord, request: OperatorRequest) -> None:
    """On with the version through all its gates: a paused one is resumed, an ended one retried."""
    paused = record.deployment.state is DeploymentState.PAUSED
    await (resume if paused else retry)(uow, record, request)


ACTIONS: Mapping[str, Action] = {
    "approve": approve,
    "reject": reject,
    "pause": pause,
    "resume": resume,
    "promote": promote,
    "retry": retry,
    "abort": abort,
}
