"""The streams in a batch of logged rows: what the champion is asked, what each version answers."""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from loopwright_common.cloudevents.inference_logged import INPUT, SCORE
from loopwright_common.events import DriftKind
from loopwright_monitor.watched.repository import WatchedModel, WatchedVersion

INPUTS, SCORES = "inputs", "score"


@dataclass(frozen=True, slots=True)
class WatchedStream:
    """A watched stream: the champion's `inputs`, or the `score` of one version.

    `left_out` columns are left out of its rows on purpose.
    """

    model: WatchedModel
    version: WatchedVersion
    name: str
    left_out: frozenset[str] = frozenset()

    @property
    def key(self) -> tuple[str, int, str]:
        return (self.version.model_id, self.version.version, self.name)

    @property
    def kinds(self) -> tuple[DriftKind, DriftKind | None]:
        """What an alarm of the data and of the quality group is called; None: not watched."""
        return ("data", "quality") if self.name == INPUTS else ("prediction", None)


def live_rows(table: pa.Table) -> pa.Table:
    """Rows that a live arm answered; each request once, shadows and failures left out."""
    return table.filter(pc.and_(pc.equal(table["arm"], "live"), pc.is_null(table["error"])))


def inputs_of(rows: pa.Table) -> pa.Table:
    columns = {"time": rows["time"]}
    for name in rows.column_names:
        if name.startswith(INPUT):
            columns[name.removeprefix(INPUT)] = rows[name]
    return pa.table(columns)


def scores_of(rows: pa.Table, version: int) -> pa.Table:
    mine = rows.filter(pc.equal(rows["version"], version))
    return pa.table({"time": mine["time"], "score": mine[SCORE]})
