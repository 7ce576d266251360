"""The reply of protocols without named outputs: one answer per row."""

import numpy as np
import orjson

from loopwright_scorer.inference.codec import InferenceResult
from loopwright_scorer.protocols.base import Reply


def predictions_reply(result: InferenceResult) -> Reply:
    """`{"predictions": [...]}`, what the package's own `predict` gives under MLflow."""
    array = _predicted(result)
    content = array.tolist() if array.dtype == object else np.ascontiguousarray(array)
    body = orjson.dumps({"predictions": content}, option=orjson.OPT_SERIALIZE_NUMPY)
    return Reply(200, body, ((b"content-type", b"application/json"),))


def _predicted(result: InferenceResult) -> np.ndarray:
    """The label or prediction, where the package does not say that chances are predicted."""
    probabilities = result.outputs.probabilities
    predicts = result.arm.model.spec.predicts
    if probabilities is not None and predicts == "chance":
        return np.asarray(probabilities[:, -1])
    if probabilities is not None and predicts == "probabilities":
        return probabilities
    return result.outputs.tensors()[0].array
