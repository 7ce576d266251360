"""A step's own directory: it holds what the stage declares, so that nothing else can matter."""

import asyncio
import hashlib
import json
import os
import posixpath
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from loopwright_common.errors import InvalidError
from loopwright_common.files.beneath import Beneath
from loopwright_common.storage import ArtifactStore
from loopwright_trainer.git.tree import Tree, TreeEntry, digest_of_entries, unfit_paths_told
from loopwright_trainer.pipelines.params import ParamUse, narrowed, read_params, select_params
from loopwright_trainer.pipelines.stage_order import inside, overlap
from loopwright_trainer.pipelines.stages import Stage
from loopwright_trainer.runs.domain import Output
from loopwright_trainer.steps import outputs

NOTHING_CAPTURED = "captured:none"


@dataclass(frozen=True, slots=True)
class InputSources:
    """Where a dep comes from; any of the three may take part."""

    tracked: Sequence[TreeEntry]
    outputs: Sequence[Output]
    captured: bool


@dataclass(frozen=True, slots=True)
class StageInputs:
    """What the stages of one run can take: the commit, earlier outputs, the captured rows."""

    tree: Tree
    store: ArtifactStore
    captured_path: str | None
    captured: str | None
    whole_tree: bool

    def digests(self, stage: Stage, earlier: Sequence[Output]) -> dict[str, str]:
        """Digest of every dep; InvalidError for one that is nowhere."""
        digests = {}
        for dep in stage.deps:
            digests[dep] = self._digest(self.sources(dep, stage, earlier))
        if self.whole_tree:
            digests["."] = digest_of_entries(self._tracked("."))
        return digests

    def sources(self, dep: str, stage: Stage, earlier: Sequence[Output]) -> InputSources:
        """What is at the path `dep`; InvalidError where nothing is."""
        captured = self.captured_path is not None and overlap(dep, self.captured_path)
        found = InputSources(
            self._tracked(dep),
            [output for output in earlier if overlap(dep, output.path)],
            captured,
        )
        if not (found.tracked or found.outputs or captured):
            raise InvalidError(
                f"stage {stage.name}: dep {dep} is neither in commit {self.tree.commit[:12]} "
                "nor an out of another stage",
                field=f"stages.{stage.name}.deps",
            )
        return found

    def params(self, stage: Stage) -> dict[str, dict[str, object]]:
        """Values of the declared parameters by file; InvalidError for one that the commit lacks."""
        values: dict[str, dict[str, object]] = {}
        for use in stage.params:
            content = self._param_file(use, stage)
            picked = select_params(read_params(content, use.file), use, stage.name)
            values.setdefault(use.file, {}).update(picked)
        return values

    async def materialise(
        self, stage: Stage, earlier: Sequence[Output], directory: Path, limit: int
    ) -> None:
        """Write everything the stage declares into `directory`, and nothing else.

        InvalidError for what cannot lie there beside the rest, or has more than `limit` bytes.
        """
        tracked = set(self._tracked(".")) if self.whole_tree else set()
        for dep in stage.deps:
            sources = self.sources(dep, stage, earlier)
            tracked |= set(sources.tracked)
            for output in sources.outputs:
                await outputs.restore_output(self.store, output, directory)
            if sources.captured:
                await self._write_captured(directory)
        await asyncio.to_thread(self.tree.write, tracked, directory, limit)
        await asyncio.to_thread(self._write_params, stage, directory)
        for path in (stage.wdir, *(posixpath.dirname(out) for out in stage.outs)):
            _make_directory(directory, path)

    async def _write_captured(self, directory: Path) -> None:
        from loopwright_common.storage.captured_dataset import materialise

        target = _make_directory(directory, self.captured_path or "")
        await materialise(self.store, self.captured, target)

    def _write_params(self, stage: Stage, directory: Path) -> None:
        """Parameter files narrowed to the declared keys, where they are not deps themselves."""
        for file, picked in self.params(stage).items():
            target = directory / file
            if target.exists():
                continue
            whole = any(use.file == file and use.keys is None for use in stage.params)
            content = None if whole else narrowed(picked, file)
            _make_directory(directory, posixpath.dirname(file))
            with unfit_paths_told(file):
                target.write_bytes(content if content is not None else self.tree.read(file) or b"")

    def _tracked(self, path: str) -> list[TreeEntry]:
        """Tracked files at or below a path; captured rows always come from the monitor."""
        entries = self.tree.under(path)
        hidden = self.captured_path
        return [e for e in entries if hidden is None or not inside(e.path, hidden)]

    def _digest(self, sources: InputSources) -> str:
        parts = [output.digest for output in sources.outputs]
        if sources.captured:
            parts.append(self.captured or NOTHING_CAPTURED)
        if sources.tracked:
            parts.append(digest_of_entries(sources.tracked))
        if len(parts) == 1:
            return parts[0]
        return "sha256:" + hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def _param_file(self, use: ParamUse, stage: Stage) -> bytes:
        content = self.tree.read(use.file)
        if content is None:
            raise InvalidError(
                f"stage {stage.name}: the commit has no parameter file {use.file}",
                field=f"stages.{stage.name}.params",
            )
        return content


def _make_directory(directory: Path, path: str) -> Path:
    """The directory at a path of a pipeline file; GitError where something else is in its way."""
    with unfit_paths_told(path):
        (directory / path).mkdir(parents=True, exist_ok=True)
    return directory / path


def fingerprint(workspace: Beneath, outs: Sequence[str]) -> dict[str, str]:
    """Digest of every file of a workspace but the outputs, to see whether a stage edits inputs."""
    return {
        path: _digest_of(workspace, path, kind)
        for path, kind in workspace.walk()
        if not any(inside(path, out) for out in outs)
    }


def changed_inputs(before: Mapping[str, str], workspace: Beneath) -> list[str]:
    """Inputs that changed or went while a stage ran; new files do not matter, and are not read."""
    after = {
        path: _digest_of(workspace, path, found, before[path])
        for path, found in workspace.walk()
        if path in before
    }
    return [name for name, digest in before.items() if after.get(name) != digest]


def _digest_of(workspace: Beneath, path: str, found: os.stat_result, known: str = "") -> str:
    """A plain file's size and the digest of its content; for anything else, which no input is, what
    it is. A file of another size than `known` is not read: a hole may be larger than any disk.
    """
    if stat.S_ISLNK(found.st_mode):
        return f"link:{workspace.link(path)}"
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        return "special"
    size = f"{found.st_size} bytes "
    if known and not known.startswith(size):
        return size
    with workspace.open(path) as file:
        return size + hashlib.file_digest(file, "sha256").hexdigest()
