"""What was served, row by row: the ground that the story stands on."""

from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(slots=True)
class ServedRows:
    """Per row: who answered, its probability of yes, and version 1's probability of the same.

    All arrays have one element per row of the stream, shape `(rows,)`.
    Times are seconds since the epoch, 0 where a row was not sent; versions are 0 there.
    """

    yes: npt.NDArray[np.bool_]
    version: npt.NDArray[np.int64] = field(init=False)
    probability: Floats = field(init=False)
    frozen_probability: Floats = field(init=False)
    time: Floats = field(init=False)

    def __post_init__(self) -> None:
        rows = len(self.yes)
        self.version = np.zeros(rows, np.int64)
        self.probability, self.frozen_probability = np.full(rows, np.nan), np.full(rows, np.nan)
        self.time = np.zeros(rows)

    def rows_before(self, at: datetime) -> int:
        """How many rows had been answered by this time."""
        sent = self.time[self.time > 0]
        return int(np.count_nonzero(sent <= at.timestamp()))
