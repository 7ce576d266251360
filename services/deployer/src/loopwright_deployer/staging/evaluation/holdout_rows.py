"""Rows of a holdout dataset: which are fair to versions, and as inputs of one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loopwright_common.errors import InvalidError
from loopwright_common.events import Dataset
from loopwright_common.serving.spec import ServingSpec
from loopwright_deployer.staging.evaluation.scorer_client import Values

MAX_ROWS = 20_000


class UnusableHoldoutError(InvalidError):
    """The dataset has nothing to measure a version by, and why."""


@dataclass(frozen=True, slots=True)
class Training:
    """What a version was trained on; `inputs` are the columns or the tensor that it takes."""

    version: int
    dataset: Dataset
    inputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Holdout:
    """Labelled rows in time order, by column; `rows` counts also those beyond MAX_ROWS.

    `later_than` is what their times were compared with. By version, `learned` is how many rows are
    left out since it was trained on them, and `untold` why that is not known.
    """

    columns: Mapping[str, list[Any]]
    target: str
    rows: int
    later_than: datetime | None = None
    learned: Mapping[int, int] = field(default_factory=dict)
    untold: Mapping[int, str] = field(default_factory=dict)

    def values(self, spec: ServingSpec) -> Values:
        """The rows as inputs of a version; InvalidError names columns that are not there."""
        if spec.tensor is not None:
            return {spec.tensor.name: self._tensor(spec.tensor.name, spec.tensor.shape)}
        names = [column.name for column in spec.columns or ()]
        if absent := sorted(set(names) - set(self.columns)):
            raise InvalidError(f"the holdout dataset lacks {', '.join(absent)}")
        return {name: [_cell(value) for value in self.columns[name]] for name in names}

    def truth(self) -> list[Any]:
        return self.columns[self.target]

    def _tensor(self, name: str, shape: Sequence[int]) -> list[Any]:
        if name in self.columns:
            return self.columns[name]
        features = [n for n in self.columns if n not in (self.target, "time")]
        if len(features) != int(np.prod(shape)):
            raise InvalidError(f"the holdout dataset has neither {name!r} nor its cells as columns")
        columns = [np.asarray(self.columns[n], dtype=np.float64) for n in features]
        stacked = np.stack(columns, axis=1).reshape(-1, *shape)
        return list(stacked.tolist())


def class_indices(labels: Sequence[Any], classes: Sequence[Any]) -> NDArray[np.int64]:
    """The index of each label among the classes, [n]; 1, 1.0, True and "1" are the same label.

    InvalidError names labels that are none of the classes.
    """
    indices = {plain_label(one): index for index, one in enumerate(classes)}
    unknown = sorted({str(label) for label in labels if plain_label(label) not in indices})
    if unknown:
        raise InvalidError(f"labels {', '.join(unknown[:5])} are no classes of the version")
    return np.array([indices[plain_label(label)] for label in labels], dtype=np.int64)


def plain_label(label: Any) -> str:
    """A label as text, so that 1, 1.0, True and "1" are the same one."""
    if isinstance(label, bool | np.bool_):
        return str(int(label))
    if isinstance(label, float) and label.is_integer():
        return str(int(label))
    return str(label)


def _cell(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return None if isinstance(value, float) and np.isnan(value) else value
