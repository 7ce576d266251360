"""Kept results: the one that a step may take, or the reason why it has to run."""

from collections.abc import Sequence
from dataclasses import dataclass

from loopwright_common.database import Database
from loopwright_common.storage import ArtifactStore
from loopwright_trainer.pipelines.stages import Stage
from loopwright_trainer.runs.domain import StepEntry
from loopwright_trainer.runs.repository import StepEntries
from loopwright_trainer.steps import outputs
from loopwright_trainer.steps.key import KeyParts, explain, nearest, step_key


@dataclass(frozen=True, slots=True)
class ReuseVerdict:
    """`entry` is the result to take, or None; `nearest` is the one that differs least."""

    entry: StepEntry | None
    why: str
    nearest: StepEntry | None = None


async def look_up(
    database: Database, store: ArtifactStore, repository: str, stage: Stage, parts: KeyParts
) -> ReuseVerdict:
    """Whether a step is known; what its outputs need is there and verified, else it runs."""
    async with database.read() as connection:
        entry = await StepEntries(connection).get(step_key(parts))
        earlier = await StepEntries(connection).newest(repository, stage.name)
    closest = entry or _closest(parts, earlier)
    if not stage.cache:
        return ReuseVerdict(None, "cache: false", closest)
    if stage.frozen and earlier:
        entry = closest = earlier[0]
    if entry is None:
        return ReuseVerdict(None, _why_it_runs(parts, closest), closest)
    if gone := await outputs.first_unusable(store, entry.outputs):
        why = f"out {gone} of run {entry.run_id[:8]} is gone from the store or damaged"
        return ReuseVerdict(None, why, closest)
    origin = f"run {entry.run_id} (commit {entry.commit[:7]})"
    if stage.frozen:
        return ReuseVerdict(entry, f"frozen: the result of {origin}", closest)
    return ReuseVerdict(
        entry, f"same command, inputs, params and environment as in {origin}", closest
    )


def _closest(parts: KeyParts, earlier: Sequence[StepEntry]) -> StepEntry | None:
    closest = nearest(parts.to_json(), [entry.parts for entry in earlier])
    return next((entry for entry in earlier if entry.parts is closest), None)


def _why_it_runs(parts: KeyParts, closest: StepEntry | None) -> str:
    if closest is None:
        return "first run of this stage"
    return "; ".join(explain(parts.to_json(), closest.parts))
