"""The holdout dataset: which of its rows are fair to both versions, and the check on them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loopwright_common.deploy_policy import HoldoutPolicy
from loopwright_common.errors import InvalidError
from loopwright_common.events import Check, Dataset, ModelRegistered
from loopwright_common.serving.spec import ServingSpec
from loopwright_deployer.staging.evaluation.loss_comparison import (
    LEAST_ROWS,
    Floats,
    LossComparison,
    classifier_losses,
    compare_losses,
    regressor_losses,
)
from loopwright_deployer.staging.evaluation.scorer_client import ScorerClient, Values

MOST_ROWS = 20_000
NAME = "holdout"


@dataclass(frozen=True, slots=True)
class Holdout:
    """Labelled rows in time order; `later_than` is the end of every training they must follow."""

    table: Any
    target: str
    rows: int

    def values(self, spec: ServingSpec) -> Values:
        """The rows as inputs of a version; InvalidError names columns that are not there."""
        if spec.tensor is not None:
            return {spec.tensor.name: self._tensor(spec.tensor.name, spec.tensor.shape)}
        names = [column.name for column in spec.columns or ()]
        if absent := sorted(set(names) - set(self.table.column_names)):
            raise InvalidError(f"the holdout dataset lacks {', '.join(absent)}")
        return {name: [_cell(v) for v in self.table.column(name).to_pylist()] for name in names}

    def truth(self) -> list[Any]:
        return list(self.table.column(self.target).to_pylist())

    def _tensor(self, name: str, shape: Sequence[int]) -> list[Any]:
        if name in self.table.column_names:
            return list(self.table.column(name).to_pylist())
        features = [n for n in self.table.column_names if n not in (self.target, "time")]
        if len(features) != int(np.prod(shape)):
            raise InvalidError(f"the holdout dataset has neither {name!r} nor its cells as columns")
        columns = [np.asarray(self.table.column(n), dtype=np.float64) for n in features]
        stacked = np.stack(columns, axis=1).reshape(-1, *shape)
        return list(stacked.tolist())


def dataset_of(registered: ModelRegistered, role: str) -> Dataset | None:
    return next((d for d in registered.datasets if d.role == role), None)


def unfair(challenger: ModelRegistered, champion: ModelRegistered) -> str | None:
    """Why no rows can be told to be later than both trainings, or None."""
    for registered in (challenger, champion):
        training = dataset_of(registered, "training")
        if training is None or training.until is None:
            return f"version {registered.version} does not say until when it was trained"
    return None


def trained_until(*versions: ModelRegistered) -> datetime | None:
    """The latest end of the versions' training data."""
    found = [d.until for v in versions if (d := dataset_of(v, "training")) and d.until]
    return max(found, default=None)


