"""The streams in a batch of logged rows: what the champion is asked, what each version answers."""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from loopwright_common.cloudevents import INPUT, SCORE
from loopwright_monitor.detectors.base import StreamName
from loopwright_monitor.watched.repository import WatchedModel
from loopwright_monitor.watched.version_repository import WatchedVersion

INPUTS: StreamName = "inputs"
SCORES: StreamName = "score"
LOSSES: StreamName = "losses"


@dataclass(frozen=True, slots=True)
class WatchedStream:
    """A watched stream: the champion's `inputs` or `losses`, or the `score` of one version.

    `left_out` columns are left out of its rows on purpose.
    """

    model: WatchedModel
    version: WatchedVersion
    name: StreamName
    left_out: frozenset[str] = frozenset()

    @property
    def key(self) -> tuple[str, int, str]:
        return (self.version.model_id, self.version.version, self.name)

    @property
    def reference(self) -> str | None:
        """The digest of the profile that its version came with; scores have none."""
        return self.version.profile if self.name == INPUTS else None


def live_rows(table: pa.Table) -> pa.Table:
    """Rows that a live arm answered; each request once, shadows and failures left out."""
    return table.filter(pc.and_(pc.equal(table["arm"], "live"), pc.is_null(table["error"])))


def inputs_of(rows: pa.Table) -> pa.Table:
    """Logged rows as the stream `inputs` has them: `time`, and a column per feature."""
    columns = {"time": rows["time"]}
    for name in rows.column_names:
        if name.startswith(INPUT):
            columns[name.removeprefix(INPUT)] = rows[name]
    return pa.table(columns)


def scores_of(rows: pa.Table, version: int) -> pa.Table:
    """A version's logged rows as the stream `score` has them: `time` and `score`."""
    mine = rows.filter(pc.equal(rows["version"], version))
    return pa.table({"time": mine["time"], "score": mine[SCORE]})
