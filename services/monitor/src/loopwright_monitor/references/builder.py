"""Making a profile that holds: measured on the reference, then tried on its own last quarter."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from loopwright_monitor.detectors.betting import build_bets
from loopwright_monitor.detectors.e_process import EvidenceProcess
from loopwright_monitor.detectors.evidence import log_mean
from loopwright_monitor.detectors.profile import Profile, Strictness, widen_tolerances
from loopwright_monitor.references.indicators import measure_profile

MARGIN = 3.0
"""How far, in nats, the replayed quarter must stay below the alarm."""
STEP = 1.25
MAX_STEPS = 60


def build_reference(
    table: pa.Table, names: Sequence[str], strict: Strictness, source: str
) -> Profile:
    """The profile of a time-ordered table, widened until its last quarter raises no alarm.

    `names` are the columns that become features; `source` says in words what the table is.
    """
    split = table.num_rows - table.num_rows // 4
    earlier, later = table.slice(0, split), table.slice(split)
    trial = measure_profile(earlier, names, strict, source)
    factors: dict[str, float] = {}
    for _ in range(MAX_STEPS):
        offender = _offender(widen_tolerances(trial, factors), later)
        if offender is None:
            break
        factors[offender] = factors.get(offender, 1.0) * STEP
    return widen_tolerances(measure_profile(table, names, strict, source), factors)


def _offender(profile: Profile, later: pa.Table) -> str | None:
    """The feature with most evidence where the replay comes too near an alarm, if it does.

    Quality is left out: what the last quarter holds is within the ranges and levels of the whole.
    """
    bets = build_bets(profile)
    detector = EvidenceProcess(bets)
    times = np.zeros(bets.block_rows, np.int64)
    for start in range(0, later.num_rows - bets.block_rows + 1, bets.block_rows):
        detector.update(later.slice(start, bets.block_rows), times)
        evidence = detector.evidence("data")
        values = np.array([each.evidence for each in evidence])
        if evidence and log_mean(values) > bets.log_threshold - MARGIN:
            return evidence[0].name
    return None
