"""Where the scorer will compute a graph, in a sentence."""

from typing import Any

from loopwright_common.model_files.graph import UnboundedGraphError, bounds_of


def where_computed(onnx_model: Any) -> str | None:
    """Why a process of its own computes the graph; None where the scorer's own does."""
    try:
        bounds_of(onnx_model)
    except UnboundedGraphError as error:
        return f"runs in a process of its own: {error}"
    return None
