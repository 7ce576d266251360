"""What an ONNX graph may cost, told from the graph alone."""

from loopwright_common.model_files.graph.external_data import external_tensors, load_whole
from loopwright_common.model_files.graph.graph_bounds import (
    GraphBounds,
    UnboundedGraphError,
    bounds_of,
)

__all__ = ["GraphBounds", "UnboundedGraphError", "bounds_of", "external_tensors", "load_whole"]
