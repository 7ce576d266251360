"""The checks by format, and the words in which a file is refused."""

from collections.abc import Callable, Mapping
from pathlib import Path

from loopwright_common.errors import InvalidError
from loopwright_common.model_files.lightgbm import check_lightgbm
from loopwright_common.model_files.onnx import check_onnx
from loopwright_common.model_files.skops import check_skops
from loopwright_common.model_files.xgboost import check_xgboost

_CHECKS: Mapping[str, tuple[str, Callable[[Path], None]]] = {
    "xgboost": ("XGBoost", check_xgboost),
    "lightgbm": ("LightGBM", check_lightgbm),
    "onnx": ("ONNX", check_onnx),
    "sklearn-skops": ("skops", check_skops),
}
"""By the names of `ServingSpec.format`."""


def check_model_file(path: Path, format: str) -> None:
    """InvalidError names file, format, place and remedy unless a native reader may have the file.

    Costs about as much as reading it does. A format without such readers passes.
    """
    if format not in _CHECKS:
        return
    name, check = _CHECKS[format]
    try:
        check(path)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise InvalidError(
            f"{path.name} is damaged, or no {name} model: {what[:300]}; save the model anew and"
            " register it again"
        ) from None
