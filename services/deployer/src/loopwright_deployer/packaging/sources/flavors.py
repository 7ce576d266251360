"""Which of a package's MLflow flavors is served, and why the others are not."""

from typing import Any, Literal

from loopwright_common.errors import InvalidError

Loader = Literal["pickle", "mlflow", "skops", "river"]
_PICKLE = "a pickle, which can run any code when it is opened"
_SKOPS = "log it with serialization_format='skops'"
_ONNX = "log it with mlflow.onnx"
_REASONS = {
    "sklearn": (f"scikit-learn as {_PICKLE}", _SKOPS),
    "lightgbm": (f"LightGBM as {_PICKLE}", _SKOPS),
    "xgboost": (f"XGBoost as {_PICKLE}", "log it with model_format='ubj'"),
    "pytorch": (f"PyTorch as {_PICKLE}", f"export it with torch.onnx.export and {_ONNX}"),
    "keras": ("Keras layers can carry code", f"export it with format='onnx' and {_ONNX}"),
    "tensorflow": ("the scorer has no TensorFlow", f"convert it with tf2onnx and {_ONNX}"),
    "catboost": ("the scorer has no CatBoost", f"save it with format='onnx' and {_ONNX}"),
    "river": (f"River as {_PICKLE}", "save it with loopwright_common.serving.river_package"),
    "statsmodels": (f"statsmodels as {_PICKLE}", _ONNX),
    "spark": ("the scorer has no Spark", f"convert it with onnxmltools and {_ONNX}"),
    "python_function": (f"a Python function as {_PICKLE}", f"{_ONNX} what it computes"),
}
_SERVED = (
    "skops (scikit-learn, LightGBM), onnx, XGBoost's JSON or UBJ, LightGBM's text, River's JSON"
)
_SAFE_FILES = {"xgboost": (".json", ".ubj", ".xgb"), "lightgbm": (".lgb", ".txt", ".skops")}


def served_flavor(flavors: dict[str, Any]) -> tuple[str, str]:
    """The flavor and its file; InvalidError says why there is none, and what to log instead."""
    if "onnx" in flavors:
        return "onnx", str(flavors["onnx"]["data"])
    sklearn = flavors.get("sklearn", {})
    if sklearn.get("serialization_format") == "skops":
        return "sklearn", str(sklearn["pickled_model"])
    for flavor, endings in _SAFE_FILES.items():
        file = str(flavors.get(flavor, {}).get("data", ""))
        if file.endswith(endings):
            return flavor, file
    raise InvalidError(refusal(flavors))


def isolated_flavor(flavors: dict[str, Any], refused: str) -> tuple[str, str, Loader]:
    """Flavor, file and loader for a process of its own; InvalidError with `refused` otherwise."""
    if file := str(flavors.get("river", {}).get("model", "")):
        return "river", file, "river" if file.endswith(".json") else "pickle"
    if file := str(flavors.get("sklearn", {}).get("pickled_model", "")):
        return "sklearn", file, "pickle"
    if "python_function" in flavors:
        return "python_function", "MLmodel", "mlflow"
    raise InvalidError(refused)


def refusal(flavors: dict[str, Any]) -> str:
    """Why none of these flavors is served, and what to do."""
    own = next((name for name in flavors if name != "python_function"), "python_function")
    reason, remedy = _REASONS.get(
        own, ("the scorer has no runtime for it", f"convert it to ONNX and {_ONNX}")
    )
    return f"flavor {own} is not served: {reason}; {remedy}; served are {_SERVED}"
