"""What a run's stages made, and what its package follows from."""

import asyncio
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from loopwright_common.errors import InvalidError
from loopwright_common.files.beneath import Beneath
from loopwright_common.storage import ArtifactStore, manifest_of, parse_manifest
from loopwright_trainer.git.tree import Tree
from loopwright_trainer.pipelines.pipeline import Pipeline
from loopwright_trainer.pipelines.stage_order import inside
from loopwright_trainer.runs.domain import Output, StageRun
from loopwright_trainer.steps import outputs


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """Outputs and metrics of a run; `done` are its stages.

    `scratch` is for passing files, of `disk_limit` bytes at most.
    """

    pipeline: Pipeline
    tree: Tree
    done: Sequence[StageRun]
    metrics: Mapping[str, float]
    store: ArtifactStore
    scratch: Path
    disk_limit: int

    async def artifact(self, path: str) -> Output:
        """An output of a stage or a part of one, or files of the commit, brought to the store.

        InvalidError for a path that is neither.
        """
        for output in (output for row in self.done for output in row.outputs):
            if output.path == path:
                return output
            if output.kind == "directory" and inside(path, output.path):
                return await self._part(output, path)
        entries = self.tree.under(path)
        if not entries:
            raise InvalidError(
                f"register: {path} is neither an out of a stage nor in the commit", field="register"
            )
        await asyncio.to_thread(self.tree.write, entries, self.scratch, self.disk_limit)
        with Beneath(self.scratch) as scratch:
            return await outputs.store_output(self.store, scratch, path)

    def registration_key(self, package: Output) -> str:
        """A digest (`sha256:...`) of what the package follows from: the step that wrote it.

        A step that is not reusable may give another package for the same key, so its bytes count.
        """
        writers = [r for r in self.done if any(inside(package.path, o.path) for o in r.outputs)]
        origins = [row.key if row.reusable else package.digest for row in writers]
        named = json.dumps([self.pipeline.model, package.path, origins or [package.digest]])
        return "sha256:" + hashlib.sha256(named.encode()).hexdigest()

    async def packages(self) -> Sequence[str]:
        """Paths of the directories with an `MLmodel` that the stages made: MLflow's packages."""
        found = []
        for output in (o for row in self.done for o in row.outputs if o.kind == "directory"):
            for file in parse_manifest(await self.store.get(output.digest)):
                whole = PurePosixPath(output.path, file.path)
                if whole.name == "MLmodel":
                    found.append(str(whole.parent))
        return [
            path
            for path in sorted(found)
            if not any(path != one and inside(path, one) for one in found)
        ]

    async def _part(self, whole: Output, path: str) -> Output:
        name = path.removeprefix(f"{whole.path}/")
        files = parse_manifest(await self.store.get(whole.digest))
        for file in files:
            if file.path == name:
                return Output(path=path, kind="file", digest=file.digest)
        below = [f._replace(path=f.path[len(name) + 1 :]) for f in files if inside(f.path, name)]
        if not below:
            raise InvalidError(f"register: out {whole.path} holds no {name}", field="register")
        manifest = await self.store.put(manifest_of(below))
        return Output(path=path, kind="directory", digest=manifest.digest)
