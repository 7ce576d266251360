"""Opens scikit-learn estimators kept as skops, trusting a fixed list of types."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from loopwright_common.errors import InvalidError
from loopwright_common.serving import Column, Tensor
from loopwright_deployer.packaging.source import TENSOR_INPUT, Source

# Looked at one by one: plain data or arithmetic, beyond what skops trusts by itself.
TRUSTED = (
    "numpy.dtype",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.metrics._dist_metrics.EuclideanDistance64",
    "sklearn.neighbors._kd_tree.KDTree",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
)
# Their node arrays are native memory, so they are opened here only and served as ONNX.
COMPILED_ONLY = (
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.tree._tree.Tree",
)
VARIABLE = "LOOPWRIGHT_DEPLOYER_TRUSTED_TYPES"


@dataclass(frozen=True, slots=True)
class Opened:
    """An estimator with its inputs; `compiled_only` names types that are not served natively."""

    estimator: Any
    task: Literal["classifier", "regressor"]
    classes: list[str | int | float | bool] | None
    columns: list[Column] | None
    tensor: Tensor | None
    trusted: Sequence[str]
    compiled_only: Sequence[str]


def open_skops(source: Source) -> Opened:
    """InvalidError for a type outside the list, no signature, or a task that is not served."""
    import skops.io

    found = set(skops.io.get_untrusted_types(file=source.file))
    own = {name for name in os.environ.get(VARIABLE, "").split(",") if name}
    if strange := sorted(found - set(TRUSTED) - set(COMPILED_ONLY) - own):
        raise InvalidError(
            f"the package holds types that are not trusted: {', '.join(strange)}; "
            f"after a look at them, name them in {VARIABLE}, or log the model as onnx"
        )
    estimator = skops.io.load(source.file, trusted=sorted(found))
    columns, tensor = _signature(source, estimator)
    task, classes = _task(estimator)
    compiled_only = sorted(found & set(COMPILED_ONLY))
    return Opened(estimator, task, classes, columns, tensor, sorted(found), compiled_only)


def _task(
    estimator: Any,
) -> tuple[Literal["classifier", "regressor"], list[str | int | float | bool] | None]:
    from sklearn.base import is_classifier, is_regressor

    kind = type(estimator).__name__
    if is_regressor(estimator):
        return "regressor", None
    if not is_classifier(estimator):
        raise InvalidError(f"{kind} is neither classifier nor regressor; only these are served")
    if not hasattr(estimator, "predict_proba"):
        raise InvalidError(f"{kind} gives no probabilities; wrap it in CalibratedClassifierCV")
    return "classifier", [getattr(one, "item", lambda one=one: one)() for one in estimator.classes_]


def _signature(source: Source, estimator: Any) -> tuple[list[Column] | None, Tensor | None]:
    if source.columns is not None or source.tensor is not None:
        return source.columns, source.tensor
    if hasattr(estimator, "feature_names_in_") or not hasattr(estimator, "n_features_in_"):
        raise InvalidError(
            "the package has no signature; log it with signature=infer_signature(X, y) "
            "or with an input_example"
        )
    width = int(estimator.n_features_in_)
    return None, Tensor(name=TENSOR_INPUT, dtype="float64", shape=[width])