def read_holdout(parquet: Path, dataset: Dataset, later_than: datetime | None) -> Holdout:
    """The newest rows, in time order, later than `later_than`; InvalidError without a target."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    table = pq.read_table(parquet)
    if dataset.target is None or dataset.target not in table.column_names:
        raise InvalidError(f"the holdout dataset has no target column {dataset.target!r}")
    table = table.filter(pc.is_valid(table.column(dataset.target)))
    all_later = dataset.from_ is not None and later_than is not None and dataset.from_ > later_than
    if "time" in table.column_names:
        table = table.sort_by("time")
    if later_than is not None and not all_later:
        table = _later(table, later_than, pa, pc)
    return Holdout(table.slice(max(0, table.num_rows - MOST_ROWS)), dataset.target, table.num_rows)


def check_holdout(
    policy: HoldoutPolicy,
    holdout: Holdout,
    challenger: tuple[ScorerClient, ServingSpec],
    champion: tuple[ScorerClient, ServingSpec] | None,
) -> Check:
    """The challenger's loss against the champion's, or alone where there is none."""
    if (targets := challenger[1].targets) > 1:
        return skipped(f"{targets} answers a row have no {policy.metric} against one target")
    if champion is not None and holdout.rows < LEAST_ROWS:
        return unclear(
            f"only {holdout.rows} labelled rows are later than both trainings, {LEAST_ROWS} needed"
        )
    if not holdout.rows:
        return _check("skipped", "the holdout dataset has no labelled rows")
    own = losses(policy, holdout, *challenger)
    if champion is None:
        sentence = f"{policy.metric} {own.mean():.4f} on {len(own)} rows; no champion to compare"
        return _check("passed", sentence, measured=float(own.mean()), unit=policy.metric)
    return _compared(policy, compare_losses(own, losses(policy, holdout, *champion), policy.margin))


def losses(
    policy: HoldoutPolicy, holdout: Holdout, scoring: ScorerClient, spec: ServingSpec
) -> Floats:
    """Loss per row of what the scorer answers."""
    if spec.targets > 1:
        raise InvalidError(f"the champion gives {spec.targets} answers a row")
    answers = scoring.score(holdout.values(spec))
    if spec.task == "regressor":
        predicted = answers["prediction"].astype(np.float64).reshape(-1)
        return regressor_losses(predicted, np.array(holdout.truth(), dtype=np.float64))
    if policy.metric == "squared_error":
        raise InvalidError("squared_error is for regressors; use log_loss, brier or error_rate")
    classes = spec.classes or []
    truth = class_indices(holdout.truth(), classes)
    if "probabilities" in answers:
        return classifier_losses(policy.metric, answers["probabilities"].astype(np.float64), truth)
    if policy.metric != "error_rate":
        raise InvalidError(
            f"{policy.metric} needs probabilities, and the version answers labels only: set"
            " metric: error_rate"
        )
    return np.asarray(class_indices(answers["label"].tolist(), classes) != truth, np.float64)


def class_indices(labels: Sequence[Any], classes: Sequence[Any]) -> NDArray[np.int64]:
    """The place of each label among the classes; 1, 1.0, True and "1" are the same label."""
    places = {_plain(one): place for place, one in enumerate(classes)}
    unknown = sorted({str(label) for label in labels if _plain(label) not in places})
    if unknown:
        raise InvalidError(f"labels {', '.join(unknown[:5])} are no classes of the version")
    return np.array([places[_plain(label)] for label in labels], dtype=np.int64)


def unclear(sentence: str) -> Check:
    return _check("inconclusive", sentence)


def skipped(sentence: str) -> Check:
    return _check("skipped", sentence)


def _compared(policy: HoldoutPolicy, found: LossComparison) -> Check:
    sentence = (
        f"{policy.metric} {found.challenger:.4f} against the champion's {found.champion:.4f} "
        f"on {found.rows} later rows: difference {found.difference:+.4f}, at most "
        f"{found.upper:+.4f} with 95 % confidence, allowed below {policy.margin:+g}"
    )
    return Check(
        name=NAME,
        verdict=found.verdict,
        measured=found.upper,
        limit=policy.margin,
        unit=policy.metric,
        sentence=sentence,
    )


def _check(verdict: Any, sentence: str, measured: float | None = None, unit: Any = None) -> Check:
    return Check(name=NAME, verdict=verdict, measured=measured, unit=unit, sentence=sentence)


def _later(table: Any, moment: datetime, pa: Any, pc: Any) -> Any:
    """Rows whose time is known to be after the moment."""
    if "time" not in table.column_names:
        return table.slice(0, 0)
    times = pc.cast(table.column("time"), pa.timestamp("us", tz="UTC"))
    after = pc.greater(times, pa.scalar(moment, pa.timestamp("us", tz="UTC")))
    return table.filter(pc.fill_null(after, False))


def _plain(label: Any) -> str:
    if isinstance(label, bool | np.bool_):
        return str(int(label))
    if isinstance(label, float) and label.is_integer():
        return str(int(label))
    return str(label)


def _cell(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return None if isinstance(value, float) and np.isnan(value) else value
