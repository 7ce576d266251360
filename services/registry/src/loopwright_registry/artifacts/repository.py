"""Queries on artifact paths."""

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from loopwright_common.errors import ConflictError, NotFoundError
from loopwright_common.storage import Blob, PackageFile
from loopwright_registry.artifacts.domain import package_root
from loopwright_registry.artifacts.tables import artifact_files
from loopwright_registry.mlflow.sql import Clause, insert_new, upsert


class Artifacts:
    """Which bytes lie at which path."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def save(self, path: str, blob: Blob) -> None:
        """ConflictError where a directory of that name, or a file in its way, exists."""
        await self._require_free(path)
        row = {"path": path, "digest": blob.digest, "size": blob.size}
        await upsert(self._connection, artifact_files, [row])

    async def get(self, path: str) -> Blob:
        """NotFoundError when nothing lies there."""
        found = await self.find(path)
        if found is None:
            raise NotFoundError(f"No artifact at {path}")
        return found

    async def find(self, path: str) -> Blob | None:
        query = sa.select(artifact_files.c.digest, artifact_files.c.size)
        row = (await self._connection.execute(query.where(artifact_files.c.path == path))).first()
        return Blob(row.digest, row.size) if row else None

    async def files_under(self, root: str) -> list[PackageFile]:
        """The files below a directory, with paths relative to it."""
        query = sa.select(artifact_files).where(_below(root)).order_by(artifact_files.c.path)
        rows = (await self._connection.execute(query)).all()
        start = len(root) + 1 if root else 0
        return [PackageFile(row.path[start:], row.digest, row.size) for row in rows]

    async def delete(self, path: str) -> None:
        """The file, or the directory with all below it; nothing there is fine."""
        here = sa.or_(artifact_files.c.path == path, _below(path))
        await self._connection.execute(sa.delete(artifact_files).where(here))

    async def _require_free(self, path: str) -> None:
        parts = path.split("/")
        parents = ["/".join(parts[:end]) for end in range(1, len(parts))]
        files = sa.select(artifact_files.c.path).where(artifact_files.c.path.in_(parents))
        if parent := await self._connection.scalar(files.limit(1)):
            raise ConflictError(f"{path}: {parent} is a file, no directory; choose another path")
        inside = sa.select(artifact_files.c.path).where(_below(path)).limit(1)
        if await self._connection.scalar(inside):
            raise ConflictError(f"{path} is a directory; delete it first, or choose another path")

    async def publish_package(self, digest: str, files: list[PackageFile]) -> None:
        """Make the package readable under its digest, for good."""
        root = package_root(digest)
        rows = [
            {"path": f"{root}/{file.path}", "digest": file.digest, "size": file.size}
            for file in files
        ]
        await insert_new(self._connection, artifact_files, rows)


def _below(root: str) -> Clause:
    """A range and not LIKE, so that wildcards in names mean nothing and the index is used."""
    path = artifact_files.c.path
    return sa.and_(path > f"{root}/", path < f"{root}0") if root else sa.true()
