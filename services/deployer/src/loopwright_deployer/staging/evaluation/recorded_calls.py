"""Recorded calls as staging asks them again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from loopwright_deployer.staging.evaluation.scorer_client import Values

MAX_CALLS = 400
MAX_ROWS = 2000
MAX_ROWS_OF_A_CALL = 100
"""Of a call with more, the first are asked."""
MAX_BYTES = 16 << 20
"""Of all values: 8 for a number, as many as it has characters for a text."""
MAX_OBJECTS = 64
"""Large inputs that lie in the store by themselves."""
InputTypes = Mapping[str, tuple[str, list[int]]]
"""Datatype and shape by input name, as a scorer tells them."""


@dataclass(frozen=True, slots=True)
class RecordedCall:
    """A call that a live version answered; `redacted` inputs were left out of it on purpose."""

    id: str
    at: str
    inputs: Values
    redacted: frozenset[str] = frozenset()

    @property
    def rows(self) -> int:
        return len(next(iter(self.inputs.values()), []))

    def lacks(self, name: str) -> bool:
        """Whether it was recorded without this input on purpose.

        A small tensor is recorded in columns of its own, `name_0` and so on.
        """
        cells = (each.rpartition("_") for each in self.redacted)
        return name in self.redacted or any(
            stem == name and number.isdigit() for stem, _, number in cells
        )


@dataclass(frozen=True, slots=True)
class RecordedCalls:
    """The newest first, and the reasons for which others were set aside."""

    calls: Sequence[RecordedCall]
    set_aside: Sequence[str] = ()

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> "RecordedCalls":
        """What a reader has written; KeyError, TypeError or ValueError for what is none of it."""
        calls = [
            RecordedCall(
                str(each["id"]), str(each["at"]), dict(each["inputs"]), frozenset(each["redacted"])
            )
            for each in content["calls"]
        ]
        return cls(calls, [str(reason) for reason in content["set_aside"]])
