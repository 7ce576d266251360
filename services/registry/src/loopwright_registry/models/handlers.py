"""What the registry does when the deployer has decided: it moves the alias `champion`."""

from functools import partial

from loopwright_common.consumer import Handlers
from loopwright_common.events import DeploymentPromoted, DeploymentRolledBack, Event
from loopwright_common.unit_of_work import UnitOfWork
from loopwright_registry.models import service


async def on_deployment_promoted(
    event: Event[DeploymentPromoted], uow: UnitOfWork, environment: str
) -> None:
    data = event.data
    if data.environment == environment:
        await service.decide_champion(uow, data.model_id, data.version, event.time)


async def on_deployment_rolled_back(
    event: Event[DeploymentRolledBack], uow: UnitOfWork, environment: str
) -> None:
    data = event.data
    if data.environment == environment:
        await service.decide_champion(uow, data.model_id, data.previous, event.time)


def handlers(environment: str) -> Handlers:
    """Only what happens in this environment moves the alias."""
    return {
        DeploymentPromoted: partial(on_deployment_promoted, environment=environment),
        DeploymentRolledBack: partial(on_deployment_rolled_back, environment=environment),
    }
