"""New commits of registered repositories, found by polling or named by the command line."""

import asyncio

import structlog

from loopwright_common.database import Database
from loopwright_common.errors import (
    ConflictError,
    InvalidError,
    LoopwrightError,
    UnavailableError,
    described,
)
from loopwright_common.events import CodeChanged
from loopwright_common.process.worker_loop import work_on_wake
from loopwright_trainer.git.mirror import Mirrors
from loopwright_trainer.runs import service
from loopwright_trainer.runs.domain import Repository
from loopwright_trainer.runs.repository import Repositories

log = structlog.get_logger()


class RepositoryPoller:
    """Turns new heads of watched branches into `code-changed`, every `poll_seconds`."""

    def __init__(self, database: Database, mirrors: Mirrors, poll_seconds: float) -> None:
        self._database = database
        self._mirrors = mirrors
        self._poll_seconds = poll_seconds
        self._wake = asyncio.Event()

    def poll_now(self) -> None:
        """Ask every repository at once instead of when the interval has passed."""
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled: ask every repository for its head, now and then."""
        name, every = "trainer.repository-poller", self._poll_seconds
        await work_on_wake(self._wake, self.poll_once, name=name, every=every)

    async def announce_head(self, repository: Repository, commit: str | None) -> tuple[str, bool]:
        """Announce a commit of the watched branch, by default its head.

        Returns the commit and whether it was news. InvalidError where there is no such branch,
        GitError for a commit that it does not contain.
        """
        if commit is None:
            commit = await self._mirrors.head(repository.url, repository.branch)
        if commit is None:
            raise InvalidError(
                f"{repository.url} has no branch {repository.branch}", field="branch"
            )
        return commit, await self._announce(repository, commit, "command")

    async def poll_once(self) -> None:
        """Announce what is new by now; one that another replica announces meanwhile is left out.

        UnavailableError while the database is away; a repository that is away is tried again later.
        """
        async with self._database.read() as connection:
            repositories = await Repositories(connection).all()
        await asyncio.gather(*(self._poll(repository) for repository in repositories))

    async def _poll(self, repository: Repository) -> None:
        """A repository that cannot be reached is marked with the reason, until it can."""
        try:
            head = await self._mirrors.head(repository.url, repository.branch)
            problem = None if head else f"{repository.url} has no branch {repository.branch}"
            if head and head != repository.head:
                await self._announce(repository, head, "poll")
        except UnavailableError:
            raise
        except ConflictError:
            return  # what is new since then is found by the next poll
        except LoopwrightError as error:
            problem = str(error)
        except Exception as error:
            # What one repository holds must not stop the others.
            log.exception("repository.poll-failed", repository=repository.name)
            problem = f"unexpected {described(error)}"
        if problem != repository.problem:
            log.info("repository.seen", repository=repository.name, problem=problem)
            async with self._database.unit_of_work() as uow:
                await Repositories(uow.connection).update(repository.name, problem=problem)

    async def _announce(self, repository: Repository, commit: str, source: str) -> bool:
        ref = f"refs/heads/{repository.branch}"
        description = await self._mirrors.describe(
            repository.name, repository.url, commit, ref, repository.head
        )
        change = CodeChanged(
            repository=repository.name,
            ref=ref,
            commit=commit,
            before=repository.head,
            paths=list(description.paths),
            author=description.author or None,
            message=description.message or None,
            source="poll" if source == "poll" else "command",
        )
        async with self._database.unit_of_work() as uow:
            return await service.announce_commit(uow, change)
