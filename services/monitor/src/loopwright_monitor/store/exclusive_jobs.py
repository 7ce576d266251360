"""Jobs that one replica of the monitor does at a time."""

from collections.abc import Awaitable, Callable

import structlog

from loopwright_common.database import Database, leases
from loopwright_common.database.leases import Lease, LeaseLostError
from loopwright_common.errors import UnavailableError

log = structlog.get_logger()


async def run_exclusively(
    database: Database, name: str, job: Callable[[Lease], Awaitable[None]]
) -> None:
    """Do the job unless another is at it; a job whose lease was lost leaves off.

    The job confirms the lease in each transaction in which it writes. One that fails is logged with
    its name and left for the next turn, so that one bad version or episode never stops the others;
    only UnavailableError, which would meet them too, is raised.
    """
    async with database.unit_of_work() as uow:
        lease = await leases.acquire(uow, name)
    if lease is None:
        return
    try:
        async with leases.keep_renewed(database, lease):
            await job(lease)
    except LeaseLostError as error:
        log.warning("job.lost", job=name, error=str(error))
    except UnavailableError:
        raise
    except Exception:
        log.exception("job.failed", job=name)
