"""What was served, row by row: the ground that the story stands on."""

from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(slots=True)
class Served:
    """Per row: who answered and with which probability of yes, and what version 1 said of it.

    Times are seconds since the epoch, 0 where a row was not sent; versions are 0 there.
    """

    yes: npt.NDArray[np.bool_]
    version: npt.NDArray[np.int64] = field(init=False)
    said: Floats = field(init=False)
    frozen: Floats = field(init=False)
    time: Floats = field(init=False)

    def __post_init__(self) -> None:
        rows = len(self.yes)
        self.version = np.zeros(rows, np.int64)
        self.said, self.frozen = np.full(rows, np.nan), np.full(rows, np.nan)
        self.time = np.zeros(rows)

    def rows_before(self, moment: datetime) -> int:
        """How many rows had been answered at this moment."""
        sent = self.time[self.time > 0]
        return int(np.count_nonzero(sent <= moment.timestamp()))
